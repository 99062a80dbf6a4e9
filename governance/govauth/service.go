package govauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Options tunes a Service. The zero value is ready to use.
type Options struct {
	LinkURL         func(token string) string    // address of the sign-in page for a link; default "/console/signin/" + token
	Secure          bool                         // the site is reached by https: the cookie is __Host- and Secure
	ClientIP        func(r *http.Request) string // default: the peer's address, no header is believed
	InvitationValid time.Duration                // default 7 days
	LinkValid       time.Duration                // of first-run and sign-in links; default 15 minutes
	SessionIdle     time.Duration                // default 8 hours
	SessionMax      time.Duration                // default 7 days
	KeyMax          time.Duration                // longest life of an API key; default 365 days

	// OnChange is told of every change of a person's access in the commit that makes it.
	// Its error undoes the change. Package access keeps the history with it.
	OnChange func(ctx context.Context, tx *governance.Tx, c Change) error
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.LinkURL == nil {
		c.LinkURL = func(token string) string { return "/console/signin/" + token }
	}
	if c.ClientIP == nil {
		c.ClientIP = peer
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.InvitationValid, 7 * 24 * time.Hour}, {&c.LinkValid, 15 * time.Minute}, {&c.SessionIdle, 8 * time.Hour},
		{&c.SessionMax, 7 * 24 * time.Hour}, {&c.KeyMax, 365 * 24 * time.Hour},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return c
}

// Service manages people, keys and sign-in. Use [New].
type Service struct {
	k     *governance.Kernel
	db    *govdb.DB
	store *Store
	opts  Options
	acts  actions

	mu      sync.Mutex
	touched map[touch]govdb.Micros
	cleaned time.Time
}

type actions struct {
	invite     *governance.Action[Invite]
	roles      *governance.Action[ChangeRoles]
	activate   *governance.Action[Activate]
	deactivate *governance.Action[Deactivate]
	link       *governance.Action[SignInLink]
	key        *governance.Action[CreateKey]
}

// New makes a Service and registers its actions with the kernel, whose Directory
// should be store.
func New(k *governance.Kernel, store *Store, opts *Options) (*Service, error) {
	if k == nil || store == nil {
		return nil, errors.New("govauth: kernel and store are required")
	}
	if k.DB() != store.db {
		return nil, errors.New("govauth: kernel and store are on different databases")
	}
	s := &Service{k: k, db: k.DB(), store: store, opts: opts.withDefaults(), touched: map[touch]govdb.Micros{}}
	s.acts = actions{s.inviteAction(), s.rolesAction(), s.activateAction(), s.deactivateAction(), s.linkAction(), s.keyAction()}
	err := k.Register(s.acts.invite, s.acts.roles, s.acts.activate, s.acts.deactivate, s.acts.link, s.acts.key)
	if err != nil {
		return nil, fmt.Errorf("govauth: %w", err)
	}
	k.Background("govauth", 20*time.Second, s.Flush)
	return s, nil
}

// Kernel is the kernel the service works with.
func (s *Service) Kernel() *governance.Kernel { return s.k }

// Policies are the default policies: outside bootstrap mode an approver must agree
// before somebody's rights grow or somebody else is let in under their name.
func Policies() []governance.Policy {
	approver := func() *governance.Require {
		return &governance.Require{
			AllOf:        []governance.Quorum{{Group: RoleApprover, Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour},
		}
	}
	return []governance.Policy{
		{ID: "auth-roles", Title: "Changing somebody's roles needs an approver", Actions: []string{"user.roles", "user.activate"},
			Mode: governance.Enforce, Require: approver()},
		{ID: "auth-signin-link", Title: "A sign-in link for somebody else needs an approver", Actions: []string{"user.signin_link"},
			Mode: governance.Enforce, Require: approver()},
		{ID: "auth-invite-power", Title: "Inviting a super admin or an approver needs an approver", Actions: []string{"user.invite"},
			Match: `action.input.roles.exists(r, r == "super_admin" || r == "gov_approver")`, Mode: governance.Enforce, Require: approver()},
		{ID: "ledger-erase", Title: "Erasing what the ledger says about somebody needs an approver", Actions: []string{governance.ActionErase},
			Mode: governance.Enforce, Require: approver()},
		{ID: "ledger-resume", Title: "Signing the ledger again after a witness stopped it needs an approver", Actions: []string{governance.ActionResumeLedger},
			Mode: governance.Enforce, Require: approver()},
		{ID: "settle-by-hand", Title: "How an act ended that nobody heard of is said by two people", Actions: []string{governance.ActionSettle},
			Mode: governance.Enforce, Require: approver()},
	}
}

func (s *Service) now() govdb.Micros { return govdb.At(s.k.Now()) }

// idFor is a new id, or the same one for the same key of the same caller, so that a
// repeated request has the same input.
func idFor(id governance.Identity, opts *governance.DoOptions, what string) uuid.UUID {
	if opts != nil && opts.Key != "" {
		return uuid.NewSHA1(uuid.NameSpaceOID, []byte(what+"\x00"+id.Actor.ID+"\x00"+opts.Key))
	}
	return uuid.Must(uuid.NewV7())
}

func noTenant[I any](I) governance.TenantID { return "" }

func personRef(id governance.PersonID) governance.Ref {
	return governance.Ref{Kind: "person", ID: string(id)}
}

// own tells whether the caller is this very person, and not represented.
func own(id governance.Identity, person governance.PersonID) bool {
	return person != "" && id.Actor.Person == person && id.Subject == nil
}

func denied(action, rule, reason string) error {
	return &governance.DeniedError{Action: action, Rule: rule, Reason: reason}
}

func validName(field, v string, required bool) error {
	if v == "" && !required {
		return nil
	}
	if strings.TrimSpace(v) == "" || utf8.RuneCountInString(v) > 100 || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return governance.Invalid(field, "is required, at most 100 printable characters")
	}
	return nil
}

func validEmail(field, v string) error {
	a, err := mail.ParseAddress(v)
	if err != nil || a.Address != v || len(v) > 200 {
		return governance.Invalid(field, "is not an e-mail address")
	}
	return nil
}

func normalEmail(v string) string { return strings.ToLower(strings.TrimSpace(v)) }

// normalRoles is the roles sorted, each once.
func normalRoles(roles []string) []string {
	out := append([]string{}, roles...)
	slices.Sort(out)
	return slices.Compact(out)
}

func validRoles(field string, roles, known []string) error {
	if len(roles) == 0 {
		return governance.Invalid(field, "name at least one")
	}
	for _, r := range roles {
		if !slices.Contains(known, r) {
			return governance.Invalid(field, "%q is not one of %s", r, strings.Join(known, ", "))
		}
	}
	return nil
}

// affectOne checks that a statement changed exactly one row.
func affectOne(res interface{ RowsAffected() (int64, error) }, err error, what string, none error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%s: %w", what, errors.Join(none, err))
	}
	return nil
}

func (s *Service) record(ctx context.Context, tx *governance.Tx, id governance.Identity, action string, on governance.Ref, data any, evs ...governance.Event) error {
	_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: action, Resource: on, Data: data}, evs...)
	return err
}

// Permitted lists the permissions that an identity holds when nothing is said about
// the target.
func (s *Service) Permitted(ctx context.Context, id governance.Identity) []string {
	return slices.DeleteFunc(Permissions(), func(p string) bool { return s.k.Authorize(ctx, id, p, governance.Target{}) != nil })
}
