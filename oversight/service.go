package oversight

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

	// DenyPermissions and DenyPaths are out of reach while impersonating. Nil takes the
	// defaults, which keep an actor from making the user's access their own:
	// credentials, second factors, keys, pay-out details, consent and deletion. A
	// permission pattern is a name or "prefix:*"; a path pattern is one segment, which
	// may end in a star, or a path from the root.
	DenyPermissions []string
	DenyPaths       []string
}

const (
	maxDuration = time.Hour
	maxReason   = 500
)

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
	if c.DenyPermissions == nil {
		c.DenyPermissions = []string{"credential:*", "password:*", "mfa:*", "oauth:*", "key:*", "apikey:*", "api_key:*", "payout:*", "bank:*",
			"consent:*", "email:write", "account:delete", "session:start", "approval:vote"}
	}
	if c.DenyPaths == nil {
		c.DenyPaths = []string{"password*", "credential*", "mfa", "2fa", "totp", "webauthn", "passkey*", "oauth*", "api-key*", "apikey*", "api_key*", "token*",
			"payout*", "bank*", "consent*", "impersonat*", "delete-account", "close-account"}
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
	case !strings.HasPrefix(o.Path, "/") || !strings.HasPrefix(o.EndPath, "/"):
		return nil, errors.New("oversight: Path and EndPath begin with a slash")
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
