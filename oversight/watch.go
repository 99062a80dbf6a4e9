package oversight

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Cause is what a session was paused for.
type Cause string

// The causes. What lasts longer than Options.Grace ends the session.
const (
	ByRecorder Cause = "recorder" // what is shown cannot be recorded
	ByObserver Cause = "observer" // nobody watches although somebody has to
	ByBrowser  Cause = "browser"  // the browser does not report what happens in it, and has to
)

// lost is how a session ends whose pause lasts too long.
func (c Cause) lost() EndReason {
	switch c {
	case ByObserver:
		return EndObserver
	case ByBrowser:
		return EndBrowser
	}
	return EndRecorder
}

// RequireRecorder says how to find out whether the recorder works: sessions begin
// only while it does. Package recorder calls it.
func (s *Service) RequireRecorder(alive func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = alive
}

// mustRecord tells whether a session may do without a recorder: it may where
// Options.Unrecorded says so and no policy demands one.
func (s *Service) mustRecord(ctx context.Context, session uuid.UUID) (bool, error) {
	if !s.opts.Unrecorded {
		return true, nil
	}
	a, err := s.k.Action(ctx, session) // a session has the id of the act that began it
	if err != nil {
		return true, fmt.Errorf("session %s: %w", session, err)
	}
	return a.Decision.Obligations.Record, nil
}

// recorderAlive refuses a session that would not be recorded.
func (s *Service) recorderAlive(ctx context.Context, session uuid.UUID) error {
	s.mu.Lock()
	alive := s.alive
	s.mu.Unlock()
	if alive == nil {
		if must, err := s.mustRecord(ctx, session); err != nil || !must {
			return err
		}
	}
	err := errors.New("there is none")
	if alive != nil {
		if err = alive(ctx); err == nil {
			return nil
		}
	}
	s.k.Logger().ErrorContext(ctx, "a session was refused: the recorder does not work", "error", err)
	return &governance.DeniedError{Action: ActionStart, Rule: "recorder", Reason: "what would be shown cannot be recorded at the moment"}
}

// Pause lets nothing through until [Service.Resume] for the same cause: the recorder
// calls it when it cannot keep what is shown.
func (s *Service) Pause(ctx context.Context, session uuid.UUID, by Cause, why string) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		return s.pauseTx(ctx, tx, have, by, why)
	})
}

func (s *Service) pauseTx(ctx context.Context, tx *governance.Tx, have Session, by Cause, why string) error {
	now := s.k.Now()
	res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET state = ?, paused_by = ?, paused_why = ?, paused_at = ? WHERE id = ? AND state = ?",
		StatePaused, by, why, govdb.At(now), have.ID, StateActive)
	if moved, err := one(res, err); err != nil || !moved {
		return errors.Join(err)
	}
	receipt, err := s.k.RecordTx(ctx, tx, have.server(), governance.Record{Action: "impersonation.pause", Tenant: have.Tenant, Resource: have.ref(),
		ActionID: have.ID, Data: map[string]any{"by": by, "why": why}})
	if err != nil {
		return err
	}
	a := governance.Alert{Key: pausedAlert(have.ID), Severity: governance.Critical, Tenant: have.Tenant, Title: "An impersonation is not recorded and was paused",
		Body:  fmt.Sprintf("%s. It ends at %s unless that changes.", why, now.Add(s.opts.Grace).Format("15:04:05 MST")),
		Links: []governance.Link{{Title: "Session", Kind: "session", ID: have.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}}
	switch by {
	case ByObserver:
		a.Severity, a.Title = governance.Warning, "An impersonation waits for somebody to watch it"
	case ByBrowser:
		a.Title = "An impersonation's browser does not report and the session was paused"
	}
	_, err = s.k.AlertTx(ctx, tx, a)
	return err
}

func one(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("session: %w", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Resume lets a session go on that was paused for a cause.
func (s *Service) Resume(ctx context.Context, session uuid.UUID, by Cause) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		return s.resumeTx(ctx, tx, have, by)
	})
}

func (s *Service) resumeTx(ctx context.Context, tx *governance.Tx, have Session, by Cause) error {
	if have.overdue(s.k.Now()) != "" {
		return nil // it ends: nothing brings it back
	}
	// What was paused could not be used: the time since is not idleness.
	res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET state = ?, paused_by = '', paused_why = '', paused_at = 0, seen_at = ? WHERE id = ? AND state = ? AND paused_by = ?",
		StateActive, govdb.At(s.k.Now()), have.ID, StatePaused, by)
	if moved, err := one(res, err); err != nil || !moved {
		return errors.Join(err)
	}
	_, err = s.k.RecordTx(ctx, tx, have.server(), governance.Record{Action: "impersonation.resume", Tenant: have.Tenant, Resource: have.ref(), ActionID: have.ID, Data: map[string]any{"by": by}})
	if err := errors.Join(err, s.k.ResolveAlertTx(ctx, tx, pausedAlert(have.ID))); err != nil {
		return err
	}
	have.State = StateActive
	return s.watchedTx(ctx, tx, &have)
}

func pausedAlert(id uuid.UUID) string { return "impersonation.paused:" + id.String() }

// Observer is somebody who watches a session, or did.
type Observer struct {
	Actor   governance.Actor `json:"actor"`
	Since   time.Time        `json:"since"`
	SeenAt  time.Time        `json:"seen_at"`
	Present bool             `json:"present"`
}

type observerRow struct {
	bun.BaseModel `bun:"table:oversight_observer"`

	Session uuid.UUID    `bun:"session,pk"`
	Person  string       `bun:"person,pk"`
	Actor   string       `bun:"actor"`
	Since   govdb.Micros `bun:"since"`
	SeenAt  govdb.Micros `bun:"seen_at"`
	LeftAt  govdb.Micros `bun:"left_at"`
}

func (s *Service) present(r observerRow, now time.Time) bool {
	return r.LeftAt == 0 && now.Before(r.SeenAt.Time().Add(s.opts.ObserverFor))
}

// ObserverFor is how long an observer counts without a sign of life.
func (s *Service) ObserverFor() time.Duration { return s.opts.ObserverFor }

// recorded pauses an active session that a policy wants recorded and no recorder stands
// behind: one that was begun while there was.
func (s *Service) recorded(ctx context.Context, have *Session) error {
	s.mu.Lock()
	alive := s.alive
	s.mu.Unlock()
	if alive != nil || have.State != StateActive { // a recorder pauses by itself what it cannot keep
		return nil
	}
	if must, err := s.mustRecord(ctx, have.ID); err != nil || !must {
		return err
	}
	now := s.k.Now()
	have.State, have.PausedBy, have.PausedWhy, have.PausedAt, have.GraceAt = StatePaused, ByRecorder, "there is no recorder, and a policy wants one", now, now.Add(s.opts.Grace)
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.pauseTx(ctx, tx, *have, ByRecorder, have.PausedWhy)
	})
}

// watchedTx pauses an active session that somebody has to watch and nobody does.
func (s *Service) watchedTx(ctx context.Context, tx *governance.Tx, have *Session) error {
	if !have.Observer || have.State != StateActive {
		return nil
	}
	rows, err := observers(ctx, tx, have.ID)
	if err != nil {
		return err
	}
	now := s.k.Now()
	if slices.ContainsFunc(rows, func(r observerRow) bool { return s.present(r, now) }) {
		return nil
	}
	have.State, have.PausedBy, have.PausedWhy, have.PausedAt, have.GraceAt = StatePaused, ByObserver, "nobody watches, and somebody has to", now, now.Add(s.opts.Grace)
	return s.pauseTx(ctx, tx, *have, ByObserver, have.PausedWhy)
}

func observers(ctx context.Context, db bun.IDB, session uuid.UUID) ([]observerRow, error) {
	var rows []observerRow
	if err := db.NewSelect().Model(&rows).Where("session = ?", session).Order("since", "person").Scan(ctx); err != nil {
		return nil, fmt.Errorf("observers of %s: %w", session, err)
	}
	return rows, nil
}

// Observers lists who watches a session and who did.
func (s *Service) Observers(ctx context.Context, session uuid.UUID) ([]Observer, error) {
	rows, err := observers(ctx, s.k.DB().Read(), session)
	if err != nil {
		return nil, err
	}
	now, out := s.k.Now(), make([]Observer, len(rows))
	for i, r := range rows {
		out[i] = Observer{Since: r.Since.Time(), SeenAt: r.SeenAt.Time(), Present: s.present(r, now)}
		if err := json.Unmarshal([]byte(r.Actor), &out[i].Actor); err != nil {
			return nil, fmt.Errorf("observer of %s: %w", session, err)
		}
	}
	return out, nil
}

// Observe says that somebody watches a session now. Called again before ObserverFor
// is over it keeps them present. They must be able to end it, and be neither the
// actor nor the user. A session that waited for an observer goes on.
func (s *Service) Observe(ctx context.Context, id governance.Identity, session uuid.UUID) error {
	have, err := s.Session(ctx, session)
	if err != nil {
		return err
	}
	if id.Subject != nil || id.Actor.Person == "" || id.Actor.Person == have.Actor.Person || id.Actor.Person == have.Subject.Person {
		return &governance.DeniedError{Action: "impersonation.observe", Rule: "person", Reason: "a session is watched by another person than the one who works in it"}
	}
	if err := s.k.Authorize(ctx, id, PermissionEnd, governance.Target{Tenant: have.Tenant, Resource: have.ref()}); err != nil {
		return err
	}
	actor := id.Actor
	actor.AuthTime, actor.AMR = time.Time{}, nil
	raw, err := json.Marshal(actor)
	if err != nil {
		return fmt.Errorf("observer: %w", err)
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		now := s.k.Now()
		if have.State == StateEnded || have.overdue(now) != "" {
			return fmt.Errorf("session %s is over: %w", session, governance.ErrConflict)
		}
		rows, err := observers(ctx, tx, session)
		if err != nil {
			return err
		}
		row := &observerRow{Session: session, Person: string(id.Actor.Person), Actor: string(raw), Since: govdb.At(now), SeenAt: govdb.At(now)}
		joined := true
		for _, r := range rows {
			if r.Person == row.Person && s.present(r, now) {
				joined, row.Since = false, r.Since
			}
		}
		if _, err := tx.NewInsert().Model(row).On("CONFLICT (session, person) DO UPDATE").Set("actor = EXCLUDED.actor").Set("since = EXCLUDED.since").
			Set("seen_at = EXCLUDED.seen_at").Set("left_at = 0").Exec(ctx); err != nil {
			return fmt.Errorf("observe session %s: %w", session, err)
		}
		if joined {
			if err := s.observedTx(ctx, tx, id, have, "impersonation.observe"); err != nil {
				return err
			}
		}
		if have.State == StatePaused && have.PausedBy == ByObserver {
			return s.resumeTx(ctx, tx, have, ByObserver)
		}
		return nil
	})
}

func (s *Service) observedTx(ctx context.Context, tx *governance.Tx, id governance.Identity, have Session, action string) error {
	by := id
	by.SessionID = have.ID.String()
	_, err := s.k.RecordTx(ctx, tx, by, governance.Record{Action: action, Tenant: have.Tenant, Resource: have.ref(), ActionID: have.ID, Outcome: governance.OutcomeObserved})
	return err
}

// Leave says that somebody watches no more. A session that needs an observer is
// paused at once when nobody else is there.
func (s *Service) Leave(ctx context.Context, id governance.Identity, session uuid.UUID) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		now := govdb.At(s.k.Now())
		res, err := tx.ExecContext(ctx, "UPDATE oversight_observer SET left_at = ? WHERE session = ? AND person = ? AND left_at = 0", now, session, id.Actor.Person)
		if moved, err := one(res, err); err != nil || !moved {
			return errors.Join(err)
		}
		return errors.Join(s.observedTx(ctx, tx, id, have, "impersonation.unobserve"), s.watchedTx(ctx, tx, &have))
	})
}

// Live lists the sessions that can be used now, newest first.
func (s *Service) Live(ctx context.Context) ([]Session, error) {
	all, err := s.Sessions(ctx, Filter{States: []State{StateActive, StatePaused}, Limit: 200})
	now := s.k.Now()
	return slices.DeleteFunc(all, func(x Session) bool { return x.overdue(now) != "" }), err
}

// Sweep ends what time has ended, pauses what lost its observer and tells of reviews
// that nobody made in time, so that all of it happens without a request as well. The
// kernel calls it; tests may.
func (s *Service) Sweep(ctx context.Context) error {
	open, err := s.Sessions(ctx, Filter{States: []State{StateReady, StateActive, StatePaused}, Limit: 200})
	if err != nil {
		return err
	}
	var errs []error
	for _, have := range open {
		if why := have.overdue(s.k.Now()); why != "" {
			errs = append(errs, s.endNow(ctx, have, why))
		} else if have.Observer && have.State == StateActive {
			errs = append(errs, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return s.watchedTx(ctx, tx, &have) }))
		}
	}
	return errors.Join(append(errs, s.tellReviews(ctx))...)
}

// endNow ends a session by a rule; one that ended meanwhile is fine.
func (s *Service) endNow(ctx context.Context, have Session, why EndReason) error {
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.endTx(ctx, tx, have.server(), have, why, "", s.k.Now())
	})
	if errors.Is(err, governance.ErrConflict) {
		return nil
	}
	return err
}
