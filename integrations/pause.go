package integrations

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

func (s *Service) activeTx(ctx context.Context, tx *governance.Tx, target uuid.UUID, now govdb.Micros) error {
	_, err := tx.ExecContext(ctx, "UPDATE integration_target SET state = ?, cause = '', detail = '', paused_at = 0, hold_until = 0, failures = 0, failing_since = 0, updated_at = ? WHERE id = ?",
		TargetActive, now, target)
	if err != nil {
		return fmt.Errorf("activate target %s: %w", target, err)
	}
	return s.k.ResolveAlertTx(ctx, tx, pausedAlert(target))
}

// Pause stops deliveries to a target; they collect until Resume.
func (s *Service) Pause(ctx context.Context, id governance.Identity, target governance.ID[Target], reason string) error {
	return s.turn(ctx, id, target, "integration.target.pause", reason, func(ctx context.Context, tx *governance.Tx, row targetRow, now govdb.Micros) error {
		if row.State != string(TargetActive) {
			return fmt.Errorf("target %s is %s: %w", target, row.State, governance.ErrConflict)
		}
		return pauseTx(ctx, tx, row.ID, CauseManual, clip(reason, 200), now)
	})
}

// Resume lets deliveries go again, those that collected first.
func (s *Service) Resume(ctx context.Context, id governance.Identity, target governance.ID[Target], reason string) error {
	return s.turn(ctx, id, target, "integration.target.resume", reason, func(ctx context.Context, tx *governance.Tx, row targetRow, now govdb.Micros) error {
		if row.State != string(TargetPaused) {
			return fmt.Errorf("target %s is %s: %w", target, row.State, governance.ErrConflict)
		}
		if row.Cause == string(CauseSecret) {
			return fmt.Errorf("target %s has no signing secret yet: %w", target, governance.ErrConflict)
		}
		return s.activeTx(ctx, tx, row.ID, now)
	})
}

func pauseTx(ctx context.Context, tx *governance.Tx, target uuid.UUID, cause PauseCause, detail string, now govdb.Micros) error {
	_, err := tx.ExecContext(ctx, "UPDATE integration_target SET state = ?, cause = ?, detail = ?, paused_at = ?, updated_at = ? WHERE id = ? AND state = ?",
		TargetPaused, cause, detail, now, now, target, TargetActive)
	if err != nil {
		return fmt.Errorf("pause target %s: %w", target, err)
	}
	return nil
}

func (s *Service) turn(ctx context.Context, id governance.Identity, target governance.ID[Target], action, reason string, fn func(context.Context, *governance.Tx, targetRow, govdb.Micros) error) error {
	if err := s.k.Authorize(ctx, id, "integration:write", governance.Target{Resource: governance.RefTo("target", target)}); err != nil {
		return err
	}
	if len(reason) > 500 {
		return governance.Invalid("reason", "is at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := targetTx(ctx, tx, target.UUID)
		if err != nil {
			return err
		}
		if err := fn(ctx, tx, row, govdb.At(s.k.Now())); err != nil {
			return err
		}
		tx.AfterCommit(s.wake)
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: action, Resource: governance.RefTo("target", target), Reason: reason, Data: map[string]string{"name": row.Name}})
		return err
	})
}
