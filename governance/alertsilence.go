package governance

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/alertroute"
)

// ActionSilence is the name of the action that keeps alerts from the notifiers for a
// while.
const ActionSilence = "alert.silence"

const maxSilence = 30 * 24 * time.Hour

// Silence keeps the alerts it takes from the notifiers until it ends. They stay in the
// console, and are told when it ends and they are still open. It never covers what
// [alertroute.Protected] names.
type Silence struct {
	alertroute.Match
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// Validate checks the silence alone. Without severities it takes info and warning, and
// it must name a key or a tenant: nobody silences everything by forgetting to say what.
func (s Silence) Validate() error {
	fs := s.Faults("")
	if len(s.Keys) == 0 && len(s.Tenants) == 0 {
		fs = append(fs, alertroute.Fault{Field: "keys", Reason: "name the beginning of a key, or a tenant"})
	}
	if s.Reason == "" || len(s.Reason) > 500 {
		fs = append(fs, alertroute.Fault{Field: "reason", Reason: "is required, at most 500 bytes"})
	}
	if s.Until.IsZero() {
		fs = append(fs, alertroute.Fault{Field: "until", Reason: "is required: a silence ends"})
	}
	for i, k := range s.Keys {
		if alertroute.Protected(k) {
			fs = append(fs, alertroute.Fault{Field: fmt.Sprintf("keys[%d]", i), Reason: "these alerts cannot be silenced"})
		}
	}
	return invalidFaults(fs)
}

func (s Silence) takes(f alertroute.Facts) bool {
	if alertroute.Protected(f.Key) {
		return false
	}
	m := s.Match
	if len(m.Severities) == 0 {
		m.Severities = []string{string(Info), string(Warning)}
	}
	return m.Takes(f)
}

// StoredSilence is a silence with its story.
type StoredSilence struct {
	Silence
	ID      uuid.UUID `json:"id"`
	Author  string    `json:"author"`
	From    time.Time `json:"from"`
	EndedBy string    `json:"ended_by,omitempty"` // who ended it before its time
}

func putSilence(k *Kernel) *Action[Silence] {
	return Define(ActionSilence, Spec[Silence]{
		Summary:    "Silences alerts for a while.",
		Unheld:     "It ends by itself and stops notices alone: the alert stays in the queue.",
		Permission: "alert:silence",
		Sensitive:  true,
		Tenant: func(s Silence) TenantID {
			if len(s.Tenants) == 1 {
				return TenantID(s.Tenants[0])
			}
			return ""
		},
		Resource: func(Silence) Ref { return Ref{"alert_silence", "new"} },
		Validate: Silence.Validate,
	}, func(ctx context.Context, tx *Tx, s Silence) (Result, error) {
		now := k.Now()
		if !s.Until.After(now) {
			return Result{}, Invalid("until", "is in the past")
		}
		if s.Until.Sub(now) > maxSilence {
			return Result{}, Invalid("until", "is more than %d days away", int(maxSilence.Hours())/24)
		}
		e, _ := ExecutionFrom(ctx)
		matches, err := json.Marshal(s.Match)
		if err != nil {
			return Result{}, fmt.Errorf("silence: %w", err)
		}
		row := &alertSilenceRow{ID: uuid.Must(uuid.NewV7()), Matches: string(matches), Author: e.Identity.Actor.ID, Reason: s.Reason, StartsAt: atMicros(now), EndsAt: atMicros(s.Until)}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return Result{}, fmt.Errorf("silence: %w", err)
		}
		out, err := row.silence()
		if err != nil {
			return Result{}, err
		}
		ev, err := NewEvent("alert.silenced", "", 0, RefTo("alert_silence", row.ID), out)
		return Result{Data: map[string]any{"silence": row.ID}, Events: []Event{ev}}, err
	})
}

// SilenceAlerts makes a silence, through the guard.
func (k *Kernel) SilenceAlerts(ctx context.Context, id Identity, s Silence, opts *DoOptions) (Outcome, error) {
	if err := s.Validate(); err != nil {
		return Outcome{}, err
	}
	now := k.Now()
	if !s.Until.After(now) || s.Until.Sub(now) > maxSilence {
		return Outcome{}, Invalid("until", "is not within the next %d days", int(maxSilence.Hours())/24)
	}
	s.Until = s.Until.UTC().Truncate(time.Second)
	def, err := k.defined(ActionSilence)
	if err != nil {
		return Outcome{}, fmt.Errorf("silence: %w", err)
	}
	o := DoOptions{}
	if opts != nil {
		o = *opts
	}
	o.Reason = s.Reason
	return k.do(ctx, def, id, s, &o)
}

// EndSilence ends a silence now. What it held back and is still open is told.
func (k *Kernel) EndSilence(ctx context.Context, id Identity, silence uuid.UUID) error {
	if err := k.Authorize(ctx, id, "alert:silence", Target{}); err != nil {
		return err
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		now := atMicros(k.Now())
		res, err := tx.ExecContext(ctx, "UPDATE gov_alert_silence SET ends_at = ?, ended_by = ? WHERE id = ? AND ends_at > ?", now, id.Actor.ID, silence, now)
		if err != nil {
			return fmt.Errorf("end silence %s: %w", silence, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("silence %s does not stand: %w", silence, ErrNotFound)
		}
		// Whatever it muted is looked at again now.
		_, err = tx.ExecContext(ctx, "UPDATE gov_alert_group SET due_at = ? WHERE id IN (SELECT grp FROM gov_alert_entry WHERE open AND muted = ?)", now, mutedBySilence(silence))
		if err != nil {
			return fmt.Errorf("end silence %s: %w", silence, err)
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "alert.silence.end", Resource: RefTo("alert_silence", silence)})
		return err
	})
}

// Silences lists silences, those that stand or all, the newest first.
func (k *Kernel) Silences(ctx context.Context, ended bool) ([]StoredSilence, error) {
	var rows []alertSilenceRow
	q := k.db.Read().NewSelect().Model(&rows).Order("id DESC").Limit(200)
	if !ended {
		q = q.Where("ends_at > ?", atMicros(k.Now()))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list silences: %w", err)
	}
	return silences(rows)
}

func standingSilencesTx(ctx context.Context, tx *Tx, now time.Time) ([]StoredSilence, error) {
	var rows []alertSilenceRow
	if err := tx.NewSelect().Model(&rows).Where("ends_at > ?", atMicros(now)).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("silences: %w", err)
	}
	return silences(rows)
}

func silences(rows []alertSilenceRow) ([]StoredSilence, error) {
	out := make([]StoredSilence, 0, len(rows))
	for _, r := range rows {
		s, err := r.silence()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (r alertSilenceRow) silence() (StoredSilence, error) {
	s := StoredSilence{ID: r.ID, Author: r.Author, From: r.StartsAt.Time(), EndedBy: r.EndedBy, Silence: Silence{Reason: r.Reason, Until: r.EndsAt.Time()}}
	if err := json.Unmarshal([]byte(r.Matches), &s.Match); err != nil {
		return s, fmt.Errorf("silence %s: %w", r.ID, err)
	}
	return s, nil
}

func mutedBySilence(id uuid.UUID) string { return "silence:" + id.String() }
