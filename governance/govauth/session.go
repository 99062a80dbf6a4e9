package govauth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// How a sign-in was proved, as RFC 8176 calls it.
const (
	methodLink = "otp" // a one-time link
	methodCode = "pwd" // the person's own code
	methodKey  = "key" // an API key
)

// SignedIn is a session that has just begun. Cookie and Code are not shown again.
type SignedIn struct {
	Session string
	Person  governance.PersonID
	Name    string
	Cookie  string // for [Service.SetCookie]
	Code    string // the person's new sign-in code, when they had none
	Expires time.Time
}

// startTx begins a session of an active person.
func (s *Service) startTx(ctx context.Context, tx *governance.Tx, person governance.PersonID, method string, from governance.Origin) (out SignedIn, refused, err error) {
	user, err := userTx(ctx, tx, person)
	if err != nil {
		return out, nil, err
	}
	if !user.active() {
		return out, denied("signin", "person", "this person is deactivated"), nil
	}
	id := newID()
	text, hash := newSecret(sessionPrefix, id)
	now := s.k.Now()
	row := &sessionRow{ID: id, Hash: hash, Person: user.ID, Method: method, IP: from.IP, UserAgent: from.UserAgent,
		CreatedAt: govdb.At(now), SeenAt: govdb.At(now), ExpiresAt: govdb.At(now.Add(s.opts.SessionMax))}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return out, nil, fmt.Errorf("session of %s: %w", person, err)
	}
	out = SignedIn{Session: id, Person: person, Name: user.Name, Cookie: text, Expires: row.ExpiresAt.Time()}
	by := governance.Identity{Actor: userActor(user, govdb.At(now), method), Origin: from}
	return out, nil, s.record(ctx, tx, by, "signin", governance.Ref{Kind: "signin", ID: id}, map[string]any{"method": method})
}

func userActor(u userRow, at govdb.Micros, method string) governance.Actor {
	return governance.Actor{ID: "user:" + u.ID, Kind: governance.ActorUser, Person: governance.PersonID(u.ID), Name: u.Name, Roles: slices.Clone(u.Roles),
		Groups: groups(u.Roles), Region: u.Region, AuthTime: at.Time(), AMR: []string{method}}
}

// SignIn begins a session by a person's sign-in code.
func (s *Service) SignIn(ctx context.Context, code string, from governance.Origin) (SignedIn, error) {
	id, ok := secretID(codePrefix, code)
	if !ok {
		return SignedIn{}, ErrUnauthenticated
	}
	var out SignedIn
	var refused error
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		out, refused = SignedIn{}, nil
		row, err := keyTx(ctx, tx, id)
		switch {
		case errors.Is(err, governance.ErrNotFound):
			return ErrUnauthenticated
		case err != nil:
			return err
		case row.Kind != keyCode || !matches(code, row.Hash) || row.RevokedAt != 0:
			return ErrUnauthenticated
		}
		out, refused, err = s.startTx(ctx, tx, governance.PersonID(row.Person), methodCode, from)
		if err != nil || refused != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE auth_key SET used_at = ? WHERE id = ?", s.now(), id)
		return err
	})
	if err = errors.Join(err, refused); err != nil {
		return SignedIn{}, err
	}
	return out, nil
}

// NewCode gives the signed-in person another sign-in code; the one before stops
// working. A key cannot ask for it: whoever steals one must not get in for good.
func (s *Service) NewCode(ctx context.Context, id governance.Identity) (string, error) {
	if id.Actor.Kind != governance.ActorUser || !own(id, id.Actor.Person) {
		return "", denied("signin.code", "person", "only a signed-in person gets a code, for themselves")
	}
	var code string
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) (err error) {
		if code, err = s.newCodeTx(ctx, tx, id.Actor.Person); err != nil {
			return err
		}
		return s.record(ctx, tx, id, "signin.code", personRef(id.Actor.Person), nil)
	})
	return code, err
}

func (s *Service) newCodeTx(ctx context.Context, tx *governance.Tx, person governance.PersonID) (string, error) {
	now := s.now()
	if _, err := tx.ExecContext(ctx, "UPDATE auth_key SET revoked_at = ? WHERE person = ? AND kind = ? AND revoked_at = 0", now, person, keyCode); err != nil {
		return "", fmt.Errorf("code of %s: %w", person, err)
	}
	id := newID()
	text, hash := newSecret(codePrefix, id)
	row := &keyRow{ID: id, Kind: keyCode, Person: string(person), Name: "sign-in code", Hash: hash, CreatedBy: string(person), CreatedAt: now, IssuedAt: now}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return "", fmt.Errorf("code of %s: %w", person, err)
	}
	return text, nil
}

// Session is a sign-in of a person.
type Session struct {
	ID        string
	Person    governance.PersonID
	Method    string
	IP        string
	UserAgent string
	CreatedAt time.Time
	SeenAt    time.Time
	ExpiresAt time.Time
}

// Sessions lists a person's open sessions, the last used first.
func (s *Service) Sessions(ctx context.Context, person governance.PersonID) ([]Session, error) {
	var rows []sessionRow
	now := s.k.Now()
	err := s.db.Read().NewSelect().Model(&rows).Where("person = ? AND ended_at = 0 AND expires_at > ? AND seen_at > ?",
		person, govdb.At(now), govdb.At(now.Add(-s.opts.SessionIdle))).Order("seen_at DESC", "id").Limit(100).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessions of %s: %w", person, err)
	}
	out := make([]Session, len(rows))
	for i, r := range rows {
		out[i] = Session{r.ID, governance.PersonID(r.Person), r.Method, r.IP, r.UserAgent, r.CreatedAt.Time(), r.SeenAt.Time(), r.ExpiresAt.Time()}
	}
	return out, nil
}

// EndSession signs a session out: one's own, or with user:write anybody's.
func (s *Service) EndSession(ctx context.Context, id governance.Identity, session string) error {
	var row sessionRow
	err := s.db.Read().NewSelect().Model(&row).Where("id = ?", session).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("session %s: %w", session, err)
	}
	if person := governance.PersonID(row.Person); !own(id, person) {
		if err := s.k.Authorize(ctx, id, "user:write", governance.Target{Resource: personRef(person)}); err != nil {
			return err
		}
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return s.endTx(ctx, tx, id, session) })
}

func (s *Service) endTx(ctx context.Context, tx *governance.Tx, id governance.Identity, session string) error {
	res, err := tx.ExecContext(ctx, "UPDATE auth_session SET ended_at = ? WHERE id = ? AND ended_at = 0", s.now(), session)
	if err := affectOne(res, err, "end session "+session, governance.ErrConflict); err != nil {
		return err
	}
	return s.record(ctx, tx, id, "signout", governance.Ref{Kind: "signin", ID: session}, nil)
}

// SignOut ends the session of the request's cookie, if there is one. Call
// [Service.ClearCookie] as well.
func (s *Service) SignOut(ctx context.Context, r *http.Request) error {
	text, ok := s.cookie(r)
	if !ok {
		return nil
	}
	found, err := s.session(ctx, text)
	if errors.Is(err, ErrUnauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	id := governance.Identity{Actor: found.actor(), Origin: s.Origin(r)}
	err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return s.endTx(ctx, tx, id, found.SessionID) })
	if errors.Is(err, governance.ErrConflict) {
		return nil // twice at once
	}
	return err
}

func (s *Service) cookieName() string {
	if s.opts.Secure {
		return "__Host-reeve"
	}
	return "reeve_session"
}

// SetCookie gives the browser its session.
func (s *Service) SetCookie(w http.ResponseWriter, in SignedIn) {
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(), Value: in.Cookie, Path: "/", HttpOnly: true, Secure: s.opts.Secure, SameSite: http.SameSiteLaxMode,
		MaxAge: int(in.Expires.Sub(s.k.Now()).Seconds())})
}

// ClearCookie takes the session out of the browser.
func (s *Service) ClearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: s.cookieName(), Path: "/", HttpOnly: true, Secure: s.opts.Secure, SameSite: http.SameSiteLaxMode, MaxAge: -1})
}

func (s *Service) cookie(r *http.Request) (string, bool) {
	c, err := r.Cookie(s.cookieName())
	if err != nil || c.Value == "" {
		return "", false
	}
	return c.Value, true
}
