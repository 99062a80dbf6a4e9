package governance

import (
	"context"
	"errors"
	"fmt"
)

// LockTenantTx keeps every other writer from the tenant, its entitlements and
// restrictions until tx commits, and reads what stands now. A change that depends
// on what was there reads it this way, else a neighbour's change could be lost.
func (k *Kernel) LockTenantTx(ctx context.Context, tx *Tx, id TenantID) (TenantState, error) {
	res, err := tx.ExecContext(ctx, "UPDATE gov_tenant SET version = version WHERE id = ?", id)
	if err != nil {
		return TenantState{}, fmt.Errorf("lock tenant %s: %w", id, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return TenantState{}, fmt.Errorf("tenant %s: %w", id, ErrNotFound)
	}
	return k.TenantStateTx(ctx, tx, id)
}

// IsNotDone tells whether err was marked by [NotDone]: the effect certainly is not
// there.
func IsNotDone(err error) bool {
	var not *notDoneError
	return errors.As(err, &not)
}
