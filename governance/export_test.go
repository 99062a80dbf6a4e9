package governance

import "context"

// PutPolicyTx is putPolicyTx for tests of what callers in one commit see.
func (k *Kernel) PutPolicyTx(ctx context.Context, tx *Tx, id Identity, p Policy) error {
	_, err := k.putPolicyTx(ctx, tx, p, id.Actor.Person)
	return err
}

// SweepApprovals is one turn of the sweep, for tests that do not run the kernel.
func (k *Kernel) SweepApprovals(ctx context.Context) error { return k.sweepApprovals(ctx) }
