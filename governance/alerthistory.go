package governance

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// AlertHistory is an alert with who was told of it.
type AlertHistory struct {
	Alert
	Deliveries []AlertDelivery `json:"deliveries"`
}

// AlertDelivery is one notifier's part in an alert.
type AlertDelivery struct {
	Notifier string `json:"notifier"`
	State    string `json:"state"` // waiting, sent, dead
	Attempts int    `json:"attempts"`
}

// AlertsAbout lists every alert, open or resolved, whose key ends in the id of the
// approval or session that it is about, oldest first.
func (k *Kernel) AlertsAbout(ctx context.Context, id uuid.UUID) ([]AlertHistory, error) {
	var rows []alertRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("key LIKE ?", "%:"+id.String()).Order("first_at", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("alerts about %s: %w", id, err)
	}
	out := make([]AlertHistory, len(rows))
	ids := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		a, err := r.alert()
		if err != nil {
			return nil, err
		}
		out[i], ids[i] = AlertHistory{a, []AlertDelivery{}}, r.ID
	}
	if len(ids) == 0 {
		return out, nil
	}
	var ds []alertDeliveryRow
	if err := k.db.Read().NewSelect().Model(&ds).Where("alert IN (?)", bun.List(ids)).Order("alert", "notifier").Scan(ctx); err != nil {
		return nil, fmt.Errorf("deliveries of alerts about %s: %w", id, err)
	}
	for i := range out {
		for _, d := range ds {
			if d.Alert == out[i].ID {
				out[i].Deliveries = append(out[i].Deliveries, AlertDelivery{d.Notifier, d.State, d.Attempts})
			}
		}
	}
	return out, nil
}
