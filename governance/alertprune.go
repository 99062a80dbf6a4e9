package governance

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// keepNotices is how long notices and their tries are kept by default: longer than the
// twelve months that auditors ask for.
const keepNotices = 400 * 24 * time.Hour

// pruneBatch is how many notices one commit deletes.
const pruneBatch = 500

// PruneNotices deletes notices of alerts, with what they told and every try, that are
// older than Options.KeepNotices and not waiting any more. Each batch is a record in
// the commit that deletes it. Alerts themselves stay. It gives how many notices went;
// [Kernel.Jobs] runs it daily.
func (k *Kernel) PruneNotices(ctx context.Context) (int, error) {
	before := k.Now().Add(-k.opts.KeepNotices)
	total := 0
	for {
		n := 0
		err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			var ids []uuid.UUID
			if err := tx.NewRaw("SELECT id FROM gov_alert_notice WHERE created_at < ? AND state <> 'waiting' ORDER BY created_at, id LIMIT ?", atMicros(before), pruneBatch).Scan(ctx, &ids); err != nil {
				return fmt.Errorf("old notices: %w", err)
			}
			n = len(ids)
			if n == 0 {
				return nil
			}
			for _, from := range []string{"gov_alert_attempt WHERE notice", "gov_alert_notice_item WHERE notice", "gov_alert_notice WHERE id"} {
				if _, err := tx.NewRaw("DELETE FROM "+from+" IN (?)", bun.List(ids)).Exec(ctx); err != nil {
					return fmt.Errorf("delete old notices: %w", err)
				}
			}
			_, err := k.RecordTx(ctx, tx, System("alerts"), Record{Action: "alert.notices.prune", Resource: Ref{"alert", "notices"}, Data: map[string]any{"notices": n, "before": before.Format(time.RFC3339)}})
			return err
		})
		total += n
		if err != nil || n < pruneBatch {
			return total, err
		}
	}
}
