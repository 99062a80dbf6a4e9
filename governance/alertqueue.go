package governance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/alertroute"
)

// QueuedAlert is an open alert with what routing makes of it.
type QueuedAlert struct {
	Alert
	Routes  []string  `json:"routes"`
	Muted   string    `json:"muted,omitempty"` // "silence:<id>" or "inhibited:<alert>"
	Step    int       `json:"step"`            // of the escalation, from 0
	Steps   int       `json:"steps"`
	NextAt  time.Time `json:"next_at,omitzero"` // when it escalates, if nobody acknowledges it
	Failing int       `json:"failing"`          // notices about it that a notifier has not taken
}

// AlertGroup is the open alerts that are told together.
type AlertGroup struct {
	ID     string            `json:"id"`
	Route  string            `json:"route"`
	Title  string            `json:"title"`
	Labels alertroute.Labels `json:"labels"`
	Alerts []QueuedAlert     `json:"alerts"`
}

// Worst is the severity of the group's worst alert.
func (g AlertGroup) Worst() Severity {
	worst := Info
	for _, a := range g.Alerts {
		if rank(a.Severity) > rank(worst) {
			worst = a.Severity
		}
	}
	return worst
}

// AlertGroups lists the open alerts by the group of the first route that takes them,
// those that nobody has in hand first, then the worst, then the newest.
func (k *Kernel) AlertGroups(ctx context.Context, f AlertFilter) ([]AlertGroup, error) {
	if f.State == AlertResolved {
		return nil, Invalid("state", "groups are of open alerts")
	}
	if f.Limit == 0 {
		f.Limit = 200
	}
	alerts, err := k.Alerts(ctx, f)
	if err != nil || len(alerts) == 0 {
		return []AlertGroup{}, err
	}
	doc, err := k.AlertRoutes(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(alerts))
	for i, a := range alerts {
		ids[i] = a.ID
	}
	var entries []alertEntryRow
	if err := k.db.Read().NewSelect().Model(&entries).Where("open AND alert IN (?)", bun.List(ids)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("alert groups: %w", err)
	}
	failing, err := k.failing(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := []AlertGroup{}
	at := map[string]int{}
	for _, a := range alerts {
		routes := doc.For(a.facts())
		q := QueuedAlert{Alert: a, Failing: failing[a.ID], Steps: len(routes[0].Steps)}
		for _, r := range routes {
			q.Routes = append(q.Routes, r.Name)
		}
		for _, e := range entries {
			if e.Alert != a.ID || e.Route != routes[0].Name {
				continue
			}
			q.Muted, q.Step = e.Muted, e.Step
			if next := e.Step + 1; a.State == AlertFiring && e.Told == string(AlertFiring) && e.Muted == "" && next < q.Steps && a.Severity != Info {
				q.NextAt = e.StepAt.Time().Add(routes[0].Steps[next].After.Duration)
			}
		}
		id := routes[0].Group(a.facts())
		i, ok := at[id]
		if !ok {
			l := routes[0].Labels(a.facts())
			i, at[id] = len(out), len(out)
			out = append(out, AlertGroup{ID: id, Route: routes[0].Name, Title: l.Title(), Labels: l})
		}
		out[i].Alerts = append(out[i].Alerts, q)
	}
	place := func(a QueuedAlert) int {
		n := -rank(a.Severity)
		if a.State == AlertAcked {
			n += 10
		}
		return n
	}
	for _, g := range out {
		slices.SortStableFunc(g.Alerts, func(a, b QueuedAlert) int { return place(a) - place(b) })
	}
	slices.SortStableFunc(out, func(a, b AlertGroup) int { return place(a.Alerts[0]) - place(b.Alerts[0]) })
	return out, nil
}

func (k *Kernel) failing(ctx context.Context, alerts []uuid.UUID) (map[uuid.UUID]int, error) {
	var rows []struct {
		Alert uuid.UUID
		N     int
	}
	err := k.db.Read().NewRaw(`SELECT i.alert, COUNT(*) AS n FROM gov_alert_notice_item i JOIN gov_alert_notice n ON n.id = i.notice
		WHERE n.error <> '' AND n.state IN (?) AND i.alert IN (?) GROUP BY i.alert`, bun.List([]NoticeState{NoticeWaiting, NoticeDead}), bun.List(alerts)).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("alert groups: %w", err)
	}
	out := map[uuid.UUID]int{}
	for _, r := range rows {
		out[r.Alert] = r.N
	}
	return out, nil
}

// AckAlertGroup acknowledges what fires in a group now; n is how many alerts that were.
func (k *Kernel) AckAlertGroup(ctx context.Context, id Identity, group string) (n int, err error) {
	if err := k.Authorize(ctx, id, "alert:ack", Target{}); err != nil {
		return 0, err
	}
	gs, err := k.AlertGroups(ctx, AlertFilter{State: AlertFiring})
	if err != nil {
		return 0, err
	}
	for _, g := range gs {
		if g.ID != group {
			continue
		}
		var ids []uuid.UUID
		for _, a := range g.Alerts {
			ids = append(ids, a.ID)
		}
		return k.AckAlerts(ctx, id, ids...)
	}
	return 0, fmt.Errorf("nothing fires in group %s: %w", group, ErrNotFound)
}

// AlertAttempt is one try of one notice.
type AlertAttempt struct {
	N     int           `json:"n"`
	At    time.Time     `json:"at"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"` // empty: taken
}

// AlertDelivery is a notice on its way to a notifier.
type AlertDelivery struct {
	ID       uuid.UUID      `json:"id"`
	Notifier string         `json:"notifier"`
	Kind     NoticeKind     `json:"kind"`
	State    NoticeState    `json:"state"`
	Alerts   []uuid.UUID    `json:"alerts"`
	Attempts []AlertAttempt `json:"attempts"`
	NextAt   time.Time      `json:"next_at,omitzero"` // of one that waits
	At       time.Time      `json:"at"`
	SentAt   time.Time      `json:"sent_at,omitzero"`
}

// DeliveryFilter selects deliveries; the zero value lists the newest of every state.
type DeliveryFilter struct {
	Alert uuid.UUID
	State NoticeState
	Limit int // default 50, at most 200
}

// AlertDeliveries lists notices with every try, newest first.
func (k *Kernel) AlertDeliveries(ctx context.Context, f DeliveryFilter) ([]AlertDelivery, error) {
	db := k.db.Read()
	var rows []alertNoticeRow
	q := db.NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if f.Alert != uuid.Nil {
		q = q.Where("id IN (SELECT notice FROM gov_alert_notice_item WHERE alert = ?)", f.Alert)
	}
	if f.State != "" {
		q = q.Where("state = ?", f.State)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("alert deliveries: %w", err)
	}
	out := make([]AlertDelivery, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	ids, at := make([]uuid.UUID, len(rows)), map[uuid.UUID]int{}
	for i, r := range rows {
		ids[i], at[r.ID] = r.ID, i
		out[i] = AlertDelivery{ID: r.ID, Notifier: r.Notifier, Kind: NoticeKind(r.Kind), State: NoticeState(r.State), At: r.CreatedAt.Time(), SentAt: r.SentAt.Time(),
			Alerts: []uuid.UUID{}, Attempts: []AlertAttempt{}}
		if r.State == string(NoticeWaiting) {
			out[i].NextAt = r.NextAt.Time()
		}
	}
	var items []alertNoticeItemRow
	if err := db.NewSelect().Model(&items).Where("notice IN (?)", bun.List(ids)).Order("alert").Scan(ctx); err != nil {
		return nil, fmt.Errorf("alert deliveries: %w", err)
	}
	for _, it := range items {
		d := &out[at[it.Notice]]
		d.Alerts = append(d.Alerts, it.Alert)
	}
	var tries []alertAttemptRow
	if err := db.NewSelect().Model(&tries).Where("notice IN (?)", bun.List(ids)).Order("n").Scan(ctx); err != nil {
		return nil, fmt.Errorf("alert deliveries: %w", err)
	}
	for _, t := range tries {
		d := &out[at[t.Notice]]
		d.Attempts = append(d.Attempts, AlertAttempt{t.N, t.At.Time(), time.Duration(t.Took) * time.Microsecond, t.Error})
	}
	return out, nil
}

// ResendNotice takes a dead notice up again. It has as many tries as a new one.
func (k *Kernel) ResendNotice(ctx context.Context, id Identity, notice uuid.UUID) error {
	if err := k.Authorize(ctx, id, "alert:ack", Target{}); err != nil {
		return err
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		var row alertNoticeRow
		err := tx.NewSelect().Model(&row).Where("id = ?", notice).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("notice %s: %w", notice, ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("notice %s: %w", notice, err)
		}
		res, err := tx.ExecContext(ctx, "UPDATE gov_alert_notice SET state = ?, next_at = ?, tries = attempts + ? WHERE id = ? AND state = ?",
			NoticeWaiting, atMicros(k.Now()), notifyTries, notice, NoticeDead)
		if err != nil {
			return fmt.Errorf("notice %s: %w", notice, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("notice %s is %s and not dead: %w", notice, row.State, ErrConflict)
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "alert.resend", Resource: RefTo("alert_notice", notice), Data: map[string]any{"notifier": row.Notifier}})
		return err
	})
}
