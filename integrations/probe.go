package integrations

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/integrations/connector"
)

// Probe is what came of a test.
type Probe struct {
	OK       bool
	Code     Code
	Status   int
	Detail   string
	Took     time.Duration
	Delivery string // of a webhook: the ping in the log
}

// Test tries a target now, paused or not. A webhook is sent a signed event of type
// "ping", once; a connector is asked whether its vendor takes the credentials.
func (s *Service) Test(ctx context.Context, id governance.Identity, target governance.ID[Target]) (Probe, error) {
	if err := s.k.Authorize(ctx, id, "integration:write", governance.Target{Resource: governance.RefTo("target", target)}); err != nil {
		return Probe{}, err
	}
	t, err := s.Target(ctx, target)
	if err != nil {
		return Probe{}, err
	}
	w := &work{lane: laneKey{target: target.UUID}, target: t}
	var a answer
	if t.Kind == Webhook {
		if err := s.beginPing(ctx, w); err != nil {
			return Probe{}, err
		}
		a = s.call(ctx, w)
	} else {
		a = s.check(ctx, t)
	}
	p := Probe{OK: a.verdict(t.Kind) == verdictDone, Code: a.Code, Status: a.Status, Detail: a.Detail, Took: a.Took}
	if t.Kind == Webhook {
		p.Delivery = w.d.ID.String()
	}
	err = s.k.DB().Do(context.WithoutCancel(ctx), func(ctx context.Context, tx *governance.Tx) error {
		if t.Kind == Webhook {
			if err := s.endPingTx(ctx, tx, w, a, p.OK); err != nil {
				return err
			}
		}
		outcome := governance.OutcomeDone
		if !p.OK {
			outcome = governance.OutcomeFailed
		}
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: "integration.target.test", Outcome: outcome, Resource: governance.RefTo("target", target),
			Data: map[string]any{"name": t.Name, "code": a.Code, "status": a.Status}})
		return err
	})
	return p, err
}

// beginPing writes a delivery that is in no lane: a test must not wait for, or move,
// what is on its way.
func (s *Service) beginPing(ctx context.Context, w *work) error {
	now := s.k.Now()
	e := governance.Event{ID: uuid.Must(uuid.NewV7()), Type: "ping", At: now, Data: json.RawMessage(`{"test":true}`)}
	text, err := newBody(e)
	if err != nil {
		return err
	}
	w.body, w.idem = []byte(text), messageID(e.ID)
	w.d = deliveryRow{ID: uuid.Must(uuid.NewV7()), Target: w.lane.target, Event: e.ID, Type: e.Type, State: string(Cancelled), Attempts: 1,
		WaitingSince: govdb.At(now), CreatedAt: govdb.At(now), Code: string(CodeLost)}
	w.attempt = attemptRow{ID: uuid.Must(uuid.NewV7()), Delivery: w.d.ID, Target: w.lane.target, N: 1, Idem: w.idem, StartedAt: govdb.At(now)}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.NewInsert().Model(&messageRow{ID: e.ID, Body: text}).Exec(ctx); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		if _, err := tx.NewInsert().Model(&w.d).Exec(ctx); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		_, err := tx.NewInsert().Model(&w.attempt).Exec(ctx)
		return err
	})
}

func (s *Service) endPingTx(ctx context.Context, tx *governance.Tx, w *work, a answer, ok bool) error {
	now := govdb.At(s.k.Now())
	state := Cancelled // a test that failed is no dead letter
	if ok {
		state = Done
	}
	_, err := tx.ExecContext(ctx, "UPDATE integration_attempt SET ended_at = ?, duration_us = ?, status = ?, code = ?, excerpt = ? WHERE id = ?",
		now, a.Took.Microseconds(), a.Status, a.Code, a.Excerpt, w.attempt.ID)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	_, err = tx.ExecContext(ctx, "UPDATE integration_delivery SET state = ?, code = ?, detail = ?, done_at = ? WHERE id = ?", state, a.Code, a.Detail, now, w.d.ID)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

func (s *Service) check(ctx context.Context, t Target) (a answer) {
	call, cancel := context.WithTimeout(ctx, s.opts.CallLimit)
	defer cancel()
	start := time.Now()
	_, err := s.guard(call, t, func(c connector.Connector) (any, error) { return nil, c.Check(call) })
	if err != nil {
		a = refused(err)
		a.Detail = scrub(a.Detail, nil, 300)
	} else {
		a.Code = CodeOK
	}
	a.Took = time.Since(start)
	return a
}
