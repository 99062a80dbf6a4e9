package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

// Between lists every tenant's records written from one time until before another, in
// the order of ids, those after an id: a walk over a period. Limit is at most 2000.
func (l *Log) Between(ctx context.Context, from, until time.Time, after uuid.UUID, limit int64) ([]Record, error) {
	signed, err := l.signed(ctx)
	if err != nil {
		return nil, err
	}
	var rows []recordRow
	if err := l.db.Read().NewSelect().Model(&rows).Where("at >= ? AND at < ? AND id > ?", govdb.At(from), govdb.At(until), after).
		Order("id").Limit(max(1, min(limit, 2000))).Scan(ctx); err != nil {
		return nil, fmt.Errorf("records of a period: %w", err)
	}
	out := make([]Record, len(rows))
	for i, r := range rows {
		out[i] = r.record(signed)
	}
	return out, nil
}
