package governance

import (
	"context"
	"fmt"
)

const (
	bootstrapKey   = "bootstrap"
	bootstrapOpen  = "open"
	bootstrapEnded = "ended"
)

// BeginBootstrapTx opens bootstrap mode on a new installation: until
// [Kernel.EndBootstrapTx], what a policy would hold is allowed to the one person
// there is, and every such record is marked. It is ErrConflict once the mode has
// ended: it never comes back.
func (k *Kernel) BeginBootstrapTx(ctx context.Context, tx *Tx) error {
	have, err := settingTx(ctx, tx, bootstrapKey)
	if err != nil {
		return err
	}
	if have == bootstrapEnded {
		return fmt.Errorf("bootstrap mode has ended for good: %w", ErrConflict)
	}
	if have == bootstrapOpen {
		return nil
	}
	if err := putSettingTx(ctx, tx, bootstrapKey, bootstrapOpen, k.Now()); err != nil {
		return err
	}
	_, err = k.RecordTx(ctx, tx, System("bootstrap"), Record{Action: "bootstrap.begin", Bootstrap: true})
	return err
}

// EndBootstrapTx ends bootstrap mode for good. Without an open one it does nothing.
func (k *Kernel) EndBootstrapTx(ctx context.Context, tx *Tx) error {
	open, err := k.bootstrapTx(ctx, tx)
	if err != nil || !open {
		return err
	}
	if err := putSettingTx(ctx, tx, bootstrapKey, bootstrapEnded, k.Now()); err != nil {
		return err
	}
	_, err = k.RecordTx(ctx, tx, System("bootstrap"), Record{Action: "bootstrap.end"})
	return err
}

// Bootstrap tells whether bootstrap mode is open, for the console's banner.
func (k *Kernel) Bootstrap(ctx context.Context) (bool, error) {
	v, err := settingTx(ctx, k.db.Read(), bootstrapKey)
	return v == bootstrapOpen, err
}

func (k *Kernel) bootstrapTx(ctx context.Context, tx *Tx) (bool, error) {
	v, err := settingTx(ctx, tx, bootstrapKey)
	return v == bootstrapOpen, err
}
