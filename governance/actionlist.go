package governance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// ActionFilter selects guarded actions, held or not; the zero value lists all,
// newest first.
type ActionFilter struct {
	Names  []string // empty: every action
	States []State
	Tenant TenantID // empty: every tenant's
	Person PersonID // who asked; empty: everybody
	Before uuid.UUID
	Limit  int // default 50, at most 200
}

// Actions lists guarded actions with their decisions, newest first: what was
// allowed at once as well as what was held or denied by a policy.
func (k *Kernel) Actions(ctx context.Context, f ActionFilter) ([]Approval, error) {
	var rows []actionRow
	q := k.db.Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if len(f.Names) > 0 {
		q = q.Where("name IN (?)", bun.List(f.Names))
	}
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Person != "" {
		q = q.Where("requester_person = ?", f.Person)
	}
	if f.Before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM gov_action WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	out := make([]Approval, 0, len(rows))
	for _, r := range rows {
		a, err := k.approval(ctx, k.db.Read(), r)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Action reads one guarded action, held or not. An executor that runs outside a
// transaction learns from it what was measured and when.
func (k *Kernel) Action(ctx context.Context, id uuid.UUID) (Approval, error) {
	var row actionRow
	err := k.db.Handle().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Approval{}, fmt.Errorf("action %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Approval{}, fmt.Errorf("action %s: %w", id, err)
	}
	return k.approval(ctx, k.db.Handle(), row)
}
