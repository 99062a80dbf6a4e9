package product

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/oversight"
)

type refundRow struct {
	bun.BaseModel `bun:"table:product_refund"`

	ID        uuid.UUID    `bun:"id,pk"`
	Tenant    string       `bun:"tenant"`
	Invoice   string       `bun:"invoice"`
	Minor     int64        `bun:"minor"`
	Currency  string       `bun:"currency"`
	Reason    string       `bun:"reason"`
	Actor     string       `bun:"actor"`
	CreatedAt govdb.Micros `bun:"created_at"`
}

// RefundEntry is a refund that was made.
type RefundEntry struct {
	ID      uuid.UUID // of the action
	Tenant  governance.TenantID
	Invoice string
	Money   governance.Money
	Reason  string
	Actor   string
	At      time.Time
}

// Refund gives a part of what was paid on an invoice back: at once, or after approval
// when the tenant has had more, credits counted too, than its policy allows.
func (s *Service) Refund(ctx context.Context, id governance.Identity, tenant governance.TenantID, invoice string, m governance.Money, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.refund.Do(ctx, s.k, id, oversight.Refund{Tenant: tenant, Invoice: invoice, Money: m}, opts)
}

func (s *Service) quoteRefundTx(ctx context.Context, tx *governance.Tx, in oversight.Refund) (oversight.RefundQuote, error) {
	if _, err := s.k.TenantStateTx(ctx, tx, in.Tenant); err != nil { // of a closed one too: it may have paid too much
		return oversight.RefundQuote{}, err
	}
	var row invoiceRow
	err := tx.NewSelect().Model(&row).Where("number = ? AND tenant = ?", in.Invoice, in.Tenant).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return oversight.RefundQuote{}, fmt.Errorf("invoice %s: %w", in.Invoice, err)
	}
	q := oversight.RefundQuote{Paid: governance.Money{Currency: row.Currency}, Refunded: governance.Money{Minor: row.Refunded, Currency: row.Currency}, Version: row.Refunded}
	if row.Paid {
		q.Paid.Minor = row.Minor
	}
	return q, nil
}

// refundTx takes the money off what is left by the update itself: two refunds that both
// saw enough of it do not both get it.
func (s *Service) refundTx(ctx context.Context, tx *governance.Tx, in oversight.Refund) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	res, err := tx.ExecContext(ctx, "UPDATE product_invoice SET refunded_minor = refunded_minor + ? WHERE number = ? AND tenant = ? AND currency = ? AND paid AND minor - refunded_minor >= ?",
		in.Money.Minor, in.Invoice, in.Tenant, in.Money.Currency, in.Money.Minor)
	if err != nil {
		return governance.Result{}, fmt.Errorf("refund of invoice %s: %w", in.Invoice, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return governance.Result{}, fmt.Errorf("of invoice %s less is left to refund: %w", in.Invoice, governance.ErrConflict)
	}
	row := &refundRow{ID: e.Action, Tenant: string(in.Tenant), Invoice: in.Invoice, Minor: in.Money.Minor, Currency: in.Money.Currency, Reason: e.Reason, Actor: e.Identity.Actor.ID, CreatedAt: govdb.At(s.k.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return governance.Result{}, fmt.Errorf("refund of invoice %s: %w", in.Invoice, err)
	}
	ev, err := governance.NewEvent("tenant.refunded", in.Tenant, 0, governance.RefTo("refund", e.Action), map[string]any{"refund": e.Action, "tenant": in.Tenant, "invoice": in.Invoice, "money": in.Money})
	return governance.Result{Data: map[string]any{"refund": e.Action, "invoice": in.Invoice, "money": in.Money}, Events: []governance.Event{ev}}, err
}

// Refunds lists a tenant's refunds, newest first; before is the last id of the page
// before.
func (s *Service) Refunds(ctx context.Context, tenant governance.TenantID, before uuid.UUID, limit int) ([]RefundEntry, error) {
	if _, err := s.k.Tenant(ctx, tenant); err != nil {
		return nil, err
	}
	var rows []refundRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ?", tenant).Order("created_at DESC", "id DESC").Limit(pageSize(limit))
	if before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM product_refund WHERE id = ?)", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("refunds of tenant %s: %w", tenant, err)
	}
	out := make([]RefundEntry, len(rows))
	for i, r := range rows {
		out[i] = RefundEntry{r.ID, governance.TenantID(r.Tenant), r.Invoice, governance.Money{Minor: r.Minor, Currency: r.Currency}, r.Reason, r.Actor, r.CreatedAt.Time()}
	}
	return out, nil
}

// Grant gives a tenant a feature by hand, until a time; quantity 0 is unlimited.
func (s *Service) Grant(ctx context.Context, id governance.Identity, tenant governance.TenantID, feature string, quantity int64, until time.Time, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.grants.Give.Do(ctx, s.k, id, oversight.Grant{Tenant: tenant, Feature: feature, Quantity: quantity, Until: until.UTC().Truncate(time.Second).Format(time.RFC3339)}, opts)
}

// Revoke takes back what was given by hand.
func (s *Service) Revoke(ctx context.Context, id governance.Identity, tenant governance.TenantID, feature string, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.grants.Take.Do(ctx, s.k, id, oversight.Revoke{Tenant: tenant, Feature: feature}, opts)
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// Features lists what the plans of the catalogue contain.
func (s *Service) Features() []string {
	seen := map[string]bool{}
	for _, p := range s.opts.Plans {
		for f := range p.Features {
			seen[f] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Contacts is [governance.Kernel.ContactsBy]: a tenant's administrators, who are none of
// our staff, answer for it.
func (s *Service) Contacts(ctx context.Context, tenant governance.TenantID) ([]governance.Contact, error) {
	var rows []userRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("tenant = ? AND role = ? AND active AND staff = ''", tenant, RoleAdmin).Order("id").Limit(100).Scan(ctx); err != nil {
		return nil, fmt.Errorf("contacts of tenant %s: %w", tenant, err)
	}
	out := make([]governance.Contact, len(rows))
	for i, r := range rows {
		out[i] = r.user().contact()
	}
	return out, nil
}

func (u User) contact() governance.Contact {
	return governance.Contact{ID: u.ID, Name: u.Name, Roles: []string{u.Role}, Staff: u.Staff, Since: u.CreatedAt}
}
