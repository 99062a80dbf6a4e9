package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Severity orders alerts.
type Severity string

// The severities.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// AlertState is where an alert stands.
type AlertState string

// The states of an alert.
const (
	AlertFiring   AlertState = "firing"
	AlertAcked    AlertState = "acked"
	AlertResolved AlertState = "resolved"
)

// Link names a place to look: the approval, the recording, the ledger.
type Link struct {
	Title string `json:"title"`
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	URL   string `json:"url,omitempty"`
}

// Alert is something people must see. Alerts with one Key are one alert while it is
// open; Times counts how often it was raised.
type Alert struct {
	ID       uuid.UUID  `json:"id"`
	Key      string     `json:"key"`
	Severity Severity   `json:"severity"`
	Title    string     `json:"title"`
	Body     string     `json:"body"`
	Tenant   TenantID   `json:"tenant,omitempty"`
	Links    []Link     `json:"links"`
	State    AlertState `json:"state"`
	Times    int64      `json:"times"`
	FirstAt  time.Time  `json:"first_at"`
	LastAt   time.Time  `json:"last_at"`
	AckedBy  string     `json:"acked_by,omitempty"`
	AckedAt  time.Time  `json:"acked_at,omitzero"`
}

// AlertTx raises an alert in tx's commit. A repeat of an open key is counted on the
// open alert and sent to nobody again, unless it is more severe than before.
func (k *Kernel) AlertTx(ctx context.Context, tx *Tx, a Alert) (uuid.UUID, error) {
	if a.Key == "" || a.Title == "" {
		return uuid.Nil, Invalid("alert", "key and title are required")
	}
	if a.Severity == "" {
		a.Severity = Warning
	}
	for i, l := range a.Links {
		if l.URL == "" {
			a.Links[i].URL = k.opts.Links(l.Kind, l.ID)
		}
	}
	links, err := json.Marshal(append([]Link{}, a.Links...))
	if err != nil {
		return uuid.Nil, fmt.Errorf("alert %s: %w", a.Key, err)
	}
	now := atMicros(k.Now())
	row := &alertRow{
		ID: uuid.Must(uuid.NewV7()), Key: a.Key, OpenKey: &a.Key, Severity: string(a.Severity), Title: a.Title, Body: a.Body,
		Tenant: string(a.Tenant), Links: string(links), State: string(AlertFiring), Times: 1, FirstAt: now, LastAt: now,
	}
	var got struct {
		ID       uuid.UUID
		Times    int64
		Severity string
	}
	err = tx.NewInsert().Model(row).On("CONFLICT (open_key) DO UPDATE").
		Set("times = alert_row.times + 1").Set("last_at = EXCLUDED.last_at").Set("body = EXCLUDED.body").
		Returning("id, times, severity").Scan(ctx, &got.ID, &got.Times, &got.Severity)
	if err != nil {
		return uuid.Nil, fmt.Errorf("alert %s: %w", a.Key, err)
	}
	worse := got.Times > 1 && rank(a.Severity) > rank(Severity(got.Severity))
	if worse {
		_, err := tx.ExecContext(ctx, "UPDATE gov_alert SET severity = ?, state = ? WHERE id = ?", a.Severity, AlertFiring, got.ID)
		if err != nil {
			return uuid.Nil, fmt.Errorf("alert %s: %w", a.Key, err)
		}
	}
	if got.Times == 1 || worse {
		for _, n := range k.opts.Notifiers {
			d := &alertDeliveryRow{Alert: got.ID, Notifier: n.Name(), State: "waiting", NextAt: now}
			_, err := tx.NewInsert().Model(d).On("CONFLICT (alert, notifier) DO UPDATE").
				Set("state = EXCLUDED.state").Set("next_at = EXCLUDED.next_at").Set("attempts = 0").Exec(ctx)
			if err != nil {
				return uuid.Nil, fmt.Errorf("alert %s: %w", a.Key, err)
			}
		}
	}
	return got.ID, nil
}

func rank(s Severity) int {
	switch s {
	case Critical:
		return 2
	case Warning:
		return 1
	}
	return 0
}

// ResolveAlertTx closes the open alert of a key, if there is one.
func (k *Kernel) ResolveAlertTx(ctx context.Context, tx *Tx, key string) error {
	_, err := tx.ExecContext(ctx, "UPDATE gov_alert SET state = ?, open_key = NULL, last_at = ? WHERE open_key = ?", AlertResolved, atMicros(k.Now()), key)
	if err != nil {
		return fmt.Errorf("resolve alert %s: %w", key, err)
	}
	return nil
}

// AckAlert says that somebody has it in hand.
func (k *Kernel) AckAlert(ctx context.Context, id Identity, alert uuid.UUID) error {
	if err := k.Authorize(ctx, id, "alert:ack", Target{}); err != nil {
		return err
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE gov_alert SET state = ?, acked_by = ?, acked_at = ? WHERE id = ? AND state = ?",
			AlertAcked, id.Actor.ID, atMicros(k.Now()), alert, AlertFiring)
		if err != nil {
			return fmt.Errorf("acknowledge alert %s: %w", alert, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("alert %s is not firing: %w", alert, ErrNotFound)
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "alert.ack", Resource: RefTo("alert", alert)})
		return err
	})
}

// AlertFilter selects alerts; the zero value lists the open ones.
type AlertFilter struct {
	State  AlertState // empty: firing and acked
	Tenant TenantID   // empty: every tenant's, and those of none
	Limit  int        // default 50, at most 200
}

// Alerts lists alerts, the most recently raised first.
func (k *Kernel) Alerts(ctx context.Context, f AlertFilter) ([]Alert, error) {
	var rows []alertRow
	q := k.db.Read().NewSelect().Model(&rows).Order("last_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if f.State == "" {
		q = q.Where("state <> ?", AlertResolved)
	} else {
		q = q.Where("state = ?", f.State)
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
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

func pageLimit(n int) int64 {
	if n <= 0 {
		return 50
	}
	return int64(min(n, 200))
}

func (r alertRow) alert() (Alert, error) {
	a := Alert{
		ID: r.ID, Key: r.Key, Severity: Severity(r.Severity), Title: r.Title, Body: r.Body, Tenant: TenantID(r.Tenant),
		State: AlertState(r.State), Times: r.Times, FirstAt: r.FirstAt.Time(), LastAt: r.LastAt.Time(), AckedBy: r.AckedBy, AckedAt: r.AckedAt.Time(),
	}
	if err := json.Unmarshal([]byte(r.Links), &a.Links); err != nil {
		return a, fmt.Errorf("alert %s: links: %w", r.ID, err)
	}
	return a, nil
}

const (
	notifyDeadline = 10 * time.Second
	notifyTries    = 8
)

// deliverAlerts sends what is due. An alert that a notifier would not take after
// eight tries over about two hours is itself an alert.
func (k *Kernel) deliverAlerts(ctx context.Context) error {
	var due []alertDeliveryRow
	err := k.db.Read().NewSelect().Model(&due).Where("state = 'waiting' AND next_at <= ?", atMicros(k.Now())).Order("next_at").Limit(50).Scan(ctx)
	if err != nil {
		return fmt.Errorf("due alerts: %w", err)
	}
	notifiers := map[string]Notifier{}
	for _, n := range k.opts.Notifiers {
		notifiers[n.Name()] = n
	}
	var errs []error
	for _, d := range due {
		errs = append(errs, k.deliverAlert(ctx, d, notifiers[d.Notifier]))
	}
	return errors.Join(errs...)
}

func (k *Kernel) deliverAlert(ctx context.Context, d alertDeliveryRow, n Notifier) error {
	var row alertRow
	if err := k.db.Read().NewSelect().Model(&row).Where("id = ?", d.Alert).Scan(ctx); err != nil {
		return fmt.Errorf("alert %s: %w", d.Alert, err)
	}
	a, err := row.alert()
	if err != nil {
		return err
	}
	sent := errors.New("no such notifier is configured")
	if n != nil {
		call, cancel := context.WithTimeout(ctx, notifyDeadline)
		sent = n.Notify(call, a)
		cancel()
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		d.Attempts++
		d.State, d.Error = "sent", ""
		if sent != nil {
			d.State, d.Error = "waiting", sent.Error()
			d.NextAt = atMicros(k.Now().Add(time.Duration(30<<min(d.Attempts, 8)) * time.Second))
			if d.Attempts >= notifyTries {
				d.State = "dead"
			}
		}
		if _, err := tx.NewUpdate().Model(&d).WherePK().Exec(ctx); err != nil {
			return fmt.Errorf("alert %s to %s: %w", d.Alert, d.Notifier, err)
		}
		if d.State != "dead" || row.Key == "alert.undelivered:"+d.Notifier {
			return nil
		}
		_, err := k.AlertTx(ctx, tx, Alert{
			Key: "alert.undelivered:" + d.Notifier, Severity: Critical, Title: "Alerts do not reach " + d.Notifier,
			Body: "The notifier refused an alert " + fmt.Sprint(notifyTries) + " times.", Links: []Link{{Title: a.Title, Kind: "alert", ID: a.ID.String()}},
		})
		return err
	})
}
