package governance

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"
)

// Suspended tells which of the given tenants are suspended, for a list that has read
// the tenants themselves.
func (k *Kernel) Suspended(ctx context.Context, ids []TenantID) (map[TenantID]bool, error) {
	out := map[TenantID]bool{}
	if len(ids) == 0 {
		return out, nil
	}
	var got []string
	err := k.db.Read().NewSelect().Model((*restrictionRow)(nil)).ColumnExpr("DISTINCT tenant").Where("feature = '' AND tenant IN (?)", bun.List(ids)).Scan(ctx, &got)
	if err != nil {
		return nil, fmt.Errorf("suspended tenants: %w", err)
	}
	for _, id := range got {
		out[TenantID(id)] = true
	}
	return out, nil
}
