package product

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

// CreditEntry is a credit that was given.
type CreditEntry struct {
	ID     uuid.UUID // of the action
	Tenant governance.TenantID
	Money  governance.Money
	Reason string
	Actor  string
	At     time.Time
}

// Credit gives a tenant money: at once, or after approval when the tenant has had
// more than its policy allows.
func (s *Service) Credit(ctx context.Context, id governance.Identity, tenant governance.TenantID, m governance.Money, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.credit.Do(ctx, s.k, id, oversight.Credit{Tenant: tenant, Money: m}, opts)
}

func (s *Service) mayCreditTx(ctx context.Context, tx *governance.Tx, in oversight.Credit) error {
	_, err := s.openTenantTx(ctx, tx, in.Tenant)
	return err
}

func (s *Service) creditTx(ctx context.Context, tx *governance.Tx, in oversight.Credit) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	if err := s.mayCreditTx(ctx, tx, in); err != nil {
		return governance.Result{}, err
	}
	row := &creditRow{ID: e.Action, Tenant: string(in.Tenant), Minor: in.Money.Minor, Currency: in.Money.Currency, Reason: e.Reason, Actor: e.Identity.Actor.ID, CreatedAt: govdb.At(s.k.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return governance.Result{}, fmt.Errorf("credit of tenant %s: %w", in.Tenant, err)
	}
	ref := governance.RefTo("credit", e.Action)
	ev, err := governance.NewEvent("tenant.credited", in.Tenant, 0, ref, map[string]any{"credit": e.Action, "tenant": in.Tenant, "money": in.Money})
	return governance.Result{Data: map[string]any{"credit": e.Action, "money": in.Money}, Events: []governance.Event{ev}}, err
}

// Credits lists a tenant's credits, newest first; before is the last id of the page
// before.
func (s *Service) Credits(ctx context.Context, tenant governance.TenantID, before uuid.UUID, limit int) ([]CreditEntry, error) {
	if _, err := s.k.Tenant(ctx, tenant); err != nil {
		return nil, err
	}
	var rows []creditRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("created_at DESC", "id DESC").Limit(pageSize(limit))
	if before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM product_credit WHERE id = ?)", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("credits of tenant %s: %w", tenant, err)
	}
	out := make([]CreditEntry, len(rows))
	for i, r := range rows {
		out[i] = CreditEntry{r.ID, governance.TenantID(r.Tenant), governance.Money{Minor: r.Minor, Currency: r.Currency}, r.Reason, r.Actor, r.CreatedAt.Time()}
	}
	return out, nil
}

func pageSize(n int) int64 {
	if n <= 0 {
		return 50
	}
	return int64(min(n, 200))
}
