package governance

import (
	"context"
	"fmt"
)

// TenantsOf lists the tenants that are not closed and that a person looks after, the
// next renewal first. At most 200.
func (k *Kernel) TenantsOf(ctx context.Context, owner PersonID) ([]Tenant, error) {
	if owner == "" { // nobody is not everybody
		return []Tenant{}, nil
	}
	var rows []tenantRow
	err := k.db.Read().NewSelect().Model(&rows).Where("owner = ? AND status <> ?", owner, TenantClosed).
		OrderExpr("CASE WHEN renewal_at = 0 THEN 1 ELSE 0 END, renewal_at, id").Limit(200).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("tenants of %s: %w", owner, err)
	}
	return k.withKeys(ctx, rows)
}
