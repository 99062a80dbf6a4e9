package product

import (
	"context"
	"fmt"

	"github.com/reevehq/reeve/governance"
)

// PriceTx sets what a tenant really pays a month, where it is not the list price:
// an older price list, an annual discount. What a downgrade loses is measured by it.
func (s *Service) PriceTx(ctx context.Context, tx *governance.Tx, tenant governance.TenantID, mrr governance.Money) error {
	if mrr.Minor < 0 {
		return governance.Invalid("mrr", "is negative")
	}
	res, err := tx.ExecContext(ctx, "UPDATE product_subscription SET mrr_minor = ? WHERE tenant = ? AND currency = ?", mrr.Minor, tenant, mrr.Currency)
	if err != nil {
		return fmt.Errorf("price of %s: %w", tenant, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fmt.Errorf("subscription of %s in %s: %w", tenant, mrr.Currency, governance.ErrNotFound)
	}
	return nil
}
