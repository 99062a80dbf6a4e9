package governance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// BreakGlass lets people of a group do in an emergency what the policy would hold:
// at once, with a fresh sign-in, a reason, a budget of their own, an alert, and a
// review by somebody else afterwards. While one of their reviews is overdue they may
// not do it again. It needs every policy that holds the action to allow it.
type BreakGlass struct {
	Group        GroupID  `json:"group"`
	Max          int64    `json:"max"` // uses by one person in Window
	Window       Duration `json:"window"`
	SignIn       Duration `json:"sign_in,omitzero"` // how old the sign-in may be; default 5m
	ReviewWithin Duration `json:"review_within"`
}

const (
	breakGlassReason = 10 // least bytes of a reason
	breakGlassSignIn = 5 * time.Minute
)

func (b BreakGlass) validate(bad func(field, format string, args ...any)) {
	if b.Group == "" || b.Group.Marked() {
		bad("require.break_glass.group", "is required")
	}
	if b.Max < 1 || b.Max > 100 {
		bad("require.break_glass.max", "is not between 1 and 100")
	}
	if d := b.Window.Duration; d < time.Hour || d > 366*24*time.Hour {
		bad("require.break_glass.window", "%s is not between 1h and 8784h", b.Window)
	}
	if d := b.SignIn.Duration; d < 0 || d > time.Hour {
		bad("require.break_glass.sign_in", "%s is not between 0 and 1h", b.SignIn)
	}
	if d := b.ReviewWithin.Duration; d <= 0 || d > 30*24*time.Hour {
		bad("require.break_glass.review_within", "%s is not between 0 and 720h", b.ReviewWithin)
	}
}

// broken is a glass that was broken, as its obligations see it.
type broken struct {
	policies     []string
	reviewWithin time.Duration
}

// breakGlass lets the call go on, or says why not.
func (k *Kernel) breakGlass(ctx context.Context, tx *Tx, c *call) (*DeniedError, error) {
	refuse := func(format string, args ...any) (*DeniedError, error) {
		return &DeniedError{c.def.name, "break-glass", fmt.Sprintf(format, args...)}, nil
	}
	person := c.identity.Actor.Person
	switch {
	case c.identity.Actor.Kind != ActorUser || person == "":
		return refuse("only a person who is signed in may break the glass")
	case c.identity.Subject != nil:
		return refuse("refused while impersonating somebody")
	case !c.breaker.Active:
		return refuse("your account is not active")
	case len(strings.TrimSpace(c.opts.Reason)) < breakGlassReason:
		return refuse("say why in at least %d letters", breakGlassReason)
	}
	b := &broken{}
	set, err := k.policies(ctx, tx)
	if err != nil {
		return nil, err
	}
	byID := map[string]compiled{}
	for _, p := range set.all {
		byID[p.ID] = p
	}
	for _, h := range c.decision.Policies {
		if h.Mode != Enforce || h.Effect != Hold {
			continue
		}
		p, known := byID[h.Policy]
		if !known { // what no policy demands no policy can open
			return refuse("%s holds it, and has no glass to break", h.Policy)
		}
		g := p.Require.BreakGlass
		if g == nil {
			return refuse("policy %s has no glass to break", p.ID)
		}
		if !c.breaker.In(g.Group) {
			return refuse("you are not in %s", g.Group)
		}
		fresh := g.SignIn.Duration
		if fresh == 0 {
			fresh = breakGlassSignIn
		}
		if c.now.Sub(c.identity.Actor.AuthTime) > fresh {
			return refuse("sign in again: the sign-in is older than %s", fresh)
		}
		if refused, err := k.breakBudget(ctx, tx, c, p.ID, *g); refused != nil || err != nil {
			return refused, err
		}
		b.policies = append(b.policies, p.ID)
		if b.reviewWithin == 0 || g.ReviewWithin.Duration < b.reviewWithin {
			b.reviewWithin = g.ReviewWithin.Duration
		}
	}
	overdue, err := tx.NewSelect().Model((*reviewRow)(nil)).Where("kind = ? AND state = ? AND person = ? AND due_at < ?",
		reviewBreakGlass, ReviewDue, person, atMicros(c.now)).Exists(ctx)
	if err != nil {
		return nil, fmt.Errorf("reviews of %s: %w", person, err)
	}
	if overdue {
		return refuse("a review of an earlier emergency is overdue")
	}
	c.broken = b
	return nil, nil
}

// breakBudget counts a use, exactly, like any other limit.
func (k *Kernel) breakBudget(ctx context.Context, tx *Tx, c *call, policy string, g BreakGlass) (*DeniedError, error) {
	key := "break-glass|" + policy + "|" + string(c.identity.Actor.Person)
	if _, err := tx.ExecContext(ctx, "INSERT INTO gov_budget (key, turns) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET turns = gov_budget.turns + 1", key); err != nil {
		return nil, fmt.Errorf("budget %s: %w", key, err)
	}
	var used int64
	err := tx.NewRaw("SELECT COALESCE(SUM(amount), 0) FROM gov_reservation WHERE key = ? AND reserved_at > ? AND state IN ('posted', 'pending')",
		key, atMicros(c.now.Add(-g.Window.Duration))).Scan(ctx, &used)
	if err != nil {
		return nil, fmt.Errorf("budget %s: %w", key, err)
	}
	if used >= g.Max {
		return &DeniedError{c.def.name, "break-glass", fmt.Sprintf("used %d times in %s, no more are allowed", used, g.Window)}, nil
	}
	c.decision.Reserved = append(c.decision.Reserved, reserve{key, 1, false})
	return nil, nil
}

// done is an action that went through, as its obligations see it.
type done struct {
	action uuid.UUID
	name   string
	tenant TenantID
	by     Identity
	reason string
	owed   Obligations
	broken *broken
}

// obligeTx writes down what is owed for an action, in its own commit.
func (k *Kernel) obligeTx(ctx context.Context, tx *Tx, d done) error {
	links := []Link{{Title: "Action", Kind: "approval", ID: d.action.String()}}
	if d.broken != nil {
		review, err := k.reviewTx(ctx, tx, d, reviewBreakGlass, strings.Join(d.broken.policies, ", "), d.broken.reviewWithin)
		if err != nil {
			return err
		}
		_, err = k.AlertTx(ctx, tx, Alert{Key: "break-glass:" + d.action.String(), Severity: Critical, Title: "Glass broken: " + d.name, Tenant: d.tenant,
			Body:  fmt.Sprintf("%s acted without the approval that %s demands.", d.by.Actor.ID, strings.Join(d.broken.policies, ", ")),
			Links: append(links, Link{Title: "Review", Kind: "review", ID: review.String()})})
		if err != nil {
			return err
		}
		_, err = k.RecordTx(ctx, tx, d.by, Record{Action: "break_glass", Tenant: d.tenant, Resource: Ref{"action", d.action.String()}, Reason: d.reason, ActionID: d.action,
			Data: map[string]any{"action": d.name, "policies": d.broken.policies, "review": review, "review_within": d.broken.reviewWithin.String()}})
		if err != nil {
			return err
		}
	}
	if d.owed.ReviewAfter.Duration > 0 {
		if _, err := k.reviewTx(ctx, tx, d, reviewPolicy, "", d.owed.ReviewAfter.Duration); err != nil {
			return err
		}
	}
	if d.owed.Notify == "" {
		return nil
	}
	_, err := k.AlertTx(ctx, tx, Alert{Key: "action.done:" + d.action.String(), Severity: d.owed.Notify, Title: d.name + " was done", Tenant: d.tenant,
		Body: "By " + d.by.Actor.ID + ".", Links: links})
	return err
}

// BreakGlassOn does at once what waits for approval: the request that its requester
// made before is superseded, in the same commit, by the act. Of opts Reason and Key
// count.
func (k *Kernel) BreakGlassOn(ctx context.Context, id Identity, approval uuid.UUID, opts DoOptions) (Outcome, error) {
	a, err := k.Approval(ctx, approval)
	if err != nil {
		return Outcome{}, err
	}
	if id.Actor.Person == "" || id.Actor.Person != a.Requester.Person {
		return Outcome{}, &DeniedError{a.Action, "break-glass", "only who asked for it may"}
	}
	d, err := k.defined(a.Action)
	if err != nil {
		return Outcome{}, err
	}
	in, err := d.decode(a.Input)
	if err != nil {
		return Outcome{}, err
	}
	c, err := k.newCall(d, id, in, &DoOptions{Key: opts.Key, Reason: opts.Reason, Ticket: a.Ticket, BreakGlass: true})
	if err != nil {
		return Outcome{}, err
	}
	if a.State != StatePending {
		if _, err := k.Action(ctx, c.id); errors.Is(err, ErrNotFound) { // else a request that was made before
			return Outcome{}, fmt.Errorf("approval %s is %s: %w", approval, a.State, ErrConflict)
		}
	}
	c.replaces = &a
	return k.run(ctx, c)
}

// Glass tells whether every policy that holds the approval has a glass that a person
// of the caller's groups may break.
func (a Approval) Glass(p Person) bool {
	for _, r := range a.Decision.Require {
		if r.BreakGlass == nil || !p.In(r.BreakGlass.Group) {
			return false
		}
	}
	return a.State == StatePending && p.Active && p.ID != "" && p.ID == a.Requester.Person && len(a.Decision.Require) > 0
}
