package oversight_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
)

// Known ways in which impersonation goes wrong elsewhere, each tried here.

// records are the ledger's bodies that speak of a session, newest first.
func (b *bench) records(t *testing.T, s oversight.Session) []governance.RecordView {
	t.Helper()
	rs, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: string(s.Tenant), Search: s.ID.String(), Limit: 200})
	require.NoError(t, err)
	out := make([]governance.RecordView, len(rs))
	for i, r := range rs {
		out[i], err = governance.ReadRecord(r.Body)
		require.NoError(t, err)
	}
	return out
}

// TestTrap01_RecordsNameTheActor: never the user in the actor's place.
func TestTrap01_RecordsNameTheActor(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		_, seen := b.do(t, "dana", "POST", "/app/documents", c)
		require.NoError(t, b.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.Kernel.RecordTx(ctx, tx, *seen, governance.Record{Action: "document.rename", Tenant: "acme"})
			return err
		}))
		_, _ = b.do(t, "dana", "GET", "/app/mfa", c)
		require.NoError(t, b.svc.End(t.Context(), *seen, s.ID, ""))
		withSubject := 0
		for _, r := range b.records(t, s) {
			require.Equal(t, "user:dana", r.Actor.ID, r.Action)
			if r.Subject != nil {
				withSubject++
				require.Equal(t, "product:u1", r.Subject.ID, r.Action)
				require.Equal(t, s.ID.String(), r.Session, r.Action)
			}
		}
		require.Equal(t, 5, withSubject) // open, request, rename, refused request, end
	})
}

// TestTrap02_UserDoesNotInheritTheSession: the user signing in meanwhile is only
// themselves, and "end" gives them nothing.
func TestTrap02_UserDoesNotInheritTheSession(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		victim := governance.Identity{Actor: governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Name: "Ulla User"}}
		try := func(method, path string, cookie *http.Cookie) (*httptest.ResponseRecorder, *governance.Identity) {
			var seen *governance.Identity
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), victim), method, path, nil)
			if cookie != nil {
				r.AddCookie(cookie)
			}
			w := httptest.NewRecorder()
			b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				id, _ := governance.IdentityFrom(r.Context())
				seen = &id
				require.False(t, oversight.IsImpersonated(r.Context()))
			})).ServeHTTP(w, r)
			return w, seen
		}
		w, seen := try("GET", "/app/", nil)
		require.Equal(t, &victim, seen)
		require.Empty(t, w.Header().Get("X-Impersonated-By"))
		_, seen = try("POST", "/app/end", nil)
		require.Equal(t, &victim, seen, "to the product it is an address like any other")
		require.Empty(t, b.ended(t, s))
		// With the stolen cookie they are nobody else either: it ends the session.
		w, seen = try("GET", "/app/", c)
		require.Nil(t, seen)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Equal(t, oversight.EndChanged, b.ended(t, s))
	})
}

// TestTrap03_TokenIsBoundToTheRow: hashed, checked on each request, gone with the
// session, and worth nothing without its actor.
func TestTrap03_TokenIsBoundToTheRow(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		var row string
		require.NoError(t, b.DB.Handle().NewRaw("SELECT token_hash || ' ' || actor || ' ' || subject FROM oversight_session").Scan(t.Context(), &row))
		require.NotContains(t, row, c.Value)
		w, seen := b.do(t, "", "GET", "/app/", c)
		require.Nil(t, seen)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		_, seen = b.do(t, "dana", "GET", "/app/", c)
		require.NotNil(t, seen)
		_, err := b.DB.Handle().ExecContext(t.Context(), "UPDATE oversight_session SET state = 'ended', token_hash = '' WHERE id = ?", s.ID)
		require.NoError(t, err)
		_, seen = b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen, "the very next request")
		_, seen = b.do(t, "dana", "GET", "/app/", &http.Cookie{Name: c.Name, Value: ""})
		require.Nil(t, seen, "an empty token is no token of an ended session")
	})
}

// TestTrap04_RightsOfTheActorNow: a role taken away ends the session with the next
// request, whatever the browser's own session still says.
func TestTrap04_RightsOfTheActorNow(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		signedIn := b.As("dana") // with the old role
		b.People.Put("dana", "viewer")
		var seen bool
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), signedIn), "GET", "/app/", nil)
		r.AddCookie(c)
		b.svc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen = true })).ServeHTTP(httptest.NewRecorder(), r)
		require.False(t, seen)
		require.Equal(t, oversight.EndRevoked, b.ended(t, s))
	})
}

// TestTrap05_NoMoreThanTheUserAndNeverStaff: the target's rights are not added to, and
// nobody who belongs to the staff is represented, on any path in.
func TestTrap05_NoMoreThanTheUserAndNeverStaff(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		_, c := b.open(t, oversight.ReadOnly)
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
		r.AddCookie(c)
		b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			id, _ := governance.IdentityFrom(r.Context())
			require.Equal(t, []string{"admin"}, id.Subject.Roles)
			require.Equal(t, []string{"cs_agent"}, id.Actor.Roles, "neither gets the other's roles")
			require.False(t, oversight.Permits(r.Context(), "document:write"))
			require.False(t, oversight.Permits(r.Context(), "payout:read"), "denied in any scope")
		})).ServeHTTP(httptest.NewRecorder(), r)

		var denied *governance.DeniedError
		_, err := b.svc.Start(t.Context(), b.As("eve"), oversight.Request{Tenant: "acme", User: "staff", Reason: "a look"})
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "staff", denied.Rule)
		require.Contains(t, b.Actions(t), "impersonation.start denied")

		// Who becomes staff while a session is ready or open takes it along.
		out, err := b.svc.Start(t.Context(), b.As("eve"), request(oversight.ReadOnly))
		require.NoError(t, err)
		b.host.put("u1", governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Person: "kim"})
		_, _, err = b.svc.Open(t.Context(), b.As("eve"), out.Action)
		require.ErrorAs(t, err, &denied)
		_, seen := b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen)
	})
}

// TestTrap06_EndIsTheActors: the address that ends a session ends the one of the
// request's own cookie, for its own actor.
func TestTrap06_EndIsTheActors(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadOnly)
		w, _ := b.do(t, "eve", "POST", "/app/end", nil)
		require.NotEqual(t, http.StatusSeeOther, w.Code)
		require.Empty(t, b.ended(t, s))
		var denied *governance.DeniedError
		require.ErrorAs(t, b.svc.End(t.Context(), b.As("eve"), s.ID, ""), &denied)
		w, _ = b.do(t, "eve", "POST", "/app/end", c) // somebody else with the cookie: over, but not as if the actor had ended it
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Equal(t, oversight.EndChanged, b.ended(t, s))
	})
}

// TestTrap07_StepUp: a session begins only after a fresh sign-in of a person, and the
// refusal is recorded. That no GET and no other site begins one is for the console's
// and the API's tests.
func TestTrap07_StepUp(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		stale := func(change func(a *governance.Actor)) governance.Identity {
			id := b.As("dana")
			change(&id.Actor)
			return id
		}
		cases := map[string]governance.Identity{
			"never":  stale(func(a *governance.Actor) { a.AuthTime = time.Time{} }),
			"old":    stale(func(a *governance.Actor) { a.AuthTime = a.AuthTime.Add(-16 * time.Minute) }),
			"future": stale(func(a *governance.Actor) { a.AuthTime = a.AuthTime.Add(time.Hour) }),
			"key":    stale(func(a *governance.Actor) { a.ID, a.Kind = "key:1", governance.ActorKey }),
		}
		for name, id := range cases {
			require.True(t, b.svc.NeedsSignIn(id), name)
			var denied *governance.DeniedError
			_, err := b.svc.Start(t.Context(), id, request(oversight.ReadOnly))
			require.ErrorAs(t, err, &denied, name)
			require.Equal(t, oversight.RuleFresh, denied.Rule, name)
		}
		all, err := b.svc.Sessions(t.Context(), oversight.Filter{})
		require.NoError(t, err)
		require.Empty(t, all)
		require.Equal(t, len(cases), strings.Count(strings.Join(b.Actions(t), ","), "impersonation.start denied"))
		require.False(t, b.svc.NeedsSignIn(b.As("dana")))

		out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
		require.NoError(t, err)
		var denied *governance.DeniedError
		_, _, err = b.svc.Open(t.Context(), stale(func(a *governance.Actor) { a.AuthTime = a.AuthTime.Add(-20 * time.Minute) }), out.Action)
		require.ErrorAs(t, err, &denied, "what was approved later is opened after a sign-in as well")
	})
}

// TestTrap08_DenyList: extended by a host, thinned only by name, and never emptied.
func TestTrap08_DenyList(t *testing.T) {
	t.Parallel()
	each(t, func(o *oversight.Options) {
		o.DenyPaths, o.DenyPermissions, o.Reachable = []string{"webhooks"}, []string{"webhook:*"}, []string{"consent*", "consent:*"}
	}, func(t *testing.T, b *bench) {
		_, c := b.open(t, oversight.ReadWrite)
		for _, path := range []string{"/app/settings/password", "/app/MFA/enrol", "/app/api-keys", "/app/oauth/link", "/app/payout", "/app/x/../token", "/app/impersonate", "/app/delete-account", "/app/webhooks/1"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				w, seen := b.do(t, "dana", method, path, c)
				require.Nil(t, seen, path)
				require.Equal(t, http.StatusForbidden, w.Code, path)
			}
		}
		_, seen := b.do(t, "dana", "GET", "/app/consent", c)
		require.NotNil(t, seen, "taken out by name")
		may := func(p string) (ok bool) {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
			r.AddCookie(c)
			b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ok = oversight.Permits(r.Context(), p) })).ServeHTTP(httptest.NewRecorder(), r)
			return ok
		}
		require.False(t, may("webhook:write"))
		require.False(t, may("mfa:write"), "the defaults stand beside what a host adds")
		require.True(t, may("consent:write"))
		// Further impersonation and decisions are refused by the guard itself.
		_, seen = b.do(t, "dana", "GET", "/app/", c)
		var denied *governance.DeniedError
		_, err := b.svc.Start(t.Context(), *seen, request(oversight.ReadOnly))
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "impersonation", denied.Rule)
	})
	each(t, nil, func(t *testing.T, b *bench) {
		for _, o := range []oversight.Options{{Reachable: []string{"impersonat*"}}, {Reachable: []string{"session:start"}}, {Reachable: []string{"*"}}, {Reachable: []string{"nothing-like-it"}},
			{DenyPaths: []string{""}}, {DenyPermissions: []string{"*"}}} {
			o.Targets = b.host.targets
			_, err := oversight.New(b.Kernel, &o)
			require.Error(t, err, "%v", o)
		}
	})
}

// TestTrap09_OwnCookie: the product's own session cookie is neither set nor cleared.
func TestTrap09_OwnCookie(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		_, c := b.open(t, oversight.ReadWrite)
		for _, path := range []string{"/app/", "/app/end", "/app/"} {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "POST", path, nil)
			r.AddCookie(c)
			r.AddCookie(&http.Cookie{Name: "product", Value: "the-users-own"})
			w := httptest.NewRecorder()
			b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				own, err := r.Cookie("product")
				require.NoError(t, err)
				require.Equal(t, "the-users-own", own.Value)
			})).ServeHTTP(w, r)
			for _, set := range w.Result().Cookies() {
				require.Equal(t, c.Name, set.Name)
			}
		}
	})
}

// TestTrap10_IsImpersonated: what a product derives from its users' behaviour can
// tell, and events name who acted.
func TestTrap10_IsImpersonated(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		_, c := b.open(t, oversight.ReadWrite)
		logins := 0
		product := b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if !oversight.IsImpersonated(r.Context()) {
				logins++
			}
		}))
		for _, cookie := range []*http.Cookie{nil, c} {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
			if cookie != nil {
				r.AddCookie(cookie)
			}
			product.ServeHTTP(httptest.NewRecorder(), r)
		}
		require.Equal(t, 1, logins)
		b.Drain(t)
		var actors []string
		require.NoError(t, b.DB.Handle().NewRaw("SELECT DISTINCT actor FROM gov_event WHERE type LIKE 'impersonation%'").Scan(t.Context(), &actors))
		require.Equal(t, []string{"user:dana"}, actors)
	})
}

// TestTrap11_RecordBeforeCookie: when the record of the start cannot be written there
// is no session and no token.
func TestTrap11_RecordBeforeCookie(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
		require.NoError(t, err)
		require.Contains(t, b.Actions(t), "impersonation.start done")
		_, err = b.DB.Handle().ExecContext(t.Context(), "ALTER TABLE gov_record RENAME TO elsewhere")
		require.NoError(t, err)
		_, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.Error(t, err)
		require.Empty(t, token)
		_, err = b.svc.Start(t.Context(), b.As("eve"), request(oversight.ReadOnly))
		require.Error(t, err)
		_, err = b.DB.Handle().ExecContext(t.Context(), "ALTER TABLE elsewhere RENAME TO gov_record")
		require.NoError(t, err)
		all, err := b.svc.Sessions(t.Context(), oversight.Filter{})
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, oversight.StateReady, all[0].State, "it was not opened")
		_, token, err = b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.NoError(t, err)
		require.NotEmpty(t, token)
		require.Equal(t, "impersonation.open", b.records(t, all[0])[0].Action, "it is committed before there is an answer that could carry a cookie")
	})
}

// TestTrap12_NoRenewal: use keeps a session from idling and never moves its end.
func TestTrap12_NoRenewal(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadOnly)
		for range 5 {
			b.Advance(5 * time.Minute)
			_, seen := b.do(t, "dana", "GET", "/app/", c)
			require.NotNil(t, seen)
			got, err := b.svc.Session(t.Context(), s.ID)
			require.NoError(t, err)
			require.Equal(t, s.ExpiresAt.Truncate(time.Microsecond), got.ExpiresAt)
		}
		_, _, err := b.svc.Open(t.Context(), b.As("dana"), s.ID)
		require.ErrorIs(t, err, governance.ErrConflict)
		b.Advance(5 * time.Minute)
		_, seen := b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen)
		require.Equal(t, oversight.EndExpired, b.ended(t, s))
	})
}

// TestObserver goes through a session that somebody has to watch.
func TestObserver(t *testing.T) {
	t.Parallel()
	each(t, func(o *oversight.Options) {
		o.Observe = func(_ governance.TenantID, scope oversight.Scope) bool { return scope == oversight.ReadWrite }
	}, func(t *testing.T, b *bench) {
		state := func(s oversight.Session) oversight.Session {
			got, err := b.svc.Session(t.Context(), s.ID)
			require.NoError(t, err)
			return got
		}
		through := func(c *http.Cookie) bool {
			w, seen := b.do(t, "dana", "GET", "/app/", c)
			if seen == nil {
				require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusUnauthorized}, w.Code)
			}
			return seen != nil
		}
		s, c := b.open(t, oversight.ReadWrite)
		require.Equal(t, oversight.StatePaused, s.State)
		require.False(t, through(c), "nobody watches yet")
		var denied *governance.DeniedError
		require.ErrorAs(t, b.svc.Observe(t.Context(), b.As("dana"), s.ID), &denied, "not the actor")
		require.ErrorAs(t, b.svc.Observe(t.Context(), b.As("ada"), s.ID), &denied, "not one who cannot end it")
		require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
		require.True(t, through(c))
		for range 3 { // signs of life keep it going and are not records
			b.Advance(50 * time.Second)
			require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
			require.True(t, through(c))
		}
		require.Equal(t, 1, strings.Count(strings.Join(b.Actions(t), ","), "impersonation.observe"))
		list, err := b.svc.Observers(t.Context(), s.ID)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.True(t, list[0].Present)
		require.Equal(t, "user:kim", list[0].Actor.ID)

		// Lost: paused by the request itself, and back when the observer is.
		b.Advance(61 * time.Second)
		require.False(t, through(c))
		require.Equal(t, oversight.ByObserver, state(s).PausedBy)
		require.NoError(t, b.svc.Resume(t.Context(), s.ID, oversight.ByRecorder))
		require.Equal(t, oversight.StatePaused, state(s).State, "the recorder does not bring an observer back")
		require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
		require.True(t, through(c))

		// Left: paused at once; without a request the sweep finds it, and grace ends it.
		require.NoError(t, b.svc.Leave(t.Context(), b.As("kim"), s.ID))
		require.Equal(t, oversight.StatePaused, state(s).State)
		require.False(t, through(c))
		b.Advance(2 * time.Minute)
		require.ErrorIs(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID), governance.ErrConflict, "too late")
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.EndObserver, b.ended(t, s))
		require.False(t, through(c))
		acts := strings.Join(b.Actions(t), ",")
		require.Contains(t, acts, "impersonation.pause")
		require.Contains(t, acts, "impersonation.resume")
		require.Contains(t, acts, "impersonation.unobserve")

		// The sweep pauses a session that nobody uses.
		s, _ = b.open(t, oversight.ReadWrite)
		require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
		b.Advance(61 * time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.StatePaused, state(s).State)
		// What is paused can be ended by its actor.
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))

		// A scope that needs none is not touched, and asking for one is enough.
		s, c = b.open(t, oversight.ReadOnly)
		require.False(t, s.Observer)
		require.True(t, through(c))
		out, err := b.svc.Start(t.Context(), b.As("eve"), oversight.Request{Tenant: "acme", User: "u1", Reason: "with a colleague", Observer: true})
		require.NoError(t, err)
		asked, _, err := b.svc.Open(t.Context(), b.As("eve"), out.Action)
		require.NoError(t, err)
		require.Equal(t, oversight.StatePaused, asked.State)
	})
}

// TestRecorderLost: a session is not begun without a working recorder, and a pause
// for one ends after the grace time.
func TestRecorderLost(t *testing.T) {
	t.Parallel()
	each(t, func(o *oversight.Options) { o.Unrecorded = false }, func(t *testing.T, b *bench) {
		begin := func() (oversight.Session, *http.Cookie, error) {
			out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
			if errors.Is(err, governance.ErrConflict) {
				ready, rerr := b.svc.Sessions(t.Context(), oversight.Filter{States: []oversight.State{oversight.StateReady}})
				require.NoError(t, rerr)
				out.Action, err = ready[0].ID, nil
			}
			require.NoError(t, err)
			s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
			return s, b.svc.Cookie(s, token), err
		}
		var denied *governance.DeniedError
		_, _, err := begin()
		require.ErrorAs(t, err, &denied, "no recorder at all")
		require.Equal(t, "recorder", denied.Rule)
		broken := errors.New("the disk is full")
		b.svc.RequireRecorder(func(context.Context) error { return broken })
		_, _, err = begin()
		require.ErrorAs(t, err, &denied)
		b.svc.RequireRecorder(func(context.Context) error { return nil })
		s, c, err := begin()
		require.NoError(t, err)
		require.NoError(t, b.svc.Pause(t.Context(), s.ID, oversight.ByRecorder, "the disk is full"))
		w, seen := b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		b.Advance(119 * time.Second)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Empty(t, b.ended(t, s))
		b.Advance(2 * time.Second)
		_, seen = b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen)
		require.Equal(t, oversight.EndRecorder, b.ended(t, s))
		require.NoError(t, b.svc.Resume(t.Context(), s.ID, oversight.ByRecorder))
		require.Equal(t, oversight.EndRecorder, b.ended(t, s))
	})
}

// TestReview: what was begun is reviewed by others, in time or with an alert.
func TestReview(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		b.People.Allow("gov_approver", "session:review")
		b.People.Allow("cs_agent", "session:review")
		s, _ := b.open(t, oversight.ReadWrite)
		require.ErrorIs(t, b.svc.Review(t.Context(), b.As("ada"), s.ID, oversight.Accepted, ""), governance.ErrConflict, "it is not over")
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		got, err := b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.ReviewDue, got.Review.State)
		var denied *governance.DeniedError
		var invalid *governance.InvalidError
		require.ErrorAs(t, b.svc.Review(t.Context(), b.As("dana"), s.ID, oversight.Accepted, ""), &denied, "not their own")
		require.ErrorAs(t, b.svc.Review(t.Context(), b.As("kim"), s.ID, oversight.Accepted, ""), &denied, "not without the permission")
		require.ErrorAs(t, b.svc.Review(t.Context(), b.As("ada"), s.ID, "fine", ""), &invalid)
		require.ErrorAs(t, b.svc.Review(t.Context(), b.As("ada"), s.ID, oversight.Violation, " "), &invalid)

		b.Advance(71 * time.Hour)
		require.NoError(t, b.svc.Sweep(t.Context()))
		alerts := func() []governance.Alert {
			as, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{})
			require.NoError(t, err)
			return as
		}
		require.Empty(t, alerts())
		b.Advance(2 * time.Hour)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Len(t, alerts(), 1)
		require.EqualValues(t, 1, alerts()[0].Times, "told once")
		late, err := b.svc.Sessions(t.Context(), oversight.Filter{Review: oversight.ReviewOverdue})
		require.NoError(t, err)
		require.Len(t, late, 1)
		require.NoError(t, b.svc.Review(t.Context(), b.As("ada"), s.ID, oversight.Violation, "read more than the ticket asked for"))
		require.ErrorIs(t, b.svc.Review(t.Context(), b.As("ada"), s.ID, oversight.Accepted, ""), governance.ErrConflict, "once")
		require.Len(t, alerts(), 1, "the overdue one is resolved")
		require.Equal(t, governance.Critical, alerts()[0].Severity)
		got, err = b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.Reviewed, got.Review.State)
		require.Equal(t, "user:ada", got.Review.By)

		// What was never opened has nothing to review.
		out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
		require.NoError(t, err)
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), out.Action, ""))
		got, err = b.svc.Session(t.Context(), out.Action)
		require.NoError(t, err)
		require.Empty(t, got.Review.State)
	})
}

// TestAccessLog: a tenant reads who worked in it, why, and what was done, and nothing
// of another tenant.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		_, seen := b.do(t, "dana", "POST", "/app/documents/1", c)
		require.NotNil(t, seen)
		_, _ = b.do(t, "dana", "POST", "/app/payout", c)
		require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
		log, err := b.svc.AccessLog(t.Context(), "acme", [16]byte{}, 0)
		require.NoError(t, err)
		require.Len(t, log, 1)
		require.True(t, log[0].Live)
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		_, err = b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly)) // never opened: nobody was in there
		require.NoError(t, err)

		log, err = b.svc.AccessLog(t.Context(), "acme", [16]byte{}, 0)
		require.NoError(t, err)
		require.Len(t, log, 1)
		require.Equal(t, "dana", log[0].Staff)
		require.Equal(t, "Ulla User", log[0].Name)
		require.Equal(t, "ticket says the list is empty", log[0].Reason)
		require.EqualValues(t, 1, log[0].Requests)
		require.EqualValues(t, 1, log[0].Blocked)
		require.Equal(t, oversight.EndStopped, log[0].Ended)
		_, acts, err := b.svc.AccessOf(t.Context(), "acme", s.ID)
		require.NoError(t, err)
		var names []string
		for _, a := range acts {
			names = append(names, a.Action+" "+a.Outcome)
		}
		require.Equal(t, []string{"impersonation.start done", "impersonation.open done", "impersonation.request observed", "impersonation.request denied", "impersonation.end done"}, names)

		_, _, err = b.svc.AccessOf(t.Context(), "globex", s.ID)
		require.ErrorIs(t, err, governance.ErrNotFound)
		none, err := b.svc.AccessLog(t.Context(), "globex", [16]byte{}, 0)
		require.NoError(t, err)
		require.Empty(t, none)
		_, err = b.svc.AccessLog(t.Context(), "", [16]byte{}, 0)
		require.Error(t, err, "no tenant is not every tenant")
	})
}
