package oversight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/reevehq/reeve/governance"
)

// ActionRefund gives a tenant a part of a payment back.
const ActionRefund = "tenant.refund"

// Refund gives a part of what was paid on an invoice, or all of it, back.
type Refund struct {
	Tenant  governance.TenantID `json:"tenant"`
	Invoice string              `json:"invoice"`
	Money   governance.Money    `json:"money"`
}

// RefundQuote is what the host's books say of an invoice.
type RefundQuote struct {
	Paid     governance.Money // zero while it is open
	Refunded governance.Money // of it, before
	Version  int64            // changes with every refund: another one supersedes an approval
}

// Left is the most that can be refunded.
func (q RefundQuote) Left() governance.Money {
	return governance.Money{Minor: max(0, q.Paid.Minor-q.Refunded.Minor), Currency: q.Paid.Currency}
}

// RefundSpec describes a refund, measured in its money, so that limits sum it with
// credits over all currencies. quote reads the host's books, of this tenant alone, and
// is [governance.ErrNotFound] for an invoice they do not have. What is left may change
// until the executor runs: it has to take the money off by a condition of its own and
// answer [governance.ErrConflict] when there is not enough. Nobody refunds while
// impersonating.
func RefundSpec(quote func(ctx context.Context, tx *governance.Tx, in Refund) (RefundQuote, error), currencies ...string) governance.Spec[Refund] {
	known := map[string]bool{}
	for _, c := range currencies {
		known[c] = true
	}
	left := func(ctx context.Context, tx *governance.Tx, in Refund) (RefundQuote, error) {
		q, err := quote(ctx, tx, in)
		switch {
		case err != nil:
			return q, err
		case q.Paid.Currency != in.Money.Currency || q.Refunded.Currency != in.Money.Currency:
			return q, governance.Invalid("currency", "%s was paid in %s", in.Invoice, q.Paid.Currency)
		case in.Money.Minor > q.Left().Minor:
			return q, fmt.Errorf("of invoice %s %s is left to refund: %w", in.Invoice, q.Left(), governance.ErrConflict)
		}
		return q, nil
	}
	return governance.Spec[Refund]{
		Summary:    "Gives a tenant a part of a payment back, never more than was paid.",
		Permission: "tenant:credit", Sensitive: true, Units: []string{"*.cent"},
		Tenant:   func(in Refund) governance.TenantID { return in.Tenant },
		Resource: func(in Refund) governance.Ref { return governance.Ref{Kind: "invoice", ID: in.Invoice} },
		Validate: func(in Refund) error {
			var errs []error
			if in.Tenant == "" {
				errs = append(errs, governance.Invalid("tenant", "is required"))
			}
			if in.Invoice == "" || len(in.Invoice) > 128 || !clean(in.Invoice) {
				errs = append(errs, governance.Invalid("invoice", "is required, at most 128 bytes"))
			}
			if !known[in.Money.Currency] {
				errs = append(errs, governance.Invalid("currency", "%q is not one of %s", in.Money.Currency, strings.Join(currencies, ", ")))
			}
			if in.Money.Minor <= 0 || in.Money.Minor > maxCredit {
				errs = append(errs, governance.Invalid("amount", "must be positive, and at most %s", governance.Money{Minor: maxCredit, Currency: in.Money.Currency}.Amount()))
			}
			return errors.Join(errs...)
		},
		Measures: func(ctx context.Context, tx *governance.Tx, in Refund) ([]governance.Measure, error) {
			if _, err := left(ctx, tx, in); err != nil {
				return nil, err
			}
			return []governance.Measure{governance.MoneyMeasure(in.Money)}, nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in Refund) (int64, error) {
			q, err := quote(ctx, tx, in)
			return q.Version, err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in Refund) (any, error) {
			q, err := left(ctx, tx, in)
			if err != nil {
				return nil, err
			}
			side := func(refunded int64) map[string]any {
				m := governance.Money{Minor: refunded, Currency: q.Paid.Currency}
				return map[string]any{"paid": q.Paid, "refunded": m, "left": RefundQuote{Paid: q.Paid, Refunded: m}.Left()}
			}
			return map[string]any{"before": side(q.Refunded.Minor), "after": side(q.Refunded.Minor + in.Money.Minor)}, nil
		},
	}
}
