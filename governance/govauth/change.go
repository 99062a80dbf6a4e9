package govauth

import (
	"context"
	"fmt"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Change is a person's access as a commit leaves it.
type Change struct {
	Person  governance.PersonID
	Roles   []string
	Region  string
	Active  bool
	Version int64
	By      string // the actor who made it; empty: not known here
}

func (r userRow) change(by string) Change {
	return Change{Person: governance.PersonID(r.ID), Roles: append([]string{}, r.Roles...), Region: r.Region, Active: r.active(), Version: r.Version, By: by}
}

// changedTx tells Options.OnChange of a person's new access.
func (s *Service) changedTx(ctx context.Context, tx *governance.Tx, row userRow, by string) error {
	if s.opts.OnChange == nil {
		return nil
	}
	if e, ok := governance.ExecutionFrom(ctx); ok {
		by = e.Identity.Actor.ID
	}
	if err := s.opts.OnChange(ctx, tx, row.change(by)); err != nil {
		return fmt.Errorf("person %s: history of access: %w", row.ID, err)
	}
	return nil
}

// TellsChanges says whether somebody keeps what Options.OnChange tells.
func (s *Service) TellsChanges() bool { return s.opts.OnChange != nil }

// AccessTx is everybody's access as it stands, and holds off changes of it until tx
// commits.
func (s *Service) AccessTx(ctx context.Context, tx *governance.Tx) ([]Change, error) {
	if err := lockPeopleTx(ctx, tx); err != nil {
		return nil, err
	}
	var rows []userRow
	if err := tx.NewSelect().Model(&rows).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("everybody's access: %w", err)
	}
	out := make([]Change, len(rows))
	for i, r := range rows {
		out[i] = r.change("")
	}
	return out, nil
}

// KeysAt lists the keys that worked at an instant: shown to their owner by then, not
// yet revoked and not yet expired.
func (s *Service) KeysAt(ctx context.Context, at time.Time) ([]Key, error) {
	var rows []keyRow
	t := govdb.At(at)
	err := s.db.Read().NewSelect().Model(&rows).Where("kind <> ? AND issued_at > 0 AND issued_at <= ? AND expires_at > ? AND (revoked_at = 0 OR revoked_at > ?)", keyCode, t, t, t).
		Order("person", "created_at", "id").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys at %s: %w", at.Format(time.RFC3339), err)
	}
	out := make([]Key, len(rows))
	for i, r := range rows {
		out[i] = r.key()
	}
	return out, nil
}
