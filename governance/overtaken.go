package governance

import (
	"context"
	"errors"
	"fmt"
)

// overtakenTx says why the policies of now do not let a held act go on, or is empty:
// one that asked for approval has changed, one refuses it as the world is now, or one
// that came into force since holds it.
func (k *Kernel) overtakenTx(ctx context.Context, tx *Tx, a Approval) (string, error) {
	set, err := k.policies(ctx, tx)
	if err != nil {
		return "", err
	}
	now, asked := map[string]int{}, map[string]bool{}
	for _, p := range set.all {
		now[p.ID] = p.Version
	}
	for _, h := range a.Decision.Policies {
		asked[h.Policy] = true
		if now[h.Policy] != h.Version { // one that was in shadow may enforce now
			return "a policy that holds it has changed", nil
		}
	}
	var vars map[string]any
	for _, p := range set.all {
		holds := p.Require != nil && len(p.Limits) == 0 && p.At.After(a.CreatedAt)
		if p.Mode != Enforce || asked[p.ID] || !p.matchesName(a.Action) || !p.Deny && !holds {
			continue
		}
		if p.cond != nil {
			if vars == nil {
				if vars, err = k.presentVars(ctx, tx, a); errors.Is(err, ErrNotFound) {
					return "what it is about is not there any more", nil
				} else if err != nil {
					return "", err
				}
			}
			yes, err := p.cond.Eval(ctx, vars)
			if err != nil { // an unanswerable condition must not let anything through
				k.opts.Logger.WarnContext(ctx, "condition of a policy", "policy", p.ID, "error", err) // its text may quote values
				return fmt.Sprintf("the condition of policy %s could not be evaluated", p.ID), nil
			}
			if !yes {
				continue
			}
		}
		if p.Deny {
			return fmt.Sprintf("policy %s refuses it now", p.ID), nil
		}
		return fmt.Sprintf("policy %s holds it since", p.ID), nil
	}
	return "", nil
}

// presentVars are what a condition may know of a held act now: its stored input, with
// the measures and the tenant of this moment.
func (k *Kernel) presentVars(ctx context.Context, tx *Tx, a Approval) (map[string]any, error) {
	d, err := k.defined(a.Action)
	if err != nil {
		return nil, err
	}
	in, err := d.decode(a.Input)
	if err != nil {
		return nil, err
	}
	measures, err := d.measures(ctx, tx, in)
	if err != nil {
		return nil, fmt.Errorf("measures: %w", err)
	}
	return varsOf(ctx, tx, act{a.Action, a.Resource, d.sensitive, measures, a.Input, a.Reason, a.Tenant}, a.identity.Actor)
}
