package ledger

import (
	"context"
	"fmt"
)

// Leaves lists sealed records in the order of their leaves, from the leaf numbered
// from on, without their disclosures. Leaves that no checkpoint covers yet are left
// out: whoever copies the log copies only what can be proved. There are no gaps in
// what it returns.
func (l *Log) Leaves(ctx context.Context, from, limit int64) ([]Record, error) {
	if from < 0 || limit <= 0 {
		return nil, fmt.Errorf("ledger: leaves from %d, at most %d: want from ≥ 0 and a limit", from, limit)
	}
	signed, err := l.signed(ctx)
	if err != nil {
		return nil, err
	}
	var rows []recordRow
	if err := l.db.Read().NewSelect().Model(&rows).Where("n >= ? AND n < ?", from, signed).Order("n").Limit(limit).Scan(ctx); err != nil {
		return nil, fmt.Errorf("leaves from %d: %w", from, err)
	}
	out := make([]Record, len(rows))
	for i, r := range rows {
		if r.N == nil || *r.N != from+int64(i) {
			return nil, fmt.Errorf("leaf %d: %w", from+int64(i), ErrNotFound) // never pass over a hole in the log
		}
		out[i] = r.record(signed)
	}
	return out, nil
}

// Sealed is how many leaves the newest checkpoint covers, 0 before the first.
func (l *Log) Sealed(ctx context.Context) (int64, error) { return l.signed(ctx) }
