package integrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// work is one claimed delivery: all that the call needs, read in the claim.
type work struct {
	lane    laneKey
	fence   int64
	target  Target
	d       deliveryRow
	attempt attemptRow
	idem    string
	body    []byte                 // of a webhook
	state   governance.TenantState // for a connector
	version int64                  // of what is told
}

// errNothing ends a claim that found nothing to do.
var errNothing = errors.New("nothing to do")

// Run delivers until ctx ends. Every server runs it. Calls in flight then get a few
// seconds to end.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	b := busy{lanes: map[laneKey]bool{}, targets: map[uuid.UUID]int{}}
	slots := make(chan struct{}, s.opts.Workers)
	for ctx.Err() == nil {
		lanes, err := s.due(ctx, b.full(s.opts.PerTarget), int64(4*s.opts.Workers))
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.ErrorContext(ctx, "integrations: due lanes", "error", err)
		}
		for _, lane := range lanes {
			if !b.take(lane, s.opts.PerTarget) {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			wg.Go(func() {
				defer func() { <-slots; b.give(lane); s.wake() }()
				s.drive(ctx, lane)
			})
		}
		t := time.NewTimer(s.opts.Poll)
		select {
		case <-ctx.Done():
		case <-s.wakeup:
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// busy is what this server has in flight.
type busy struct {
	mu      sync.Mutex
	lanes   map[laneKey]bool
	targets map[uuid.UUID]int
}

func (b *busy) take(l laneKey, most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes[l] || b.targets[l.target] >= most {
		return false
	}
	b.lanes[l] = true
	b.targets[l.target]++
	return true
}

func (b *busy) give(l laneKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.lanes, l)
	b.targets[l.target]--
}

func (b *busy) full(most int) []uuid.UUID {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []uuid.UUID{}
	for t, n := range b.targets {
		if n >= most {
			out = append(out, t)
		}
	}
	return out
}

// Turn delivers what is due now, one call after the other, for tests and tools that
// do not call Run. It says how many calls it made.
func (s *Service) Turn(ctx context.Context) (int, error) {
	calls := 0
	for {
		lanes, err := s.due(ctx, nil, 100)
		if err != nil {
			return calls, err
		}
		made := 0
		for _, lane := range lanes {
			made += s.drive(ctx, lane)
		}
		calls += made
		if made == 0 {
			return calls, ctx.Err()
		}
	}
}

// due lists lanes that may be claimed now.
func (s *Service) due(ctx context.Context, full []uuid.UUID, limit int64) ([]laneKey, error) {
	now := govdb.At(s.k.Now())
	var rows []struct {
		Target uuid.UUID
		Tenant string
	}
	q := s.k.DB().Read().NewSelect().TableExpr("integration_lane AS l").Join("JOIN integration_target AS t ON t.id = l.target").
		ColumnExpr("l.target, l.tenant").Where("l.next_at > 0 AND l.next_at <= ? AND l.lease_until <= ?", now, now).
		Where("t.state = ? AND t.hold_until <= ?", TargetActive, now).OrderExpr("l.next_at, l.target, l.tenant").Limit(limit)
	if len(full) > 0 {
		q = q.Where("l.target NOT IN (?)", bun.List(full))
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("due lanes: %w", err)
	}
	out := make([]laneKey, len(rows))
	for i, r := range rows {
		out[i] = laneKey{r.Target, r.Tenant}
	}
	return out, nil
}

// drive claims a lane, makes its calls one after the other, and says how many.
func (s *Service) drive(ctx context.Context, lane laneKey) int {
	calls := 0
	w, err := s.claim(ctx, lane)
	for err == nil && w != nil {
		a := s.call(ctx, w)
		calls++
		more := calls < chainMost && ctx.Err() == nil
		w, err = s.receipt(context.WithoutCancel(ctx), w, a, more)
	}
	if err != nil && !errors.Is(err, errNothing) && !errors.Is(err, governance.ErrRetry) && ctx.Err() == nil {
		s.opts.Logger.ErrorContext(ctx, "integrations: lane", "target", lane.target, "tenant", lane.tenant, "error", err)
	}
	return calls
}

func (s *Service) lease(now time.Time) govdb.Micros {
	return govdb.At(now.Add(s.opts.CallLimit + leaseSlack))
}

// claim takes the lane, when nobody has it, and writes down the attempt.
func (s *Service) claim(ctx context.Context, lane laneKey) (*work, error) {
	var w *work
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		w = nil
		now := s.k.Now()
		var fence int64
		err := tx.NewRaw(`UPDATE integration_lane SET fence = fence + 1, lease_until = ?
			WHERE target = ? AND tenant = ? AND next_at > 0 AND next_at <= ? AND lease_until <= ? RETURNING fence`,
			s.lease(now), lane.target, lane.tenant, govdb.At(now), govdb.At(now)).Scan(ctx, &fence)
		if errors.Is(err, sql.ErrNoRows) {
			return errNothing
		}
		if err != nil {
			return fmt.Errorf("claim lane: %w", err)
		}
		w, err = s.nextTx(ctx, tx, lane, fence, now)
		if err == nil && w == nil {
			return s.releaseTx(ctx, tx, lane, fence)
		}
		return err
	})
	return w, err
}

func (s *Service) releaseTx(ctx context.Context, tx *governance.Tx, lane laneKey, fence int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE integration_lane SET lease_until = 0 WHERE target = ? AND tenant = ? AND fence = ?", lane.target, lane.tenant, fence)
	if err != nil {
		return fmt.Errorf("release lane: %w", err)
	}
	return nil
}

// nextTx picks the next delivery of a claimed lane; nil when none is due.
func (s *Service) nextTx(ctx context.Context, tx *governance.Tx, lane laneKey, fence int64, now time.Time) (*work, error) {
	row, err := targetTx(ctx, tx, lane.target)
	if errors.Is(err, governance.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := row.target()
	if err != nil {
		return nil, err
	}
	if t.State != TargetActive || t.HoldUntil.After(now) {
		return nil, nil
	}
	for {
		d, ok, err := s.headTx(ctx, tx, t, lane, now)
		if err != nil {
			return nil, err
		}
		if !ok {
			_, err := s.scheduleTx(ctx, tx, lane)
			return nil, err
		}
		w := &work{lane: lane, fence: fence, target: t, d: d, version: d.Version}
		settled, err := s.prepareTx(ctx, tx, w, now)
		if err != nil {
			return nil, err
		}
		if !settled {
			return w, nil
		}
	}
}

// headTx is the delivery that the lane's mode puts first.
func (s *Service) headTx(ctx context.Context, tx *governance.Tx, t Target, lane laneKey, now time.Time) (deliveryRow, bool, error) {
	in := func() *bun.SelectQuery {
		return tx.NewSelect().Model((*deliveryRow)(nil)).Where("target = ? AND tenant = ?", lane.target, lane.tenant).Limit(1)
	}
	var head, parked deliveryRow
	find := func(q *bun.SelectQuery, into *deliveryRow) (bool, error) {
		err := q.Scan(ctx, into)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
	have, err := find(in().Where("state = 'pending'").Order("seq", "id"), &head)
	if err != nil {
		return head, false, fmt.Errorf("head of lane: %w", err)
	}
	due := have && head.NextAt <= govdb.At(now)
	if t.Mode == Coalesce {
		if !due {
			return head, false, nil
		}
		head, err = s.absorbTx(ctx, tx, lane, now)
		return head, err == nil, err
	}
	aside, err := find(in().Where("state = 'parked' AND next_at <= ?", govdb.At(now)).Order("next_at", "id"), &parked)
	if err != nil {
		return head, false, fmt.Errorf("parked of lane: %w", err)
	}
	if aside && (!due || parked.NextAt < head.NextAt) {
		return parked, true, nil
	}
	return head, due, nil
}

// absorbTx merges all that wait in a lane into the newest, which inherits what they
// went through.
func (s *Service) absorbTx(ctx context.Context, tx *governance.Tx, lane laneKey, now time.Time) (deliveryRow, error) {
	var d deliveryRow
	err := tx.NewSelect().Model(&d).Where("target = ? AND tenant = ? AND state = 'pending'", lane.target, lane.tenant).Order("seq DESC", "id DESC").Limit(1).Scan(ctx)
	if err != nil {
		return d, fmt.Errorf("newest of lane: %w", err)
	}
	var worst struct {
		N, Step, Round int64
		Since          govdb.Micros
	}
	err = tx.NewRaw("SELECT COUNT(*) AS n, MAX(step) AS step, MAX(round) AS round, MIN(waiting_since) AS since FROM integration_delivery WHERE target = ? AND tenant = ? AND state = 'pending'",
		lane.target, lane.tenant).Scan(ctx, &worst.N, &worst.Step, &worst.Round, &worst.Since)
	if err != nil {
		return d, fmt.Errorf("merge lane: %w", err)
	}
	if worst.N == 1 {
		return d, nil
	}
	d.Step, d.Round, d.WaitingSince = int(worst.Step), worst.Round, worst.Since
	_, err = tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, merged_into = ?, done_at = ? WHERE target = ? AND tenant = ? AND state = 'pending' AND id <> ?",
		Merged, d.ID.String(), govdb.At(now), lane.target, lane.tenant, d.ID)
	if err != nil {
		return d, fmt.Errorf("merge lane: %w", err)
	}
	_, err = tx.ExecContext(ctx, "UPDATE integration_delivery SET step = ?, round = ?, waiting_since = ? WHERE id = ?", d.Step, d.Round, d.WaitingSince, d.ID)
	if err != nil {
		return d, fmt.Errorf("merge lane: %w", err)
	}
	return d, nil
}

// prepareTx reads what is to be told and writes down the attempt. settled says that
// the delivery needs no call.
func (s *Service) prepareTx(ctx context.Context, tx *governance.Tx, w *work, now time.Time) (settled bool, err error) {
	lost, err := s.lostTx(ctx, tx, w, now)
	if err != nil {
		return false, err
	}
	if lost > 0 && w.d.Step+1 >= len(s.opts.Schedule) {
		w.d.Step++
		return true, s.deadTx(ctx, tx, w, answer{Code: CodeLost, Detail: "every attempt ended without a receipt"}, now)
	}
	if lost > 0 { // whatever kills us must not do so for ever
		w.d.Step++
	}
	if w.target.Kind == Webhook {
		var m messageRow
		if err := tx.NewSelect().Model(&m).Where("id = ?", w.d.Event).Scan(ctx); err != nil {
			return false, fmt.Errorf("message %s: %w", w.d.Event, err)
		}
		w.body, w.idem = []byte(m.Body), messageID(w.d.Event)
	} else if settled, err := s.stateTx(ctx, tx, w, now); settled || err != nil {
		return settled, err
	}
	w.d.Attempts++
	w.attempt = attemptRow{ID: uuid.Must(uuid.NewV7()), Delivery: w.d.ID, Target: w.lane.target, Tenant: w.lane.tenant, N: w.d.Attempts, Fence: w.fence, Idem: w.idem, StartedAt: govdb.At(now)}
	if _, err := tx.NewInsert().Model(&w.attempt).Exec(ctx); err != nil {
		return false, fmt.Errorf("attempt: %w", err)
	}
	_, err = tx.ExecContext(ctx, "UPDATE integration_delivery SET attempts = ?, step = ? WHERE id = ?", w.d.Attempts, w.d.Step, w.d.ID)
	if err != nil {
		return false, fmt.Errorf("attempt: %w", err)
	}
	return false, nil
}

// lostTx closes attempts of earlier claims of the lane that never got a receipt: nobody
// knows whether the call arrived.
func (s *Service) lostTx(ctx context.Context, tx *governance.Tx, w *work, now time.Time) (int64, error) {
	res, err := tx.ExecContext(ctx, "UPDATE integration_attempt SET ended_at = ?, code = ? WHERE target = ? AND tenant = ? AND ended_at = 0 AND fence < ?",
		govdb.At(now), CodeLost, w.lane.target, w.lane.tenant, w.fence)
	if err != nil {
		return 0, fmt.Errorf("lost attempts: %w", err)
	}
	return res.RowsAffected()
}

// stateTx reads the tenant's current state for a connector. What was told already is
// not told again, unless somebody asked for it.
func (s *Service) stateTx(ctx context.Context, tx *governance.Tx, w *work, now time.Time) (settled bool, err error) {
	w.state, err = s.k.TenantStateTx(ctx, tx, governance.TenantID(w.lane.tenant))
	if errors.Is(err, governance.ErrNotFound) {
		return true, s.deadTx(ctx, tx, w, answer{Code: CodeInvalid, Detail: "there is no such tenant"}, now)
	}
	if err != nil {
		return false, err
	}
	w.version = w.state.Tenant.Version
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d", w.lane.target, w.lane.tenant, w.version, w.d.Round))
	w.idem = "state_" + hex.EncodeToString(sum[:16])
	if w.d.Round > 0 {
		return false, nil
	}
	told, err := scalar(ctx, tx, "SELECT told_version FROM integration_lane WHERE target = ? AND tenant = ?", w.lane.target, w.lane.tenant)
	if err != nil {
		return false, fmt.Errorf("told version: %w", err)
	}
	if told < w.version {
		return false, nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, code = ?, sent_version = ?, done_at = ? WHERE id = ?", Done, CodeUnchanged, told, govdb.At(now), w.d.ID)
	if err != nil {
		return false, fmt.Errorf("settle delivery %s: %w", w.d.ID, err)
	}
	return true, nil
}

// receipt writes how a call ended and, when the lane has more and may go on, claims
// the next in the same commit. A lane that went to somebody else meanwhile is left
// alone: only the attempt is completed.
func (s *Service) receipt(ctx context.Context, w *work, a answer, more bool) (*work, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var next *work
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		next = nil
		now := s.k.Now()
		var held int64
		err := tx.NewRaw("UPDATE integration_lane SET lease_until = ? WHERE target = ? AND tenant = ? AND fence = ? RETURNING fence",
			s.lease(now), w.lane.target, w.lane.tenant, w.fence).Scan(ctx, &held)
		ours := err == nil
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("receipt: %w", err)
		}
		_, err = tx.ExecContext(ctx, "UPDATE integration_attempt SET ended_at = ?, duration_us = ?, status = ?, code = ?, excerpt = ? WHERE id = ?",
			govdb.At(now), a.Took.Microseconds(), a.Status, a.Code, a.Excerpt, w.attempt.ID)
		if err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
		if !ours {
			return nil
		}
		if err := s.settleTx(ctx, tx, w, a, now); err != nil {
			return err
		}
		due, err := s.scheduleTx(ctx, tx, w.lane)
		if err != nil {
			return err
		}
		if more && due > 0 && due <= govdb.At(now) {
			if next, err = s.nextTx(ctx, tx, w.lane, w.fence, now); err != nil || next != nil {
				return err
			}
		}
		return s.releaseTx(ctx, tx, w.lane, w.fence)
	})
	return next, err
}

// settleTx moves the delivery on after an answer.
func (s *Service) settleTx(ctx context.Context, tx *governance.Tx, w *work, a answer, now time.Time) error {
	at := govdb.At(now)
	var state string // somebody may have cancelled it while the call was out
	if err := tx.NewRaw("SELECT state FROM integration_delivery WHERE id = ?", w.d.ID).Scan(ctx, &state); err != nil {
		return fmt.Errorf("delivery %s: %w", w.d.ID, err)
	}
	if state != string(Pending) && state != string(Parked) {
		return nil
	}
	switch a.verdict(w.target.Kind) {
	case verdictDone:
		return s.doneTx(ctx, tx, w, a, at)
	case verdictPause:
		if err := s.againTx(ctx, tx, w, a, at); err != nil {
			return err
		}
		return s.pausedTx(ctx, tx, w, a, at)
	case verdictHold:
		if w.d.Attempts >= throttleMost {
			return s.deadTx(ctx, tx, w, a, now)
		}
		until := govdb.At(now.Add(min(max(a.RetryAfter, s.opts.Schedule[min(1, len(s.opts.Schedule)-1)]), holdMost)))
		_, err := tx.ExecContext(ctx, "UPDATE integration_target SET hold_until = ? WHERE id = ? AND hold_until < ?", until, w.lane.target, until)
		if err != nil {
			return fmt.Errorf("hold target: %w", err)
		}
		return s.againTx(ctx, tx, w, a, until)
	case verdictAgain: // our own doing: it costs nothing
		return s.againTx(ctx, tx, w, a, at)
	case verdictDead:
		return s.deadTx(ctx, tx, w, a, now)
	}
	w.d.Step++
	if err := s.failingTx(ctx, tx, w, a, at); err != nil {
		return err
	}
	if w.d.Step >= len(s.opts.Schedule) || w.d.Attempts >= throttleMost {
		return s.deadTx(ctx, tx, w, a, now)
	}
	return s.againTx(ctx, tx, w, a, govdb.At(now.Add(s.backoff(w.d.Step, a.RetryAfter))))
}

const (
	holdMost       = 24 * time.Hour
	retryAfterMost = time.Hour // a receiver may slow its own lane this far and no further
)

// backoff is the wait before attempt step, ±20 %. What the other side asks for is
// honoured up to twice the wait or an hour.
func (s *Service) backoff(step int, retryAfter time.Duration) time.Duration {
	base := s.opts.Schedule[step]
	d := base + time.Duration((rand.Float64()*0.4-0.2)*float64(base))
	if retryAfter > d {
		d = min(retryAfter, max(2*base, retryAfterMost))
	}
	return d
}

func (s *Service) againTx(ctx context.Context, tx *governance.Tx, w *work, a answer, next govdb.Micros) error {
	state := Pending
	if w.target.Mode == Park && w.d.Step >= parkAfter {
		state = Parked
	}
	_, err := tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, step = ?, next_at = ?, code = ?, detail = ? WHERE id = ?", state, w.d.Step, next, a.Code, a.Detail, w.d.ID)
	if err != nil {
		return fmt.Errorf("delivery %s: %w", w.d.ID, err)
	}
	return nil
}

func (s *Service) doneTx(ctx context.Context, tx *governance.Tx, w *work, a answer, at govdb.Micros) error {
	_, err := tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, code = ?, detail = '', sent_version = ?, done_at = ? WHERE id = ?", Done, a.Code, w.version, at, w.d.ID)
	if err != nil {
		return fmt.Errorf("delivery %s: %w", w.d.ID, err)
	}
	// An event without a version, or one sent again, does not make the lane older.
	_, err = tx.ExecContext(ctx, `UPDATE integration_lane SET told_version = CASE WHEN ? > told_version THEN ? ELSE told_version END,
		told_type = ?, told_at = ?, told_delivery = ?,
		remote_id = CASE WHEN ? <> '' THEN ? ELSE remote_id END, remote_url = CASE WHEN ? <> '' THEN ? ELSE remote_url END WHERE target = ? AND tenant = ?`,
		w.version, w.version, w.d.Type, at, w.d.ID.String(), a.RemoteID, a.RemoteID, a.RemoteURL, a.RemoteURL, w.lane.target, w.lane.tenant)
	if err != nil {
		return fmt.Errorf("lane of %s: %w", w.d.ID, err)
	}
	if w.target.Failures > 0 {
		_, err := tx.ExecContext(ctx, "UPDATE integration_target SET failures = 0, failing_since = 0 WHERE id = ? AND failures > 0", w.lane.target)
		if err != nil {
			return fmt.Errorf("target %s: %w", w.lane.target, err)
		}
		if err := s.k.ResolveAlertTx(ctx, tx, failingAlert(w.lane.target)); err != nil {
			return err
		}
	}
	return s.recordTx(ctx, tx, w, a, "integration.delivered", governance.OutcomeDone)
}

func (s *Service) recordTx(ctx context.Context, tx *governance.Tx, w *work, a answer, action string, outcome governance.RecordOutcome) error {
	_, err := s.k.RecordTx(ctx, tx, s.system(), governance.Record{
		Action: action, Outcome: outcome, Tenant: governance.TenantID(w.lane.tenant), Resource: governance.RefTo("delivery", w.d.ID),
		Data: map[string]any{"target": w.target.ID, "name": w.target.Name, "kind": w.target.Kind, "type": w.d.Type, "event": w.d.Event, "version": w.version,
			"attempts": w.d.Attempts, "status": a.Status, "code": a.Code, "idempotency_id": w.idem},
	})
	return err
}

func (s *Service) deadTx(ctx context.Context, tx *governance.Tx, w *work, a answer, now time.Time) error {
	_, err := tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, step = ?, code = ?, detail = ?, done_at = ? WHERE id = ?", Dead, w.d.Step, a.Code, a.Detail, govdb.At(now), w.d.ID)
	if err != nil {
		return fmt.Errorf("delivery %s: %w", w.d.ID, err)
	}
	if _, err := s.k.AlertTx(ctx, tx, governance.Alert{
		Key: "integration.dead:" + w.lane.target.String() + ":" + string(a.Code), Severity: governance.Warning,
		Title: "Deliveries to " + w.target.Name + " are given up", Body: strings.TrimSpace(w.d.Type + ": " + string(a.Code) + " " + a.Detail),
		Tenant: governance.TenantID(w.lane.tenant), Links: []governance.Link{{Title: "Delivery", Kind: "delivery", ID: w.d.ID.String()}},
	}); err != nil {
		return err
	}
	return s.recordTx(ctx, tx, w, a, "integration.dead", governance.OutcomeFailed)
}

func pausedAlert(target uuid.UUID) string  { return "integration.paused:" + target.String() }
func failingAlert(target uuid.UUID) string { return "integration.failing:" + target.String() }

func (s *Service) pausedTx(ctx context.Context, tx *governance.Tx, w *work, a answer, at govdb.Micros) error {
	cause := a.cause()
	if err := pauseTx(ctx, tx, w.lane.target, cause, clip(a.Detail, 200), at); err != nil {
		return err
	}
	if _, err := s.k.AlertTx(ctx, tx, governance.Alert{
		Key: pausedAlert(w.lane.target), Severity: governance.Critical, Title: w.target.Name + " is paused: " + string(cause),
		Body: "Deliveries collect and none is lost. Repair the target, then resume it. " + a.Detail, Tenant: governance.TenantID(w.lane.tenant),
		Links: []governance.Link{{Title: "Delivery", Kind: "delivery", ID: w.d.ID.String()}},
	}); err != nil {
		return err
	}
	_, err := s.k.RecordTx(ctx, tx, s.system(), governance.Record{Action: "integration.target.pause", Resource: governance.RefTo("target", w.target.ID),
		Reason: string(cause), Data: map[string]string{"name": w.target.Name, "cause": string(cause)}})
	return err
}

const (
	failingCount = 10
	failingFor   = 10 * time.Minute
)

// failingTx counts failures in a row and raises an alert when they are many and last:
// a count alone would cry over a burst, a time alone over a quiet target.
func (s *Service) failingTx(ctx context.Context, tx *governance.Tx, w *work, a answer, at govdb.Micros) error {
	var got struct {
		Failures int64
		Since    govdb.Micros
	}
	err := tx.NewRaw("UPDATE integration_target SET failures = failures + 1, failing_since = CASE WHEN failing_since = 0 THEN ? ELSE failing_since END WHERE id = ? RETURNING failures, failing_since",
		at, w.lane.target).Scan(ctx, &got.Failures, &got.Since)
	if err != nil {
		return fmt.Errorf("target %s: %w", w.lane.target, err)
	}
	if got.Failures < failingCount || at.Time().Sub(got.Since.Time()) < failingFor {
		return nil
	}
	_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: failingAlert(w.lane.target), Severity: governance.Warning, Title: w.target.Name + " does not answer",
		Body:  fmt.Sprintf("%d failures in a row since %s, last: %s", got.Failures, got.Since.Time().Format(time.RFC3339), a.Code),
		Links: []governance.Link{{Title: "Delivery", Kind: "delivery", ID: w.d.ID.String()}}})
	return err
}
