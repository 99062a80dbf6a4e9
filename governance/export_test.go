package governance

import "context"

// PutPolicyTx is putPolicyTx for tests of what callers in one commit see.
func (k *Kernel) PutPolicyTx(ctx context.Context, tx *Tx, id Identity, p Policy) error {
	_, err := k.putPolicyTx(ctx, tx, p, id.Actor.Person)
	return err
}
