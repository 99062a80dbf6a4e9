package oversight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
)

// Options tunes a Service. Targets is required: only the host knows its users.
type Options struct {
	// Targets gives the user of a tenant that is to be represented: its id, name and
	// the roles it has in the host's product. It is asked when a session begins and on
	// every request, so a user who is gone takes the session along. ErrNotFound: there
	// is no such user in that tenant.
	Targets func(ctx context.Context, tenant governance.TenantID, user string) (governance.Actor, error)

	MaxDuration time.Duration // longest session; default 30m, at most 1h
	Idle        time.Duration // longest pause between two requests; default 10m
	OpenWithin  time.Duration // how long an allowed session waits to be opened; default 1h

	Cookie   string // name; default "reeve_impersonation"
	Path     string // path of the cookie, where the product lives; default "/"
	Insecure bool   // send the cookie over plain HTTP: for a server on the loopback only
	EndPath  string // a POST here ends the caller's session; default "/impersonation/end"
	Home     string // where the browser goes when a session is over; empty: a plain 401

	// FreshFor is how old a sign-in may be that a session begins with; default 15m. A
	// personal API key is no sign-in, unless PersonalKey lets it count: for
	// demonstrations.
	FreshFor    time.Duration
	PersonalKey bool

	// Unrecorded lets sessions begin although no recorder stands behind the service.
	Unrecorded bool
	// Grace is how long a session may stay paused before it ends; default 2m.
	Grace time.Duration
	// Observe says which sessions somebody has to watch; nil: those that ask for it.
	Observe func(tenant governance.TenantID, scope Scope) bool
	// ObserverFor is how long an observer counts without a sign of life; default 60s.
	ObserverFor time.Duration
	// ReviewWithin is how long others have to review a session that is over; default
	// 72h, negative: sessions are not reviewed.
	ReviewWithin time.Duration
	// StaffName is what a customer reads of an actor in their access log; default the
	// actor's name.
	StaffName func(governance.Actor) string

	// DenyPermissions and DenyPaths are out of reach while impersonating, beside what
	// [DeniedPermissions] and [DeniedPaths] name: these keep an actor from making the
	// user's access their own. A permission pattern is a name or "prefix:*"; a path
	// pattern is one segment, which may end in a star, or a path from the root.
	DenyPermissions []string
	DenyPaths       []string
	// Reachable takes single patterns out of those defaults, by their exact text. Each
	// is logged when the service is made; what would let an actor impersonate or vote
	// on stays.
	Reachable []string
}

const (
	maxDuration = time.Hour
	maxReason   = 500
)

// DeniedPermissions are the permissions of a product that no session reaches.
func DeniedPermissions() []string {
	return []string{"credential:*", "password:*", "mfa:*", "oauth:*", "key:*", "apikey:*", "api_key:*", "payout:*", "bank:*",
		"consent:*", "email:write", "account:delete", "session:start", "approval:vote"}
}

// DeniedPaths are the addresses of a product that no session reaches.
func DeniedPaths() []string {
	return []string{"password*", "credential*", "mfa", "2fa", "totp", "webauthn", "passkey*", "oauth*", "api-key*", "apikey*", "api_key*", "token*",
		"payout*", "bank*", "consent*", "impersonat*", "delete-account", "close-account"}
}

// pinned stay denied whatever a host says.
func pinned(pattern string) bool {
	return pattern == "session:start" || pattern == "approval:vote" || pattern == "impersonat*"
}

// denyList is the defaults without what the host takes out, and what it adds.
func denyList(defaults, added, out []string) []string {
	list := slices.DeleteFunc(defaults, func(p string) bool { return slices.Contains(out, p) })
	return append(list, added...)
}

func (o *Options) validDeny() error {
	var errs []error
	for i, p := range o.Reachable {
		switch {
		case pinned(p):
			errs = append(errs, governance.Invalid(fmt.Sprintf("Reachable[%d]", i), "%q stays out of reach", p))
		case !slices.Contains(DeniedPermissions(), p) && !slices.Contains(DeniedPaths(), p):
			errs = append(errs, governance.Invalid(fmt.Sprintf("Reachable[%d]", i), "%q is not a pattern of the defaults", p))
		}
	}
	for name, list := range map[string][]string{"DenyPermissions": o.DenyPermissions, "DenyPaths": o.DenyPaths} {
		for i, p := range list {
			if strings.Trim(p, "*/ ") == "" || strings.Contains(strings.TrimSuffix(p, "*"), "*") {
				errs = append(errs, governance.Invalid(fmt.Sprintf("%s[%d]", name, i), "%q is no pattern", p))
			}
		}
	}
	return errors.Join(errs...)
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.MaxDuration = orDefault(c.MaxDuration, 30*time.Minute)
	c.Idle = orDefault(c.Idle, 10*time.Minute)
	c.OpenWithin = orDefault(c.OpenWithin, time.Hour)
	if c.Cookie == "" {
		c.Cookie = "reeve_impersonation"
	}
	if c.Path == "" {
		c.Path = "/"
	}
	if c.EndPath == "" {
		c.EndPath = "/impersonation/end"
	}
	c.FreshFor = orDefault(c.FreshFor, 15*time.Minute)
	c.Grace = orDefault(c.Grace, 2*time.Minute)
	c.ObserverFor = orDefault(c.ObserverFor, time.Minute)
	c.ReviewWithin = orDefault(c.ReviewWithin, 72*time.Hour)
	if c.Observe == nil {
		c.Observe = func(governance.TenantID, Scope) bool { return false }
	}
	if c.StaffName == nil {
		c.StaffName = func(a governance.Actor) string { return cmp.Or(a.Name, "Support") }
	}
	return c
}

func orDefault(d, or time.Duration) time.Duration {
	if d == 0 {
		return or
	}
	return d
}

// Service opens, checks and ends impersonation sessions. Use [New].
type Service struct {
	k     *governance.Kernel
	opts  Options
	start *governance.Action[startInput]
	csrf  *http.CrossOriginProtection

	mu    sync.Mutex
	alive func(context.Context) error // of the recorder; nil when there is none
	with  Companion
}

// New makes a Service and registers its action [ActionStart] and its background
// work with the kernel.
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil || opts == nil || opts.Targets == nil {
		return nil, errors.New("oversight: a kernel and Options.Targets are required")
	}
	o := opts.withDefaults()
	switch {
	case o.MaxDuration < time.Minute || o.MaxDuration > maxDuration:
		return nil, fmt.Errorf("oversight: MaxDuration is %s, want 1m to %s", o.MaxDuration, maxDuration)
	case o.Idle < time.Minute || o.OpenWithin < time.Minute:
		return nil, errors.New("oversight: Idle and OpenWithin are at least 1m")
	case o.FreshFor < time.Minute || o.Grace < time.Second || o.ObserverFor < 10*time.Second:
		return nil, errors.New("oversight: FreshFor is at least 1m, Grace 1s, ObserverFor 10s")
	case !strings.HasPrefix(o.Path, "/") || !strings.HasPrefix(o.EndPath, "/"):
		return nil, errors.New("oversight: Path and EndPath begin with a slash")
	}
	if err := o.validDeny(); err != nil {
		return nil, fmt.Errorf("oversight: %w", err)
	}
	o.DenyPermissions = denyList(DeniedPermissions(), o.DenyPermissions, o.Reachable)
	o.DenyPaths = denyList(DeniedPaths(), o.DenyPaths, o.Reachable)
	if len(o.Reachable) > 0 {
		k.Logger().Warn("an impersonation reaches what the defaults deny", "patterns", o.Reachable)
	}
	s := &Service{k: k, opts: o, csrf: http.NewCrossOriginProtection()}
	s.start = s.startAction()
	if err := k.Register(s.start); err != nil {
		return nil, err
	}
	k.Background("oversight.sessions", 5*time.Second, s.Sweep)
	return s, nil
}

// Kernel is the kernel this service was made on.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// MaxDuration is the longest session this service opens.
func (s *Service) MaxDuration() time.Duration { return s.opts.MaxDuration }
