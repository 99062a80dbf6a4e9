package retention

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// ActionPurge is the name of the guarded purge.
const ActionPurge = "retention.purge"

const (
	unitRows  = "rows"
	unitFirst = "first_run" // 1 until a run of the source has ended well
	// brakeFactor is how much more than planned a run may touch before it stops.
	brakeFactor = 3
	runTries    = 8 // failures in a row before a run is given up
	runLease    = 45 * time.Second
)

// RunState says where a run stands.
type RunState string

// The states of a run.
const (
	RunRunning    RunState = "running"
	RunCompleted  RunState = "completed"
	RunExceptions RunState = "completed_with_exceptions" // every row is accounted for, some were left alone
	RunCancelled  RunState = "cancelled"
	RunBraked     RunState = "braked" // it would have touched too many rows
	RunFailed     RunState = "failed"
	RunUnproven   RunState = "unproven" // the scan afterwards found rows that should be gone
)

// Run is the execution of a plan.
type Run struct {
	ID           governance.ID[Run] `json:"id"` // also of the guarded action
	Plan         string             `json:"plan"`
	Source       string             `json:"source"`
	State        RunState           `json:"state"`
	Counts       Counts             `json:"counts"`
	Remaining    int64              `json:"remaining"` // planned rows without an outcome yet
	Batches      int                `json:"batches"`
	Chunks       int                `json:"chunks"`
	Error        string             `json:"error,omitempty"`
	RequestedBy  string             `json:"requested_by"`
	EvidenceHash string             `json:"evidence_hash,omitempty"`
	StartedAt    time.Time          `json:"started_at"`
	EndedAt      time.Time          `json:"ended_at,omitzero"`
}

func (r runRow) run() (Run, error) {
	id, err := governance.ParseID[Run](r.ID)
	if err != nil {
		return Run{}, fmt.Errorf("stored run %q: %w", r.ID, err)
	}
	c := r.counts()
	return Run{ID: id, Plan: r.Plan, Source: r.Source, State: RunState(r.State), Counts: c, Remaining: c.Planned - c.Done(), Batches: r.Batches, Chunks: r.Chunks,
		Error: r.Error, RequestedBy: r.RequestedBy, EvidenceHash: r.EvidenceHash, StartedAt: r.StartedAt.Time(), EndedAt: r.EndedAt.Time()}, nil
}

// PurgeInput asks for the execution of a plan. Digest must be the plan's own.
type PurgeInput struct {
	Plan   governance.ID[Plan] `json:"plan"`
	Digest governance.Digest   `json:"digest"`
}

func (s *Service) definePurge() *governance.Action[PurgeInput] {
	return governance.DefineRemote(ActionPurge, governance.Spec[PurgeInput]{
		Summary:    "Deletes or anonymises what a plan counted.",
		Units:      []string{unitRows, unitFirst},
		Permission: "retention:run",
		Sensitive:  true,
		Tenant:     func(PurgeInput) governance.TenantID { return "" },
		Resource:   func(in PurgeInput) governance.Ref { return governance.RefTo("retention_plan", in.Plan) },
		Measures: func(ctx context.Context, tx *governance.Tx, in PurgeInput) ([]governance.Measure, error) {
			p, err := planTx(ctx, tx, in.Plan)
			if err != nil {
				return nil, err
			}
			// Only here, when it is asked for: an approval that has grown stale is superseded by
			// its version, and starting the run checks all of it again.
			revision, err := settingOf(ctx, tx, settingRevision)
			if err != nil {
				return nil, err
			}
			if err := s.executable(ctx, tx, p, in, revision); err != nil {
				return nil, err
			}
			var ended int64
			if err := tx.NewRaw("SELECT COUNT(*) FROM retention_run WHERE source = ? AND state IN (?, ?)", p.Source, RunCompleted, RunExceptions).Scan(ctx, &ended); err != nil {
				return nil, fmt.Errorf("runs of %s: %w", p.Source, err)
			}
			first := int64(1)
			if ended > 0 {
				first = 0
			}
			return []governance.Measure{{Unit: unitRows, Value: p.Planned}, {Unit: unitFirst, Value: first}}, nil
		},
		Version: s.purgeVersion,
		Preview: func(ctx context.Context, tx *governance.Tx, in PurgeInput) (any, error) {
			row, err := planTx(ctx, tx, in.Plan)
			if err != nil {
				return nil, err
			}
			var p Plan
			if err := json.Unmarshal([]byte(row.Body), &p); err != nil {
				return nil, fmt.Errorf("plan %s: %w", in.Plan, err)
			}
			return map[string]any{"source": p.Source, "as_of": p.AsOf, "rows": p.Rows, "related": p.Related, "groups": p.Groups, "exceptions": p.Exceptions,
				"law": p.Law, "keys_hash": p.KeysHash}, nil
		},
	}, governance.Remote[PurgeInput]{Call: s.callPurge, Lookup: s.lookupPurge})
}

func planTx(ctx context.Context, db bun.IDB, id governance.ID[Plan]) (planRow, error) {
	var row planRow
	err := db.NewSelect().Model(&row).Where("id = ?", id.String()).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("plan %s: %w", id, err)
	}
	return row, nil
}

// purgeVersion is the revision of rules and policies now. An approval given under
// another one is superseded.
func (s *Service) purgeVersion(ctx context.Context, tx *governance.Tx, in PurgeInput) (int64, error) {
	if _, err := planTx(ctx, tx, in.Plan); err != nil {
		return 0, err
	}
	return settingOf(ctx, tx, settingRevision)
}

// executable says why a plan may not be executed.
func (s *Service) executable(ctx context.Context, db bun.IDB, p planRow, in PurgeInput, revision int64) error {
	if p.Digest != string(in.Digest) {
		return fmt.Errorf("plan %s has another digest: %w", in.Plan, governance.ErrConflict)
	}
	if p.Planned == 0 {
		return fmt.Errorf("plan %s has no rows: %w", in.Plan, governance.ErrConflict)
	}
	if revision != p.Revision {
		return fmt.Errorf("rules or policies have changed since plan %s was made; make a new one: %w", in.Plan, governance.ErrConflict)
	}
	if s.gov.Now().After(p.CreatedAt.Time().Add(s.opts.PlanTTL)) {
		return fmt.Errorf("plan %s is older than %s; make a new one: %w", in.Plan, s.opts.PlanTTL, governance.ErrConflict)
	}
	var other []string
	if err := db.NewRaw("SELECT id FROM retention_run WHERE plan = ? OR (source = ? AND ended_at = 0)", p.ID, p.Source).Scan(ctx, &other); err != nil {
		return fmt.Errorf("plan %s: %w", in.Plan, err)
	}
	if len(other) > 0 {
		return fmt.Errorf("run %s is of this plan or still at work on its source: %w", other[0], governance.ErrConflict)
	}
	return nil
}

// Purge asks for the execution of a plan, through the guard. A short run has ended
// when it returns; a longer one goes on in the background, over restarts.
func (s *Service) Purge(ctx context.Context, id governance.Identity, in PurgeInput, opts *governance.DoOptions) (governance.Outcome, error) {
	out, err := s.purge.Do(ctx, s.gov, id, in, opts)
	var held *governance.ApprovalRequiredError
	if errors.As(err, &held) {
		note := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE retention_plan SET approval = ? WHERE id = ?", held.Approval.String(), in.Plan.String())
			return err
		})
		if note != nil {
			s.log.WarnContext(ctx, "note the approval on its plan", "plan", in.Plan, "error", note)
		}
	}
	return out, err
}

// callPurge registers the run under the action's id and drives it for a while.
func (s *Service) callPurge(ctx context.Context, idem string, in PurgeInput) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	err := s.startRun(ctx, idem, in, e.Identity)
	switch {
	case errors.Is(err, governance.ErrConflict) || errors.Is(err, governance.ErrNotFound):
		return governance.Result{}, governance.NotDone(err)
	case err != nil:
		return governance.Result{}, err
	}
	short, cancel := context.WithTimeout(ctx, s.opts.CallFor)
	defer cancel()
	if err := s.drive(short, idem); err != nil && short.Err() == nil {
		s.log.WarnContext(ctx, "retention run", "run", idem, "error", err) // the background goes on with it
	}
	return s.runResult(ctx, idem)
}

func (s *Service) runResult(ctx context.Context, idem string) (governance.Result, error) {
	row, err := s.runRow(ctx, idem)
	if err != nil {
		return governance.Result{}, err
	}
	r, err := row.run()
	if err != nil {
		return governance.Result{}, err
	}
	ev, err := governance.NewEvent("retention.run_started", "", 0, governance.RefTo("retention_run", r.ID), map[string]any{"run": r.ID, "plan": r.Plan, "source": r.Source, "planned": r.Counts.Planned})
	return governance.Result{Data: r, Events: []governance.Event{ev}}, err
}

// lookupPurge finds a run by the action's id: in our table, or by its checkpoints in
// the host, which are there even when ours is lost.
func (s *Service) lookupPurge(ctx context.Context, idem string, in PurgeInput) (governance.Result, bool, error) {
	res, err := s.runResult(ctx, idem)
	if err == nil {
		return res, true, nil
	}
	if !errors.Is(err, governance.ErrNotFound) {
		return governance.Result{}, false, err
	}
	p, err := planTx(ctx, s.db.Read(), in.Plan)
	if err != nil {
		return governance.Result{}, false, err
	}
	src, ok := s.source(p.Source)
	if !ok {
		return governance.Result{}, false, fmt.Errorf("source %q: %w", p.Source, governance.ErrNotFound)
	}
	done, err := src.Applied(ctx, idem)
	if err != nil || len(done) == 0 {
		return governance.Result{}, false, err
	}
	return governance.Result{}, false, fmt.Errorf("the host has checkpoints of run %s, which is not known here: %w", idem, governance.ErrConflict)
}

// startRun registers a run once. Its id is the guarded action's.
func (s *Service) startRun(ctx context.Context, idem string, in PurgeInput, id governance.Identity) error {
	if _, err := uuid.Parse(idem); err != nil {
		return fmt.Errorf("run %q: %w", idem, err)
	}
	secrets := make([]byte, 64)
	if _, err := rand.Read(secrets); err != nil {
		return fmt.Errorf("run %s: %w", idem, err)
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := tx.NewSelect().Model((*runRow)(nil)).Where("id = ?", idem).Exists(ctx)
		if err != nil || have {
			return err
		}
		p, err := planTx(ctx, tx, in.Plan)
		if err != nil {
			return err
		}
		revision, err := settingOf(ctx, tx, settingRevision)
		if err != nil {
			return err
		}
		if err := s.executable(ctx, tx, p, in, revision); err != nil {
			return err
		}
		chunks, err := tx.NewSelect().Model((*chunkRow)(nil)).Where("plan = ?", p.ID).Count(ctx)
		if err != nil {
			return fmt.Errorf("plan %s: %w", p.ID, err)
		}
		now := govdb.At(s.gov.Now())
		row := &runRow{ID: idem, Plan: p.ID, Source: p.Source, State: string(RunRunning), Planned: p.Planned, Chunks: int(chunks), RequestedBy: id.Actor.ID,
			Secret: hex.EncodeToString(secrets[:32]), Salt: hex.EncodeToString(secrets[32:]), StartedAt: now, MovedAt: now}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("run %s: %w", idem, err)
		}
		_, err = s.gov.RecordTx(ctx, tx, id, governance.Record{Action: "retention.run.start", Resource: governance.Ref{Kind: "retention_run", ID: idem},
			Digest: in.Digest, Data: map[string]any{"plan": p.ID, "source": p.Source, "planned": p.Planned, "chunks": chunks}})
		return err
	})
}

func (s *Service) runRow(ctx context.Context, id string) (runRow, error) {
	var row runRow
	err := s.db.Read().NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return row, fmt.Errorf("run %s: %w", id, err)
	}
	return row, nil
}

// Turn goes on with every run that has not ended. The kernel's background calls it;
// tools and tests may.
func (s *Service) Turn(ctx context.Context) error {
	var ids []string
	if err := s.db.Read().NewRaw("SELECT id FROM retention_run WHERE ended_at = 0 ORDER BY id").Scan(ctx, &ids); err != nil {
		return fmt.Errorf("open runs: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if err := s.drive(ctx, id); err != nil && ctx.Err() == nil {
			errs = append(errs, fmt.Errorf("run %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// claim keeps two goroutines of this process off one run; the lease keeps two
// servers, and the host's checkpoint is the last word.
func (s *Service) claim(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] {
		return false
	}
	s.busy[id] = true
	return true
}

func (s *Service) unclaim(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, id)
}

// drive does batches of a run until it ends or ctx does.
func (s *Service) drive(ctx context.Context, id string) error {
	if !s.claim(id) {
		return nil
	}
	defer s.unclaim(id)
	held, ok, err := lease.Acquire(ctx, s.db, "retention.run:"+id, uuid.NewString(), runLease)
	if err != nil || !ok {
		return err
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx), s.db, held) }()
	row, err := s.runRow(ctx, id)
	if err != nil || row.EndedAt != 0 {
		return err
	}
	src, ok := s.source(row.Source)
	if !ok {
		return fmt.Errorf("source %q: %w", row.Source, governance.ErrNotFound)
	}
	d := &driver{s: s, src: src, run: row, lease: held}
	err = d.work(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, lease.ErrLost) {
		return err
	}
	return errors.Join(err, d.failed(context.WithoutCancel(ctx), err))
}

// driver is one server at work on one run.
type driver struct {
	s     *Service
	src   Source
	run   runRow
	lease lease.Lease
	plan  planRow

	r     *Resolver
	epoch int64
}

func (d *driver) work(ctx context.Context) error {
	planID, err := governance.ParseID[Plan](d.run.Plan)
	if err != nil {
		return err
	}
	if d.plan, err = planTx(ctx, d.s.db.Read(), planID); err != nil {
		return err
	}
	desc, err := d.src.Describe(ctx)
	if err != nil {
		return err
	}
	var p Plan
	if err := json.Unmarshal([]byte(d.plan.Body), &p); err != nil {
		return fmt.Errorf("plan %s: %w", d.plan.ID, err)
	}
	if desc.Fingerprint != p.Print {
		return d.end(ctx, RunFailed, "the host's schema or the mapping has changed since the plan")
	}
	done := map[int]bool{}
	var seqs []int
	if err := d.s.db.Read().NewRaw("SELECT seq FROM retention_batch WHERE run = ?", d.run.ID).Scan(ctx, &seqs); err != nil {
		return fmt.Errorf("batches: %w", err)
	}
	for _, n := range seqs {
		done[n] = true
	}
	for seq := range d.run.Chunks {
		if done[seq] {
			continue
		}
		if stop, err := d.stopped(ctx); err != nil || stop {
			return err
		}
		res, err := d.batch(ctx, seq, p)
		if errors.Is(err, ErrBrake) {
			return d.end(ctx, RunBraked, fmt.Sprintf("batch %d would have touched more than %d times the planned rows", seq, brakeFactor))
		}
		if err != nil {
			return fmt.Errorf("batch %d: %w", seq, err)
		}
		if err := d.ingest(ctx, res); err != nil {
			return fmt.Errorf("batch %d: %w", seq, err)
		}
	}
	return d.finish(ctx, p)
}

// stopped looks for the kill switch and a cancellation, between two batches.
func (d *driver) stopped(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return true, err
	}
	paused, err := d.s.Paused(ctx)
	if err != nil || paused {
		return true, err
	}
	row, err := d.s.runRow(ctx, d.run.ID)
	if err != nil {
		return true, err
	}
	if row.Cancel != "" {
		return true, d.end(ctx, RunCancelled, "cancelled: "+row.Cancel)
	}
	return false, nil
}

// batch does one chunk in the host. Holds that came in between are loaded and the
// batch is tried again.
func (d *driver) batch(ctx context.Context, seq int, p Plan) (BatchResult, error) {
	var chunk chunkRow
	if err := d.s.db.Read().NewSelect().Model(&chunk).Where("plan = ? AND seq = ?", d.plan.ID, seq).Scan(ctx); err != nil {
		return BatchResult{}, fmt.Errorf("chunk: %w", err)
	}
	secret, err := hex.DecodeString(d.run.Secret)
	if err != nil {
		return BatchResult{}, fmt.Errorf("secret: %w", err)
	}
	salt, err := hex.DecodeString(d.run.Salt)
	if err != nil {
		return BatchResult{}, fmt.Errorf("salt: %w", err)
	}
	for try := 0; ; try++ {
		var revision int64
		if d.r, revision, d.epoch, err = d.s.loadAt(ctx, d.r, d.epoch); err != nil {
			return BatchResult{}, err
		}
		if revision != p.Revision {
			return BatchResult{}, fmt.Errorf("rules or policies have changed while the run was going: %w", errSuperseded)
		}
		res, err := d.src.Apply(ctx, Batch{Run: d.run.ID, Seq: seq, Keys: strings.Split(chunk.Keys, "\n"), AsOf: d.plan.AsOf.Time(), Epoch: d.epoch, Resolver: d.r,
			Action: Action(chunk.Action), Secret: secret, Salt: salt, Budget: brakeFactor*(p.Rows+p.Related) - d.run.counts().Touched()})
		if !errors.Is(err, ErrStaleHolds) || try == 5 {
			return res, err
		}
		d.r = nil
	}
}

var errSuperseded = errors.New("superseded")

// loadAt is load, or the resolver at hand when nothing has changed.
func (s *Service) loadAt(ctx context.Context, r *Resolver, epoch int64) (*Resolver, int64, int64, error) {
	if r != nil {
		revision, err := settingOf(ctx, s.db.Read(), settingRevision)
		if err != nil {
			return nil, 0, 0, err
		}
		now, err := settingOf(ctx, s.db.Read(), settingEpoch)
		if err != nil {
			return nil, 0, 0, err
		}
		if now == epoch {
			return r, revision, epoch, nil
		}
	}
	return s.load(ctx)
}

// ingest brings a batch's result home, once: host and control plane do not share a
// commit, so a batch may be done there and not known here after a crash; then Apply
// reads it back and this runs again.
func (d *driver) ingest(ctx context.Context, res BatchResult) error {
	body, err := json.Marshal(BatchResult{Seq: res.Seq, Counts: res.Counts, Items: []Item{}, Root: res.Root, At: res.At})
	if err != nil {
		return err
	}
	var row runRow
	err = d.s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lease.CheckTx(ctx, tx, d.lease); err != nil {
			return err
		}
		receipt, err := d.s.gov.RecordTx(ctx, tx, governance.System("retention"), governance.Record{Action: "retention.batch",
			Resource: governance.Ref{Kind: "retention_run", ID: d.run.ID}, Data: map[string]any{"seq": res.Seq, "counts": res.Counts, "root": res.Root}})
		if err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&batchRow{Run: d.run.ID, Seq: res.Seq, Body: string(body), Record: receipt.ID.String()}).Exec(ctx); err != nil {
			return err
		}
		items := make([]itemRow, 0, len(res.Items))
		for i, it := range res.Items {
			items = append(items, itemRow{Run: d.run.ID, Seq: res.Seq, Pos: i, Key: it.Key, Outcome: string(it.Outcome), Reason: it.Reason})
		}
		if len(items) > 0 {
			if _, err := tx.NewInsert().Model(&items).Exec(ctx); err != nil {
				return err
			}
		}
		c := res.Counts
		_, err = tx.ExecContext(ctx, `UPDATE retention_run SET deleted = deleted + ?, anonymised = anonymised + ?, held = held + ?, changed = changed + ?,
			failed = failed + ?, related = related + ?, batches = batches + 1, tries = 0, error = '', moved_at = ? WHERE id = ?`,
			c.Deleted, c.Anonymised, c.Held, c.Changed, c.Failed, c.Related, govdb.At(d.s.gov.Now()), d.run.ID)
		if err != nil {
			return err
		}
		row = runRow{}
		return tx.NewSelect().Model(&row).Where("id = ?", d.run.ID).Scan(ctx)
	})
	if err != nil {
		return err
	}
	d.run = row
	d.lease, err = lease.Renew(ctx, d.s.db, d.lease, runLease)
	return err
}

// failed counts a failure; too many in a row give the run up. Its error text stays
// in the log: drivers put values into theirs.
func (d *driver) failed(ctx context.Context, failure error) error {
	if errors.Is(failure, errSuperseded) {
		return d.end(ctx, RunFailed, "rules or policies changed while it was going; make a new plan")
	}
	d.s.log.WarnContext(ctx, "retention run", "run", d.run.ID, "source", d.run.Source, "error", failure)
	row, err := d.s.runRow(ctx, d.run.ID)
	if err != nil || row.EndedAt != 0 {
		return err
	}
	why := "the host database did not answer; see the server's log"
	var invalid *governance.InvalidError
	if errors.As(failure, &invalid) {
		why = invalid.Error()
	}
	if row.Tries+1 >= runTries {
		return d.end(ctx, RunFailed, why)
	}
	return d.s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE retention_run SET tries = tries + 1, error = ? WHERE id = ?", why, d.run.ID)
		return err
	})
}

// end closes a run that did not come through, and says so loudly.
func (d *driver) end(ctx context.Context, state RunState, why string) error {
	return d.s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lease.CheckTx(ctx, tx, d.lease); err != nil {
			return err
		}
		row := runRow{}
		if err := tx.NewSelect().Model(&row).Where("id = ?", d.run.ID).Scan(ctx); err != nil {
			return err
		}
		// The secret that keys the replaced values is of no use any more.
		_, err := tx.ExecContext(ctx, "UPDATE retention_run SET state = ?, error = ?, secret = '', ended_at = ? WHERE id = ?", state, why, govdb.At(d.s.gov.Now()), d.run.ID)
		if err != nil {
			return err
		}
		data := map[string]any{"state": state, "why": why, "counts": row.counts(), "remaining": row.Planned - row.counts().Done()}
		ev, err := governance.NewEvent("retention.run_ended", "", 0, governance.Ref{Kind: "retention_run", ID: d.run.ID}, data)
		if err != nil {
			return err
		}
		receipt, err := d.s.gov.RecordTx(ctx, tx, governance.System("retention"), governance.Record{Action: "retention.run.end", Outcome: governance.OutcomeFailed,
			Resource: governance.Ref{Kind: "retention_run", ID: d.run.ID}, Data: data}, ev)
		if err != nil {
			return err
		}
		_, err = d.s.gov.AlertTx(ctx, tx, governance.Alert{Key: "retention.run:" + d.run.ID, Severity: governance.Critical,
			Title: "Purge of " + d.run.Source + ": " + string(state), Body: why,
			Links: []governance.Link{{Title: "Plan", Kind: "retention_plan", ID: d.run.Plan}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

// CancelRun stops a run before its next batch. What was done stays done and
// accounted for.
func (s *Service) CancelRun(ctx context.Context, id governance.Identity, run governance.ID[Run], reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > 500 || strings.ContainsRune(reason, 0) {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	if err := s.gov.Authorize(ctx, id, "retention:run", governance.Target{}); err != nil {
		return err
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE retention_run SET cancel = ? WHERE id = ? AND ended_at = 0 AND cancel = ''", reason, run.String())
		if err != nil {
			return fmt.Errorf("cancel run %s: %w", run, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			have, err := tx.NewSelect().Model((*runRow)(nil)).Where("id = ?", run.String()).Exists(ctx)
			if err == nil && !have {
				err = governance.ErrNotFound
			} else if err == nil {
				err = governance.ErrConflict
			}
			return fmt.Errorf("run %s: %w", run, err)
		}
		_, err = s.gov.RecordTx(ctx, tx, id, governance.Record{Action: "retention.run.cancel", Resource: governance.RefTo("retention_run", run), Reason: reason})
		return err
	})
}

// RunFilter selects runs; the zero value lists all, newest first.
type RunFilter struct {
	Source string
	Limit  int
	Before string // the last id of the page before
}

// Runs lists runs, newest first.
func (s *Service) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	var rows []runRow
	q := s.db.Read().NewSelect().Model(&rows).Order("started_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if f.Source != "" {
		q = q.Where("source = ?", f.Source)
	}
	if f.Before != "" {
		q = q.Where("(started_at, id) < (SELECT started_at, id FROM retention_run WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	out := make([]Run, 0, len(rows))
	for _, r := range rows {
		run, err := r.run()
		if err != nil {
			return nil, err
		}
		out = append(out, run)
	}
	return out, nil
}

// Run reads one run.
func (s *Service) Run(ctx context.Context, id governance.ID[Run]) (Run, error) {
	row, err := s.runRow(ctx, id.String())
	if err != nil {
		return Run{}, err
	}
	return row.run()
}

// RunItem is a planned row that a run left alone. Cursor continues a list after it.
type RunItem struct {
	Item
	Cursor string `json:"-"`
}

// Items lists the rows that a run left alone, with the reason for each.
func (s *Service) Items(ctx context.Context, run governance.ID[Run], after string, limit int) ([]RunItem, error) {
	if _, err := s.runRow(ctx, run.String()); err != nil {
		return nil, err
	}
	seq, pos := -1, -1
	if after != "" {
		if _, err := fmt.Sscanf(after, "%d.%d", &seq, &pos); err != nil {
			return nil, governance.Invalid("cursor", "is not one of ours")
		}
	}
	var rows []itemRow
	err := s.db.Read().NewSelect().Model(&rows).Where("run = ? AND (seq, pos) > (?, ?)", run.String(), seq, pos).Order("seq", "pos").Limit(pageLimit(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("items of run %s: %w", run, err)
	}
	out := make([]RunItem, len(rows))
	for i, r := range rows {
		out[i] = RunItem{Item{r.Key, Outcome(r.Outcome), r.Reason}, fmt.Sprintf("%d.%d", r.Seq, r.Pos)}
	}
	return out, nil
}
