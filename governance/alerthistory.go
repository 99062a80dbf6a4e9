package governance

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// AlertHistory is an alert with who was told of it.
type AlertHistory struct {
	Alert
	Told []AlertTold `json:"told"`
}

// AlertTold is one message about an alert to one notifier.
type AlertTold struct {
	Notifier string      `json:"notifier"`
	Kind     NoticeKind  `json:"kind"`
	State    NoticeState `json:"state"`
	Attempts int         `json:"attempts"`
}

// AlertsAbout lists every alert, open or resolved, whose key ends in the id of the
// approval or session that it is about, oldest first.
func (k *Kernel) AlertsAbout(ctx context.Context, id uuid.UUID) ([]AlertHistory, error) {
	var rows []alertRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("key LIKE ?", "%:"+id.String()).Order("first_at", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("alerts about %s: %w", id, err)
	}
	out := make([]AlertHistory, len(rows))
	for i, r := range rows {
		a, err := r.alert()
		if err != nil {
			return nil, err
		}
		out[i] = AlertHistory{a, []AlertTold{}}
		ds, err := k.AlertDeliveries(ctx, DeliveryFilter{Alert: r.ID, Limit: 200})
		if err != nil {
			return nil, fmt.Errorf("deliveries of alerts about %s: %w", id, err)
		}
		for _, d := range slices.Backward(ds) {
			out[i].Told = append(out[i].Told, AlertTold{d.Notifier, d.Kind, d.State, len(d.Attempts)})
		}
	}
	return out, nil
}
