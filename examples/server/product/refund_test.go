package product_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

func (b *bench) bill(t *testing.T, bills ...product.Invoice) {
	t.Helper()
	for i := range bills {
		bills[i].IssuedAt = b.Now()
	}
	require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error { return b.svc.AddInvoicesTx(ctx, tx, bills...) }))
}

func eur(minor int64) governance.Money { return governance.Money{Minor: minor, Currency: "EUR"} }

func TestRefund(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		b.bill(t, product.Invoice{Number: "A-1", Tenant: "acme", Money: eur(50_000), Paid: true}, product.Invoice{Number: "A-2", Tenant: "acme", Money: eur(50_000)},
			product.Invoice{Number: "A-3", Tenant: "acme", Money: eur(500_000), Paid: true})
		for why2, c := range map[string]struct {
			tenant  governance.TenantID
			invoice string
			m       governance.Money
			want    error
		}{
			"more than was paid":   {"acme", "A-1", eur(50_001), governance.ErrConflict},
			"nothing was paid":     {"acme", "A-2", eur(1), governance.ErrConflict},
			"another tenant's":     {"globex", "A-1", eur(1), governance.ErrNotFound},
			"no such invoice":      {"acme", "A-9", eur(1), governance.ErrNotFound},
			"in another currency":  {"acme", "A-1", governance.Money{Minor: 1, Currency: "USD"}, nil},
			"a negative amount":    {"acme", "A-1", eur(-1), nil},
			"in no known currency": {"acme", "A-1", governance.Money{Minor: 1, Currency: "XXX"}, nil},
		} {
			_, err := b.svc.Refund(ctx, b.As("dana"), c.tenant, c.invoice, c.m, why())
			require.Error(t, err, why2)
			if c.want != nil {
				require.ErrorIs(t, err, c.want, why2)
			}
		}
		_, err := b.svc.Refund(ctx, b.As("dana"), "acme", "A-1", eur(20_000), nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied, "without a reason")
		subject := governance.Actor{ID: "product:acme-u00", Kind: governance.ActorUser}
		_, err = b.svc.Refund(ctx, governance.Identity{Actor: b.As("dana").Actor, Subject: &subject}, "acme", "A-1", eur(1), why())
		require.ErrorAs(t, err, &denied, "while impersonating")

		_, err = b.svc.Refund(ctx, b.As("dana"), "acme", "A-1", eur(20_000), why())
		require.NoError(t, err)
		_, err = b.svc.Refund(ctx, b.As("dana"), "acme", "A-1", eur(30_001), why())
		require.ErrorIs(t, err, governance.ErrConflict, "what was refunded before counts")

		// Credits and refunds have one limit: 200 + 700 + 200 > 1,000.
		_, err = b.svc.Credit(ctx, b.As("eve"), "acme", eur(70_000), why())
		require.NoError(t, err)
		_, err = b.svc.Refund(ctx, b.As("dana"), "acme", "A-1", eur(20_000), why())
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		waits, aerr := b.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, aerr)
		require.JSONEq(t, `{"before":{"paid":{"amount":"500.00","currency":"EUR"},"refunded":{"amount":"200.00","currency":"EUR"},"left":{"amount":"300.00","currency":"EUR"}},
			"after":{"paid":{"amount":"500.00","currency":"EUR"},"refunded":{"amount":"400.00","currency":"EUR"},"left":{"amount":"100.00","currency":"EUR"}}}`, string(waits.Preview))
		require.Equal(t, governance.StateExecuted, b.approve(t, err).State)
		got, err := b.svc.Refunds(ctx, "acme", uuid.Nil, 10)
		require.NoError(t, err)
		require.Len(t, got, 2)
		require.Equal(t, eur(20_000), got[0].Money)

		// An approval is about what it saw: another refund meanwhile supersedes it.
		_, err = b.svc.Refund(ctx, b.As("dana"), "acme", "A-3", eur(150_000), why()) // over both limits, whose managers are asked once
		require.ErrorAs(t, err, &held)
		require.NoError(t, b.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE product_invoice SET refunded_minor = 1 WHERE number = 'A-3'")
			return err
		}))
		require.Equal(t, governance.StateSuperseded, b.approve(t, err).State)
	})
}

// 64 callers want 3.00 each of a payment of 100.00: 33 get it, whatever the order.
func TestRefund_NeverMoreThanPaid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		b.bill(t, product.Invoice{Number: "A-1", Tenant: "acme", Money: eur(10_000), Paid: true})
		id := b.As("dana")
		var given atomic.Int64
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for try := 0; ; try++ {
					_, err := b.svc.Refund(context.Background(), id, "acme", "A-1", eur(300), why())
					switch {
					case err == nil:
						given.Add(1)
					case errors.Is(err, governance.ErrRetry) && try < 50:
						continue
					case !errors.Is(err, governance.ErrConflict):
						t.Errorf("refund: %v", err)
					}
					return
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 33, given.Load())
		got, err := b.svc.Refunds(t.Context(), "acme", uuid.Nil, 200)
		require.NoError(t, err)
		sum := int64(0)
		for _, r := range got {
			sum += r.Money.Minor
		}
		require.EqualValues(t, 9_900, sum)
		problems, err := governance.Check(t.Context(), b.DB)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

func TestGrant(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx, in := t.Context(), func(days int) time.Time { return b.Now().Add(time.Duration(days) * 24 * time.Hour) }
		has := func(feature string) bool {
			d, err := b.Kernel.Access(ctx, "acme", feature)
			require.NoError(t, err)
			return d.Allowed
		}
		_, err := b.svc.Grant(ctx, b.As("dana"), "acme", "api", 0, in(7), why())
		require.ErrorIs(t, err, governance.ErrConflict, "the plan has it already, and would lose it with the grant")
		for _, until := range []time.Time{in(-1), in(400)} {
			_, err = b.svc.Grant(ctx, b.As("dana"), "acme", "sso", 0, until, why())
			require.Error(t, err)
		}
		_, err = b.svc.Grant(ctx, b.As("dana"), "acme", "nothing", 0, in(7), why())
		require.Error(t, err)
		_, err = b.svc.Grant(ctx, b.As("dana"), "acme", "sso", 0, in(7), nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied, "without a reason")
		require.False(t, has("sso"))

		_, err = b.svc.Grant(ctx, b.As("dana"), "acme", "sso", 0, in(7), why())
		require.NoError(t, err)
		require.True(t, has("sso"))
		_, err = b.svc.Grant(ctx, b.As("eve"), "acme", "audit", 5, in(30), why())
		a := b.approve(t, err) // 7 + 30 days of one tenant
		require.Equal(t, governance.StateExecuted, a.State)
		require.Equal(t, []governance.Measure{{Unit: oversight.UnitEntitlementDays, Value: 30}}, a.Measures)
		require.True(t, has("audit"))

		_, err = b.svc.Revoke(ctx, b.As("dana"), "acme", "beta", why())
		require.ErrorIs(t, err, governance.ErrNotFound, "it was not given by hand")
		_, err = b.svc.Revoke(ctx, b.As("dana"), "acme", "sso", why())
		require.NoError(t, err)
		require.False(t, has("sso"))
		b.Advance(31 * 24 * time.Hour)
		require.False(t, has("audit"), "it ends by itself")
	})
}

// TestGrant_OutlivedByThePlan: what a plan contains stays when a grant by hand of the same
// feature, from before, ends or is taken back.
func TestGrant_OutlivedByThePlan(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		ctx := t.Context()
		has := func(feature string) bool {
			d, err := b.Kernel.Access(ctx, "acme", feature)
			require.NoError(t, err)
			return d.Allowed
		}
		in := func(d time.Duration) time.Time { return b.Now().Add(d) }
		_, err := b.svc.Grant(ctx, b.As("dana"), "acme", "sso", 0, in(time.Hour), why())
		require.NoError(t, err)
		_, err = b.svc.Grant(ctx, b.As("dana"), "acme", "audit", 0, in(5*24*time.Hour), why())
		require.NoError(t, err)
		b.Advance(2 * time.Hour)
		require.False(t, has("sso"))
		_, err = b.svc.ChangePlan(ctx, b.As("eve"), "acme", "enterprise", why())
		require.NoError(t, err)
		require.True(t, has("sso"), "the grant had ended before")
		require.True(t, has("audit"))
		b.Advance(6 * 24 * time.Hour)
		require.True(t, has("audit"), "the grant has ended since")
		_, err = b.svc.Revoke(ctx, b.As("dana"), "acme", "audit", why())
		require.ErrorIs(t, err, governance.ErrNotFound, "nothing is left of it")
		require.True(t, has("audit"))
		require.True(t, has("beta"), "what others gave for good stays")
	})
}
