package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/recorder"
)

type oversightBench struct {
	*govtest.Env
	svc     *oversight.Service
	dir     string
	section Section
	console http.Handler
	app     http.Handler
}

func newOversightBench(t *testing.T) *oversightBench {
	t.Helper()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema()}})
	e.People.Put("dana", "cs_agent")
	e.People.Put("kim", "root")
	e.People.Put("vic", "viewer")
	e.People.Allow("cs_agent", "session:start", "session:read", "tenant:read")
	e.People.Allow("viewer", "tenant:read")
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("t"), governance.Tenant{ID: "acme", Name: "Acme GmbH", Country: "DE", Status: governance.TenantActive, Plan: "pro"})
		return err
	}))
	b := &oversightBench{Env: e, dir: t.TempDir()}
	var err error
	b.svc, err = oversight.New(e.Kernel, &oversight.Options{Path: "/app/", Targets: func(_ context.Context, tenant governance.TenantID, user string) (governance.Actor, error) {
		if tenant != "acme" || user != "u1" {
			return governance.Actor{}, governance.ErrNotFound
		}
		return governance.Actor{ID: "product:u1", Kind: governance.ActorUser, Name: "Olga Admin"}, nil
	}})
	require.NoError(t, err)
	blobs, err := recorder.OpenDir(b.dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = blobs.Close() })
	rec, err := recorder.New(b.svc, blobs, nil)
	require.NoError(t, err)
	b.section = Oversight(b.svc, rec, &OversightOptions{App: "/app/", Users: func(context.Context, governance.TenantID) ([]Option, error) {
		return []Option{{"u1", "Olga Admin"}}, nil
	}})
	b.console, err = New(&Options{Kernel: e.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	b.app = b.svc.Middleware(rec.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><h1>Hello</h1><p data-mask>olga@example.com</p><script>run()</script>"))
	})))
	return b
}

func TestOversightStories(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	requireStories(t, b.Kernel, b.section)
}

// TestOversight_Journey goes from the tenant's page into a session, out of it and
// through its replay.
func TestOversight_Journey(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	dana := browse(t, b.console, b.As("dana"))
	require.Contains(t, dana.get("/tenants/acme", 200).body, "/sessions/new?tenant=acme")
	require.Contains(t, dana.get("/sessions", 200).body, "Nobody worked as a customer yet")
	page := dana.get("/sessions/new?tenant=acme", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "Olga Admin")

	back := dana.post("/sessions", http.StatusUnprocessableEntity, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", " ", "ticket", "T-9")
	require.Contains(t, back.body, "T-9", "what was typed is kept")
	dana.post("/sessions", http.StatusUnprocessableEntity, "tenant", "acme", "user", "nobody", "scope", "read", "minutes", "15", "reason", "a look")
	dana.post("/sessions", http.StatusUnprocessableEntity, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "90000000000000", "reason", "a look")
	browse(t, b.console, b.As("vic")).post("/sessions", http.StatusForbidden, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", "a look")
	require.Empty(t, dana.cookies["reeve_impersonation"])

	begun := dana.post("/sessions", http.StatusSeeOther, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", "a look")
	require.Equal(t, "/app/", begun.location)
	require.NotEmpty(t, dana.cookies["reeve_impersonation"])
	live, err := b.svc.Live(t.Context())
	require.NoError(t, err)
	require.Len(t, live, 1)
	at := "/sessions/" + live[0].ID.String()
	visit := func() int {
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
		r.AddCookie(&http.Cookie{Name: "reeve_impersonation", Value: dana.cookies["reeve_impersonation"]})
		w := httptest.NewRecorder()
		b.app.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, 200, visit())
	again := dana.post("/sessions", http.StatusSeeOther, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", "another")
	require.Equal(t, "/sessions", again.location)

	kim := browse(t, b.console, b.As("kim"))
	require.Contains(t, kim.get("/sessions", 200).body, "dana")
	page = kim.get(at+"?frame=1", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, `src="/console`+at+`/frames/1"`)
	require.Contains(t, page.header.Get("Content-Security-Policy"), "frame-src 'self'")
	frame := kim.get(at+"/frames/1", 200)
	require.Equal(t, recorder.ReplayPolicy, frame.header.Get("Content-Security-Policy"))
	require.Contains(t, frame.body, "Hello")
	require.NotContains(t, frame.body, "olga@example.com")
	require.NotContains(t, frame.body, "run()")
	kim.get(at+"?frame=7", 404)
	kim.get(at+"/frames/x", 404)
	kim.get("/sessions/not-an-id", 404)
	browse(t, b.console, b.As("vic")).get(at, 403)
	dana.get(at+"/evidence.json", 403)

	kim.post(at+"/end", http.StatusSeeOther, "reason", "enough")
	require.Equal(t, http.StatusUnauthorized, visit())
	b.Drain(t)
	page = kim.get(at, 200)
	require.Contains(t, page.body, "Somebody else ended it")
	require.Contains(t, page.body, "Verified")
	evidence := kim.get(at+"/evidence.json", 200)
	require.Contains(t, evidence.header.Get("Content-Disposition"), "attachment")
	require.Contains(t, evidence.body, `"proof"`)

	found, err := filepath.Glob(filepath.Join(b.dir, "*", "*.ndjson"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(found[0], []byte("doctored"), 0o600))
	page = kim.get(at, 200)
	require.Contains(t, page.body, "its bytes are not those that were recorded")
	require.NotContains(t, page.body, "<iframe")
}

// TestOversight_Watch goes through a session that has to be watched: the wall, the
// observer's page, the end, the review, and what the customer's page says.
func TestOversight_Watch(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	b.People.Put("rita", "reviewer")
	b.People.Allow("reviewer", "session:read", "session:review", "tenant:read")
	dana, kim, rita := browse(t, b.console, b.As("dana")), browse(t, b.console, b.As("kim")), browse(t, b.console, b.As("rita"))
	require.Contains(t, kim.get("/sessions/live", 200).body, "Nobody works as a customer now")
	require.Contains(t, rita.get("/sessions/reviews", 200).body, "No review is due")
	begun := dana.post("/sessions", http.StatusSeeOther, "tenant", "acme", "user", "u1", "scope", "write", "minutes", "15", "reason", "a <i>look</i>", "observer", "on")
	require.Contains(t, begun.location, "/sessions/", "it waits, so it does not lead into the product")
	at := strings.TrimPrefix(begun.location, "/console")
	visit := func(path string) int {
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", path, nil)
		r.AddCookie(&http.Cookie{Name: "reeve_impersonation", Value: dana.cookies["reeve_impersonation"]})
		w := httptest.NewRecorder()
		b.app.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusServiceUnavailable, visit("/app/"))
	wall := kim.get("/sessions/live", 200)
	requireMarkup(t, wall.body)
	require.Contains(t, wall.body, "nobody watches, and somebody has to")
	require.Contains(t, wall.body, "a &lt;i&gt;look&lt;/i&gt;")
	require.Contains(t, wall.header.Get("Content-Security-Policy"), "frame-src 'self'")
	dana.get(at+"/watch", http.StatusForbidden)
	dana.post(at+"/observe", http.StatusForbidden)
	browse(t, b.console, b.As("vic")).get("/sessions/live", http.StatusForbidden)
	browse(t, b.console, b.As("vic")).get("/sessions/reviews", http.StatusForbidden)
	kim.get(at+"/observe", http.StatusNotFound) // no address that is read counts as watching
	require.Contains(t, kim.get(at+"/watch", 200).body, "Start to watch")
	require.Equal(t, http.StatusServiceUnavailable, visit("/app/"), "to look at the page is not to watch")
	kim.post(at+"/observe", http.StatusSeeOther)
	require.Equal(t, 200, visit("/app/"))
	watch := kim.get(at+"/watch", 200)
	requireMarkup(t, watch.body)
	require.Contains(t, watch.body, "I am still watching")
	require.Contains(t, watch.body, "data-beat")
	require.Contains(t, watch.body, at+"/shown?frame=1")
	shown := kim.get(at+"/shown", 200)
	require.Equal(t, recorder.ReplayPolicy, shown.header.Get("Content-Security-Policy"))
	require.NotContains(t, shown.body, "olga@example.com")
	require.Contains(t, kim.get("/tenants/acme/access", 200).body, ">live<")
	kim.post(at+"/leave", http.StatusSeeOther)
	require.Equal(t, http.StatusServiceUnavailable, visit("/app/"))
	kim.post(at+"/observe", http.StatusSeeOther)
	kim.post(at+"/end", http.StatusSeeOther, "reason", "seen enough")
	require.Equal(t, http.StatusUnauthorized, visit("/app/"))
	require.Contains(t, kim.get(at+"/watch", 200).body, "The session is over")
	kim.post(at+"/observe", http.StatusSeeOther)

	require.Contains(t, rita.get("/sessions/reviews", 200).body, at+"#review")
	require.NotContains(t, dana.get(at, 200).body, "Record the review")
	back := rita.post(at+"/review", http.StatusUnprocessableEntity, "verdict", "violation", "note", "")
	require.Contains(t, back.body, "is required for a violation")
	rita.post(at+"/review", http.StatusSeeOther, "verdict", "accepted", "note", "as the ticket asked")
	require.Contains(t, rita.get(at, 200).body, "as the ticket asked")
	rita.post(at+"/review", http.StatusConflict, "verdict", "accepted", "note", "")
	require.Contains(t, rita.get("/sessions/reviews", 200).body, "No review is due")
	require.Contains(t, rita.get("/tenants/acme/access", 200).body, "Olga Admin")
}

// TestOversight_FreshSignIn: the dialog asks to sign in before it asks anything else.
func TestOversight_FreshSignIn(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	id := b.As("dana")
	b.Advance(16 * time.Minute)
	dana := browse(t, b.console, id)
	page := dana.get("/sessions/new?tenant=acme", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "/console/signin?next=%2Fconsole%2Fsessions%2Fnew%3Ftenant%3Dacme")
	require.NotContains(t, page.body, "Start session")
	dana.post("/sessions", http.StatusSeeOther, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", "a look")
	require.Empty(t, dana.cookies["reeve_impersonation"])
	require.Contains(t, b.Actions(t), "impersonation.start denied")
	// No address that is only read begins one.
	fresh := browse(t, b.console, b.As("dana"))
	fresh.get("/sessions/new?tenant=acme&user=u1&scope=read&minutes=15&reason=a+look", 200)
	all, err := b.svc.Sessions(t.Context(), oversight.Filter{})
	require.NoError(t, err)
	require.Empty(t, all)
}

// TestOversight_Gaps: what was changed is a gap among frames that still replay.
func TestOversight_Gaps(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	dana, kim := browse(t, b.console, b.As("dana")), browse(t, b.console, b.As("kim"))
	dana.post("/sessions", http.StatusSeeOther, "tenant", "acme", "user", "u1", "scope", "read", "minutes", "15", "reason", "a look")
	for range 3 {
		r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), "GET", "/app/", nil)
		r.AddCookie(&http.Cookie{Name: "reeve_impersonation", Value: dana.cookies["reeve_impersonation"]})
		b.app.ServeHTTP(httptest.NewRecorder(), r)
	}
	live, err := b.svc.Live(t.Context())
	require.NoError(t, err)
	at := "/sessions/" + live[0].ID.String()
	require.NotContains(t, kim.get(at, 200).body, "r-gap")
	found, err := filepath.Glob(filepath.Join(b.dir, "*", "000002-*"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(found[0]))
	page := kim.get(at, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, `class="r-gap"`)
	require.Contains(t, page.body, "chunk 2 is missing")
	require.Contains(t, page.body, `aria-label="2 frames, `)
	require.Contains(t, page.body, at+"/frames/1")
	require.Contains(t, page.body, "?frame=3#replay", "the frame after the gap keeps its number")
	require.NotContains(t, page.body, "?frame=2#replay")
	require.Contains(t, kim.get(at+"?frame=2", 200).body, "nothing of it is shown")
	kim.get(at+"/frames/2", http.StatusConflict)
}

func TestOversight_Acts(t *testing.T) {
	t.Parallel()
	b := newOversightBench(t)
	spec := oversight.CreditSpec(nil, "EUR")
	credit := governance.Define(oversight.ActionCredit, spec, func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
		return governance.Result{}, nil
	})
	require.NoError(t, b.Kernel.Register(credit))
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), oversight.Policies(nil)...))
	kim := browse(t, b.console, b.As("kim"))
	require.Contains(t, kim.get("/acts", 200).body, "Nothing sensitive was done yet")
	for _, minor := range []int64{60_000, 60_000} {
		_, err := credit.Do(t.Context(), b.Kernel, b.As("kim"), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: minor, Currency: "EUR"}}, &governance.DoOptions{Reason: "<b>sorry</b>"})
		if err != nil {
			require.ErrorContains(t, err, "held")
		}
		b.Advance(time.Second)
	}
	page := kim.get("/acts?action=tenant.credit", 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "€1,200.00 of €1,000.00")
	require.Equal(t, 2, strings.Count(page.body, "&lt;b&gt;sorry"))
	require.Contains(t, kim.get("/acts?person=nobody", 200).body, "No action matches")
	browse(t, b.console, b.As("vic")).get("/acts", 403)
}
