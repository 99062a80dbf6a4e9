package governance

import (
	"context"
	"errors"
	"time"
)

// Verdict is what the policies would say; see [Action.Weigh].
type Verdict struct {
	Decision
	Took time.Duration // of measuring and deciding, without the wait for a transaction
}

// Weigh asks what the policies would say of an action now, and does nothing: nothing
// is reserved, recorded or run. A form shows with it whether an act would be held.
// The answer binds nobody; Do decides anew.
func (a *Action[I]) Weigh(ctx context.Context, k *Kernel, id Identity, in I, opts *DoOptions) (Verdict, error) {
	c, err := k.newCall(a.def, id, in, opts)
	if err != nil {
		return Verdict{}, err
	}
	if err := errors.Join(c.hardRules(), k.Authorize(ctx, id, a.def.permission, Target{Tenant: c.tenant, Resource: c.resource})); err != nil {
		return Verdict{}, err
	}
	var out Verdict
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		start := time.Now()
		if err := k.weigh(ctx, tx, c); err != nil {
			return err
		}
		if err := k.decide(ctx, tx, c); err != nil {
			return err
		}
		out = Verdict{Decision: c.decision, Took: time.Since(start)}
		return errWeighed
	})
	if !errors.Is(err, errWeighed) {
		return Verdict{}, err
	}
	return out, nil
}

// errWeighed rolls back what deciding touched.
var errWeighed = errors.New("weighed")
