package governance

import (
	"context"
	"fmt"
)

// CountTenants counts the tenants that are not closed: what a share of tenants is
// a share of.
func (k *Kernel) CountTenants(ctx context.Context) (int, error) {
	n, err := k.db.Read().NewSelect().Model((*tenantRow)(nil)).Where("status <> ?", TenantClosed).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("count tenants: %w", err)
	}
	return int(n), nil
}
