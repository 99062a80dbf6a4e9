package governance

import (
	"context"

	"github.com/google/uuid"
)

// PutPolicyTx is putPolicyTx for tests of what callers in one commit see.
func (k *Kernel) PutPolicyTx(ctx context.Context, tx *Tx, id Identity, p Policy) error {
	_, err := k.putPolicyTx(ctx, tx, p, id.Actor.Person)
	return err
}

// TornApproval reads an approval's row, calls between, and goes on reading.
func (k *Kernel) TornApproval(ctx context.Context, id uuid.UUID, between func()) (Approval, error) {
	var row actionRow
	if err := k.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); err != nil {
		return Approval{}, err
	}
	between()
	return k.approval(ctx, k.db.Read(), row)
}

// SweepApprovals is one turn of the sweep, for tests that do not run the kernel.
func (k *Kernel) SweepApprovals(ctx context.Context) error { return k.sweepApprovals(ctx) }
