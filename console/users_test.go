package console

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type usersBench struct {
	svc *govauth.Service
	k   *governance.Kernel
	h   http.Handler
}

// newUsersBench is a console whose callers are found by their cookies.
func newUsersBench(t *testing.T) usersBench {
	t.Helper()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema()}})
	store, err := govauth.NewStore(e.DB)
	require.NoError(t, err)
	authorizer, err := govauth.NewAuthorizer(nil)
	require.NoError(t, err)
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	k, err := governance.New(e.DB, &governance.Options{Authorizer: authorizer, Directory: store, LedgerKey: skey, Rules: rules})
	require.NoError(t, err)
	svc, err := govauth.New(k, store, nil)
	require.NoError(t, err)
	require.NoError(t, k.InstallPolicies(t.Context(), govauth.Policies()...))
	h, err := New(&Options{Kernel: k, Sections: []Section{Users(svc), SignIn(svc)}})
	require.NoError(t, err)
	return usersBench{svc, k, svc.Middleware(h)}
}

// visitor is a browser that says where its forms come from, as browsers do.
func (b usersBench) visitor(t *testing.T) *browser {
	return browse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.RemoteAddr = "127.0.0.1:4711"
		b.h.ServeHTTP(w, r)
	}), governance.Identity{})
}

// enter signs a person in by a link.
func (b usersBench) enter(t *testing.T, person governance.PersonID) *browser {
	t.Helper()
	v := b.visitor(t)
	l, err := b.svc.MintSignInLink(t.Context(), person, time.Hour)
	require.NoError(t, err)
	v.post("/signin/"+l.Token, http.StatusSeeOther)
	return v
}

var secretIn = regexp.MustCompile(`data-copy="([^"]+)"`)

func shown(t *testing.T, a answer) string {
	t.Helper()
	m := secretIn.FindStringSubmatch(a.body)
	require.Len(t, m, 2, a.body)
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	return html.UnescapeString(m[1])
}

func tokenOf(address string) string { return address[strings.LastIndex(address, "/")+1:] }

func TestUsers_Stories(t *testing.T) {
	t.Parallel()
	b := newUsersBench(t)
	for _, s := range []Section{Users(b.svc), SignIn(b.svc)} {
		t.Run(s.Name, func(t *testing.T) { requireStories(t, b.k, s) })
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	b := newUsersBench(t)
	first, err := b.svc.Setup(t.Context(), "Ada", "ada@example.com")
	require.NoError(t, err)
	v := b.visitor(t)
	require.Contains(t, v.get("/users", http.StatusSeeOther).location, "/signin?next=")

	for range 2 { // looking at the link does not use it up
		page := v.get("/signin/"+first.Token, http.StatusOK)
		requireMarkup(t, page.body)
		require.Contains(t, page.body, "Set up this server")
	}
	require.NotContains(t, v.cookies, "reeve_session")
	far := httptest.NewRequest(http.MethodPost, "/console/signin/"+first.Token, nil)
	far.RemoteAddr = "203.0.113.9:1"
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, far)
	require.Equal(t, http.StatusForbidden, w.Code)

	code := shown(t, v.post("/signin/"+first.Token, http.StatusOK))
	require.Contains(t, v.cookies, "reeve_session")
	page := v.get("/users", http.StatusOK)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "Bootstrap mode")
	require.Contains(t, page.body, "Fewer than two people may approve")
	requireMarkup(t, b.visitor(t).post("/signin/"+first.Token, http.StatusGone).body)
	requireMarkup(t, v.get("/signin/"+first.Token, http.StatusGone).body)
	requireMarkup(t, v.get("/signin/nonsense", http.StatusNotFound).body)

	// Out, and in again by the code.
	require.Equal(t, "/signin", v.post("/signout", http.StatusSeeOther).location)
	require.Contains(t, v.get("/users", http.StatusSeeOther).location, "/signin?next=")
	requireMarkup(t, v.post("/signin", http.StatusUnauthorized, "code", code+"x").body)
	for next, want := range map[string]string{
		"/console/users?cursor=": "/users?cursor=", "https://evil.example/console/": "/", "//evil.example/console/": "/", `/\evil.example`: "/", "/elsewhere": "/",
		"/console/signin/x": "/", "javascript:alert(1)": "/",
	} {
		got := b.visitor(t).post("/signin", http.StatusSeeOther, "code", code, "next", next)
		require.Equal(t, want, strings.TrimPrefix(got.location, "/console"), next)
	}

	// A form of another site signs nobody in or out.
	r := httptest.NewRequest(http.MethodPost, "/console/signin", strings.NewReader(url.Values{"code": {code}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w = httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Empty(t, w.Header().Get("Set-Cookie"))
}

func TestUsers(t *testing.T) {
	t.Parallel()
	b := newUsersBench(t)
	for name, role := range map[string]string{"ada": "super_admin", "cleo": "gov_approver", "dan": "cs_agent", "fin": "finance_viewer", "aud": "gov_auditor"} {
		_, err := b.svc.AddUser(t.Context(), govauth.User{ID: governance.PersonID(name), Name: name, Email: name + "@example.com", Roles: []string{role}})
		require.NoError(t, err)
	}
	ada, dan, aud := b.enter(t, "ada"), b.enter(t, "dan"), b.enter(t, "aud")
	for _, path := range []string{"/users", "/users/ada", "/users/invitations", "/users/keys"} {
		dan.get(path, http.StatusForbidden)
		page := aud.get(path, http.StatusOK)
		requireMarkup(t, page.body)
		require.NotContains(t, page.body, "/users/invite")
		require.NotContains(t, page.body, "Change roles")
		requireMarkup(t, ada.get(path, http.StatusOK).body)
	}
	aud.get("/users/invite", http.StatusForbidden)
	aud.post("/users/invite", http.StatusForbidden, "name", "x")

	back := ada.post("/users/invite", http.StatusUnprocessableEntity, "name", "Eve", "email", "nobody")
	requireMarkup(t, back.body)
	require.Contains(t, back.body, `value="Eve"`)
	require.Equal(t, "/users/invitations", ada.post("/users/invite", http.StatusSeeOther, "name", "Eve", "email", "eve@example.com", "roles", "cs_agent", "_key", "k1").location)
	require.Equal(t, "/users/invitations", ada.post("/users/invite", http.StatusSeeOther, "name", "Eve", "email", "eve@example.com", "roles", "cs_agent", "_key", "k1").location)
	held := ada.post("/users/invite", http.StatusSeeOther, "name", "Max", "email", "max@example.com", "roles", "super_admin")
	require.Contains(t, held.location, "/approvals/")
	list, err := b.svc.Invitations(t.Context(), govauth.InvitationFilter{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	link := shown(t, ada.post("/users/invitations/"+string(list[0].ID)+"/link", http.StatusOK))
	require.True(t, strings.HasPrefix(link, "http://example.com/console/signin/"), link)
	eve := b.visitor(t)
	eve.get("/signin/"+tokenOf(link), http.StatusOK)
	shown(t, eve.post("/signin/"+tokenOf(link), http.StatusOK))
	requireMarkup(t, eve.get("/me", http.StatusOK).body)
	shown(t, eve.post("/me/code", http.StatusOK))

	// A key for dan: made by ada, shown to dan.
	ada.get("/users/keys/new", http.StatusOK)
	ada.post("/users/keys/new", http.StatusSeeOther, "kind", "personal", "person", "dan", "name", "script", "expires_at", "30")
	keys, err := b.svc.Keys(t.Context(), govauth.KeyFilter{Person: "dan"})
	require.NoError(t, err)
	require.NotContains(t, ada.get("/users/keys", http.StatusOK).body, keys[0].ID+"/show")
	ada.post("/users/keys/"+keys[0].ID+"/show", http.StatusForbidden)
	require.Contains(t, dan.get("/me", http.StatusOK).body, keys[0].ID+"/show")
	require.True(t, strings.HasPrefix(shown(t, dan.post("/users/keys/"+keys[0].ID+"/show", http.StatusOK)), "reeve_"))
	dan.post("/users/keys/"+keys[0].ID+"/show", http.StatusConflict)
	require.Equal(t, "/me", dan.post("/users/keys/"+keys[0].ID+"/revoke", http.StatusSeeOther).location)
	requireMarkup(t, ada.post("/users/keys/new", http.StatusUnprocessableEntity, "kind", "personal", "person", "dan", "name", "", "expires_at", "30").body)

	require.Contains(t, ada.post("/users/dan/roles", http.StatusSeeOther, "roles", "gov_auditor").location, "/approvals/")
	requireMarkup(t, ada.post("/users/dan/roles", http.StatusUnprocessableEntity).body)
	require.Contains(t, ada.post("/users/dan/signin-link", http.StatusSeeOther).location, "/approvals/")
	ada.post("/users/ada/deactivate", http.StatusConflict)
	require.Equal(t, "/users/dan", ada.post("/users/dan/deactivate", http.StatusSeeOther).location)
	require.Contains(t, dan.get("/me", http.StatusSeeOther).location, "/signin", "at once")
	require.Contains(t, ada.get("/users/dan", http.StatusOK).body, "Activate")

	sessions, err := b.svc.Sessions(t.Context(), eveID(t, b))
	require.NoError(t, err)
	aud.post("/me/sessions/"+sessions[0].ID+"/end", http.StatusForbidden)
	eve.post("/me/sessions/"+sessions[0].ID+"/end", http.StatusSeeOther)
	eve.get("/me", http.StatusSeeOther)
}

func eveID(t *testing.T, b usersBench) governance.PersonID {
	t.Helper()
	us, err := b.svc.Users(t.Context(), govauth.UserFilter{})
	require.NoError(t, err)
	for _, u := range us {
		if u.Name == "Eve" {
			return u.ID
		}
	}
	t.Fatal("no Eve")
	return ""
}
