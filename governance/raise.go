package governance

import (
	"context"
	"fmt"
	"strings"
)

// Asked is what a raiser may know of an action that is being decided.
type Asked struct {
	Action    string
	Sensitive bool
	Tenant    TenantID
	Resource  Ref
	Identity  Identity
}

// Raise is one more demand than the policies make: people who must approve first.
type Raise struct {
	Source  string // what asks for it, such as "finding/rate"; stands in the decision
	Why     string
	Require Require
}

// raisedBy marks the part of a decision that no policy made. No policy can have an id
// like it.
const raisedBy = "raised:"

// Raised tells whether no policy made this part of a decision, but something that
// raises requirements.
func (h PolicyHit) Raised() bool { return strings.HasPrefix(h.Policy, raisedBy) }

// RaiseBy lets fn add demands to every decision from now on. It can only add: what a
// policy allows may become held and what is held may need more people, while no answer
// of fn takes a demand away or turns a denial into anything else. fn reads through tx,
// must be quick, and its error fails the action. Call it before Run.
func (k *Kernel) RaiseBy(fn func(ctx context.Context, tx *Tx, a Asked) ([]Raise, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.raisers = append(k.raisers[:len(k.raisers):len(k.raisers)], fn)
}

// raise adds what the raisers demand to a decision that the policies have made.
func (k *Kernel) raise(ctx context.Context, tx *Tx, c *call) error {
	k.mu.Lock()
	raisers := k.raisers
	k.mu.Unlock()
	if c.decision.Effect == Deny {
		return nil // there is nothing stricter
	}
	for _, fn := range raisers {
		rs, err := fn(ctx, tx, Asked{Action: c.def.name, Sensitive: c.def.sensitive, Tenant: c.tenant, Resource: c.resource, Identity: c.identity})
		if err != nil {
			return fmt.Errorf("what raises the requirement: %w", err)
		}
		for _, r := range rs {
			// An empty list of groups would approve by itself.
			if r.Source == "" || len(r.Require.AllOf) == 0 || r.Require.DecideWithin.Duration <= 0 || r.Require.ExecuteWithin.Duration <= 0 {
				return fmt.Errorf("raise %q: Source, AllOf and both clocks of Require are required", r.Source)
			}
			for _, q := range r.Require.AllOf {
				if q.Group == "" || q.Approvals < 1 {
					return fmt.Errorf("raise %q: want a group and at least one approval", r.Source)
				}
			}
			c.decision.Policies = append(c.decision.Policies, PolicyHit{Policy: raisedBy + r.Source, Mode: Enforce, Effect: Hold, Why: r.Why})
			c.decision.Effect = Hold
			c.decision.Require = append(c.decision.Require, r.Require)
		}
	}
	return nil
}
