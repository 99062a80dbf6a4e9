package oversight

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// ActionStart is the guarded action that asks for an impersonation session.
const ActionStart = "impersonation.start"

// The permissions of this package.
const (
	PermissionRead  = "session:read"
	PermissionStart = "session:start"
	PermissionEnd   = "session:end"
)

// Scope is how far a session reaches. What the represented user may not do is out
// of reach in either.
type Scope string

// The scopes.
const (
	ReadOnly  Scope = "read"
	ReadWrite Scope = "write"
)

// State is where a session stands.
type State string

// The states of a session: ready → active ⇄ paused → ended.
const (
	StateReady  State = "ready"  // allowed, not begun
	StateActive State = "active" // the actor works as the user
	StatePaused State = "paused" // the recorder fails: nothing is let through
	StateEnded  State = "ended"
)

// EndReason says why a session is over.
type EndReason string

// The ways a session ends.
const (
	EndStopped  EndReason = "stopped"       // by the actor
	EndKilled   EndReason = "killed"        // by somebody else
	EndExpired  EndReason = "expired"       // its time was up
	EndIdle     EndReason = "idle"          // nothing was done for too long
	EndUnopened EndReason = "unopened"      // nobody opened it in time
	EndRevoked  EndReason = "actor_revoked" // the actor may not impersonate any more
	EndChanged  EndReason = "actor_changed" // somebody else used its token
	EndGone     EndReason = "subject_gone"  // the user is not there any more
)

// Session is one impersonation: Actor works as Subject, a user of Tenant.
type Session struct {
	ID          uuid.UUID           `json:"id"`
	Tenant      governance.TenantID `json:"tenant"`
	User        string              `json:"user"`
	Actor       governance.Actor    `json:"actor"`
	Subject     governance.Actor    `json:"subject"` // zero until opened
	Scope       Scope               `json:"scope"`
	Reason      string              `json:"reason"`
	Ticket      string              `json:"ticket,omitempty"`
	State       State               `json:"state"`
	PausedWhy   string              `json:"paused_why,omitempty"`
	Ended       EndReason           `json:"ended,omitempty"`
	EndedBy     string              `json:"ended_by,omitempty"`
	Requests    int64               `json:"requests"`
	Blocked     int64               `json:"blocked"` // attempts that scope or deny list refused
	MaxDuration time.Duration       `json:"-"`
	CreatedAt   time.Time           `json:"created_at"`
	OpenBy      time.Time           `json:"open_by"`
	OpenedAt    time.Time           `json:"opened_at,omitzero"`
	ExpiresAt   time.Time           `json:"expires_at,omitzero"`
	SeenAt      time.Time           `json:"seen_at,omitzero"`
	IdleAt      time.Time           `json:"idle_at,omitzero"`
	EndedAt     time.Time           `json:"ended_at,omitzero"`
}

// Live tells whether the session can still be used.
func (s Session) Live() bool { return s.State == StateActive || s.State == StatePaused }

func (s Session) ref() governance.Ref { return governance.RefTo("session", s.ID) }

// server is the server itself acting on the session.
func (s Session) server() governance.Identity {
	id := governance.System("oversight")
	id.SessionID = s.ID.String()
	return id
}

// identity is both identities of the session.
func (s Session) identity() governance.Identity {
	id := governance.Identity{Actor: s.Actor, SessionID: s.ID.String()}
	if s.Subject.ID != "" {
		subject := s.Subject
		id.Subject = &subject
	}
	return id
}

// overdue says by which limit the session has ended at a time, or is empty.
func (s Session) overdue(now time.Time) EndReason {
	switch {
	case s.State == StateReady && now.After(s.OpenBy):
		return EndUnopened
	case s.Live() && !now.Before(s.ExpiresAt):
		return EndExpired
	case s.State == StateActive && !now.Before(s.IdleAt):
		return EndIdle
	}
	return ""
}

// Request asks for a session.
type Request struct {
	Tenant governance.TenantID
	User   string        // the host's id of the user to represent
	Scope  Scope         // default ReadOnly
	For    time.Duration // default and at most Options.MaxDuration; whole minutes
	Reason string        // required
	Ticket string
	Key    string // idempotency key
}

type startInput struct {
	Tenant  governance.TenantID `json:"tenant"`
	User    string              `json:"user"`
	Scope   Scope               `json:"scope"`
	Minutes int64               `json:"minutes"`
	Ticket  string              `json:"ticket,omitempty"`
}

func (s *Service) startAction() *governance.Action[startInput] {
	return governance.Define(ActionStart, governance.Spec[startInput]{
		Permission: PermissionStart,
		Sensitive:  true, // nobody impersonates out of an impersonation
		Tenant:     func(in startInput) governance.TenantID { return in.Tenant },
		Resource:   func(in startInput) governance.Ref { return governance.Ref{Kind: "user", ID: in.User} },
		Validate:   s.validStart,
		Preview: func(ctx context.Context, tx *governance.Tx, in startInput) (any, error) {
			return map[string]any{"user": in.User, "scope": in.Scope, "minutes": in.Minutes}, nil
		},
	}, s.startTx)
}

func (s *Service) validStart(in startInput) error {
	var errs []error
	if in.Tenant == "" {
		errs = append(errs, governance.Invalid("tenant", "is required"))
	}
	if in.User == "" || len(in.User) > 200 || !clean(in.User) {
		errs = append(errs, governance.Invalid("user", "is required, at most 200 bytes of text"))
	}
	if in.Scope != ReadOnly && in.Scope != ReadWrite {
		errs = append(errs, governance.Invalid("scope", "%q is neither read nor write", in.Scope))
	}
	if longest := int64(s.opts.MaxDuration / time.Minute); in.Minutes < 1 || in.Minutes > longest {
		errs = append(errs, governance.Invalid("minutes", "%d is not between 1 and %d", in.Minutes, longest))
	}
	return errors.Join(errs...)
}

func clean(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// Start asks for a session through the guard. The outcome's Action is the session's
// id; [Service.Open] begins it. Held, it becomes ready once approved. Its record is
// committed before there is any token.
func (s *Service) Start(ctx context.Context, id governance.Identity, r Request) (governance.Outcome, error) {
	if r.Scope == "" {
		r.Scope = ReadOnly
	}
	if r.For == 0 {
		r.For = s.opts.MaxDuration
	}
	in := startInput{r.Tenant, r.User, r.Scope, int64(r.For / time.Minute), r.Ticket}
	if err := s.validStart(in); err != nil {
		return governance.Outcome{}, err
	}
	r.Reason = strings.TrimSpace(r.Reason)
	if len(r.Reason) < 3 || len(r.Reason) > maxReason || !clean(r.Reason) {
		return governance.Outcome{}, governance.Invalid("reason", "is required, 3 to %d bytes of text", maxReason)
	}
	if id.Subject == nil { // while impersonating the guard itself refuses, and records it
		if _, err := s.target(ctx, id, r.Tenant, r.User); err != nil {
			return governance.Outcome{}, err
		}
	}
	return s.start.Do(ctx, s.k, id, in, &governance.DoOptions{Key: r.Key, Reason: r.Reason, Ticket: r.Ticket})
}

// target finds who would be represented, and refuses everybody who is staff.
func (s *Service) target(ctx context.Context, id governance.Identity, tenant governance.TenantID, user string) (governance.Actor, error) {
	if id.Actor.Person == "" {
		return governance.Actor{}, &governance.DeniedError{Action: ActionStart, Rule: "person", Reason: "only a person may impersonate, and no shared key is one"}
	}
	t, err := s.opts.Targets(ctx, tenant, user)
	if err != nil {
		return t, fmt.Errorf("user %s of tenant %s: %w", user, tenant, err)
	}
	if t.ID == "" {
		return t, fmt.Errorf("user %s of tenant %s: %w", user, tenant, governance.ErrNotFound)
	}
	if t.ID == id.Actor.ID || t.Person == id.Actor.Person {
		return t, &governance.DeniedError{Action: ActionStart, Rule: "staff", Reason: "nobody represents themselves"}
	}
	if t.Person != "" {
		switch p, err := s.k.Directory().Resolve(ctx, t.Person); {
		case err == nil && p.ID != "":
			return t, &governance.DeniedError{Action: ActionStart, Rule: "staff", Reason: "the user is a member of staff"}
		case err != nil && !errors.Is(err, governance.ErrNotFound):
			return t, fmt.Errorf("resolve user %s: %w", user, err)
		}
	}
	t.AuthTime, t.AMR = time.Time{}, nil
	return t, nil
}

func (s *Service) startTx(ctx context.Context, tx *governance.Tx, in startInput) (governance.Result, error) {
	e, _ := governance.ExecutionFrom(ctx)
	now := s.k.Now()
	actor, err := json.Marshal(e.Identity.Actor)
	if err != nil {
		return governance.Result{}, fmt.Errorf("actor: %w", err)
	}
	var open []sessionRow
	if err := tx.NewSelect().Model(&open).Where("person = ? AND state <> ?", e.Identity.Actor.Person, StateEnded).Scan(ctx); err != nil {
		return governance.Result{}, fmt.Errorf("open sessions: %w", err)
	}
	for _, r := range open {
		have, err := s.session(r)
		if err != nil {
			return governance.Result{}, err
		}
		why := have.overdue(now)
		if why == "" {
			return governance.Result{}, fmt.Errorf("session %s is %s, end it first: %w", have.ID, have.State, governance.ErrConflict)
		}
		if err := s.endTx(ctx, tx, have.server(), have, why, "", now); err != nil {
			return governance.Result{}, err
		}
	}
	row := &sessionRow{ID: e.Action, Tenant: string(in.Tenant), User: in.User, Person: string(e.Identity.Actor.Person), Actor: string(actor), Subject: "{}",
		Scope: string(in.Scope), Reason: e.Reason, Ticket: in.Ticket, Minutes: in.Minutes, State: string(StateReady),
		CreatedAt: govdb.At(now), OpenBy: govdb.At(now.Add(s.opts.OpenWithin))}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return governance.Result{}, fmt.Errorf("session of %s: %w: %w", row.Person, governance.ErrRetry, err)
		}
		return governance.Result{}, fmt.Errorf("session: %w", err)
	}
	return governance.Result{Data: map[string]any{"session": e.Action, "user": in.User, "scope": in.Scope, "minutes": in.Minutes, "open_by": row.OpenBy.Time()}}, nil
}

// Open begins a session that is ready and gives the secret of its cookie, once and
// only to the person who asked for it. Its clock runs from now.
func (s *Service) Open(ctx context.Context, id governance.Identity, session uuid.UUID) (Session, string, error) {
	have, err := s.Session(ctx, session)
	if err != nil {
		return have, "", err
	}
	if id.Subject != nil || id.Actor.Person == "" || id.Actor.Person != have.Actor.Person {
		return Session{}, "", fmt.Errorf("session %s: %w", session, governance.ErrNotFound)
	}
	if err := s.k.Authorize(ctx, id, PermissionStart, governance.Target{Tenant: have.Tenant}); err != nil {
		return Session{}, "", err
	}
	subject, err := s.target(ctx, id, have.Tenant, have.User)
	if err != nil {
		return Session{}, "", err
	}
	raw, err := json.Marshal(subject)
	if err != nil {
		return Session{}, "", fmt.Errorf("subject: %w", err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // crypto/rand.Read never fails
	token := base64.RawURLEncoding.EncodeToString(secret)
	err = s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := s.k.Now()
		have.Subject, have.State, have.OpenedAt, have.SeenAt = subject, StateActive, now, now
		have.ExpiresAt, have.IdleAt = now.Add(have.MaxDuration), now.Add(s.opts.Idle)
		res, err := tx.NewUpdate().Model((*sessionRow)(nil)).
			Set("state = ?", StateActive).Set("subject = ?", string(raw)).Set("token_hash = ?", hashToken(token)).
			Set("opened_at = ?", govdb.At(now)).Set("seen_at = ?", govdb.At(now)).Set("expires_at = ?", govdb.At(have.ExpiresAt)).
			Where("id = ? AND state = ? AND open_by >= ?", session, StateReady, govdb.At(now)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("open session %s: %w", session, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("session %s is not ready to be opened: %w", session, governance.ErrConflict)
		}
		return s.openedTx(ctx, tx, have, id.Origin)
	})
	if err != nil {
		return Session{}, "", err
	}
	return have, token, nil
}

// openedTx writes the record, the event and the alert of a session that begins.
func (s *Service) openedTx(ctx context.Context, tx *governance.Tx, have Session, origin governance.Origin) error {
	ev, err := s.event("impersonation.started", have)
	if err != nil {
		return err
	}
	both := have.identity()
	both.Origin = origin
	receipt, err := s.k.RecordTx(ctx, tx, both, governance.Record{Action: "impersonation.open", Tenant: have.Tenant, Resource: have.ref(), Reason: have.Reason, Ticket: have.Ticket,
		ActionID: have.ID, Data: map[string]any{"scope": have.Scope, "expires_at": have.ExpiresAt, "user": have.User}}, ev)
	if err != nil {
		return err
	}
	_, err = s.k.AlertTx(ctx, tx, governance.Alert{
		Key: sessionAlert(have.ID), Severity: governance.Info, Tenant: have.Tenant, Title: "Impersonation in tenant " + string(have.Tenant),
		Body: fmt.Sprintf("%s works as a user of %s until %s, scope %s.", have.Actor.ID, have.Tenant, have.ExpiresAt.Format("15:04 MST"), have.Scope),
		Links: []governance.Link{{Title: "Session and recording", Kind: "session", ID: have.ID.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()},
			{Title: "Tenant", Kind: "tenant", ID: string(have.Tenant)}},
	})
	return err
}

func sessionAlert(id uuid.UUID) string { return "impersonation:" + id.String() }

func hashToken(token string) string {
	sum := sha256.Sum256([]byte("reeve/impersonation/v1\n" + token))
	return hex.EncodeToString(sum[:])
}

func (s *Service) event(typ string, have Session) (governance.Event, error) {
	return governance.NewEvent(typ, have.Tenant, 0, have.ref(), map[string]any{
		"session": have.ID, "tenant": have.Tenant, "user": have.User, "actor": have.Actor.ID, "scope": have.Scope, "state": have.State,
		"opened_at": have.OpenedAt, "expires_at": have.ExpiresAt, "ended_at": have.EndedAt, "ended": have.Ended})
}

// End ends a session at once: the next request with its token is refused. The
// person whose session it is may always end it, others need session:end.
func (s *Service) End(ctx context.Context, id governance.Identity, session uuid.UUID, note string) error {
	if len(note) > maxReason || !clean(note) {
		return governance.Invalid("reason", "has more than %d bytes or is not text", maxReason)
	}
	have, err := s.Session(ctx, session)
	if err != nil {
		return err
	}
	why := EndStopped
	if id.Actor.Person == "" || id.Actor.Person != have.Actor.Person {
		why = EndKilled
		if err := s.k.Authorize(ctx, id, PermissionEnd, governance.Target{Tenant: have.Tenant, Resource: have.ref()}); err != nil {
			return err
		}
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		return s.endTx(ctx, tx, id, have, why, note, s.k.Now())
	})
}

// endTx ends a session that has not ended, and is ErrConflict on one that has.
func (s *Service) endTx(ctx context.Context, tx *governance.Tx, by governance.Identity, have Session, why EndReason, note string, now time.Time) error {
	res, err := tx.NewUpdate().Model((*sessionRow)(nil)).Set("state = ?", StateEnded).Set("ended_why = ?", why).Set("ended_by = ?", by.Actor.ID).
		Set("ended_at = ?", govdb.At(now)).Set("token_hash = ''").Where("id = ? AND state <> ?", have.ID, StateEnded).Exec(ctx)
	if err != nil {
		return fmt.Errorf("end session %s: %w", have.ID, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return fmt.Errorf("session %s has ended: %w", have.ID, governance.ErrConflict)
	}
	have.State, have.Ended, have.EndedAt = StateEnded, why, now
	ev, err := s.event("impersonation.ended", have)
	if err != nil {
		return err
	}
	who := by
	if by.Actor.ID == have.Actor.ID || by.Actor.Person != "" && by.Actor.Person == have.Actor.Person {
		who.Subject = have.identity().Subject
	}
	who.SessionID = have.ID.String()
	_, err = s.k.RecordTx(ctx, tx, who, governance.Record{Action: "impersonation.end", Tenant: have.Tenant, Resource: have.ref(), Reason: note, ActionID: have.ID,
		Data: map[string]any{"ended": why, "impersonator": have.Actor.ID, "user": have.User}}, ev)
	if err != nil {
		return err
	}
	return errors.Join(s.k.ResolveAlertTx(ctx, tx, sessionAlert(have.ID)), s.k.ResolveAlertTx(ctx, tx, pausedAlert(have.ID)))
}

// Pause lets nothing through until [Service.Resume]: the recorder calls it when it
// cannot keep what is shown.
func (s *Service) Pause(ctx context.Context, session uuid.UUID, why string) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		if moved, err := moveTx(ctx, tx, session, StateActive, StatePaused, why); err != nil || !moved {
			return err
		}
		receipt, err := s.k.RecordTx(ctx, tx, have.server(), governance.Record{Action: "impersonation.pause", Tenant: have.Tenant, Resource: have.ref(),
			ActionID: have.ID, Data: map[string]any{"why": why}})
		if err != nil {
			return err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: pausedAlert(session), Severity: governance.Critical, Tenant: have.Tenant,
			Title: "An impersonation is not recorded and was paused", Body: why,
			Links: []governance.Link{{Title: "Session", Kind: "session", ID: session.String()}, {Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

// Resume lets a paused session go on.
func (s *Service) Resume(ctx context.Context, session uuid.UUID) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		have, err := s.readSession(ctx, tx, "id = ?", session)
		if err != nil {
			return err
		}
		moved, err := moveTx(ctx, tx, session, StatePaused, StateActive, "")
		if err != nil || !moved {
			return err
		}
		// What was paused could not be used: the time since is not idleness.
		if _, err := tx.ExecContext(ctx, "UPDATE oversight_session SET seen_at = ? WHERE id = ?", govdb.At(s.k.Now()), session); err != nil {
			return fmt.Errorf("resume session %s: %w", session, err)
		}
		_, err = s.k.RecordTx(ctx, tx, have.server(), governance.Record{Action: "impersonation.resume", Tenant: have.Tenant, Resource: have.ref(), ActionID: have.ID})
		return errors.Join(err, s.k.ResolveAlertTx(ctx, tx, pausedAlert(session)))
	})
}

func pausedAlert(id uuid.UUID) string { return "impersonation.paused:" + id.String() }

func moveTx(ctx context.Context, tx *governance.Tx, session uuid.UUID, from, to State, why string) (bool, error) {
	res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET state = ?, paused_why = ? WHERE id = ? AND state = ?", to, why, session, from)
	if err != nil {
		return false, fmt.Errorf("session %s to %s: %w", session, to, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Session reads one session.
func (s *Service) Session(ctx context.Context, id uuid.UUID) (Session, error) {
	got, err := s.readSession(ctx, s.k.DB().Read(), "id = ?", id)
	if err != nil {
		return got, fmt.Errorf("%s: %w", id, err)
	}
	return got, nil
}

// Filter selects sessions; the zero value lists all, newest first.
type Filter struct {
	States []State
	Tenant governance.TenantID // empty: every tenant's
	Person governance.PersonID // of the actor; empty: everybody's
	Before uuid.UUID           // the last id of the page before
	Limit  int                 // default 50, at most 200
}

// Sessions lists sessions, newest first.
func (s *Service) Sessions(ctx context.Context, f Filter) ([]Session, error) {
	if f.Limit <= 0 {
		f.Limit = 50
	}
	var rows []sessionRow
	q := s.k.DB().Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(int64(min(f.Limit, 200)))
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Person != "" {
		q = q.Where("person = ?", f.Person)
	}
	if f.Before != uuid.Nil {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM oversight_session WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	out := make([]Session, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = s.session(r); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Live lists the sessions that can be used now, newest first.
func (s *Service) Live(ctx context.Context) ([]Session, error) {
	all, err := s.Sessions(ctx, Filter{States: []State{StateActive, StatePaused}, Limit: 200})
	now := s.k.Now()
	return slices.DeleteFunc(all, func(x Session) bool { return x.overdue(now) != "" }), err
}

// Sweep ends what time has ended, so that a session nobody uses any more is closed
// in the records as well. The kernel calls it; tests may.
func (s *Service) Sweep(ctx context.Context) error {
	open, err := s.Sessions(ctx, Filter{States: []State{StateReady, StateActive, StatePaused}, Limit: 200})
	if err != nil {
		return err
	}
	var errs []error
	for _, have := range open {
		if why := have.overdue(s.k.Now()); why != "" {
			errs = append(errs, s.endNow(ctx, have, why))
		}
	}
	return errors.Join(errs...)
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
