package governance

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// AlertsSince lists alerts of every state that were raised, or closed, at a time or
// after, the oldest first, for those who copy alerts elsewhere. after is the last one
// of the page before, whose time since is then; nil begins. limit is at most 200.
func (k *Kernel) AlertsSince(ctx context.Context, since time.Time, after uuid.UUID, limit int) ([]Alert, error) {
	var rows []alertRow
	at := atMicros(since)
	err := k.db.Read().NewSelect().Model(&rows).Where("last_at > ? OR last_at = ? AND id > ?", at, at, after).
		Order("last_at", "id").Limit(pageLimit(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("alerts since %s: %w", since.Format(time.RFC3339), err)
	}
	out := make([]Alert, 0, len(rows))
	for _, r := range rows {
		a, err := r.alert()
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
