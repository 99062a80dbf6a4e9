package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"
)

// decide asks every policy that names the action.
func (k *Kernel) decide(ctx context.Context, tx *Tx, c *call) error {
	set, err := k.policies(ctx, tx)
	if err != nil {
		return err
	}
	c.decision = Decision{Effect: Allow, Policies: []PolicyHit{}, Exclude: c.opts.Exclude}
	var matched []compiled
	var vars map[string]any
	for _, p := range set.all {
		if !p.matchesName(c.def.name) {
			continue
		}
		if p.cond != nil {
			if vars == nil {
				if vars, err = k.vars(ctx, tx, c); err != nil {
					return err
				}
			}
			yes, err := p.cond.Eval(ctx, vars)
			if err != nil && p.Mode == Enforce { // an unanswerable condition must not let anything through
				k.opts.Logger.WarnContext(ctx, "condition of a policy", "policy", p.ID, "error", err) // its text may quote values
				c.deny(p, "its condition could not be evaluated")
				continue
			}
			if err != nil || !yes {
				continue
			}
		}
		matched = append(matched, p)
	}
	windows, err := k.takeBudgets(ctx, tx, c, matched)
	if err != nil {
		return err
	}
	for i, p := range matched {
		c.apply(p, windows[i])
	}
	if err := k.raise(ctx, tx, c); err != nil {
		return err
	}
	if c.decision.Effect == Hold && choices(c.decision.Require) > maxChoices { // nobody could work out who has to approve
		c.decision.Effect, c.decision.denied = Deny, &DeniedError{c.def.name, "alternatives", "the policies that hold it have too many alternatives together"}
	}
	c.consentReach()
	return c.seal(matched)
}

// apply adds one matching policy to the decision.
func (c *call) apply(p compiled, limits []LimitHit) {
	hit := PolicyHit{Policy: p.ID, Version: p.Version, Mode: p.Mode, Effect: Allow, Limits: limits}
	exceeded := slices.IndexFunc(limits, func(l LimitHit) bool { return l.Exceeds })
	switch {
	case p.Deny:
		hit.Effect, hit.Why = Deny, p.Title
	case p.NeedWhy && strings.TrimSpace(c.opts.Reason) == "":
		hit.Effect, hit.Why = Deny, "a reason is required"
	case p.NeedTick && strings.TrimSpace(c.opts.Ticket) == "":
		hit.Effect, hit.Why = Deny, "a ticket is required"
	case exceeded >= 0:
		l := limits[exceeded]
		hit.Effect, hit.Why = Hold, fmt.Sprintf("%s in %s would be more than %s", Measure{l.Unit, l.Sum + l.Amount}, windowText(l.Window), Measure{l.Unit, l.Max})
		if p.Require == nil {
			hit.Effect = Deny
		}
	case len(p.Limits) == 0 && p.Require != nil:
		hit.Effect, hit.Why = Hold, p.Title
	}
	c.decision.Policies = append(c.decision.Policies, hit)
	if p.Mode != Enforce {
		return
	}
	if len(p.Limits) == 0 || exceeded >= 0 {
		c.decision.Obligations.add(p.Policy)
	}
	switch hit.Effect {
	case Deny:
		if c.decision.denied == nil {
			c.decision.denied = &DeniedError{c.def.name, p.ID, hit.Why}
		}
		c.decision.Effect = Deny
	case Hold:
		if c.decision.Effect == Allow {
			c.decision.Effect = Hold
		}
		c.decision.Require = append(c.decision.Require, *p.Require)
		if p.EditedBy != "" {
			c.decision.Editors = append(c.decision.Editors, p.EditedBy)
		}
	}
}

func (c *call) deny(p compiled, why string) {
	c.decision.Policies = append(c.decision.Policies, PolicyHit{Policy: p.ID, Version: p.Version, Mode: p.Mode, Effect: Deny, Why: why})
	c.decision.Effect = Deny
	if c.decision.denied == nil {
		c.decision.denied = &DeniedError{c.def.name, p.ID, why}
	}
}

// seal computes the hash that binds an approval to the policies that asked for it.
func (c *call) seal(matched []compiled) error {
	hashes := map[string]Digest{}
	for _, p := range matched {
		if p.Mode == Enforce {
			hashes[p.ID] = p.Hash
		}
	}
	var err error
	c.decision.Hash, err = DigestOf("reeve/policies/v1", hashes)
	return err
}

// vars are what a policy's condition may speak of.
func (k *Kernel) vars(ctx context.Context, tx *Tx, c *call) (map[string]any, error) {
	return varsOf(ctx, tx, act{c.def.name, c.resource.String(), c.def.sensitive, c.measures, c.input, c.opts.Reason, c.tenant}, c.identity.Actor)
}

// act is what a condition may know of an action.
type act struct {
	name, resource string
	sensitive      bool
	measures       []Measure
	input          []byte
	reason         string
	tenant         TenantID
}

func varsOf(ctx context.Context, db bun.IDB, a act, actor Actor) (map[string]any, error) {
	measures := map[string]int64{}
	for _, m := range a.measures {
		measures[m.Unit] = m.Value
	}
	var input any
	if err := json.Unmarshal(a.input, &input); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	tenant := map[string]any{"id": string(a.tenant), "country": "", "region": "", "plan": "", "status": "", "seats": int64(0)}
	if a.tenant != "" {
		t, err := tenantTx(ctx, db, a.tenant)
		switch {
		case err == nil:
			tenant["country"], tenant["region"], tenant["plan"], tenant["status"], tenant["seats"] = t.Country, t.Region, t.Plan, string(t.Status), t.Seats
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return map[string]any{
		"action": map[string]any{"name": a.name, "resource": a.resource, "sensitive": a.sensitive, "measures": measures, "input": input, "reason": a.reason},
		"actor":  map[string]any{"id": actor.ID, "kind": string(actor.Kind), "person": string(actor.Person), "roles": append([]string{}, actor.Roles...)},
		"tenant": tenant,
	}, nil
}
