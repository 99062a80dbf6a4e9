package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const (
	leaseSlack      = 30 * time.Second // over the call's own deadline, before somebody else may look
	remoteAttempts  = 10
	autoRetryAfter  = 5 * time.Second
	settledErrorMax = 500
)

// Execute runs an approved action once, on its stored input, as its requester. It
// is called after the last vote, by the sweep, or by hand when the policy says
// manual; whoever calls it, the same checks are made again first: the requester is
// still there and permitted, the voters still hold their groups, policy and
// resource are unchanged. A second Execute is ErrConflict.
func (k *Kernel) Execute(ctx context.Context, id Identity, approval uuid.UUID) (Outcome, error) {
	if id.Actor.Kind != ActorSystem {
		if id.Subject != nil {
			return Outcome{}, &DeniedError{"approval.execute", "impersonation", "refused while impersonating somebody"}
		}
		if err := k.Authorize(ctx, id, "approval:read", Target{}); err != nil {
			return Outcome{}, err
		}
	}
	a, err := k.readApproval(ctx, k.db.Handle(), approval)
	if err != nil {
		return Outcome{}, err
	}
	if a.State != StateApproved && a.State != StateFailed {
		return Outcome{}, fmt.Errorf("approval %s is %s: %w", approval, a.State, ErrConflict)
	}
	d, err := k.defined(a.Action)
	if err != nil {
		return Outcome{}, err
	}
	in, err := d.decode(a.Input)
	if err != nil {
		return Outcome{}, err
	}
	gone, err := k.noLonger(ctx, d, &a)
	if err != nil {
		return Outcome{}, err
	}
	run := approvedRun{k: k, a: a, d: d, in: in, by: id, gone: gone}
	if gone == "" && d.before != nil {
		var invalid *InvalidError
		if run.unfit = d.before(ctx, a.identity, in, a.CreatedAt); run.unfit != nil && !errors.As(run.unfit, &invalid) {
			return Outcome{}, fmt.Errorf("execute %s: %w", approval, run.unfit)
		}
	}
	if err := k.db.Do(ctx, run.tx); err != nil {
		return Outcome{}, fmt.Errorf("execute %s: %w", approval, err)
	}
	switch {
	case run.closed != "":
		return run.out, fmt.Errorf("approval %s is %s: %s: %w", approval, run.out.State, run.closed, ErrConflict)
	case run.failure != nil:
		return run.out, fmt.Errorf("execute %s: %w", approval, run.failure)
	case run.out.State == StateExecuting:
		return k.callRemote(ctx, a.ID)
	}
	return run.out, nil
}

// noLonger says why an approved action may not run any more, or is empty. It also
// brings the requester's roles up to date.
func (k *Kernel) noLonger(ctx context.Context, d *definition, a *Approval) (string, error) {
	if a.identity.Actor.Person != "" {
		p, err := k.resolve(ctx, a.identity.Actor.Person)
		if err != nil {
			return "", fmt.Errorf("resolve the requester: %w", err)
		}
		if !p.Active {
			return "its requester is not active any more", nil
		}
		a.identity.Actor.Roles, a.identity.Actor.Groups = p.Roles, p.Groups
	}
	var denied *DeniedError
	if err := k.Authorize(ctx, a.identity, d.permission, Target{Tenant: a.Tenant, Resource: ParseRef(a.Resource), Region: a.identity.Actor.Region}); errors.As(err, &denied) {
		return "its requester may not do this any more", nil
	}
	voters, err := k.standing(ctx, *a)
	if err != nil {
		return "", err
	}
	if !a.complete(voters) {
		if a.Signed() {
			return "somebody who approved it has left the group, or their signature does not hold any more", nil
		}
		return "somebody who approved it has left the group", nil
	}
	return "", nil
}

// approvedRun is one try at executing an approved action.
type approvedRun struct {
	k    *Kernel
	a    Approval
	d    *definition
	in   any
	by   Identity
	gone string
	// unfit is why it would be refused if it were asked for now.
	unfit error

	out     Outcome
	closed  string
	failure error
}

func (r *approvedRun) tx(ctx context.Context, tx *Tx) error {
	k, a := r.k, r.a
	r.out, r.closed, r.failure = Outcome{Action: a.ID}, "", nil
	end := func(to State, why string) error {
		r.out.State, r.closed = to, why
		return k.closeTx(ctx, tx, r.by, a, to, why)
	}
	if k.Now().After(a.ExecuteBy) {
		return end(StateLapsed, "nobody executed it in time")
	}
	if r.gone != "" {
		return end(StateSuperseded, r.gone)
	}
	switch why, err := k.overtakenTx(ctx, tx, a); {
	case err != nil:
		return err
	case why != "":
		return end(StateSuperseded, why)
	}
	version, err := r.d.version(ctx, tx, r.in)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || version != a.ResourceVersion {
		return end(StateSuperseded, "what it is about has changed since it was asked for")
	}
	if r.unfit != nil {
		return r.fail(ctx, tx, r.unfit)
	}
	if r.d.remote {
		r.out.State = StateExecuting
		return k.moveTx(ctx, tx, a, a.State, StateExecuting, map[string]any{
			"attempts": a.Attempts + 1, "lease_until": atMicros(k.Now().Add(k.opts.CallLimit + leaseSlack))})
	}
	return r.local(ctx, tx)
}

func (r *approvedRun) local(ctx context.Context, tx *Tx) error {
	k, a := r.k, r.a
	now := atMicros(k.Now())
	var res Result
	r.failure = tx.Savepoint(ctx, func(ctx context.Context, tx *Tx) (err error) {
		res, err = k.execute(ctx, tx, r.d, r.in, Execution{Action: a.ID, Identity: a.identity, Reason: a.Reason, Approved: true, Obligations: a.Decision.Obligations})
		if err != nil {
			return err
		}
		r.out.Data, err = Canonical(res.Data)
		return err
	})
	if errors.Is(r.failure, ErrRetry) {
		return r.failure
	}
	if r.failure != nil {
		return r.fail(ctx, tx, r.failure)
	}
	r.out.State = StateExecuted
	if err := k.moveTx(ctx, tx, a, a.State, StateExecuted, map[string]any{
		"attempts": a.Attempts + 1, "executed_at": now, "result": string(r.out.Data), "error": "", "lease_until": 0}); err != nil {
		return err
	}
	if err := settleTx(ctx, tx, a.ID, reservationPosted); err != nil {
		return err
	}
	var err error
	if r.out.Receipt, err = k.recordExecutedTx(ctx, tx, a, r.by, r.out.Data, res.Events); err != nil {
		return err
	}
	if err := k.ResolveAlertTx(ctx, tx, failedAlert(a.ID)); err != nil {
		return err
	}
	return k.obligeTx(ctx, tx, a.done())
}

// fail writes down a try that failed, whose own work was undone; the sweep tries again
// inside the clock.
func (r *approvedRun) fail(ctx context.Context, tx *Tx, failure error) error {
	k, a := r.k, r.a
	r.failure, r.out.State = failure, StateFailed
	why := errorKind(failure)
	if err := k.moveTx(ctx, tx, a, a.State, StateFailed, map[string]any{"attempts": a.Attempts + 1, "error": why,
		"lease_until": atMicros(k.Now().Add(retryAfter(a.Attempts)))}); err != nil {
		return err
	}
	if _, err := k.AlertTx(ctx, tx, Alert{Key: failedAlert(a.ID), Severity: Critical, Title: a.Action + " failed after approval",
		Body: why, Tenant: a.Tenant, Links: []Link{{Title: "Approval", Kind: "approval", ID: a.ID.String()}}}); err != nil {
		return err
	}
	_, err := k.RecordTx(ctx, tx, a.identity, Record{Action: a.Action, Outcome: OutcomeFailed, Tenant: a.Tenant, Resource: ParseRef(a.Resource),
		Reason: a.Reason, ActionID: a.ID, Digest: a.Digest, Data: map[string]string{"why": why}})
	return err
}

// done is an approved or remote action as its obligations see it.
func (a Approval) done() done {
	return done{action: a.ID, name: a.Action, tenant: a.Tenant, by: a.identity, reason: a.Reason, owed: a.Decision.Obligations}
}

func failedAlert(id uuid.UUID) string { return "approval.failed:" + id.String() }

// retryAfter is how long a failed executor rests before its nth try again: twice as
// long each time, from ten seconds to an hour.
func retryAfter(attempts int) time.Duration {
	return min(10*time.Second<<min(attempts, 12), time.Hour)
}

func (k *Kernel) recordExecutedTx(ctx context.Context, tx *Tx, a Approval, by Identity, result json.RawMessage, events []Event) (Receipt, error) {
	approvers := []PersonID{}
	for _, v := range a.Votes {
		if v.Decision == Approve {
			approvers = append(approvers, v.Person)
		}
	}
	ev, err := NewEvent("approval.executed", a.Tenant, 0, Ref{"approval", a.ID.String()}, map[string]any{"approval": a.ID, "action": a.Action, "state": StateExecuted, "digest": a.Digest})
	if err != nil {
		return Receipt{}, err
	}
	data := map[string]any{"result": result, "approved_by": approvers, "executed_by": by.Actor.ID, "policy_hash": a.Decision.Hash}
	a.undecided(data)
	return k.RecordTx(ctx, tx, a.identity, Record{
		Action: a.Action, Tenant: a.Tenant, Resource: ParseRef(a.Resource), Reason: a.Reason, Ticket: a.Ticket, ActionID: a.ID, Digest: a.Digest, Bootstrap: a.bootstrap, Data: data,
	}, append(events, ev)...)
}

// undecided adds the decision to a record of a remote action that was never held: no
// other record carries it.
func (a Approval) undecided(data map[string]any) {
	if a.DecideBy.IsZero() && len(a.Decision.Policies) > 0 {
		data["decision"] = a.Decision
	}
}

// errorKind is an error's kind and, for our own kinds, its text: texts of drivers
// and vendors may hold personal data and stay in the log.
func errorKind(err error) string {
	var invalid *InvalidError
	var denied *DeniedError
	var text string
	switch {
	case errors.As(err, &invalid):
		text = invalid.Error()
	case errors.As(err, &denied):
		text = denied.Error()
	case errors.Is(err, ErrNotFound):
		text = "not found"
	case errors.Is(err, ErrConflict):
		text = "conflict"
	case errors.Is(err, context.DeadlineExceeded):
		text = "timed out"
	default:
		text = "failed; see the server's log"
	}
	return text[:min(len(text), settledErrorMax)]
}

// callRemote makes the call of a claimed remote action and writes its receipt. The
// claim's fence is checked when the receipt is written: a late answer of a claim
// that somebody else took over changes nothing.
func (k *Kernel) callRemote(ctx context.Context, action uuid.UUID) (Outcome, error) {
	a, d, in, err := k.claimed(ctx, action)
	if err != nil {
		return Outcome{}, err
	}
	call, cancel := context.WithTimeout(context.WithValue(ctx, executionKey{}, Execution{Action: a.ID, Identity: a.identity, Reason: a.Reason, Approved: len(a.Votes) > 0, Obligations: a.Decision.Obligations}), k.opts.CallLimit)
	res, failure := guarded(func() (Result, error) { return d.call(call, a.ID.String(), in) })
	cancel()
	state := StateExecuted
	var not *notDoneError
	switch {
	case failure == nil:
	case errors.As(failure, &not):
		state = StateFailed
	default:
		state = StateUnknown
	}
	if failure != nil {
		k.opts.Logger.WarnContext(ctx, "remote call", "action", a.Action, "id", a.ID, "state", state, "error", failure)
	}
	out, err := k.receipt(context.WithoutCancel(ctx), a, state, res, failure)
	if err != nil {
		return out, err
	}
	if state != StateExecuted {
		return out, fmt.Errorf("%s %s is %s: %w", a.Action, a.ID, state, failure)
	}
	return out, nil
}

// guarded turns a panic of foreign code into an error of unknown outcome.
func guarded(fn func() (Result, error)) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}

func (k *Kernel) claimed(ctx context.Context, action uuid.UUID) (Approval, *definition, any, error) {
	var row actionRow
	err := k.db.Handle().NewSelect().Model(&row).Where("id = ?", action).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Approval{}, nil, nil, fmt.Errorf("action %s: %w", action, ErrNotFound)
	}
	if err != nil {
		return Approval{}, nil, nil, fmt.Errorf("action %s: %w", action, err)
	}
	a, err := k.approval(ctx, k.db.Handle(), row)
	if err != nil {
		return a, nil, nil, err
	}
	d, err := k.defined(a.Action)
	if err != nil {
		return a, nil, nil, err
	}
	in, err := d.decode(a.Input)
	return a, d, in, err
}

// receipt writes how a remote call ended.
func (k *Kernel) receipt(ctx context.Context, a Approval, state State, res Result, failure error) (Outcome, error) {
	out := Outcome{Action: a.ID, State: state}
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		data, err := Canonical(res.Data)
		if err != nil {
			return fmt.Errorf("result: %w", err)
		}
		out.Data = data
		now := k.Now()
		switch state {
		case StateExecuted:
			if err := k.moveTx(ctx, tx, a, a.State, state, map[string]any{"executed_at": atMicros(now), "result": string(data), "error": "", "lease_until": 0}); err != nil {
				return err
			}
			if err := settleTx(ctx, tx, a.ID, reservationPosted); err != nil {
				return err
			}
			if err := k.ResolveAlertTx(ctx, tx, unknownAlert(a.ID)); err != nil {
				return err
			}
			if out.Receipt, err = k.recordExecutedTx(ctx, tx, a, a.identity, data, res.Events); err != nil {
				return err
			}
			return k.obligeTx(ctx, tx, a.done())
		case StateFailed:
			return k.remoteFailedTx(ctx, tx, a, failure)
		default:
			return k.remoteUnknownTx(ctx, tx, a, failure, now)
		}
	})
	return out, err
}

func unknownAlert(id uuid.UUID) string { return "action.unknown:" + id.String() }

func (k *Kernel) remoteFailedTx(ctx context.Context, tx *Tx, a Approval, failure error) error {
	why := errorKind(failure)
	if err := k.moveTx(ctx, tx, a, a.State, StateFailed, map[string]any{"error": why, "lease_until": 0}); err != nil {
		return err
	}
	if a.DecideBy.IsZero() { // never held: nobody will execute it again
		if err := settleTx(ctx, tx, a.ID, reservationVoided); err != nil {
			return err
		}
	}
	if err := k.ResolveAlertTx(ctx, tx, unknownAlert(a.ID)); err != nil {
		return err
	}
	data := map[string]any{"why": why}
	a.undecided(data)
	_, err := k.RecordTx(ctx, tx, a.identity, Record{Action: a.Action, Outcome: OutcomeFailed, Tenant: a.Tenant, Resource: ParseRef(a.Resource), Reason: a.Reason,
		ActionID: a.ID, Digest: a.Digest, Data: data})
	return err
}

func (k *Kernel) remoteUnknownTx(ctx context.Context, tx *Tx, a Approval, failure error, now time.Time) error {
	why := "no answer"
	if failure != nil {
		why = errorKind(failure)
	}
	again := now.Add(time.Duration(5<<min(a.Attempts, 8)) * time.Second)
	if err := k.moveTx(ctx, tx, a, a.State, StateUnknown, map[string]any{"error": why, "lease_until": atMicros(again)}); err != nil {
		return err
	}
	if _, err := k.AlertTx(ctx, tx, Alert{Key: unknownAlert(a.ID), Severity: Critical, Title: "Nobody knows whether " + a.Action + " happened",
		Body: why, Tenant: a.Tenant, Links: []Link{{Title: "Approval", Kind: "approval", ID: a.ID.String()}}}); err != nil {
		return err
	}
	_, err := k.RecordTx(ctx, tx, a.identity, Record{Action: a.Action, Outcome: OutcomeUnknown, Tenant: a.Tenant, Resource: ParseRef(a.Resource), Reason: a.Reason,
		ActionID: a.ID, Digest: a.Digest, Data: map[string]string{"why": why}})
	return err
}

// sweepApprovals moves what time has decided: undecided and unexecuted approvals
// end, approved ones that lost their executor to a crash are executed, and remote
// calls without an answer are looked up.
func (k *Kernel) sweepApprovals(ctx context.Context) error {
	now := atMicros(k.Now())
	var rows []actionRow
	err := k.db.Read().NewSelect().Model(&rows).
		WhereOr("state = 'pending' AND decide_by < ?", now).
		WhereOr("state IN ('approved', 'failed') AND held AND execute_by < ?", now).
		WhereOr("state = 'approved' AND held AND decided_at < ?", atMicros(k.Now().Add(-autoRetryAfter))).
		WhereOr("state IN ('executing', 'unknown') AND lease_until < ?", now).
		WhereOr("state = 'failed' AND held AND NOT remote AND lease_until > 0 AND lease_until < ?", now).
		WhereOr("state = 'pending' AND escalate_at > 0 AND escalate_at < ?", now).
		Order("created_at").Limit(100).Scan(ctx)
	if err != nil {
		return fmt.Errorf("sweep approvals: %w", err)
	}
	var errs []error
	for _, r := range rows {
		if err := k.sweepOne(ctx, r); err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrRetry) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) sweepOne(ctx context.Context, r actionRow) error {
	a, err := k.approval(ctx, k.db.Read(), r)
	if err != nil {
		return err
	}
	by := System("approvals")
	end := func(to State, why string) error {
		return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error { return k.closeTx(ctx, tx, by, a, to, why) })
	}
	now := k.Now()
	switch {
	case a.State == StatePending && now.After(a.DecideBy):
		return end(StateExpired, "nobody decided in time")
	case (a.State == StateApproved || a.State == StateFailed) && now.After(a.ExecuteBy):
		return end(StateLapsed, "nobody executed it in time")
	case a.State == StatePending:
		return k.escalate(ctx, r, a)
	case (a.State == StateApproved || a.State == StateFailed && !a.Remote) && !a.manual():
		_, err := k.Execute(ctx, by, a.ID)
		return err
	case a.State == StateExecuting || a.State == StateUnknown:
		return k.settle(ctx, r, a)
	}
	return nil
}

// settle finds out what became of a remote call without an answer. Found: it is
// executed. Not found: it is called again under a new fence, with the same
// idempotency id, until its attempts or its time are used up.
func (k *Kernel) settle(ctx context.Context, r actionRow, a Approval) error {
	d, err := k.defined(a.Action)
	if err != nil {
		return err
	}
	in, err := d.decode(a.Input)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, k.opts.CallLimit)
	found := false
	res, lookErr := guarded(func() (res Result, err error) {
		res, found, err = d.lookup(call, a.ID.String(), in)
		return res, err
	})
	cancel()
	switch {
	case lookErr != nil:
		return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			a.Attempts = r.Attempts
			return k.remoteUnknownTx(ctx, tx, a, lookErr, k.Now())
		})
	case found:
		_, err := k.receipt(ctx, a, StateExecuted, res, nil)
		return err
	case r.Attempts >= remoteAttempts || (a.ExecuteBy.Before(k.Now()) && !a.ExecuteBy.IsZero()):
		_, err := k.receipt(ctx, a, StateFailed, Result{}, errors.New("given up: the effect is not there"))
		return err
	}
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		return k.moveTx(ctx, tx, a, a.State, StateExecuting, map[string]any{
			"attempts": r.Attempts + 1, "lease_until": atMicros(k.Now().Add(k.opts.CallLimit + leaseSlack))})
	})
	if err != nil {
		return err
	}
	_, err = k.callRemote(ctx, a.ID)
	return err
}

// Sweep is one turn of the background work on approvals, for tools and tests that
// do not call Run.
func (k *Kernel) Sweep(ctx context.Context) error { return k.sweepApprovals(ctx) }
