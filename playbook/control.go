package playbook

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return governance.ErrNotFound
	}
	return err
}

// Pause says that a playbook, or every one, does nothing for the time being.
type Pause struct {
	Playbook string    `json:"playbook"` // empty: every playbook
	By       string    `json:"by"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// Pause is the kill switch: no step of the playbook begins from its commit on, in
// any process. An empty name pauses every playbook. Runs that are being taken back
// go on.
func (s *Service) Pause(ctx context.Context, id governance.Identity, playbook, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	if playbook != "" {
		if _, err := s.playbookRow(ctx, playbook); err != nil {
			return err
		}
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row := &pauseRow{Name: playbook, By: id.Actor.ID, Reason: why, At: govdb.At(s.k.Now())}
		res, err := tx.NewInsert().Model(row).On("CONFLICT (name) DO NOTHING").Exec(ctx)
		if err != nil {
			return fmt.Errorf("pause: %w", err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return nil // it is paused
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.pause", Resource: pauseRef(playbook), Reason: why})
		return err
	})
}

func pauseRef(playbook string) governance.Ref {
	if playbook == "" {
		playbook = "*"
	}
	return governance.Ref{Kind: "playbook", ID: playbook}
}

// Resume ends a pause.
func (s *Service) Resume(ctx context.Context, id governance.Identity, playbook, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM playbook_pause WHERE name = ?", playbook)
		if err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("playbook %q is not paused: %w", playbook, governance.ErrConflict)
		}
		q := tx.NewUpdate().Model((*runRow)(nil)).Set("due_at = ?", govdb.At(s.k.Now())).Where("state = ? AND deferred_at = 0", RunRunning)
		if playbook != "" {
			q = q.Where("playbook = ?", playbook)
		}
		if _, err := q.Exec(ctx); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.resume", Resource: pauseRef(playbook), Reason: why})
		return err
	})
}

// Paused lists what is paused.
func (s *Service) Paused(ctx context.Context) ([]Pause, error) {
	m, err := s.pauses(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Pause, 0, len(m))
	for _, p := range m {
		out = append(out, p)
	}
	return out, nil
}

func (s *Service) pauses(ctx context.Context) (map[string]Pause, error) {
	var rows []pauseRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("pauses: %w", err)
	}
	out := map[string]Pause{}
	for _, r := range rows {
		out[r.Name] = Pause{r.Name, r.By, r.Reason, r.At.Time()}
	}
	return out, nil
}

// Exemption takes a tenant out of a playbook, or of every one, for a time.
type Exemption struct {
	ID       uuid.UUID           `json:"id"`
	Playbook string              `json:"playbook"` // empty: every playbook
	Tenant   governance.TenantID `json:"tenant"`
	Reason   string              `json:"reason"`
	By       string              `json:"by"`
	Until    time.Time           `json:"until"`
	At       time.Time           `json:"at"`
	Ended    time.Time           `json:"ended,omitzero"`
}

// Exempt takes a tenant out. ID, By, At and Ended of e are ignored; there is no
// exemption without an end.
func (s *Service) Exempt(ctx context.Context, id governance.Identity, e Exemption) (Exemption, error) {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{Tenant: e.Tenant}); err != nil {
		return e, err
	}
	now := s.k.Now()
	switch {
	case len(e.Reason) < 3 || len(e.Reason) > 500:
		return e, governance.Invalid("reason", "want 3 to 500 bytes")
	case !e.Until.After(now) || e.Until.Sub(now) > 732*day:
		return e, governance.Invalid("until", "want a time ahead, at most two years")
	}
	if e.Playbook != "" {
		if _, err := s.playbookRow(ctx, e.Playbook); err != nil {
			return e, err
		}
	}
	if _, err := s.k.Tenant(ctx, e.Tenant); err != nil {
		return e, err
	}
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		e, err = s.exemptTx(ctx, tx, id, e)
		return err
	})
	return e, err
}

func (s *Service) exemptTx(ctx context.Context, tx *governance.Tx, id governance.Identity, e Exemption) (Exemption, error) {
	e.ID, e.By, e.At, e.Ended = uuid.Must(uuid.NewV7()), id.Actor.ID, s.k.Now(), time.Time{}
	row := &exemptionRow{ID: e.ID, Playbook: e.Playbook, Tenant: string(e.Tenant), Reason: clip(e.Reason), By: e.By, UntilAt: govdb.At(e.Until), CreatedAt: govdb.At(e.At)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return e, fmt.Errorf("exempt %s: %w", e.Tenant, err)
	}
	_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.exempt", Tenant: e.Tenant, Resource: governance.RefTo("playbook_exemption", e.ID), Reason: e.Reason,
		Data: map[string]any{"playbook": e.Playbook, "until": e.Until.UTC().Format(time.RFC3339)}})
	return e, err
}

// EndExemption lets playbooks act on the tenant again.
func (s *Service) EndExemption(ctx context.Context, id governance.Identity, exemption uuid.UUID, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		var row exemptionRow
		err := tx.NewRaw("UPDATE playbook_exemption SET ended_at = ? WHERE id = ? AND ended_at = 0 RETURNING *", govdb.At(s.k.Now()), exemption).Scan(ctx, &row)
		if err != nil {
			return fmt.Errorf("exemption %s: %w", exemption, notFound(err))
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.exempt.end", Tenant: governance.TenantID(row.Tenant), Resource: governance.RefTo("playbook_exemption", exemption), Reason: why})
		return err
	})
}

// Exemptions lists the exemptions that stand, or all of them, newest first.
func (s *Service) Exemptions(ctx context.Context, all bool) ([]Exemption, error) {
	var rows []exemptionRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(500)
	if !all {
		q = q.Where("ended_at = 0 AND until_at > ?", govdb.At(s.k.Now()))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("exemptions: %w", err)
	}
	out := make([]Exemption, len(rows))
	for i, r := range rows {
		out[i] = Exemption{r.ID, r.Playbook, governance.TenantID(r.Tenant), r.Reason, r.By, r.UntilAt.Time(), r.CreatedAt.Time(), r.EndedAt.Time()}
	}
	return out, nil
}

// Run is a run as it stands.
type Run struct {
	ID         uuid.UUID           `json:"id"`
	Batch      uuid.UUID           `json:"batch"`
	Playbook   string              `json:"playbook"`
	Version    int                 `json:"version"`
	Tenant     governance.TenantID `json:"tenant"`
	TenantName string              `json:"tenant_name"`
	Mode       Mode                `json:"mode"`
	Trigger    string              `json:"trigger"`
	State      RunState            `json:"state"`
	Undo       bool                `json:"undo"` // a stopping run takes back what was done
	Why        string              `json:"why,omitempty"`
	Signals    map[string]Reading  `json:"signals"` // as they were when it began
	Depth      int                 `json:"depth"`
	DueAt      time.Time           `json:"due_at,omitzero"`
	CreatedAt  time.Time           `json:"created_at"`
	EndedAt    time.Time           `json:"ended_at,omitzero"`
	Steps      []RunStep           `json:"steps"`
	Timeline   []TimelineEntry     `json:"timeline,omitempty"` // of a single run
}

// RunStep is a step of a run.
type RunStep struct {
	ID        string             `json:"id"`
	Title     string             `json:"title"`
	Kind      string             `json:"kind"`
	State     StepState          `json:"state"`
	Detail    string             `json:"detail,omitempty"`
	Params    Params             `json:"params,omitempty"`
	Output    Output             `json:"output,omitempty"`
	Checked   map[string]Reading `json:"checked,omitempty"` // what was seen at the last look at the condition
	CheckedAt time.Time          `json:"checked_at,omitzero"`
	Approval  string             `json:"approval,omitempty"`
	Attempts  int                `json:"attempts"`
	Undoable  bool               `json:"undoable"`
	DueAt     time.Time          `json:"due_at,omitzero"`
	StartedAt time.Time          `json:"started_at,omitzero"`
	EndedAt   time.Time          `json:"ended_at,omitzero"`
}

// TimelineEntry is one thing that happened in a run.
type TimelineEntry struct {
	N      int64     `json:"n"`
	At     time.Time `json:"at"`
	Step   string    `json:"step,omitempty"`
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Actor  string    `json:"actor"`
}

// RunFilter selects runs; the zero value lists all, newest first.
type RunFilter struct {
	Playbook string
	Tenant   governance.TenantID
	State    RunState
	Mode     Mode
	Before   uuid.UUID // the last id of the page before
	Limit    int       // default 50, at most 200
}

// Runs lists runs with their steps.
func (s *Service) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	var rows []runRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("id DESC").Limit(page(f.Limit))
	for column, value := range map[string]string{"playbook": f.Playbook, "tenant": string(f.Tenant), "state": string(f.State), "mode": string(f.Mode)} {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	if f.Before != uuid.Nil {
		q = q.Where("id < ?", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return s.runs(ctx, rows)
}

func (s *Service) runs(ctx context.Context, rows []runRow) ([]Run, error) {
	out := make([]Run, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	ids := make([]uuid.UUID, len(rows))
	at := map[uuid.UUID]int{}
	for i, r := range rows {
		rs, err := fromJSON[map[string]Reading]("signals", r.Signals)
		if err != nil {
			return nil, err
		}
		ids[i], at[r.ID] = r.ID, i
		out[i] = Run{ID: r.ID, Batch: r.Batch, Playbook: r.Playbook, Version: r.Version, Tenant: governance.TenantID(r.Tenant), TenantName: r.TenantName, Mode: Mode(r.Mode), Trigger: r.Trigger,
			State: RunState(r.State), Undo: r.Undo, Why: r.Why, Signals: rs, Depth: r.Depth, CreatedAt: r.CreatedAt.Time(), EndedAt: r.EndedAt.Time(), Steps: []RunStep{}}
		if out[i].State == RunRunning || out[i].State == RunStopping {
			out[i].DueAt = r.DueAt.Time()
		}
	}
	var steps []stepRow
	if err := s.k.DB().Read().NewSelect().Model(&steps).Where("run IN (?)", bun.List(ids)).Order("run", "idx").Scan(ctx); err != nil {
		return nil, fmt.Errorf("steps: %w", err)
	}
	for _, st := range steps {
		params, err1 := fromJSON[Params]("parameters", st.Input)
		output, err2 := fromJSON[Output]("output", st.Output)
		checked, err3 := fromJSON[map[string]Reading]("signals", st.Checked)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		r := &out[at[st.Run]]
		r.Steps = append(r.Steps, RunStep{ID: st.ID, Title: st.Title, Kind: st.Kind, State: StepState(st.State), Detail: st.Detail, Params: params, Output: output, Checked: checked, CheckedAt: st.CheckedAt.Time(),
			Approval: st.Approval, Attempts: st.Attempts, Undoable: s.kinds[st.Kind].undoable(), DueAt: st.DueAt.Time(), StartedAt: st.StartedAt.Time(), EndedAt: st.EndedAt.Time()})
	}
	return out, nil
}

// Run reads one run with its timeline.
func (s *Service) Run(ctx context.Context, id uuid.UUID) (Run, error) {
	var rows []runRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("id = ?", id).Scan(ctx); err != nil {
		return Run{}, fmt.Errorf("run %s: %w", id, err)
	}
	if len(rows) == 0 {
		return Run{}, fmt.Errorf("run %s: %w", id, governance.ErrNotFound)
	}
	rs, err := s.runs(ctx, rows)
	if err != nil {
		return Run{}, err
	}
	var lines []timelineRow
	if err := s.k.DB().Read().NewSelect().Model(&lines).Where("run = ?", id).Order("n").Scan(ctx); err != nil {
		return Run{}, fmt.Errorf("timeline of %s: %w", id, err)
	}
	rs[0].Timeline = make([]TimelineEntry, len(lines))
	for i, l := range lines {
		rs[0].Timeline[i] = TimelineEntry{l.N, l.At.Time(), l.Step, l.State, l.Detail, l.Actor}
	}
	return rs[0], nil
}
