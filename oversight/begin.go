package oversight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// mayBegin checks what no policy decides: a person who has just signed in, and a
// user who is not staff. A refusal is recorded.
func (s *Service) mayBegin(ctx context.Context, id governance.Identity, tenant governance.TenantID, user, reason string) error {
	err := s.fresh(id)
	if err == nil {
		_, err = s.target(ctx, id, tenant, user)
	}
	var denied *governance.DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	rerr := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: ActionStart, Outcome: governance.OutcomeDenied, Tenant: tenant, Resource: governance.Ref{Kind: "user", ID: user},
			Reason: reason, Data: map[string]any{"rule": denied.Rule, "why": denied.Reason}})
		return err
	})
	return errors.Join(err, rerr)
}

// RuleFresh is the rule of a [governance.DeniedError] that a new sign-in would lift.
const RuleFresh = "fresh_sign_in"

// fresh wants a person who has signed in a short while ago: a browser that was left
// open, or a key that was taken, begins nothing.
func (s *Service) fresh(id governance.Identity) error {
	if id.Actor.Person == "" {
		return &governance.DeniedError{Action: ActionStart, Rule: "person", Reason: "only a person may impersonate, and no shared key is one"}
	}
	if id.Actor.Kind == governance.ActorKey && s.opts.PersonalKey {
		return nil
	}
	age := s.k.Now().Sub(id.Actor.AuthTime)
	if id.Actor.Kind != governance.ActorUser || id.Actor.AuthTime.IsZero() || age > s.opts.FreshFor || age < -time.Minute {
		return &governance.DeniedError{Action: ActionStart, Rule: RuleFresh, Reason: fmt.Sprintf("sign in again first: a session begins within %d minutes of a sign-in, and not by a key", int(s.opts.FreshFor.Minutes()))}
	}
	return nil
}

// NeedsSignIn tells whether the caller has to sign in again before they may begin.
func (s *Service) NeedsSignIn(id governance.Identity) bool {
	var denied *governance.DeniedError
	return errors.As(s.fresh(id), &denied) && denied.Rule == RuleFresh
}

// target finds who would be represented, and refuses everybody who is staff.
func (s *Service) target(ctx context.Context, id governance.Identity, tenant governance.TenantID, user string) (governance.Actor, error) {
	if id.Actor.Person == "" {
		return governance.Actor{}, &governance.DeniedError{Action: ActionStart, Rule: "person", Reason: "only a person may impersonate, and no shared key is one"}
	}
	t, err := s.opts.Targets(ctx, tenant, user)
	if err != nil {
		return t, fmt.Errorf("user %s of tenant %s: %w", user, tenant, err)
	}
	if t.ID == "" {
		return t, fmt.Errorf("user %s of tenant %s: %w", user, tenant, governance.ErrNotFound)
	}
	if t.ID == id.Actor.ID || t.Person == id.Actor.Person {
		return t, &governance.DeniedError{Action: ActionStart, Rule: "staff", Reason: "nobody represents themselves"}
	}
	if t.Person != "" {
		switch p, err := s.k.Directory().Resolve(ctx, t.Person); {
		case err == nil && p.ID != "":
			return t, &governance.DeniedError{Action: ActionStart, Rule: "staff", Reason: "the user is a member of staff"}
		case err != nil && !errors.Is(err, governance.ErrNotFound):
			return t, fmt.Errorf("resolve user %s: %w", user, err)
		}
	}
	t.AuthTime, t.AMR = time.Time{}, nil
	return t, nil
}

// asked is a session that there is no row of: one that is held, or never came to be.
func (s *Service) asked(ctx context.Context, id uuid.UUID) (Session, error) {
	a, err := s.k.Action(ctx, id)
	if err != nil || a.Action != ActionStart {
		return Session{}, errors.Join(err, fmt.Errorf("session: %w", governance.ErrNotFound))
	}
	return fromAction(a)
}

func fromAction(a governance.Approval) (Session, error) {
	var in startInput
	if err := json.Unmarshal(a.Input, &in); err != nil {
		return Session{}, fmt.Errorf("session %s: %w", a.ID, err)
	}
	out := Session{ID: a.ID, Tenant: in.Tenant, User: in.User, Actor: a.Requester, Scope: in.Scope, Reason: a.Reason, Ticket: a.Ticket, Observer: in.Watched || a.Decision.Obligations.Observer,
		State: StatePending, MaxDuration: time.Duration(in.Minutes) * time.Minute, CreatedAt: a.CreatedAt}
	if a.State != governance.StatePending && a.State != governance.StateApproved && a.State != governance.StateExecuting {
		out.State, out.Ended = StateEnded, EndRefused
	}
	return out, nil
}

// Pending lists the sessions that are held for approval, newest first.
func (s *Service) Pending(ctx context.Context) ([]Session, error) {
	held, err := s.k.Actions(ctx, governance.ActionFilter{Names: []string{ActionStart}, States: []governance.State{governance.StatePending, governance.StateApproved}, Limit: 200})
	if err != nil {
		return nil, err
	}
	out := make([]Session, len(held))
	for i, a := range held {
		if out[i], err = fromAction(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}
