package govauth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

var (
	// ErrNoCredentials: the request names nobody.
	ErrNoCredentials = errors.New("govauth: no credentials")
	// ErrUnauthenticated: the key, cookie, code or link is unknown, expired or revoked.
	ErrUnauthenticated = errors.New("govauth: not authenticated")
)

// credential is a session or key with its person, read in one query.
type credential struct {
	bun.BaseModel `bun:"table:auth_session"`

	SessionID  string       `bun:"id"`
	Hash       string       `bun:"hash"`
	Person     string       `bun:"person"`
	Method     string       `bun:"method"` // of a session; of a key its kind
	KeyName    string       `bun:"key_name"`
	KeyRoles   roleList     `bun:"key_roles"`
	CreatedAt  govdb.Micros `bun:"created_at"`
	SeenAt     govdb.Micros `bun:"seen_at"`
	ExpiresAt  govdb.Micros `bun:"expires_at"`
	EndedAt    govdb.Micros `bun:"ended_at"`
	UserName   string       `bun:"user_name"`
	UserRoles  roleList     `bun:"user_roles"`
	UserRegion string       `bun:"user_region"`
	UserState  string       `bun:"user_state"`
}

const sessionQuery = `SELECT s.id, s.hash, s.person, s.method, '' AS key_name, '[]' AS key_roles, s.created_at, s.seen_at, s.expires_at, s.ended_at,
	u.name AS user_name, u.roles AS user_roles, u.region AS user_region, u.state AS user_state
	FROM auth_session AS s JOIN auth_user AS u ON u.id = s.person WHERE s.id = ?`

const keyQuery = `SELECT k.id, k.hash, k.person, k.kind AS method, k.name AS key_name, k.roles AS key_roles, k.created_at, k.used_at AS seen_at, k.expires_at,
	k.revoked_at AS ended_at, COALESCE(u.name, '') AS user_name, COALESCE(u.roles, '[]') AS user_roles, COALESCE(u.region, '') AS user_region,
	COALESCE(u.state, '') AS user_state
	FROM auth_key AS k LEFT JOIN auth_user AS u ON u.id = k.person WHERE k.id = ?`

func (s *Service) find(ctx context.Context, query, id, text string) (credential, error) {
	var c credential
	err := s.db.Read().NewRaw(query, id).Scan(ctx, &c)
	if errors.Is(err, sql.ErrNoRows) {
		return c, ErrUnauthenticated
	}
	if err != nil {
		return c, fmt.Errorf("look up credential: %w", err)
	}
	now := s.now()
	if !matches(text, c.Hash) || c.EndedAt != 0 || c.ExpiresAt <= now {
		return c, ErrUnauthenticated
	}
	if c.Person != "" && c.UserState != string(UserActive) {
		return c, ErrUnauthenticated
	}
	return c, nil
}

func (s *Service) session(ctx context.Context, text string) (credential, error) {
	id, ok := secretID(sessionPrefix, text)
	if !ok {
		return credential{}, ErrUnauthenticated
	}
	c, err := s.find(ctx, sessionQuery, id, text)
	if err == nil && c.SeenAt <= govdb.At(s.k.Now().Add(-s.opts.SessionIdle)) {
		err = ErrUnauthenticated
	}
	return c, err
}

func (c credential) actor() governance.Actor {
	return userActor(userRow{ID: c.Person, Name: c.UserName, Roles: c.UserRoles, Region: c.UserRegion}, c.CreatedAt, c.Method)
}

// Identify says who sent a request: the bearer of an API key, or the browser with a
// session. A key that is not valid is an error even beside a valid session. A cookie
// counts on a request that changes something only when the browser says that it comes
// from this site.
func (s *Service) Identify(r *http.Request) (governance.Identity, error) {
	ctx := r.Context()
	id := governance.Identity{Origin: s.Origin(r)}
	if auth := r.Header.Values("Authorization"); len(auth) > 0 {
		scheme, text, _ := strings.Cut(auth[0], " ")
		key, ok := secretID(keyPrefix, text)
		if len(auth) > 1 || !strings.EqualFold(scheme, "Bearer") || !ok {
			return id, ErrUnauthenticated
		}
		c, err := s.find(ctx, keyQuery, key, text)
		if err != nil {
			return id, err
		}
		if id.Actor, err = c.keyActor(); err != nil {
			return id, err
		}
		s.touch(touch{true, key}, c.SeenAt)
		return id, nil
	}
	text, ok := s.cookie(r)
	if !ok {
		return id, ErrNoCredentials
	}
	if !sameSite(r) {
		return id, ErrUnauthenticated
	}
	c, err := s.session(ctx, text)
	if err != nil {
		return id, err
	}
	s.touch(touch{false, c.SessionID}, c.SeenAt)
	id.Actor = c.actor()
	return id, nil
}

func (c credential) keyActor() (governance.Actor, error) {
	a := governance.Actor{ID: "key:" + c.SessionID, Kind: governance.ActorKey, AuthTime: c.CreatedAt.Time(), AMR: []string{methodKey}}
	switch c.Method {
	case KeyPersonal:
		a.Person, a.Name, a.Region, a.Roles = governance.PersonID(c.Person), c.UserName, c.UserRegion, narrowed(c.UserRoles, c.KeyRoles)
	case KeyShared:
		a.Name, a.Roles = c.KeyName, slices.Clone(c.KeyRoles)
	default: // a sign-in code is no key
		return a, ErrUnauthenticated
	}
	a.Groups = groups(a.Roles)
	return a, nil
}

// sameSite refuses a cookie on an unsafe request that does not say where it comes
// from: browsers do, and programs have keys.
func sameSite(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return false
	}
	return http.NewCrossOriginProtection().Check(r) == nil
}

// Origin is where a request came from.
func (s *Service) Origin(r *http.Request) governance.Origin {
	request := r.Header.Get("X-Request-Id")
	if request == "" || len(request) > 64 || strings.ContainsFunc(request, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.'
	}) {
		request = uuid.NewString()
	}
	return governance.Origin{IP: s.opts.ClientIP(r), UserAgent: printable(r.UserAgent(), 200), RequestID: request}
}

// printable keeps what can be shown and stored anywhere.
func printable(v string, most int) string {
	v = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, v)
	return v[:min(len(v), most)]
}

func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// Middleware puts the caller into the request's context. Without credentials, or with
// a session that has ended, the request goes on without one, and the doors behind
// refuse or ask to sign in. A key that is not valid is answered 401, and 503 when it
// cannot be found out who is calling.
func (s *Service) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.Identify(r)
		w.Header().Set("X-Request-Id", id.Origin.RequestID)
		switch {
		case err == nil:
			r = r.WithContext(governance.WithIdentity(r.Context(), id))
		case errors.Is(err, ErrNoCredentials):
		case errors.Is(err, ErrUnauthenticated):
			if r.Header.Get("Authorization") != "" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="reeve"`)
				problem(w, http.StatusUnauthorized, "unauthenticated", "The key is not valid.")
				return
			}
		default:
			s.k.Logger().ErrorContext(r.Context(), "identify", "request_id", id.Origin.RequestID, "error", err)
			problem(w, http.StatusServiceUnavailable, "unavailable", "It cannot be found out who is calling.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"type\":\"urn:reeve:problem:%s\",\"title\":%q,\"status\":%d,\"detail\":%q}\n", kind, http.StatusText(status), status, detail)
}

// touch is a key or session that was used.
type touch struct {
	key bool
	id  string
}

// touchEvery is how often one use is written: else every read would be a write.
const touchEvery = time.Minute

func (s *Service) touch(t touch, seen govdb.Micros) {
	now := s.k.Now()
	if now.Sub(seen.Time()) < touchEvery {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched[t] = govdb.At(now)
}

// Flush writes when keys and sessions were last used, and forgets what ended a month
// ago. The kernel calls it in the background.
func (s *Service) Flush(ctx context.Context) error {
	s.mu.Lock()
	touched := s.touched
	s.touched = map[touch]govdb.Micros{}
	now := s.k.Now()
	clean := now.Sub(s.cleaned) >= time.Hour
	if clean {
		s.cleaned = now
	}
	s.mu.Unlock()
	if len(touched) == 0 && !clean {
		return nil // nothing to say: no commit
	}
	old := govdb.At(now.Add(-30 * 24 * time.Hour))
	err := s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		for t, at := range touched {
			q := "UPDATE auth_session SET seen_at = ? WHERE id = ? AND seen_at < ?"
			if t.key {
				q = "UPDATE auth_key SET used_at = ? WHERE id = ? AND used_at < ?"
			}
			if _, err := tx.ExecContext(ctx, q, at, t.id, at); err != nil {
				return fmt.Errorf("last use: %w", err)
			}
		}
		if !clean {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM auth_session WHERE expires_at < ? OR ended_at > 0 AND ended_at < ?", old, old); err != nil {
			return fmt.Errorf("forget sessions: %w", err)
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM auth_link WHERE kind <> ? AND (expires_at < ? OR used_at > 0 AND used_at < ?)", LinkFirstRun, old, old)
		return err
	})
	if err != nil { // for the next turn
		s.mu.Lock()
		for t, at := range touched {
			s.touched[t] = max(s.touched[t], at)
		}
		s.mu.Unlock()
	}
	return err
}
