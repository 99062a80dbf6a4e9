package governance

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// ActionPutPolicy is the name of the action that edits a policy. A policy should
// hold it, else whoever may edit policies may lift any limit alone.
const ActionPutPolicy = "policy.put"

func putPolicy(k *Kernel) *Action[Policy] {
	a := Define(ActionPutPolicy, Spec[Policy]{
		Summary:    "Stores a version of a policy.",
		Permission: "policy:write",
		Sensitive:  true,
		Tenant:     func(Policy) TenantID { return "" },
		Resource:   func(p Policy) Ref { return Ref{"policy", p.ID} },
		Validate:   Policy.Validate,
		Version: func(ctx context.Context, tx *Tx, p Policy) (int64, error) {
			var v int64
			err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM gov_policy WHERE id = ?", p.ID).Scan(ctx, &v)
			return v, err
		},
		Preview: func(ctx context.Context, tx *Tx, p Policy) (any, error) {
			var old []string
			if err := tx.NewRaw("SELECT body FROM gov_policy WHERE id = ? AND active", p.ID).Scan(ctx, &old); err != nil {
				return nil, err
			}
			before := json.RawMessage("null")
			if len(old) == 1 {
				before = json.RawMessage(old[0])
			}
			return map[string]any{"before": before, "after": p}, nil
		},
	}, func(ctx context.Context, tx *Tx, p Policy) (Result, error) {
		e, _ := ExecutionFrom(ctx)
		v, err := k.putPolicyTx(ctx, tx, p, e.Identity.Actor.Person)
		if err != nil {
			return Result{}, err
		}
		ev, err := NewEvent("policy.changed", "", 0, Ref{"policy", p.ID}, v)
		return Result{Data: map[string]any{"policy": p.ID, "version": v.Version, "hash": v.Hash}, Events: []Event{ev}}, err
	})
	a.def.before = func(ctx context.Context, id Identity, in any, asked time.Time) error {
		return k.fitPolicy(ctx, id.Actor.Person, in.(Policy), asked)
	}
	return a
}

// fitPolicy checks what the tables alone do not say: that the document compiles, that
// its back-test is what is asked for, and that people can fill its quorums.
func (k *Kernel) fitPolicy(ctx context.Context, editor PersonID, p Policy, asked time.Time) error {
	if err := k.signable(p); err != nil {
		return err
	}
	if _, err := k.compile(PolicyVersion{Policy: p}); err != nil {
		return err
	}
	bootstrap, err := k.Bootstrap(ctx)
	if err != nil {
		return err
	}
	if err := k.checkBackTest(ctx, p, asked); err != nil {
		return err
	}
	others, err := k.Policies(ctx)
	if err != nil {
		return err
	}
	if err := decidable(p, others); err != nil || bootstrap {
		return err
	}
	return k.reachable(ctx, p, editor, others)
}

// PutPolicy stores a new version of a policy, through the guard: the old version
// stays in force until the action is executed. A quorum that the people there are
// cannot fill is refused, and once more when it comes into force.
func (k *Kernel) PutPolicy(ctx context.Context, id Identity, p Policy, opts *DoOptions) (Outcome, error) {
	if err := p.Validate(); err != nil {
		return Outcome{}, err
	}
	d, err := k.defined(ActionPutPolicy)
	if err != nil {
		return Outcome{}, fmt.Errorf("put policy: %w", err)
	}
	return k.do(ctx, d, id, p, opts)
}
