package ledger

import (
	"context"
	"fmt"
)

// Scan gives up to limit records from leaf on, in the order of their leaves, without
// their disclosures. Records without a leaf yet are not among them.
func (l *Log) Scan(ctx context.Context, leaf, limit int64) ([]Record, error) {
	var rows []recordRow
	if err := l.db.Read().NewSelect().Model(&rows).Where("n >= ?", leaf).Order("n").Limit(limit).Scan(ctx); err != nil {
		return nil, fmt.Errorf("scan records from leaf %d: %w", leaf, err)
	}
	out := make([]Record, len(rows))
	for i, r := range rows {
		out[i] = r.record(*r.N + 1)
	}
	return out, nil
}
