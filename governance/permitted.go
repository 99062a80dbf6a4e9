package governance

import (
	"context"
	"errors"
)

// permitted checks permission and hard rules, and records a refusal.
func (k *Kernel) permitted(ctx context.Context, c *call) error {
	d, err := k.forbidden(ctx, c)
	if d == nil || err != nil {
		return err
	}
	if ctx.Err() != nil {
		return d
	}
	if err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error { return k.forbidTx(ctx, tx, c, d) }); err != nil {
		return errors.Join(d, err)
	}
	return d
}

// permittedTx is permitted inside a transaction. The refusal is written there, and if
// that is rolled back, afterwards.
func (k *Kernel) permittedTx(ctx context.Context, tx *Tx, c *call) error {
	d, err := k.forbidden(ctx, c)
	if d == nil || err != nil {
		return err
	}
	if tx.Adopted() && k.db.Postgres() { // another connection waits for nobody: the refusal stands whatever the host does
		if err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error { return k.forbidTx(ctx, tx, c, d) }); err != nil {
			return errors.Join(d, err)
		}
		return d
	}
	tx.OnRollback(func(ctx context.Context) error {
		return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error { return k.forbidTx(ctx, tx, c, d) })
	})
	if err := k.forbidTx(ctx, tx, c, d); err != nil {
		return errors.Join(d, err)
	}
	return d
}

// forbidden is the refusal of a call that permission or the hard rules do not allow.
func (k *Kernel) forbidden(ctx context.Context, c *call) (*DeniedError, error) {
	denied := c.hardRules()
	if denied == nil {
		target := Target{Tenant: c.tenant, Resource: c.resource}
		if c.tenant != "" {
			p, err := k.place(ctx, c.tenant)
			if err != nil {
				return nil, err
			}
			target.Country, target.Region = p.country, p.region
		}
		if denied = k.Authorize(ctx, c.identity, c.def.permission, target); denied == nil {
			return nil, nil
		}
	}
	var d *DeniedError
	if !errors.As(denied, &d) {
		return nil, denied
	}
	d.Action = c.def.name
	return d, nil
}

func (k *Kernel) forbidTx(ctx context.Context, tx *Tx, c *call, d *DeniedError) error {
	_, err := k.RecordTx(ctx, tx, c.identity, Record{Action: c.def.name, Outcome: OutcomeDenied, Tenant: c.tenant, Resource: c.resource,
		Reason: c.opts.Reason, Ticket: c.opts.Ticket, Data: map[string]string{"rule": d.Rule, "why": d.Reason}})
	return err
}
