package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/alertroute"
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
// open alert and sent to nobody again, unless it is more severe than before. Title and
// Body name what happened and never quote a payload: they leave the server.
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
		return got.ID, k.alertChangedTx(ctx, tx, got.ID)
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

// alertChangedTx leaves word for the dispatcher in tx's commit.
func (k *Kernel) alertChangedTx(ctx context.Context, tx *Tx, alert uuid.UUID) error {
	row := &alertChangeRow{ID: uuid.Must(uuid.NewV7()), Alert: alert, At: atMicros(k.Now())}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("alert %s: %w", alert, err)
	}
	return nil
}

// ResolveAlertTx closes the open alert of a key, if there is one.
func (k *Kernel) ResolveAlertTx(ctx context.Context, tx *Tx, key string) error {
	var ids []uuid.UUID
	err := tx.NewRaw("UPDATE gov_alert SET state = ?, open_key = NULL, last_at = ? WHERE open_key = ? RETURNING id", AlertResolved, atMicros(k.Now()), key).Scan(ctx, &ids)
	if err != nil {
		return fmt.Errorf("resolve alert %s: %w", key, err)
	}
	for _, id := range ids {
		if err := k.alertChangedTx(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

// AckAlert says that somebody has it in hand: it is neither repeated nor escalated, and
// whoever was told of it is told that.
func (k *Kernel) AckAlert(ctx context.Context, id Identity, alert uuid.UUID) error {
	n, err := k.AckAlerts(ctx, id, alert)
	if err == nil && n == 0 {
		return fmt.Errorf("alert %s is not firing: %w", alert, ErrNotFound)
	}
	return err
}

// AckAlerts is AckAlert of several at once; n is how many of them were firing.
func (k *Kernel) AckAlerts(ctx context.Context, id Identity, alerts ...uuid.UUID) (n int, err error) {
	if err := k.Authorize(ctx, id, "alert:ack", Target{}); err != nil {
		return 0, err
	}
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		n = 0
		for _, alert := range alerts {
			res, err := tx.ExecContext(ctx, "UPDATE gov_alert SET state = ?, acked_by = ?, acked_at = ? WHERE id = ? AND state = ?",
				AlertAcked, id.Actor.ID, atMicros(k.Now()), alert, AlertFiring)
			if err != nil {
				return fmt.Errorf("acknowledge alert %s: %w", alert, err)
			}
			if hit, _ := res.RowsAffected(); hit == 0 {
				continue
			}
			n++
			if err := k.alertChangedTx(ctx, tx, alert); err != nil {
				return err
			}
			if _, err := k.RecordTx(ctx, tx, id, Record{Action: "alert.ack", Resource: RefTo("alert", alert)}); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// CloseAlert resolves an alert by hand, for one whose cause does not say when it is
// gone. An alert whose cause is still there is raised again by it. What
// [alertroute.Protected] names is not closed by hand, but for a notifier that is not
// there any more.
func (k *Kernel) CloseAlert(ctx context.Context, id Identity, alert uuid.UUID, reason string) error {
	if err := k.Authorize(ctx, id, "alert:ack", Target{}); err != nil {
		return err
	}
	if reason == "" || len(reason) > 500 {
		return Invalid("reason", "is required, at most 500 bytes")
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		var row alertRow
		err := tx.NewSelect().Model(&row).Where("id = ? AND state <> ?", alert, AlertResolved).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("alert %s is not open: %w", alert, ErrNotFound)
		}
		if err != nil {
			return fmt.Errorf("close alert %s: %w", alert, err)
		}
		notifier, undelivered := strings.CutPrefix(row.Key, undeliveredAlert(""))
		gone := undelivered && !slices.Contains(k.notifierNames(), notifier) // its cause will never say that it is over
		if alertroute.Protected(row.Key) && !gone {
			return fmt.Errorf("alert %s closes with its cause only: %w", alert, ErrConflict)
		}
		if err := k.ResolveAlertTx(ctx, tx, row.Key); err != nil {
			return err
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "alert.close", Resource: RefTo("alert", alert), Reason: reason})
		return err
	})
}

// Alert gives one alert.
func (k *Kernel) Alert(ctx context.Context, id uuid.UUID) (Alert, error) {
	var row alertRow
	err := k.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Alert{}, fmt.Errorf("alert %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Alert{}, fmt.Errorf("alert %s: %w", id, err)
	}
	return row.alert()
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

// facts are what routing knows of the alert.
func (a Alert) facts() alertroute.Facts {
	f := alertroute.Facts{Key: a.Key, Severity: string(a.Severity), Tenant: string(a.Tenant)}
	for _, l := range a.Links {
		if l.Kind == "policy" {
			f.Policy = l.ID
			break
		}
	}
	return f
}
