package oversight

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

type sessionKey struct{}

// FromContext is the session that the request belongs to, for the banner of the
// host's pages; ok is false when nobody is impersonated.
func FromContext(ctx context.Context) (Session, bool) {
	l, ok := ctx.Value(sessionKey{}).(*live)
	if !ok {
		return Session{}, false
	}
	return l.Session, true
}

// IsImpersonated tells whether somebody works as the user of this request. What a
// product derives from its users' own behaviour, such as the last sign-in, a mail
// about a new device or a figure of usage, must leave such requests out.
func IsImpersonated(ctx context.Context) bool {
	_, ok := ctx.Value(sessionKey{}).(*live)
	return ok
}

// live is a session in the middle of a request.
type live struct {
	Session
	denied []string
}

// Permits tells whether the session in ctx, if there is one, leaves a permission of
// the product within reach: what the scope or the deny list takes away is out of
// reach although the represented user has it. Ask it beside the user's own rights.
func Permits(ctx context.Context, permission string) bool {
	l, ok := ctx.Value(sessionKey{}).(*live)
	if !ok {
		return true
	}
	if l.Scope != ReadWrite && !strings.HasSuffix(permission, ":read") {
		return false
	}
	for _, p := range l.denied {
		if prefix, star := strings.CutSuffix(p, "*"); p == permission || star && strings.HasPrefix(permission, prefix) {
			return false
		}
	}
	return true
}

// Cookie carries a session's token to the browser.
func (s *Service) Cookie(session Session, token string) *http.Cookie {
	return &http.Cookie{Name: s.opts.Cookie, Value: token, Path: s.opts.Path, HttpOnly: true, Secure: !s.opts.Insecure, SameSite: http.SameSiteStrictMode,
		MaxAge: max(1, int(session.ExpiresAt.Sub(s.k.Now())/time.Second))}
}

func (s *Service) clearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: s.opts.Cookie, Path: s.opts.Path, HttpOnly: true, Secure: !s.opts.Insecure, SameSite: http.SameSiteStrictMode, MaxAge: -1})
}

// EndPath is where the banner's form posts to.
func (s *Service) EndPath() string { return s.opts.EndPath }

// Middleware makes next see both identities while a session is open: the caller
// that the host's own middleware put into the context stays the Actor, the user
// becomes the Subject. It checks the session, the caller and the user on every
// request. A request with a token that does not hold is answered here and never
// reaches next as somebody else. Without a token the request passes unchanged.
func (s *Service) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie(s.opts.Cookie)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store") // nothing of the user's stays in the actor's browser
		if err := s.csrf.Check(r); err != nil {
			http.Error(w, "The request comes from another site.", http.StatusForbidden)
			return
		}
		ctx := r.Context()
		have, id, err := s.authenticate(ctx, c.Value)
		if errors.Is(err, errPaused) && path.Clean(r.URL.Path) == s.opts.EndPath && r.Method == http.MethodPost {
			err = nil // what is paused can be ended
		}
		if err != nil {
			s.refuse(w, r, have, err)
			return
		}
		if path.Clean(r.URL.Path) == s.opts.EndPath {
			s.endByRequest(w, r, have, id)
			return
		}
		if why := s.blocks(have, r); why != "" {
			s.block(w, r, have, id, why)
			return
		}
		if err := s.touch(ctx, r, have, id); err != nil {
			s.refuse(w, r, have, err)
			return
		}
		w.Header().Set("X-Impersonated-By", headerText(id.Actor.ID))
		w.Header().Set("X-Impersonation-Until", have.ExpiresAt.Format(time.RFC3339))
		ctx = context.WithValue(governance.WithIdentity(ctx, id), sessionKey{}, &live{have, s.opts.DenyPermissions})
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func headerText(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e {
			return '?'
		}
		return c
	}, s)
}

// overError says that a session cannot be used any more.
type overError struct{ why EndReason }

func (e *overError) Error() string { return "the session is over: " + string(e.why) }

var (
	errPaused   = errors.New("the session is paused")
	errSignedIn = errors.New("nobody is signed in")
)

// authenticate finds the session of a token and checks all that may end it.
func (s *Service) authenticate(ctx context.Context, token string) (Session, governance.Identity, error) {
	caller, ok := governance.IdentityFrom(ctx)
	if !ok || caller.Actor.ID == "" {
		return Session{}, caller, errSignedIn
	}
	have, err := s.readSession(ctx, s.k.DB().Read(), "token_hash = ?", hashToken(token))
	if errors.Is(err, governance.ErrNotFound) {
		return have, caller, &overError{EndStopped}
	}
	if err != nil {
		return have, caller, err
	}
	over := func(why EndReason) error { return errors.Join(&overError{why}, s.endNow(ctx, have, why)) }
	if why := have.overdue(s.k.Now()); why != "" {
		return have, caller, over(why)
	}
	if caller.Subject != nil || caller.Actor.Person != have.Actor.Person {
		return have, caller, over(EndChanged)
	}
	may, err := s.mayStill(ctx, caller, have)
	if err != nil {
		return have, caller, err
	}
	if !may {
		return have, caller, over(EndRevoked)
	}
	if have.Observer && have.State == StateActive {
		if err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return s.watchedTx(ctx, tx, &have) }); err != nil {
			return have, caller, err
		}
	}
	if err := s.recorded(ctx, &have); err != nil {
		return have, caller, err
	}
	subject, err := s.target(ctx, caller, have.Tenant, have.User)
	var denied *governance.DeniedError
	switch {
	case errors.Is(err, governance.ErrNotFound), errors.As(err, &denied):
		return have, caller, over(EndGone)
	case err != nil:
		return have, caller, err
	}
	have.Subject = subject
	caller.Subject, caller.SessionID = &subject, have.ID.String()
	if have.State == StatePaused {
		return have, caller, errPaused
	}
	return have, caller, nil
}

// mayStill asks again whether the actor may impersonate: as the caller stands here,
// and by the roles that the directory gives them now.
func (s *Service) mayStill(ctx context.Context, caller governance.Identity, have Session) (bool, error) {
	p, err := s.k.Directory().Resolve(ctx, caller.Actor.Person)
	if err != nil && !errors.Is(err, governance.ErrNotFound) {
		return false, fmt.Errorf("resolve the actor: %w", err)
	}
	if err != nil || !p.Active {
		return false, nil
	}
	now := caller
	now.Actor.Roles, now.Actor.Groups = p.Roles, p.Groups
	for _, id := range []governance.Identity{caller, now} {
		if s.k.Authorize(ctx, id, PermissionStart, governance.Target{Tenant: have.Tenant}) != nil {
			return false, nil
		}
	}
	return true, nil
}

// touch counts the request, and writes one down that may change something before it
// does: an effect whose answer could not be recorded still has its request. It is the
// last check: a session ended since it was read lets nothing through.
func (s *Service) touch(ctx context.Context, r *http.Request, have Session, id governance.Identity) error {
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		now := govdb.At(s.k.Now())
		res, err := tx.ExecContext(ctx, "UPDATE oversight_session SET seen_at = ?, requests = requests + 1 WHERE id = ? AND state = ? AND expires_at > ?",
			now, have.ID, StateActive, now)
		if err != nil {
			return fmt.Errorf("session %s: %w", have.ID, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return &overError{EndStopped}
		}
		if reads(r.Method) {
			return nil
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: actionRequest, Tenant: have.Tenant, Resource: have.ref(), ActionID: have.ID,
			Outcome: governance.OutcomeObserved, Data: map[string]any{"method": printable(r.Method, 20), "path": printable(r.URL.Path, 300)}})
		return err
	})
}

const actionRequest = "impersonation.request"

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// blocks says why a request is out of the session's reach, or is empty.
func (s *Service) blocks(have Session, r *http.Request) string {
	if !reads(r.Method) && have.Scope != ReadWrite {
		return "the session may only read"
	}
	clean := strings.ToLower(path.Clean("/" + r.URL.Path))
	for _, p := range s.opts.DenyPaths {
		if matchPath(strings.ToLower(p), clean) {
			return "this is out of reach while impersonating"
		}
	}
	return ""
}

func matchPath(pattern, clean string) bool {
	prefix, star := strings.CutSuffix(pattern, "*")
	if strings.HasPrefix(pattern, "/") {
		return clean == pattern || star && strings.HasPrefix(clean, prefix) || !star && strings.HasPrefix(clean, pattern+"/")
	}
	for segment := range strings.SplitSeq(clean, "/") {
		if segment == pattern || star && strings.HasPrefix(segment, prefix) {
			return true
		}
	}
	return false
}

// block refuses a request and writes the attempt down.
func (s *Service) block(w http.ResponseWriter, r *http.Request, have Session, id governance.Identity, why string) {
	err := s.k.DB().Do(r.Context(), func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE oversight_session SET blocked = blocked + 1, seen_at = ? WHERE id = ?", govdb.At(s.k.Now()), have.ID); err != nil {
			return fmt.Errorf("session %s: %w", have.ID, err)
		}
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: actionRequest, Outcome: governance.OutcomeDenied, Tenant: have.Tenant, Resource: have.ref(),
			ActionID: have.ID, Data: map[string]any{"method": printable(r.Method, 20), "path": printable(r.URL.Path, 300), "why": why}})
		return err
	})
	if err != nil {
		s.refuse(w, r, have, err)
		return
	}
	s.say(w, r, http.StatusForbidden, "Refused while impersonating", "Refused while impersonating: "+why+".")
}

// printable cuts text from outside down to what a record may hold.
func printable(s string, n int) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), n)], "?"), "\x00", "?")
}

func (s *Service) endByRequest(w http.ResponseWriter, r *http.Request, have Session, id governance.Identity) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "Ending a session is a POST.", http.StatusMethodNotAllowed)
		return
	}
	if err := s.End(r.Context(), id, have.ID, ""); err != nil && !errors.Is(err, governance.ErrConflict) {
		s.refuse(w, r, have, err)
		return
	}
	s.clearCookie(w)
	if s.opts.Home == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, s.opts.Home, http.StatusSeeOther)
}

// refuse answers a request that may not pass.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, have Session, err error) {
	var over *overError
	switch {
	case errors.As(err, &over):
		s.clearCookie(w)
		if s.opts.Home != "" && reads(r.Method) && wantsPage(r) {
			http.Redirect(w, r, s.opts.Home, http.StatusSeeOther)
			return
		}
		http.Error(w, "The impersonation session is over.", http.StatusUnauthorized)
	case errors.Is(err, errSignedIn):
		http.Error(w, "Sign in first: an impersonation needs its actor.", http.StatusUnauthorized)
	case errors.Is(err, errPaused):
		why := "what is shown cannot be recorded"
		switch have.PausedBy {
		case ByObserver:
			why = "somebody has to watch, and nobody does"
		case ByBrowser:
			why = "the browser does not report what happens in it"
		}
		w.Header().Set("Retry-After", "10")
		s.say(w, r, http.StatusServiceUnavailable, "Paused", "The session is paused: "+why+". It ends at "+have.GraceAt.UTC().Format("15:04:05 MST")+" unless that changes.")
	default:
		s.k.Logger().ErrorContext(r.Context(), "impersonation check failed, refused", "error", err)
		http.Error(w, "The impersonation could not be checked.", http.StatusServiceUnavailable)
	}
}

func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// say answers with a sentence: to a browser as a page with the ways on, which shows
// nothing of the product and is therefore not recorded.
func (s *Service) say(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	if !wantsPage(r) {
		http.Error(w, text, status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>%[1]s</title></head>"+
		"<body><main><h1>%[1]s</h1><p>%[2]s</p><p><a href=\"%[3]s\">Go on</a></p><form method=\"post\" action=\"%[4]s\"><button>End the session</button></form></main></body></html>\n",
		html.EscapeString(title), html.EscapeString(text), html.EscapeString(s.opts.Path), html.EscapeString(s.opts.EndPath))
}
