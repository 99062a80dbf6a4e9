package oversight_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
)

// host is a product with one tenant and a few users.
type host struct {
	mu    sync.Mutex
	users map[string]governance.Actor
}

func (h *host) targets(_ context.Context, tenant governance.TenantID, user string) (governance.Actor, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.users[user]
	if !ok || tenant != "acme" {
		return governance.Actor{}, governance.ErrNotFound
	}
	return a, nil
}

func (h *host) remove(user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.users, user)
}

func (h *host) put(user string, a governance.Actor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users[user] = a
}

type bench struct {
	*govtest.Env
	svc  *oversight.Service
	host *host
}

func each(t *testing.T, change func(o *oversight.Options), fn func(t *testing.T, b *bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema()}, Rates: map[string]int64{"USD→EUR": 900_000}}, func(t *testing.T, e *govtest.Env) {
		h := &host{users: map[string]governance.Actor{
			"u1":    {ID: "product:u1", Kind: governance.ActorUser, Name: "Ulla User", Roles: []string{"admin"}},
			"staff": {ID: "product:staff", Kind: governance.ActorUser, Person: "kim", Name: "Kim of staff"},
		}}
		e.People.Put("dana", "cs_agent")
		e.People.Put("eve", "cs_agent")
		e.People.Put("kim", "super_admin")
		e.People.Put("ada", "gov_approver")
		e.People.Allow("cs_agent", "session:start", "session:read", "tenant:credit", "tenant:plan")
		e.People.Allow("super_admin", "session:end", "session:start")
		e.People.Allow("gov_approver", "approval:vote", "approval:read")
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("test"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro"})
			return err
		}))
		o := &oversight.Options{Targets: h.targets, Home: "/console", Path: "/app/", EndPath: "/app/end", Unrecorded: true}
		if change != nil {
			change(o)
		}
		svc, err := oversight.New(e.Kernel, o)
		require.NoError(t, err)
		fn(t, &bench{e, svc, h})
	})
}

func request(scope oversight.Scope) oversight.Request {
	return oversight.Request{Tenant: "acme", User: "u1", Scope: scope, Reason: "ticket says the list is empty", Ticket: "T-1"}
}

// open begins a session of dana's as u1.
func (b *bench) open(t *testing.T, scope oversight.Scope) (oversight.Session, *http.Cookie) {
	t.Helper()
	out, err := b.svc.Start(t.Context(), b.As("dana"), request(scope))
	require.NoError(t, err)
	s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
	require.NoError(t, err)
	return s, b.svc.Cookie(s, token)
}

// do sends a request as somebody and says what the product saw, nil when it saw nothing.
func (b *bench) do(t *testing.T, as governance.PersonID, method, path string, c *http.Cookie) (*httptest.ResponseRecorder, *governance.Identity) {
	t.Helper()
	var seen *governance.Identity
	h := b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id, _ := governance.IdentityFrom(r.Context())
		seen = &id
	}))
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(url.Values{"a": {"b"}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c != nil {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	if as != "" {
		r = r.WithContext(governance.WithIdentity(r.Context(), b.As(as)))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w, seen
}

func (b *bench) ended(t *testing.T, id oversight.Session) oversight.EndReason {
	t.Helper()
	s, err := b.svc.Session(t.Context(), id.ID)
	require.NoError(t, err)
	return s.Ended
}

func TestSession_BothIdentities(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadWrite))
		require.NoError(t, err)
		require.Contains(t, b.Actions(t), "impersonation.start done") // committed while there is no token yet
		ready, err := b.svc.Session(t.Context(), out.Action)
		require.NoError(t, err)
		require.Equal(t, oversight.StateReady, ready.State)

		_, _, err = b.svc.Open(t.Context(), b.As("eve"), out.Action)
		require.ErrorIs(t, err, governance.ErrNotFound)
		s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.NoError(t, err)
		_, _, err = b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.ErrorIs(t, err, governance.ErrConflict)

		c := b.svc.Cookie(s, token)
		require.True(t, c.HttpOnly && c.Secure && c.SameSite == http.SameSiteStrictMode && c.Path == "/app/")
		var stored string
		require.NoError(t, b.DB.Handle().NewRaw("SELECT token_hash FROM oversight_session").Scan(t.Context(), &stored))
		require.NotContains(t, stored, token)

		w, seen := b.do(t, "dana", "POST", "/app/x", c)
		require.NotNil(t, seen)
		require.Equal(t, "user:dana", seen.Actor.ID)
		require.Equal(t, "product:u1", seen.Subject.ID)
		require.Equal(t, s.ID.String(), seen.SessionID)
		require.Equal(t, "user:dana", w.Header().Get("X-Impersonated-By"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))

		require.NoError(t, b.svc.End(t.Context(), *seen, s.ID, "done"))
		records, err := b.Kernel.Ledger().Records(t.Context(), ledger.Filter{Tenant: "acme", Search: s.ID.String()})
		require.NoError(t, err)
		var both int
		for _, r := range records {
			require.Contains(t, string(r.Body), `"id":"user:dana"`)
			if strings.Contains(string(r.Body), `"subject":{"id":"product:u1"`) {
				both++
			}
		}
		require.Equal(t, 3, both) // open, the POST and end; start is before anybody is represented
		require.NotContains(t, string(records[0].Body), "Ulla")

		alerts, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{State: governance.AlertResolved})
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		require.Equal(t, governance.Info, alerts[0].Severity)
		kinds := []string{alerts[0].Links[0].Kind, alerts[0].Links[1].Kind}
		require.Equal(t, []string{"session", "record"}, kinds)
	})
}

func TestStart_Refused(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		var denied *governance.DeniedError
		var invalid *governance.InvalidError
		try := func(id governance.Identity, change func(r *oversight.Request)) error {
			r := request(oversight.ReadOnly)
			change(&r)
			_, err := b.svc.Start(t.Context(), id, r)
			require.Error(t, err)
			return err
		}
		require.ErrorAs(t, try(b.As("dana"), func(r *oversight.Request) { r.Reason = "  " }), &invalid)
		require.ErrorAs(t, try(b.As("dana"), func(r *oversight.Request) { r.Reason = "a\x00bcd" }), &invalid)
		require.ErrorAs(t, try(b.As("dana"), func(r *oversight.Request) { r.For = 31 * time.Minute }), &invalid)
		require.ErrorAs(t, try(b.As("dana"), func(r *oversight.Request) { r.Scope = "all" }), &invalid)
		require.ErrorIs(t, try(b.As("dana"), func(r *oversight.Request) { r.User = "nobody" }), governance.ErrNotFound)
		require.ErrorAs(t, try(b.As("dana"), func(r *oversight.Request) { r.User = "staff" }), &denied)
		require.Equal(t, "staff", denied.Rule)
		require.ErrorAs(t, try(b.As("ada"), func(*oversight.Request) {}), &denied)
		shared := governance.Identity{Actor: governance.Actor{ID: "key:1", Kind: governance.ActorKey, Roles: []string{"cs_agent"}}}
		require.ErrorAs(t, try(shared, func(*oversight.Request) {}), &denied)
		require.Equal(t, "person", denied.Rule)

		_, c := b.open(t, oversight.ReadWrite)
		require.ErrorIs(t, try(b.As("dana"), func(*oversight.Request) {}), governance.ErrConflict) // one at a time
		_, seen := b.do(t, "dana", "GET", "/app/", c)
		require.ErrorAs(t, try(*seen, func(*oversight.Request) {}), &denied)
		require.Equal(t, "impersonation", denied.Rule)
		all, err := b.svc.Sessions(t.Context(), oversight.Filter{})
		require.NoError(t, err)
		require.Len(t, all, 1)
	})
	_, err := oversight.New(nil, nil)
	require.Error(t, err)
}

func TestMiddleware_Ends(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		happens func(t *testing.T, b *bench, s oversight.Session)
		as      governance.PersonID
		want    oversight.EndReason
	}{
		"killed": {func(t *testing.T, b *bench, s oversight.Session) {
			require.NoError(t, b.svc.End(t.Context(), b.As("kim"), s.ID, "stop it"))
		}, "dana", oversight.EndKilled},
		"expired":  {func(t *testing.T, b *bench, _ oversight.Session) { b.Advance(30 * time.Minute) }, "dana", oversight.EndExpired},
		"idle":     {func(t *testing.T, b *bench, _ oversight.Session) { b.Advance(10 * time.Minute) }, "dana", oversight.EndIdle},
		"role":     {func(t *testing.T, b *bench, _ oversight.Session) { b.People.Put("dana", "viewer") }, "dana", oversight.EndRevoked},
		"left":     {func(t *testing.T, b *bench, _ oversight.Session) { b.People.Remove("dana") }, "dana", oversight.EndRevoked},
		"other":    {func(*testing.T, *bench, oversight.Session) {}, "eve", oversight.EndChanged},
		"userGone": {func(t *testing.T, b *bench, _ oversight.Session) { b.host.remove("u1") }, "dana", oversight.EndGone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, nil, func(t *testing.T, b *bench) {
				s, cookie := b.open(t, oversight.ReadWrite)
				_, seen := b.do(t, "dana", "GET", "/app/", cookie)
				require.NotNil(t, seen)
				c.happens(t, b, s)
				w, seen := b.do(t, c.as, "GET", "/app/", cookie)
				require.Nil(t, seen, "not even one more request")
				require.Equal(t, http.StatusUnauthorized, w.Code)
				require.Contains(t, w.Header().Get("Set-Cookie"), "Max-Age=0")
				require.Equal(t, c.want, b.ended(t, s))
				_, seen = b.do(t, "dana", "GET", "/app/", cookie)
				require.Nil(t, seen)
				require.Contains(t, b.Actions(t), "impersonation.end done")
			})
		})
	}
}

func TestMiddleware_Door(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		_, seen := b.do(t, "dana", "GET", "/app/", nil) // no token: unchanged
		require.NotNil(t, seen)
		require.Nil(t, seen.Subject)

		w, seen := b.do(t, "dana", "GET", "/app/", &http.Cookie{Name: "reeve_impersonation", Value: "made-up"})
		require.Nil(t, seen)
		require.Equal(t, http.StatusUnauthorized, w.Code)

		s, c := b.open(t, oversight.ReadOnly)
		w, seen = b.do(t, "", "GET", "/app/", c) // the actor signed out
		require.Nil(t, seen)
		require.Equal(t, http.StatusUnauthorized, w.Code)

		w, seen = b.do(t, "dana", "POST", "/app/documents", c)
		require.Nil(t, seen)
		require.Equal(t, http.StatusForbidden, w.Code)
		for _, path := range []string{"/app/settings/PASSWORD", "/app/x/../api-keys", "/app/%61pi-keys/new", "/app/impersonate", "/app/payout-account", "/app//mfa/"} {
			w, seen = b.do(t, "dana", "GET", path, c)
			require.Nil(t, seen, path)
			require.Equal(t, http.StatusForbidden, w.Code, path)
		}
		got, err := b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.EqualValues(t, 7, got.Blocked)
		require.Zero(t, got.Requests)
		require.Contains(t, b.Actions(t), "impersonation.request denied")

		w, seen = b.do(t, "dana", "GET", "/app/end", c)
		require.Nil(t, seen)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
		require.Empty(t, b.ended(t, s))
		w, _ = b.do(t, "dana", "POST", "/app/end", c)
		require.Equal(t, http.StatusSeeOther, w.Code)
		require.Equal(t, oversight.EndStopped, b.ended(t, s))
	})
}

func TestMiddleware_CrossSite(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, c := b.open(t, oversight.ReadWrite)
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "POST", "/app/end", nil)
		r.AddCookie(c)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		b.svc.Middleware(http.NotFoundHandler()).ServeHTTP(w, r)
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Empty(t, b.ended(t, s))
	})
}

func TestPermits(t *testing.T) {
	t.Parallel()
	require.True(t, oversight.Permits(t.Context(), "apikey:write"), "nobody is impersonated")
	each(t, nil, func(t *testing.T, b *bench) {
		may := func(c *http.Cookie, permission string) (ok bool) {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
			r.AddCookie(c)
			b.svc.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ok = oversight.Permits(r.Context(), permission) })).ServeHTTP(httptest.NewRecorder(), r)
			return ok
		}
		s, c := b.open(t, oversight.ReadOnly)
		require.True(t, may(c, "document:read"))
		require.False(t, may(c, "document:write"))
		require.NoError(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""))
		_, c = b.open(t, oversight.ReadWrite)
		require.True(t, may(c, "document:write"))
		require.False(t, may(c, "apikey:write"))
		require.False(t, may(c, "mfa:write"))
	})
}

func TestSession_Approval(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		day := governance.Duration{Duration: 24 * time.Hour}
		require.NoError(t, b.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "imp", Title: "Held", Actions: []string{oversight.ActionStart}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		var held *governance.ApprovalRequiredError
		_, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
		require.ErrorAs(t, err, &held)
		waits, err := b.svc.Session(t.Context(), held.Approval)
		require.NoError(t, err)
		require.Equal(t, oversight.StatePending, waits.State)
		pending, err := b.svc.Pending(t.Context())
		require.NoError(t, err)
		require.Equal(t, []oversight.Session{waits}, pending)
		_, _, err = b.svc.Open(t.Context(), b.As("dana"), held.Approval)
		require.ErrorIs(t, err, governance.ErrConflict)
		a, err := b.Kernel.Approval(t.Context(), held.Approval)
		require.NoError(t, err)
		a, err = b.Kernel.Decide(t.Context(), b.As("ada"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.NoError(t, err)
		require.Equal(t, governance.StateExecuted, a.State)
		s, token, err := b.svc.Open(t.Context(), b.As("dana"), a.ID)
		require.NoError(t, err)
		_, seen := b.do(t, "dana", "GET", "/app/", b.svc.Cookie(s, token))
		require.NotNil(t, seen)
	})
}

func TestSweep(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		out, err := b.svc.Start(t.Context(), b.As("eve"), request(oversight.ReadOnly))
		require.NoError(t, err)
		s, _ := b.open(t, oversight.ReadOnly)
		live, err := b.svc.Live(t.Context())
		require.NoError(t, err)
		require.Len(t, live, 1)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Empty(t, b.ended(t, s))
		b.Advance(2 * time.Hour)
		live, err = b.svc.Live(t.Context())
		require.NoError(t, err)
		require.Empty(t, live)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.EndExpired, b.ended(t, s))
		require.Equal(t, oversight.EndUnopened, b.ended(t, oversight.Session{ID: out.Action}))
		require.ErrorIs(t, b.svc.End(t.Context(), b.As("dana"), s.ID, ""), governance.ErrConflict)
		_, _, err = b.svc.Open(t.Context(), b.As("eve"), out.Action)
		require.ErrorIs(t, err, governance.ErrConflict)
	})
}

func TestEnd_NotYours(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		s, _ := b.open(t, oversight.ReadOnly)
		var denied *governance.DeniedError
		require.ErrorAs(t, b.svc.End(t.Context(), b.As("eve"), s.ID, ""), &denied)
		require.Empty(t, b.ended(t, s))
	})
}

// TestVote_Impersonating: whoever works as somebody else decides on nothing.
func TestVote_Impersonating(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		b.People.Put("dana", "cs_agent", "gov_approver")
		held := b.credits(t, 1, 100_001)
		require.Len(t, held, 1)
		_, c := b.open(t, oversight.ReadWrite)
		_, seen := b.do(t, "dana", "GET", "/app/", c)
		a, err := b.Kernel.Approval(t.Context(), held[0].Approval)
		require.NoError(t, err)
		var denied *governance.DeniedError
		_, err = b.Kernel.Decide(t.Context(), *seen, a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.ErrorAs(t, err, &denied)
		require.Contains(t, denied.Reason, "impersonating")
	})
}

// credits gives n credits at once and returns those that were held.
func (b *bench) credits(t *testing.T, n int, minor int64) []*governance.ApprovalRequiredError {
	t.Helper()
	_, err := b.DB.Handle().ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS host_credit (id TEXT PRIMARY KEY, minor BIGINT)")
	require.NoError(t, err)
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), oversight.Policies(nil)...))
	credit := governance.Define(oversight.ActionCredit, oversight.CreditSpec(nil, "EUR", "USD"), func(ctx context.Context, tx *governance.Tx, in oversight.Credit) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		_, err := tx.ExecContext(ctx, "INSERT INTO host_credit (id, minor) VALUES (?, ?)", e.Action.String(), in.Money.Minor)
		return governance.Result{}, err
	})
	require.NoError(t, b.Kernel.Register(credit))
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = credit.Do(context.Background(), b.Kernel, b.As([]governance.PersonID{"dana", "eve"}[i%2]),
				oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: "EUR"}}, &governance.DoOptions{Reason: "goodwill"})
		})
	}
	wg.Wait()
	var held []*governance.ApprovalRequiredError
	for _, err := range errs {
		if err == nil {
			continue
		}
		var h *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &h)
		held = append(held, h)
	}
	return held
}

// TestPolicies_CreditRace: at the limit of EUR 1,000 exactly ten credits of EUR 99
// pass, however many ask at once and whoever asks.
func TestPolicies_CreditRace(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		require.Len(t, b.credits(t, 16, 9900), 6)
		var sum int64
		require.NoError(t, b.DB.Handle().NewRaw("SELECT SUM(minor) FROM host_credit").Scan(t.Context(), &sum))
		require.EqualValues(t, 99_000, sum)

		acts, err := b.svc.Acts(t.Context(), governance.ActionFilter{Names: []string{oversight.ActionCredit}, Tenant: "acme"})
		require.NoError(t, err)
		require.Len(t, acts, 16)
		over := 0
		for _, a := range acts {
			require.Equal(t, "goodwill", a.Reason)
			require.Len(t, a.Meters, 1)
			require.EqualValues(t, 100_000, a.Meters[0].Max)
			require.Equal(t, a.Over, a.Effect == governance.Hold)
			if a.Over {
				over++
			}
		}
		require.Equal(t, 6, over)
		acts, err = b.svc.Acts(t.Context(), governance.ActionFilter{Person: "eve", Limit: 3})
		require.NoError(t, err)
		require.Len(t, acts, 3)
		next, err := b.svc.Acts(t.Context(), governance.ActionFilter{Person: "eve", Before: acts[2].ID})
		require.NoError(t, err)
		require.Len(t, next, 5)
	})
}

func TestPolicies_Valid(t *testing.T) {
	t.Parallel()
	for _, p := range oversight.Policies(&oversight.PolicyOptions{PersonalKey: true}) {
		require.NoError(t, p.Validate(), p.ID)
	}
}

func TestCreditSpec_Invalid(t *testing.T) {
	t.Parallel()
	spec := oversight.CreditSpec(nil, "EUR")
	for _, m := range []governance.Money{{Minor: 0, Currency: "EUR"}, {Minor: -5, Currency: "EUR"}, {Minor: 5, Currency: "XXX"}, {Minor: 1 << 60, Currency: "EUR"}, {Minor: 5}} {
		require.Error(t, spec.Validate(oversight.Credit{Tenant: "acme", Money: m}), fmt.Sprint(m))
	}
	require.NoError(t, spec.Validate(oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: 5, Currency: "EUR"}}))
}
