package playbook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Batch is one look at tenants and what came of it.
type Batch struct {
	ID       uuid.UUID `json:"id"`
	Playbook string    `json:"playbook"`
	Version  int       `json:"version"`
	Mode     Mode      `json:"mode"`
	Trigger  string    `json:"trigger"`
	State    string    `json:"state"` // done, stopped
	Why      string    `json:"why,omitempty"`
	Scanned  int       `json:"scanned"`
	Matched  int       `json:"matched"`
	Unusable int       `json:"unusable"`
	Cap      int       `json:"cap"`
	At       time.Time `json:"at"`
}

// The states of a batch.
const (
	BatchDone    = "done"
	BatchStopped = "stopped" // a safeguard stopped all of it, nothing ran
)

// ScanDue looks at every tenant for the playbooks whose daily time has come.
func (s *Service) ScanDue(ctx context.Context) error {
	var names []string
	err := s.k.DB().Read().NewSelect().Model((*playbookRow)(nil)).Column("name").
		Where("next_scan_at > 0 AND next_scan_at <= ?", govdb.At(s.k.Now())).Order("name").Scan(ctx, &names)
	if err != nil {
		return fmt.Errorf("playbooks that are due: %w", err)
	}
	var errs []error
	for _, n := range names {
		if _, err := s.Scan(ctx, n, "schedule"); err != nil && !errors.Is(err, errPaused) {
			errs = append(errs, fmt.Errorf("scan of %s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

var errPaused = fmt.Errorf("paused: %w", governance.ErrConflict)

// Scan looks at every tenant now, with the version that acts and the one in shadow.
// trigger says what asked for it. A paused playbook does not look.
func (s *Service) Scan(ctx context.Context, name, trigger string) ([]Batch, error) {
	row, err := s.playbookRow(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := s.pausedNow(ctx, s.k.DB().Handle(), name); err != nil {
		return nil, err
	}
	var out []Batch
	for _, m := range row.modes() {
		c, err := s.version(ctx, name, m.version)
		if err != nil {
			return out, err
		}
		p, err := s.planAll(ctx, c, m.version, m.mode)
		if err != nil {
			return out, err
		}
		b, err := s.enrol(ctx, c, p, m.mode, trigger, cause{})
		if err != nil {
			return out, err
		}
		out = append(out, b)
		if m.mode == Live {
			if err := s.reverseAll(ctx, c); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// ScanAs is Scan on behalf of a person.
func (s *Service) ScanAs(ctx context.Context, id governance.Identity, name string) ([]Batch, error) {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return nil, err
	}
	return s.Scan(ctx, name, "by hand: "+id.Actor.ID)
}

type moded struct {
	mode    Mode
	version int
}

func (r playbookRow) modes() []moded {
	var out []moded
	if r.LiveVersion > 0 {
		out = append(out, moded{Live, r.LiveVersion})
	}
	if r.ShadowVersion > 0 {
		out = append(out, moded{Shadow, r.ShadowVersion})
	}
	return out
}

func (s *Service) playbookRow(ctx context.Context, name string) (playbookRow, error) {
	var rows []playbookRow
	if err := s.k.DB().Handle().NewSelect().Model(&rows).Where("name = ?", name).Scan(ctx); err != nil {
		return playbookRow{}, fmt.Errorf("playbook %s: %w", name, err)
	}
	if len(rows) == 0 {
		return playbookRow{}, fmt.Errorf("playbook %s: %w", name, governance.ErrNotFound)
	}
	return rows[0], nil
}

// enrol turns a plan into a batch: all of its runs in one commit, or, when a
// safeguard says so, none.
func (s *Service) enrol(ctx context.Context, c *compiled, p Plan, mode Mode, trigger string, why cause) (Batch, error) {
	var b Batch
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		b, err = s.enrolTx(ctx, tx, c, p, mode, trigger, why)
		return err
	})
	if err != nil {
		return b, fmt.Errorf("batch of %s: %w", c.Name, err)
	}
	return b, nil
}

func (s *Service) enrolTx(ctx context.Context, tx *governance.Tx, c *compiled, p Plan, mode Mode, trigger string, why cause) (Batch, error) {
	row, err := lockPlaybook(ctx, tx, c.Name) // from here on no other batch of it can be made
	if err != nil {
		return Batch{}, err
	}
	if !slices.Contains(row.modes(), moded{mode, p.Version}) {
		return Batch{}, fmt.Errorf("version %d is not %s any more: %w", p.Version, mode, governance.ErrConflict)
	}
	if err := s.pausedNow(ctx, tx, c.Name); err != nil {
		return Batch{}, err
	}
	p.Candidates = slices.Clone(p.Candidates)
	if err := s.dropTaken(ctx, tx, c, &p, mode); err != nil {
		return Batch{}, err
	}
	today, err := s.takenToday(ctx, tx, c.Name, mode)
	if err != nil {
		return Batch{}, err
	}
	now := s.k.Now()
	b := Batch{ID: uuid.Must(uuid.NewV7()), Playbook: c.Name, Version: p.Version, Mode: mode, Trigger: trigger, State: BatchDone,
		Why: p.halt(c, today), Scanned: p.Scanned, Matched: p.Matched, Unusable: p.Unusable, Cap: p.Cap, At: now}
	if b.Why != "" {
		b.State = BatchStopped
	}
	br := &batchRow{ID: b.ID, Playbook: b.Playbook, Version: b.Version, Mode: string(mode), Trigger: trigger, State: b.State, Why: b.Why,
		Scanned: b.Scanned, Matched: b.Matched, Unusable: b.Unusable, Cap: b.Cap, CreatedAt: govdb.At(now)}
	if _, err := tx.NewInsert().Model(br).Exec(ctx); err != nil {
		return b, err
	}
	if err := s.candidatesTx(ctx, tx, c, p, b, why); err != nil {
		return b, err
	}
	if why == (cause{}) {
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_playbook SET next_scan_at = ? WHERE name = ?", govdb.At(c.nextDaily(now)), c.Name); err != nil {
			return b, err
		}
	}
	if err := s.batchAlertTx(ctx, tx, c, p, b); err != nil {
		return b, err
	}
	_, err = s.k.RecordTx(ctx, tx, s.chain(c.Name, why), governance.Record{Action: "playbook.batch", Outcome: outcome(b), Resource: governance.Ref{Kind: "playbook", ID: c.Name}, Data: map[string]any{
		"batch": b.ID, "version": b.Version, "mode": mode, "trigger": trigger, "state": b.State, "why": b.Why, "scanned": b.Scanned, "matched": b.Matched, "unusable": b.Unusable, "cap": b.Cap}})
	return b, err
}

func outcome(b Batch) governance.RecordOutcome {
	if b.State == BatchStopped {
		return governance.OutcomeDenied
	}
	return governance.OutcomeDone
}

// chain is the playbook as the actor of what a cause leads to.
func (s *Service) chain(name string, why cause) governance.Identity {
	id := actor(name)
	id.Causation, id.Depth = why.event, why.depth+1
	return id
}

// dropTaken looks again, under the lock, at who has a run already.
func (s *Service) dropTaken(ctx context.Context, tx *governance.Tx, c *compiled, p *Plan, mode Mode) error {
	var ids []string
	for _, cand := range p.Candidates {
		if cand.Verdict == Match {
			ids = append(ids, string(cand.Tenant))
		}
	}
	if p.Cap == 0 || len(ids) > 10_000 { // halted anyway
		return nil
	}
	taken, err := s.taken(ctx, tx, c, mode, ids)
	if err != nil {
		return err
	}
	for i, cand := range p.Candidates {
		if why := taken[string(cand.Tenant)]; cand.Verdict == Match && why != "" {
			p.Candidates[i].Verdict, p.Candidates[i].Why, p.Candidates[i].Steps = Repeated, why, nil
			p.Matched--
		}
	}
	return nil
}

func (s *Service) candidatesTx(ctx context.Context, tx *governance.Tx, c *compiled, p Plan, b Batch, why cause) error {
	var rows []candidateRow
	for _, cand := range p.Candidates {
		r := candidateRow{Batch: b.ID, Tenant: string(cand.Tenant), Name: cand.Name, Verdict: string(cand.Verdict), Why: cand.Why, Signals: toJSON(cand.Signals)}
		if cand.Verdict == Match && b.State == BatchDone {
			id, err := s.startTx(ctx, tx, c, b, cand, why)
			if err != nil {
				return err
			}
			r.Run = id.String()
		}
		rows = append(rows, r)
	}
	for chunk := range slices.Chunk(rows, 500) {
		if _, err := tx.NewInsert().Model(&chunk).Exec(ctx); err != nil {
			return fmt.Errorf("candidates: %w", err)
		}
	}
	return nil
}

// startTx makes the run of one tenant. In shadow it is over with that: its steps
// say what they would have done.
func (s *Service) startTx(ctx context.Context, tx *governance.Tx, c *compiled, b Batch, cand Candidate, why cause) (uuid.UUID, error) {
	now := govdb.At(s.k.Now())
	r := &runRow{ID: uuid.Must(uuid.NewV7()), Batch: b.ID, Playbook: c.Name, Version: b.Version, Tenant: string(cand.Tenant), TenantName: cand.Name, Mode: string(b.Mode),
		Trigger: b.Trigger, State: string(RunRunning), Signals: toJSON(cand.Signals), Causation: why.event, Depth: why.depth + 1, DueAt: now, CreatedAt: now}
	state, detail := StepPending, ""
	if b.Mode == Shadow {
		r.State, r.EndedAt, r.Why = string(RunShadow), now, "in shadow: nothing was done"
		state, detail = StepSkipped, "would have run"
	}
	if _, err := tx.NewInsert().Model(r).Exec(ctx); err != nil {
		return r.ID, fmt.Errorf("run: %w", err)
	}
	steps := make([]stepRow, len(c.Steps))
	for i, st := range c.Steps {
		steps[i] = stepRow{Run: r.ID, Index: i, ID: st.ID, Title: s.stepTitle(st), Kind: st.Kind, State: string(state), Detail: detail}
		if b.Mode == Shadow {
			steps[i].Input = toJSON(cand.Steps[i].Params)
			if f := cand.Steps[i].Fault; f != "" {
				steps[i].Detail = "would have run; not known yet: " + f
			}
		}
	}
	if _, err := tx.NewInsert().Model(&steps).Exec(ctx); err != nil {
		return r.ID, fmt.Errorf("steps: %w", err)
	}
	t := timelineRow{Run: r.ID, N: 1, At: now, State: r.State, Detail: b.Trigger, Actor: "playbook:" + c.Name}
	if _, err := tx.NewInsert().Model(&t).Exec(ctx); err != nil {
		return r.ID, fmt.Errorf("timeline: %w", err)
	}
	outcome := governance.OutcomeDone
	if b.Mode == Shadow {
		outcome = governance.OutcomeObserved
	}
	_, err := s.k.RecordTx(ctx, tx, s.chain(c.Name, why), governance.Record{Action: "playbook.run.start", Outcome: outcome, Tenant: cand.Tenant,
		Resource: governance.RefTo("playbook_run", r.ID), Data: map[string]any{"playbook": c.Name, "version": b.Version, "hash": c.hash, "mode": b.Mode, "signals": shown(cand.Signals)}})
	return r.ID, err
}

func (s *Service) stepTitle(st Step) string {
	if st.Title != "" {
		return st.Title
	}
	return s.kinds[st.Kind].Title
}

// shown are signals as the ledger keeps them: text, for it knows no fractions.
func shown(rs map[string]Reading) map[string]any {
	out := map[string]any{}
	for name, r := range rs {
		out[name] = map[string]string{"value": show(r.Value), "as_of": r.AsOf.UTC().Format(time.RFC3339), "fault": r.Fault}
	}
	return out
}

func stoppedAlert(name string) string { return "playbook.stopped:" + name }

// batchAlertTx tells people what a live batch would not act on.
func (s *Service) batchAlertTx(ctx context.Context, tx *governance.Tx, c *compiled, p Plan, b Batch) error {
	if b.Mode != Live {
		return nil
	}
	raise := func(key string, sev governance.Severity, title, body string) error {
		_, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: key, Severity: sev, Title: title, Body: body, Links: []governance.Link{{Title: c.Title, Kind: "playbook", ID: c.Name}}})
		return err
	}
	if b.State == BatchStopped {
		return raise(stoppedAlert(c.Name), governance.Critical, "Playbook "+c.Name+" stopped its whole batch", b.Why)
	}
	loops := 0
	for _, cand := range p.Candidates {
		if cand.Verdict == Loop {
			loops++
		}
	}
	if loops > 0 {
		if err := raise("playbook.loop:"+c.Name, governance.Warning, "Playbook "+c.Name+" would run in a loop", fmt.Sprintf("%d tenants were left out.", loops)); err != nil {
			return err
		}
	}
	if p.Scanned < 2 { // one event says nothing about the data as a whole
		return nil
	}
	if b.Unusable > 0 {
		if err := raise("playbook.stale:"+c.Name, governance.Warning, "Playbook "+c.Name+" could not judge some tenants", fmt.Sprintf("The signals of %d of %d tenants are missing, stale or in error; none of them was acted on.", b.Unusable, b.Scanned)); err != nil {
			return err
		}
	} else if err := s.k.ResolveAlertTx(ctx, tx, "playbook.stale:"+c.Name); err != nil {
		return err
	}
	return s.k.ResolveAlertTx(ctx, tx, stoppedAlert(c.Name))
}

func (r batchRow) batch() Batch {
	return Batch{r.ID, r.Playbook, r.Version, Mode(r.Mode), r.Trigger, r.State, r.Why, r.Scanned, r.Matched, r.Unusable, r.Cap, r.CreatedAt.Time()}
}

// Batches lists the latest looks of one playbook, newest first.
func (s *Service) Batches(ctx context.Context, playbook string, limit int) ([]Batch, error) {
	var rows []batchRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("playbook = ?", playbook).Order("created_at DESC", "id DESC").Limit(page(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("batches of %s: %w", playbook, err)
	}
	out := make([]Batch, len(rows))
	for i, r := range rows {
		out[i] = r.batch()
	}
	return out, nil
}

func page(n int) int64 {
	if n <= 0 {
		return 50
	}
	return int64(min(n, 200))
}

// Candidates lists the tenants that a batch found, but for those that did not match.
func (s *Service) Candidates(ctx context.Context, batch uuid.UUID) ([]Candidate, error) {
	var rows []candidateRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("batch = ?", batch).Order("verdict", "tenant").Limit(2000).Scan(ctx); err != nil {
		return nil, fmt.Errorf("candidates of %s: %w", batch, err)
	}
	out := make([]Candidate, len(rows))
	for i, r := range rows {
		rs, err := fromJSON[map[string]Reading]("signals", r.Signals)
		if err != nil {
			return nil, err
		}
		out[i] = Candidate{Tenant: governance.TenantID(r.Tenant), Name: r.Name, Verdict: Verdict(r.Verdict), Why: r.Why, Signals: rs, Run: r.Run}
	}
	return out, nil
}
