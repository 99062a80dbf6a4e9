package oversight

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	PermissionRead   = "session:read"
	PermissionStart  = "session:start"
	PermissionEnd    = "session:end"
	PermissionReview = "session:review"
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

// The states of a session: pending_approval → ready → active ⇄ paused → ended. What
// no policy holds is ready at once: asking and deciding are one commit. An ended
// session that was begun then waits for its [Review].
const (
	StatePending State = "pending_approval" // held: people decide
	StateReady   State = "ready"            // allowed, not begun
	StateActive  State = "active"           // the actor works as the user
	StatePaused  State = "paused"           // recorder or observer are lost: nothing is let through
	StateEnded   State = "ended"
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
	EndRecorder EndReason = "recorder_lost" // what was shown could not be recorded for too long
	EndObserver EndReason = "observer_lost" // nobody watched a session that must be watched
	EndBrowser  EndReason = "browser_lost"  // the browser did not report what happened in it for too long
	EndRefused  EndReason = "refused"       // it was never allowed
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
	Observer    bool                `json:"observer"` // somebody has to watch
	PausedBy    Cause               `json:"paused_by,omitempty"`
	PausedWhy   string              `json:"paused_why,omitempty"`
	PausedAt    time.Time           `json:"paused_at,omitzero"`
	Ended       EndReason           `json:"ended,omitempty"`
	EndedBy     string              `json:"ended_by,omitempty"`
	Requests    int64               `json:"requests"`
	Blocked     int64               `json:"blocked"` // attempts that scope or deny list refused
	MaxDuration time.Duration       `json:"-"`
	CreatedAt   time.Time           `json:"created_at"`
	OpenBy      time.Time           `json:"open_by"`
	OpenedAt    time.Time           `json:"opened_at,omitzero"`
	ExpiresAt   time.Time           `json:"expires_at,omitzero"`
	GraceAt     time.Time           `json:"grace_at,omitzero"` // when a paused session ends
	SeenAt      time.Time           `json:"seen_at,omitzero"`
	IdleAt      time.Time           `json:"idle_at,omitzero"`
	EndedAt     time.Time           `json:"ended_at,omitzero"`
	Review      Review              `json:"review,omitzero"`
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
	case s.State == StatePaused && !now.Before(s.GraceAt):
		return s.PausedBy.lost()
	}
	return ""
}

// Request asks for a session.
type Request struct {
	Tenant governance.TenantID
	User   string        // the host's id of the user to represent
	Scope  Scope         // default ReadOnly
	For    time.Duration // default and at most Options.MaxDuration; whole minutes
	// Observer asks that somebody watches; Options.Observe may ask for it as well.
	Observer bool
	Reason   string // required
	Ticket   string
	Key      string // idempotency key
}

type startInput struct {
	Tenant  governance.TenantID `json:"tenant"`
	User    string              `json:"user"`
	Scope   Scope               `json:"scope"`
	Minutes int64               `json:"minutes"`
	Ticket  string              `json:"ticket,omitempty"`
	Watched bool                `json:"observer,omitempty"`
}

func (s *Service) startAction() *governance.Action[startInput] {
	return governance.Define(ActionStart, governance.Spec[startInput]{
		Summary:    "Works in a tenant's account as one of its users.",
		Unheld:     "It is recorded, told to the tenant and reviewed by somebody else. Policies that hold it stand in docs/policies.md.",
		Permission: PermissionStart,
		Sensitive:  true, // nobody impersonates out of an impersonation
		Tenant:     func(in startInput) governance.TenantID { return in.Tenant },
		Resource:   func(in startInput) governance.Ref { return governance.Ref{Kind: "user", ID: in.User} },
		Validate:   s.validStart,
		Preview: func(ctx context.Context, tx *governance.Tx, in startInput) (any, error) {
			return map[string]any{"user": in.User, "scope": in.Scope, "minutes": in.Minutes, "observer": in.Watched}, nil
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
	r.Ticket = strings.TrimSpace(r.Ticket)
	in := startInput{r.Tenant, r.User, r.Scope, int64(r.For / time.Minute), r.Ticket, r.Observer || s.opts.Observe(r.Tenant, r.Scope)}
	if err := s.validStart(in); err != nil {
		return governance.Outcome{}, err
	}
	r.Reason = strings.TrimSpace(r.Reason)
	if len(r.Reason) < 3 || len(r.Reason) > maxReason || !clean(r.Reason) {
		return governance.Outcome{}, governance.Invalid("reason", "is required, 3 to %d bytes of text", maxReason)
	}
	if id.Subject == nil { // while impersonating the guard itself refuses, and records it
		if err := s.mayBegin(ctx, id, r.Tenant, r.User, r.Reason); err != nil {
			return governance.Outcome{}, err
		}
	}
	return s.start.Do(ctx, s.k, id, in, &governance.DoOptions{Key: r.Key, Reason: r.Reason, Ticket: r.Ticket})
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
	in.Watched = in.Watched || e.Obligations.Observer // a policy may demand it
	row := &sessionRow{ID: e.Action, Tenant: string(in.Tenant), User: in.User, Person: string(e.Identity.Actor.Person), Actor: string(actor), Subject: "{}",
		Scope: string(in.Scope), Reason: e.Reason, Ticket: in.Ticket, Minutes: in.Minutes, State: string(StateReady),
		Observer: in.Watched, CreatedAt: govdb.At(now), OpenBy: govdb.At(now.Add(s.opts.OpenWithin))}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return governance.Result{}, fmt.Errorf("session of %s: %w: %w", row.Person, governance.ErrRetry, err)
		}
		return governance.Result{}, fmt.Errorf("session: %w", err)
	}
	return governance.Result{Data: map[string]any{"session": e.Action, "user": in.User, "scope": in.Scope, "minutes": in.Minutes, "observer": in.Watched, "open_by": row.OpenBy.Time()}}, nil
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
	if err := s.mayBegin(ctx, id, have.Tenant, have.User, have.Reason); err != nil {
		return Session{}, "", err
	}
	if have.State == StateReady {
		if err := s.recorderAlive(ctx, session); err != nil {
			return Session{}, "", err
		}
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
		if err := s.openedTx(ctx, tx, have, id.Origin); err != nil {
			return err
		}
		return s.watchedTx(ctx, tx, &have)
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
		ActionID: have.ID, Data: s.withOpened(map[string]any{"scope": have.Scope, "expires_at": have.ExpiresAt, "user": have.User})}, ev)
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
		Set("ended_at = ?", govdb.At(now)).Set("token_hash = ''").Set("review_due = ?", s.reviewDue(have, now)).Where("id = ? AND state <> ?", have.ID, StateEnded).Exec(ctx)
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
	kept, err := recordedTx(ctx, tx, have.ID)
	if err != nil {
		return err
	}
	data := map[string]any{"ended": why, "impersonator": have.Actor.ID, "user": have.User, "chunks": kept.Seq, "chunk": kept.SHA256}
	if err := s.withEnded(ctx, tx, have.ID, data); err != nil {
		return err
	}
	who := by
	if by.Actor.ID == have.Actor.ID || by.Actor.Person != "" && by.Actor.Person == have.Actor.Person {
		who.Subject = have.identity().Subject
	}
	who.SessionID = have.ID.String()
	_, err = s.k.RecordTx(ctx, tx, who, governance.Record{Action: "impersonation.end", Tenant: have.Tenant, Resource: have.ref(), Reason: note, ActionID: have.ID,
		Data: data}, ev)
	if err != nil {
		return err
	}
	return errors.Join(s.k.ResolveAlertTx(ctx, tx, sessionAlert(have.ID)), s.k.ResolveAlertTx(ctx, tx, pausedAlert(have.ID)))
}

// lastChunk is how far a recording had come.
type lastChunk struct {
	Seq    int64
	SHA256 string `bun:"sha256"`
}

// recordedTx reads the last chunk of a recording, so that the record of its end
// tells how long it was: a tail cut off later is found.
func recordedTx(ctx context.Context, tx *governance.Tx, session uuid.UUID) (out lastChunk, err error) {
	err = tx.NewRaw("SELECT seq, sha256 FROM oversight_chunk WHERE session = ? ORDER BY seq DESC LIMIT 1", session).Scan(ctx, &out)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return out, fmt.Errorf("last chunk of %s: %w", session, err)
	}
	return out, nil
}

// Session reads one session.
func (s *Service) Session(ctx context.Context, id uuid.UUID) (Session, error) {
	got, err := s.readSession(ctx, s.k.DB().Read(), "id = ?", id)
	if errors.Is(err, governance.ErrNotFound) {
		got, err = s.asked(ctx, id)
	}
	if err != nil {
		return got, fmt.Errorf("%s: %w", id, err)
	}
	return got, nil
}

// Filter selects sessions; the zero value lists all, newest first.
type Filter struct {
	States []State             // of rows; those that are held are listed by Service.Pending
	Review ReviewState         // empty: any
	Begun  bool                // only those that were opened
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
	if f.Begun {
		q = q.Where("opened_at > 0")
	}
	switch f.Review {
	case "":
	case ReviewDue:
		q = q.Where("review_due > 0 AND reviewed_at = 0")
	case ReviewOverdue:
		q = q.Where("review_due > 0 AND reviewed_at = 0 AND review_due <= ?", govdb.At(s.k.Now()))
	case Reviewed:
		q = q.Where("reviewed_at > 0")
	default:
		return nil, governance.Invalid("review", "%q is not due, overdue or reviewed", f.Review)
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
