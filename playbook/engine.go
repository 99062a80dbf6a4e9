package playbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// errLost says that another server took the run over, or a person stopped it.
var errLost = fmt.Errorf("the run changed hands: %w", governance.ErrConflict)

// errCrash is the end of the process, for tests: nothing more is written.
var errCrash = errors.New("crash")

// active is a claimed run.
type active struct {
	runRow
	steps []stepRow
	c     *compiled
	id    governance.Identity
	auth  governance.PersonID // author of the version
}

// Advance drives every run that is due until it has to wait. Runs of other servers
// are left alone; a run whose server died is taken over when its lease ends.
func (s *Service) Advance(ctx context.Context) error {
	now := govdb.At(s.k.Now())
	var ids []uuid.UUID
	err := s.k.DB().Read().NewSelect().Model((*runRow)(nil)).Column("id").
		Where("state IN ('running', 'stopping') AND due_at <= ? AND lease_until <= ?", now, now).Order("due_at", "id").Limit(100).Scan(ctx, &ids)
	if err != nil {
		return fmt.Errorf("runs that are due: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		if err := s.drive(ctx, id); err != nil && !errors.Is(err, errLost) {
			errs = append(errs, fmt.Errorf("run %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) drive(ctx context.Context, id uuid.UUID) error {
	r, ok, err := s.claim(ctx, id)
	if err != nil || !ok {
		return err
	}
	for {
		again, err := s.turn(ctx, r)
		switch {
		case errors.Is(err, errCrash) || errors.Is(err, errLost):
			return err
		case err != nil:
			return errors.Join(err, s.park(context.WithoutCancel(ctx), r, s.k.Now().Add(retryLater)))
		case !again:
			return nil
		}
		if err := s.reload(ctx, r); err != nil {
			return err
		}
	}
}

// claim takes a run under a new fence, so that whoever had it before can write
// nothing more.
func (s *Service) claim(ctx context.Context, id uuid.UUID) (*active, bool, error) {
	ok := false
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := s.k.Now()
		res, err := tx.ExecContext(ctx, "UPDATE playbook_run SET fence = fence + 1, lease_until = ? WHERE id = ? AND state IN ('running', 'stopping') AND due_at <= ? AND lease_until <= ?",
			govdb.At(now.Add(leaseFor)), id, govdb.At(now), govdb.At(now))
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		n, _ := res.RowsAffected()
		ok = n == 1
		return nil
	})
	if err != nil || !ok {
		return nil, false, err
	}
	r := &active{}
	r.ID = id
	if err := s.load(ctx, r); err != nil {
		return nil, false, err
	}
	v, err := s.Version(ctx, r.Playbook, r.Version)
	if err != nil {
		return nil, false, err
	}
	r.auth = v.Author
	r.id = actor(r.Playbook)
	r.id.Causation, r.id.Depth = r.ID, r.Depth
	r.c, err = s.version(ctx, r.Playbook, r.Version)
	if err != nil { // its kinds are gone: nothing can be done, and nothing must be
		return nil, false, errors.Join(err, s.park(ctx, r, s.k.Now().Add(deferFor)))
	}
	return r, true, nil
}

func (s *Service) load(ctx context.Context, r *active) error {
	if err := s.k.DB().Handle().NewSelect().Model(&r.runRow).Where("id = ?", r.ID).Scan(ctx); err != nil {
		return fmt.Errorf("read run: %w", err)
	}
	r.steps = nil
	if err := s.k.DB().Handle().NewSelect().Model(&r.steps).Where("run = ?", r.ID).Order("idx").Scan(ctx); err != nil {
		return fmt.Errorf("read steps: %w", err)
	}
	return nil
}

// reload reads what was written, and notices when the run is not ours any more.
func (s *Service) reload(ctx context.Context, r *active) error {
	fence := r.Fence
	if err := s.load(ctx, r); err != nil {
		return err
	}
	if r.Fence != fence {
		return errLost
	}
	return nil
}

func (r *active) states() []StepState {
	out := make([]StepState, len(r.steps))
	for i, st := range r.steps {
		out[i] = StepState(st.State)
	}
	return out
}

// turn does one thing; again is false when the run has to wait or is over, and is
// parked then.
func (s *Service) turn(ctx context.Context, r *active) (again bool, err error) {
	if RunState(r.State) == RunStopping {
		return s.turnBack(ctx, r)
	}
	v, i := forward(r.states())
	switch v {
	case doBegin:
		return s.begin(ctx, r, &r.steps[i])
	case doWake:
		return s.wake(ctx, r, &r.steps[i])
	case doAsk:
		return s.ask(ctx, r, &r.steps[i])
	case doSettle:
		return s.settle(ctx, r, &r.steps[i])
	case doStop:
		st := r.steps[i]
		end := RunFailed
		if StepState(st.State) == StepCancelled {
			end = RunCancelled
		}
		return true, s.stop(ctx, r, end, st.ID+": "+st.Detail)
	}
	return false, s.finish(ctx, r, RunSucceeded)
}

// write is a transaction of the run's holder; it renews the lease.
func (s *Service) write(ctx context.Context, r *active, fn func(ctx context.Context, tx *governance.Tx) error) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		res, err := tx.ExecContext(ctx, "UPDATE playbook_run SET lease_until = ? WHERE id = ? AND fence = ? AND state = ?", govdb.At(s.k.Now().Add(leaseFor)), r.ID, r.Fence, r.State)
		if err != nil {
			return fmt.Errorf("run: %w", err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return errLost
		}
		return fn(ctx, tx)
	})
}

// park gives the run back until a time.
func (s *Service) park(ctx context.Context, r *active, due time.Time) error {
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE playbook_run SET due_at = ?, lease_until = 0 WHERE id = ?", govdb.At(due), r.ID)
		return err
	})
}

// moveTx changes a step's state, with its line in the timeline and its record.
func (s *Service) moveTx(ctx context.Context, tx *governance.Tx, r *active, st *stepRow, to StepState, detail string, set func(*stepRow)) error {
	from := StepState(st.State)
	if !mayMove(from, to) {
		return fmt.Errorf("step %s may not go from %s to %s: %w", st.ID, from, to, governance.ErrConflict)
	}
	next := *st
	next.State, next.Detail = string(to), detail
	now := govdb.At(s.k.Now())
	if next.StartedAt == 0 {
		next.StartedAt = now
	}
	switch to {
	case StepDone, StepFailed, StepCancelled, StepSkipped, StepUndone, StepRefused:
		next.EndedAt = now
	}
	if set != nil {
		set(&next)
	}
	res, err := tx.NewUpdate().Model(&next).WherePK().Where("state = ?", from).Exec(ctx)
	if err != nil {
		return fmt.Errorf("step %s: %w", st.ID, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fmt.Errorf("step %s is not %s any more: %w", st.ID, from, governance.ErrConflict)
	}
	if err := s.noteTx(ctx, tx, r, st.ID, string(to), detail); err != nil {
		return err
	}
	oc := map[StepState]governance.RecordOutcome{StepFailed: governance.OutcomeFailed, StepUnknown: governance.OutcomeUnknown, StepAwaiting: governance.OutcomeHeld, StepRefused: governance.OutcomeDenied}[to]
	data := map[string]any{"run": r.ID, "playbook": r.Playbook, "version": r.Version, "step": st.ID, "kind": st.Kind, "from": from, "state": to, "detail": detail}
	if next.Approval != "" {
		data["approval"] = next.Approval
	}
	_, err = s.k.RecordTx(ctx, tx, r.id, governance.Record{Action: "playbook.step", Outcome: oc, Tenant: governance.TenantID(r.Tenant), Resource: governance.RefTo("playbook_run", r.ID), Data: data})
	return err
}

// noteTx adds a line to the run's timeline.
func (s *Service) noteTx(ctx context.Context, tx *governance.Tx, r *active, step, state, detail string) error {
	return s.noteAsTx(ctx, tx, r.ID, step, state, detail, r.id.Actor.ID)
}

func (s *Service) noteAsTx(ctx context.Context, tx *governance.Tx, run uuid.UUID, step, state, detail, by string) error {
	var n int64
	if err := tx.NewRaw("SELECT COALESCE(MAX(n), 0) FROM playbook_timeline WHERE run = ?", run).Scan(ctx, &n); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	row := &timelineRow{Run: run, N: n + 1, At: govdb.At(s.k.Now()), Step: step, State: state, Detail: clip(detail), Actor: by}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	return nil
}

// call makes the Call of a step, from its stored parameters when it has them.
func (s *Service) call(ctx context.Context, r *active, st *stepRow) (Call, error) {
	c := Call{Run: r.ID, Playbook: r.Playbook, Version: r.Version, Step: st.ID, Index: st.Index, Tenant: governance.TenantID(r.Tenant), Idem: idem(r.ID, st.Index), Identity: r.id,
		Reason: fmt.Sprintf("playbook %s version %d, step %s", r.Playbook, r.Version, st.ID)}
	if r.auth != "" {
		c.Exclude = []governance.PersonID{r.auth}
	}
	var err error
	if st.Input != "" {
		c.Params, err = fromJSON[Params]("parameters", st.Input)
		return c, err
	}
	t, err := s.k.Tenant(ctx, c.Tenant)
	if err != nil {
		return c, err
	}
	rs, err := fromJSON[map[string]Reading]("signals", r.Signals)
	if err != nil {
		return c, err
	}
	sc := scope{tenant: t, run: r.ID, playbook: r.Playbook, signals: rs, steps: map[string]Output{}}
	for _, done := range r.steps {
		if StepState(done.State) == StepDone {
			if sc.steps[done.ID], err = fromJSON[Output]("output", done.Output); err != nil {
				return c, err
			}
		}
	}
	params, err := sc.resolve(s.kinds[st.Kind], r.c.Steps[st.Index].Params)
	if err != nil {
		return c, governance.Invalid("params", "%v", err)
	}
	c.Params = params
	return c, nil
}

// fail ends a step whose effect is certainly not there.
func (s *Service) fail(ctx context.Context, r *active, st *stepRow, why string) error {
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepFailed, why, nil)
	})
}

// begin starts a pending step.
func (s *Service) begin(ctx context.Context, r *active, st *stepRow) (bool, error) {
	k := s.kinds[st.Kind]
	if st.Approval != "" { // an approval step asked for it already
		return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
			return s.moveTx(ctx, tx, r, st, StepAwaiting, "as asked before", nil)
		})
	}
	if st.Kind == KindWait {
		return true, s.beginWait(ctx, r, st)
	}
	if err := s.pausedNow(ctx, s.k.DB().Handle(), r.Playbook); err != nil {
		return false, s.parkPaused(ctx, r, err)
	}
	seen, go_, err := s.mayAct(ctx, r, st)
	if err != nil || !go_ {
		return seen != nil, err
	}
	call, err := s.call(ctx, r, st)
	var invalid *governance.InvalidError
	if errors.As(err, &invalid) {
		return true, s.fail(ctx, r, st, invalid.Reason)
	}
	if err != nil {
		return false, err
	}
	if k.DoTx == nil {
		return s.beginRemote(ctx, r, st, call, seen)
	}
	return s.beginLocal(ctx, r, st, k, call, seen)
}

func (s *Service) beginWait(ctx context.Context, r *active, st *stepRow) error {
	var d Duration
	text, _ := r.c.Steps[st.Index].Params["for"].(string)
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return err
	}
	due := s.k.Now().Add(d.Duration)
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepWaiting, "until "+due.Format(time.RFC3339), func(n *stepRow) { n.DueAt = govdb.At(due) })
	})
}

func (s *Service) wake(ctx context.Context, r *active, st *stepRow) (bool, error) {
	if s.k.Now().Before(st.DueAt.Time()) {
		return false, s.park(ctx, r, st.DueAt.Time())
	}
	return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepDone, "the time is over", nil)
	})
}

// verdictOf takes an answer of the guard out of an error: it is written down, so
// the transaction must commit.
func verdictOf(err error) (held *governance.ApprovalRequiredError, denied *governance.DeniedError) {
	errors.As(err, &held)
	errors.As(err, &denied)
	return held, denied
}

// beginLocal runs a local step: its effect and its state share one commit.
func (s *Service) beginLocal(ctx context.Context, r *active, st *stepRow, k Kind, call Call, seen *look) (bool, error) {
	if err := s.hook("local " + st.ID); err != nil {
		return false, err
	}
	err := s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.pausedNow(ctx, tx, r.Playbook); err != nil {
			return err
		}
		var out Output
		var wait *governance.ApprovalRequiredError
		var denied *governance.DeniedError
		failure := tx.Savepoint(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
			out, err = k.DoTx(ctx, tx, call)
			if wait, denied = verdictOf(err); wait != nil || denied != nil {
				return nil
			}
			return err
		})
		set := func(n *stepRow) {
			n.Input, n.Output, n.Attempts = toJSON(call.Params), toJSON(out), n.Attempts+1
			seen.into(n)
		}
		switch {
		case errors.Is(failure, governance.ErrRetry):
			return failure
		case failure != nil:
			s.k.Logger().WarnContext(ctx, "playbook step failed", "run", r.ID, "step", st.ID, "error", failure)
			return s.moveTx(ctx, tx, r, st, StepFailed, reason(failure), set)
		case denied != nil:
			return s.moveTx(ctx, tx, r, st, StepFailed, denied.Error(), set)
		case wait != nil:
			return s.heldTx(ctx, tx, r, st, call, wait, seen)
		}
		return s.moveTx(ctx, tx, r, st, StepDone, "", set)
	})
	if errors.Is(err, errPaused) {
		return false, s.parkPaused(ctx, r, err)
	}
	if err != nil {
		return false, err
	}
	if err := s.hook("local done " + st.ID); err != nil {
		return false, err
	}
	return true, nil
}

// heldTx lets a step wait for people. An approval step that names a later step
// waits on that step's own approval.
func (s *Service) heldTx(ctx context.Context, tx *governance.Tx, r *active, st *stepRow, call Call, wait *governance.ApprovalRequiredError, seen *look) error {
	detail := strings.Join(wait.Why, "; ")
	err := s.moveTx(ctx, tx, r, st, StepAwaiting, detail, func(n *stepRow) {
		n.Approval, n.Input = wait.Approval.String(), toJSON(call.Params)
		seen.into(n)
	})
	if err != nil {
		return err
	}
	target, ok := r.target(st)
	if !ok {
		return nil
	}
	asked, err := s.targetCall(ctx, r, target)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE playbook_step SET approval = ?, input = ? WHERE run = ? AND idx = ?", wait.Approval.String(), toJSON(asked.Params), r.ID, target.Index)
	return err
}

// target is the later step that an approval step asks for.
func (r *active) target(st *stepRow) (*stepRow, bool) {
	name, ok := r.c.Steps[st.Index].Params["step"].(string)
	if st.Kind != KindApproval || !ok {
		return nil, false
	}
	for i := range r.steps {
		if r.steps[i].ID == name {
			return &r.steps[i], true
		}
	}
	return nil, false
}

func (s *Service) targetCall(ctx context.Context, r *active, target *stepRow) (Call, error) {
	fresh := *target
	fresh.Input = ""
	return s.call(ctx, r, &fresh)
}

// beginRemote claims a remote step, calls, and writes how it ended. Between the
// claim and the receipt nobody knows; settle finds out.
func (s *Service) beginRemote(ctx context.Context, r *active, st *stepRow, call Call, seen *look) (bool, error) {
	err := s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.pausedNow(ctx, tx, r.Playbook); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, StepRunning, fmt.Sprintf("call %d", st.Attempts+1), func(n *stepRow) {
			n.Input, n.Attempts = toJSON(call.Params), n.Attempts+1
			seen.into(n)
		})
	})
	if errors.Is(err, errPaused) {
		return false, s.parkPaused(ctx, r, err)
	}
	if err != nil {
		return false, err
	}
	if err := s.hook("claimed " + st.ID); err != nil {
		return false, err
	}
	k := s.kinds[st.Kind]
	var out Output
	failure := s.outside(ctx, func(ctx context.Context) (err error) {
		out, err = k.Do(ctx, call)
		return err
	})
	if err := s.hook("called " + st.ID); err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx) // the receipt of what happened is written in any case
	if err := s.reload(ctx, r); err != nil {
		return false, err
	}
	return s.receipt(ctx, r, &r.steps[st.Index], out, failure)
}

// outside calls foreign code with a deadline; a panic is an unknown outcome.
func (s *Service) outside(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CallLimit)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn(ctx)
}

func (s *Service) receipt(ctx context.Context, r *active, st *stepRow, out Output, failure error) (bool, error) {
	switch {
	case failure == nil:
		return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
			if err := s.k.ResolveAlertTx(ctx, tx, unknownAlert(r.ID, st.ID)); err != nil {
				return err
			}
			return s.moveTx(ctx, tx, r, st, StepDone, "", func(n *stepRow) { n.Output = toJSON(out) })
		})
	case governance.IsNotDone(failure) && st.Attempts < remoteTries:
		s.k.Logger().WarnContext(ctx, "playbook step refused, tried again later", "run", r.ID, "step", st.ID, "error", failure)
		err := s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
			return s.moveTx(ctx, tx, r, st, StepPending, fmt.Sprintf("call %d had no effect; it is tried again", st.Attempts), nil)
		})
		if err != nil {
			return false, err
		}
		return false, s.park(ctx, r, s.k.Now().Add(backoff(st.Attempts)))
	case governance.IsNotDone(failure):
		return true, s.fail(ctx, r, st, fmt.Sprintf("%d calls had no effect", st.Attempts))
	}
	s.k.Logger().WarnContext(ctx, "playbook step has no answer", "run", r.ID, "step", st.ID, "error", failure)
	return false, s.noAnswer(ctx, r, st, reason(failure))
}

func backoff(n int) time.Duration { return time.Duration(30<<min(n, 7)) * time.Second }

func unknownAlert(run uuid.UUID, step string) string {
	return "playbook.unknown:" + run.String() + "/" + step
}

func runLink(id uuid.UUID) governance.Link {
	return governance.Link{Title: "Playbook run", Kind: "playbook_run", ID: id.String()}
}

func (s *Service) noAnswer(ctx context.Context, r *active, st *stepRow, why string) error {
	err := s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: unknownAlert(r.ID, st.ID), Severity: governance.Critical, Title: "Nobody knows whether step " + st.ID + " of " + r.Playbook + " happened",
			Body: why, Tenant: governance.TenantID(r.Tenant), Links: []governance.Link{runLink(r.ID)}}); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, StepUnknown, why, func(n *stepRow) { n.Attempts++ })
	})
	if err != nil {
		return err
	}
	return s.park(ctx, r, s.k.Now().Add(backoff(st.Attempts)))
}

// settle finds out what became of a claimed step.
func (s *Service) settle(ctx context.Context, r *active, st *stepRow) (bool, error) {
	if st.Approval != "" {
		return s.ask(ctx, r, st)
	}
	call, err := s.call(ctx, r, st)
	if err != nil {
		return false, err
	}
	var out Output
	found := false
	failure := s.outside(ctx, func(ctx context.Context) (err error) {
		out, found, err = s.kinds[st.Kind].Lookup(ctx, call)
		return err
	})
	stopping := RunState(r.State) == RunStopping
	switch {
	case failure != nil && stopping && st.Attempts >= lookupTries:
		return true, s.refuse(ctx, r, st, "nobody can tell whether it happened")
	case failure != nil:
		s.k.Logger().WarnContext(ctx, "playbook step could not be looked up", "run", r.ID, "step", st.ID, "error", failure)
		return false, s.noAnswer(ctx, r, st, reason(failure))
	case found:
		return s.receipt(ctx, r, st, out, nil)
	case stopping:
		return true, s.settled(ctx, r, st, StepCancelled, "it had not happened")
	case st.Attempts >= remoteTries:
		return true, s.settled(ctx, r, st, StepFailed, fmt.Sprintf("after %d tries the effect is not there", st.Attempts))
	}
	if err := s.pausedNow(ctx, s.k.DB().Handle(), r.Playbook); err != nil {
		return false, s.parkPaused(ctx, r, err)
	}
	seen, go_, err := s.mayAct(ctx, r, st)
	if err != nil || !go_ {
		return seen != nil, err
	}
	return s.beginRemote(ctx, r, st, call, seen)
}

// settled ends a step that was unknown.
func (s *Service) settled(ctx context.Context, r *active, st *stepRow, to StepState, why string) error {
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.k.ResolveAlertTx(ctx, tx, unknownAlert(r.ID, st.ID)); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, to, why, nil)
	})
}

// ask sees how the approval of a step stands.
func (s *Service) ask(ctx context.Context, r *active, st *stepRow) (bool, error) {
	id, err := uuid.Parse(st.Approval)
	if err != nil {
		return false, fmt.Errorf("approval of step %s: %w", st.ID, err)
	}
	a, err := s.k.Approval(ctx, id)
	if err != nil {
		return false, err
	}
	_, early := r.target(st)
	switch a.State {
	case governance.StateApproved, governance.StateFailed:
		switch {
		case early:
			return true, s.approved(ctx, r, st, a)
		case a.State == governance.StateFailed && st.Attempts >= remoteTries:
			return true, s.fail(ctx, r, st, "after approval: "+a.Error)
		}
		return s.execute(ctx, r, st, a)
	case governance.StateExecuted:
		return true, s.approved(ctx, r, st, a)
	case governance.StatePending, governance.StateExecuting, governance.StateUnknown:
		return false, s.park(ctx, r, s.k.Now().Add(approvalPoll))
	}
	return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepCancelled, "its approval is "+string(a.State)+notEmpty(": ", a.Error), nil)
	})
}

func notEmpty(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func voters(a governance.Approval) string {
	var who []string
	for _, v := range a.Votes {
		if v.Decision == governance.Approve {
			who = append(who, string(v.Person))
		}
	}
	return strings.Join(who, ", ")
}

// approved ends a step whose approved action was executed; an approval step that
// asked for a later step ends with the vote itself.
func (s *Service) approved(ctx context.Context, r *active, st *stepRow, a governance.Approval) error {
	out := Output{}
	if len(a.Result) > 0 && string(a.Result) != "null" {
		if err := json.Unmarshal(a.Result, &out); err != nil {
			return fmt.Errorf("result of %s: %w", a.ID, err)
		}
	}
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.k.ResolveAlertTx(ctx, tx, "approval.failed:"+a.ID.String()); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, StepDone, "approved by "+voters(a), func(n *stepRow) { n.Output = toJSON(out) })
	})
}

// execute runs what people approved, after a last look at the condition.
func (s *Service) execute(ctx context.Context, r *active, st *stepRow, a governance.Approval) (bool, error) {
	if err := s.pausedNow(ctx, s.k.DB().Handle(), r.Playbook); err != nil {
		return false, s.parkPaused(ctx, r, err)
	}
	seen, go_, err := s.mayAct(ctx, r, st)
	if err != nil || !go_ {
		return seen != nil, err
	}
	err = s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.pausedNow(ctx, tx, r.Playbook); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, StepRunning, "approved by "+voters(a), func(n *stepRow) { n.Attempts++; seen.into(n) })
	})
	if errors.Is(err, errPaused) {
		return false, s.parkPaused(ctx, r, err)
	}
	if err != nil {
		return false, err
	}
	if err := s.hook("claimed " + st.ID); err != nil {
		return false, err
	}
	_, failure := s.k.Execute(ctx, governance.System("playbook"), a.ID)
	if err := s.hook("called " + st.ID); err != nil {
		return false, err
	}
	if failure == nil {
		return true, nil // ask reads the result
	}
	s.k.Logger().WarnContext(ctx, "playbook step failed after approval", "run", r.ID, "step", st.ID, "error", failure)
	now, err := s.k.Approval(ctx, a.ID)
	if err != nil || now.State == governance.StateExecuted {
		return err == nil, err
	}
	if err := s.reload(ctx, r); err != nil {
		return false, err
	}
	st = &r.steps[st.Index]
	err = s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepAwaiting, reason(failure), nil)
	})
	if err != nil {
		return false, err
	}
	return false, s.park(ctx, r, s.k.Now().Add(backoff(st.Attempts)))
}

// CheckClaimTx is nil when the step is claimed right now by a run that is not
// stopping and not paused: the condition was looked at a moment ago. An executor
// that must not run without that look asks it; so a vote alone executes nothing.
func CheckClaimTx(ctx context.Context, tx *governance.Tx, run uuid.UUID, step string) error {
	ok, err := tx.NewSelect().Model((*stepRow)(nil)).Where("run = ? AND id = ? AND state = ?", run, step, StepRunning).
		Where("EXISTS (SELECT 1 FROM playbook_run AS r WHERE r.id = ? AND r.state = ? AND NOT EXISTS (SELECT 1 FROM playbook_pause AS p WHERE p.name IN ('', r.playbook)))", run, RunRunning).Exists(ctx)
	if err != nil {
		return fmt.Errorf("claim of step %s: %w", step, err)
	}
	if !ok {
		return fmt.Errorf("step %s of run %s is not being executed: %w", step, run, governance.ErrConflict)
	}
	return nil
}

// finish ends a run.
func (s *Service) finish(ctx context.Context, r *active, state RunState) error {
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		now := govdb.At(s.k.Now())
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_run SET state = ?, ended_at = ?, lease_until = 0 WHERE id = ?", state, now, r.ID); err != nil {
			return fmt.Errorf("finish: %w", err)
		}
		if err := s.noteTx(ctx, tx, r, "", string(state), r.Why); err != nil {
			return err
		}
		ev, err := governance.NewEvent("playbook.run_ended", governance.TenantID(r.Tenant), 0, governance.RefTo("playbook_run", r.ID),
			map[string]any{"run": r.ID, "playbook": r.Playbook, "version": r.Version, "tenant": r.Tenant, "state": state, "why": r.Why})
		if err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, r.id, governance.Record{Action: "playbook.run.end", Tenant: governance.TenantID(r.Tenant), Resource: governance.RefTo("playbook_run", r.ID),
			Data: map[string]any{"playbook": r.Playbook, "version": r.Version, "state": state, "why": r.Why}}, ev)
		return err
	})
}
