package playbook

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// stop lets a run settle what is open and, when its playbook says so, takes back
// what was done.
func (s *Service) stop(ctx context.Context, r *active, end RunState, why string) error {
	undo := r.c.OnStop == OnStopRollback
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_run SET state = ?, end_state = ?, undo = ?, why = ?, deferred_at = 0 WHERE id = ?", RunStopping, end, undo, clip(why), r.ID); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
		if err := s.k.ResolveAlertTx(ctx, tx, "playbook.deferred:"+r.ID.String()); err != nil {
			return err
		}
		if err := s.noteTx(ctx, tx, r, "", string(RunStopping), why); err != nil {
			return err
		}
		_, err := s.k.RecordTx(ctx, tx, r.id, governance.Record{Action: "playbook.run.stop", Tenant: governance.TenantID(r.Tenant), Resource: governance.RefTo("playbook_run", r.ID),
			Data: map[string]any{"playbook": r.Playbook, "version": r.Version, "to": end, "undo": undo, "why": why}})
		return err
	})
}

// turnBack does one thing in a stopping run.
func (s *Service) turnBack(ctx context.Context, r *active) (bool, error) {
	undoable := func(i int) bool {
		return r.c.Steps[i].Undo != UndoNone && s.kinds[r.steps[i].Kind].undoable()
	}
	v, i := backward(r.states(), r.Undo, undoable)
	switch v {
	case doSettle:
		if r.steps[i].Approval != "" {
			return s.dropAsked(ctx, r, &r.steps[i])
		}
		return s.settle(ctx, r, &r.steps[i])
	case doDrop:
		return s.drop(ctx, r, &r.steps[i])
	case doUndo:
		if s.kinds[r.steps[i].Kind].DoTx != nil {
			return true, s.undoLocal(ctx, r, &r.steps[i])
		}
		return s.undoRemote(ctx, r, &r.steps[i])
	}
	return false, s.finish(ctx, r, ended(r.states(), r.Undo, RunState(r.EndState)))
}

// drop ends a step that had no effect yet.
func (s *Service) drop(ctx context.Context, r *active, st *stepRow) (bool, error) {
	if StepState(st.State) == StepAwaiting {
		return s.dropAsked(ctx, r, st)
	}
	to := StepCancelled
	if StepState(st.State) == StepPending {
		to = StepSkipped
	}
	return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, to, "not reached", nil)
	})
}

// dropAsked ends a step with an approval: executed already, it was done after all.
func (s *Service) dropAsked(ctx context.Context, r *active, st *stepRow) (bool, error) {
	id, err := uuid.Parse(st.Approval)
	if err != nil {
		return false, fmt.Errorf("approval of step %s: %w", st.ID, err)
	}
	a, err := s.k.Approval(ctx, id)
	if err != nil {
		return false, err
	}
	switch a.State {
	case governance.StateExecuted:
		return true, s.approved(ctx, r, st, a)
	case governance.StateExecuting, governance.StateUnknown:
		return false, s.park(ctx, r, s.k.Now().Add(retryLater))
	case governance.StatePending, governance.StateApproved:
		if err := s.k.Cancel(ctx, r.id, id, "the run that asked for it is over"); err != nil {
			return false, err
		}
	}
	return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		if err := s.k.ResolveAlertTx(ctx, tx, "approval.failed:"+id.String()); err != nil {
			return err
		}
		return s.moveTx(ctx, tx, r, st, StepCancelled, "not executed", nil)
	})
}

// undone turns the answer of an undo into a state; again is an answer that may
// change.
func undone(err error) (to StepState, detail string, again bool) {
	held, denied := verdictOf(err)
	switch {
	case err == nil:
		return StepUndone, "", false
	case errors.Is(err, governance.ErrNotFound):
		return StepUndone, "it was gone already", false
	case held != nil:
		return StepRefused, "taking it back needs approval " + held.Approval.String(), false
	case denied != nil:
		return StepRefused, denied.Error(), false
	case errors.Is(err, governance.ErrConflict):
		return StepRefused, "somebody changed it since; it is left as it is", false
	}
	return StepRefused, "", true
}

// undoLocal takes a local step back in the commit that says so.
func (s *Service) undoLocal(ctx context.Context, r *active, st *stepRow) error {
	call, out, err := s.undoCall(ctx, r, st)
	if err != nil {
		return err
	}
	if err := s.hook("undo " + st.ID); err != nil {
		return err
	}
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		var answer error
		failure := tx.Savepoint(ctx, func(ctx context.Context, tx *governance.Tx) error {
			answer = s.kinds[st.Kind].UndoTx(ctx, tx, call, out)
			if held, denied := verdictOf(answer); held != nil || denied != nil {
				return nil
			}
			return answer
		})
		if answer == nil {
			answer = failure
		}
		if errors.Is(answer, governance.ErrRetry) {
			return answer
		}
		to, detail, again := undone(answer)
		if again {
			s.k.Logger().WarnContext(ctx, "playbook step could not be taken back", "run", r.ID, "step", st.ID, "error", answer)
			detail = "it could not be taken back: " + reason(answer)
		}
		return s.undoneTx(ctx, tx, r, st, to, detail)
	})
}

func (s *Service) undoneTx(ctx context.Context, tx *governance.Tx, r *active, st *stepRow, to StepState, detail string) error {
	if to == StepRefused {
		_, err := s.k.AlertTx(ctx, tx, governance.Alert{Key: "playbook.rollback:" + r.ID.String(), Severity: governance.Critical, Title: "A rollback of " + r.Playbook + " is incomplete",
			Body: "Step " + st.ID + ": " + detail, Tenant: governance.TenantID(r.Tenant), Links: []governance.Link{runLink(r.ID)}})
		if err != nil {
			return err
		}
	}
	return s.moveTx(ctx, tx, r, st, to, detail, func(n *stepRow) { n.UndoAttempts++ })
}

// refuse leaves a step to people.
func (s *Service) refuse(ctx context.Context, r *active, st *stepRow, why string) error {
	return s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.undoneTx(ctx, tx, r, st, StepRefused, why)
	})
}

func (s *Service) undoCall(ctx context.Context, r *active, st *stepRow) (Call, Output, error) {
	call, err := s.call(ctx, r, st)
	if err != nil {
		return call, nil, err
	}
	call.Reason += ", rolled back: " + r.Why
	out, err := fromJSON[Output]("output", st.Output)
	return call, out, err
}

// undoRemote claims, calls and writes. After a crash between it calls again with
// the same id, which Kind.Undo must bear.
func (s *Service) undoRemote(ctx context.Context, r *active, st *stepRow) (bool, error) {
	call, out, err := s.undoCall(ctx, r, st)
	if err != nil {
		return false, err
	}
	err = s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.moveTx(ctx, tx, r, st, StepUndoing, fmt.Sprintf("call %d", st.UndoAttempts+1), func(n *stepRow) { n.UndoAttempts++ })
	})
	if err != nil {
		return false, err
	}
	if err := s.hook("claimed undo " + st.ID); err != nil {
		return false, err
	}
	failure := s.outside(ctx, func(ctx context.Context) error { return s.kinds[st.Kind].Undo(ctx, call, out) })
	if err := s.hook("called undo " + st.ID); err != nil {
		return false, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.reload(ctx, r); err != nil {
		return false, err
	}
	st = &r.steps[st.Index]
	to, detail, again := undone(failure)
	if again {
		s.k.Logger().WarnContext(ctx, "playbook step could not be taken back", "run", r.ID, "step", st.ID, "error", failure)
		if st.UndoAttempts < undoTries {
			return false, s.park(ctx, r, s.k.Now().Add(backoff(st.UndoAttempts)))
		}
		detail = fmt.Sprintf("%d tries to take it back failed", st.UndoAttempts)
	}
	return true, s.write(ctx, r, func(ctx context.Context, tx *governance.Tx) error {
		return s.undoneTx(ctx, tx, r, st, to, detail)
	})
}

// requestTx makes a run stop from outside. Whoever drives it loses it: a call that
// is under way is settled by looking it up.
func (s *Service) requestTx(ctx context.Context, tx *governance.Tx, id governance.Identity, run uuid.UUID, from []RunState, end RunState, undo bool, why string) (runRow, error) {
	var row runRow
	if err := tx.NewSelect().Model(&row).Where("id = ?", run).Scan(ctx); err != nil {
		return row, fmt.Errorf("run %s: %w", run, notFound(err))
	}
	ok := false
	for _, f := range from {
		ok = ok || RunState(row.State) == f
	}
	if !ok || Mode(row.Mode) != Live {
		return row, fmt.Errorf("run %s is %s: %w", run, row.State, governance.ErrConflict)
	}
	res, err := tx.ExecContext(ctx, "UPDATE playbook_run SET state = ?, end_state = ?, undo = ?, why = ?, due_at = ?, lease_until = 0, deferred_at = 0, ended_at = 0, fence = fence + 1 WHERE id = ? AND state = ?",
		RunStopping, end, undo, clip(why), govdb.At(s.k.Now()), run, row.State)
	if err != nil {
		return row, fmt.Errorf("run %s: %w", run, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return row, fmt.Errorf("run %s: %w", run, governance.ErrRetry)
	}
	if err := s.k.ResolveAlertTx(ctx, tx, "playbook.deferred:"+run.String()); err != nil {
		return row, err
	}
	if err := s.noteAsTx(ctx, tx, run, "", string(RunStopping), why, id.Actor.ID); err != nil {
		return row, err
	}
	_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.run.stop", Tenant: governance.TenantID(row.Tenant), Resource: governance.RefTo("playbook_run", run), Reason: why,
		Data: map[string]any{"playbook": row.Playbook, "version": row.Version, "to": end, "undo": undo}})
	return row, err
}

// rollbackExempt is how long a tenant whose run a person took back is left alone:
// the same rule would take it again the next day.
const rollbackExempt = 30 * day

// Rollback takes a run back in reverse order; what somebody changed since stays as
// it is. The tenant is exempt from the playbook for 30 days.
func (s *Service) Rollback(ctx context.Context, id governance.Identity, run uuid.UUID, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := s.requestTx(ctx, tx, id, run, []RunState{RunRunning, RunSucceeded, RunExited, RunFailed, RunCancelled}, RunRolledBack, true, "rolled back by hand: "+why)
		if err != nil {
			return err
		}
		_, err = s.exemptTx(ctx, tx, id, Exemption{Playbook: row.Playbook, Tenant: governance.TenantID(row.Tenant), Reason: "rolled back by hand: " + why, Until: s.k.Now().Add(rollbackExempt)})
		return err
	})
}

// Cancel ends a run that is under way and leaves what was done.
func (s *Service) Cancel(ctx context.Context, id governance.Identity, run uuid.UUID, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.requestTx(ctx, tx, id, run, []RunState{RunRunning}, RunCancelled, false, "cancelled by hand: "+why)
		return err
	})
}

// EndWait ends the wait that a run stands at: the answer has come, or nobody needs
// the time. What follows is guarded as ever.
func (s *Service) EndWait(ctx context.Context, id governance.Identity, run uuid.UUID, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:run", governance.Target{}); err != nil {
		return err
	}
	if why == "" || len(why) > 500 {
		return governance.Invalid("reason", "is required, at most 500 bytes")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := govdb.At(s.k.Now())
		// The fence takes the run from whoever drives it, which read the old time.
		res, err := tx.ExecContext(ctx, "UPDATE playbook_run SET due_at = ?, lease_until = 0, fence = fence + 1 WHERE id = ? AND state = ?", now, run, RunRunning)
		if err != nil {
			return fmt.Errorf("run %s: %w", run, err)
		}
		var row runRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", run).Scan(ctx); err != nil {
			return fmt.Errorf("run %s: %w", run, notFound(err))
		}
		var step string
		err = tx.NewRaw("UPDATE playbook_step SET due_at = ? WHERE run = ? AND state = ? RETURNING id", now, run, StepWaiting).Scan(ctx, &step)
		if n, _ := res.RowsAffected(); n == 0 || errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("run %s does not wait for a time: %w", run, governance.ErrConflict)
		}
		if err != nil {
			return fmt.Errorf("run %s: %w", run, err)
		}
		if err := s.noteAsTx(ctx, tx, run, step, string(StepWaiting), "ended by hand: "+why, id.Actor.ID); err != nil {
			return err
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.run.end_wait", Tenant: governance.TenantID(row.Tenant), Resource: governance.RefTo("playbook_run", run), Reason: why,
			Data: map[string]any{"playbook": row.Playbook, "version": row.Version, "step": step}})
		return err
	})
}

// reverseAll takes back every run whose reason is gone.
func (s *Service) reverseAll(ctx context.Context, c *compiled) error {
	var rows []runRow
	err := s.k.DB().Handle().NewSelect().Model(&rows).Where("playbook = ? AND mode = ? AND state IN ('running', 'succeeded') AND created_at > ?", c.Name, Live, govdb.At(s.k.Now().Add(-rollbackReach))).
		Order("created_at").Limit(1000).Scan(ctx)
	if err != nil {
		return fmt.Errorf("runs to take back: %w", err)
	}
	return s.reverse(ctx, rows, "schedule")
}

// reverseFor is reverseAll for one tenant, after an event.
func (s *Service) reverseFor(ctx context.Context, tenant, event string) error {
	var rows []runRow
	err := s.k.DB().Handle().NewSelect().Model(&rows).Where("tenant = ? AND mode = ? AND state IN ('running', 'succeeded') AND created_at > ?", tenant, Live, govdb.At(s.k.Now().Add(-rollbackReach))).
		Order("created_at").Limit(100).Scan(ctx)
	if err != nil {
		return fmt.Errorf("runs to take back: %w", err)
	}
	return s.reverse(ctx, rows, event)
}

func (s *Service) reverse(ctx context.Context, rows []runRow, event string) error {
	var errs []error
	for _, row := range rows {
		if err := s.reverseOne(ctx, row, event); err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", row.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) reverseOne(ctx context.Context, row runRow, event string) error {
	c, err := s.version(ctx, row.Playbook, row.Version)
	if err != nil {
		return err
	}
	if c.reverse == nil || event != "schedule" && !contains(c.Rollback.Events, event) {
		return nil
	}
	t, err := s.k.Tenant(ctx, governance.TenantID(row.Tenant))
	if err != nil {
		return err
	}
	now := s.k.Now()
	sigs, err := s.signals(ctx, []governance.Tenant{t}, now)
	if err != nil {
		return err
	}
	rs, faults := c.readings(sigs[t.ID], now)
	if len(faults) > 0 { // taking back is an act as well: never on stale data, the next look decides
		return nil
	}
	yes, err := c.reverse.Eval(ctx, vars(t, rs, event, now))
	if err != nil || !yes {
		return err
	}
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.requestTx(ctx, tx, actor(row.Playbook), row.ID, []RunState{RunRunning, RunSucceeded}, RunRolledBack, true, "the reason for it is gone ("+event+")")
		return err
	})
	if errors.Is(err, governance.ErrConflict) { // a person was faster
		return nil
	}
	return err
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
