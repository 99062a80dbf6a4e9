package console

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govauth/access"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type accessBench struct {
	*govtest.Env
	auth    *govauth.Service
	svc     *access.Service
	section Section
	h       http.Handler
}

func newAccessBench(t *testing.T) *accessBench {
	t.Helper()
	b := &accessBench{Env: govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema(), access.Schema()}})}
	store, err := govauth.NewStore(b.DB)
	require.NoError(t, err)
	authorizer, err := govauth.NewAuthorizer(nil)
	require.NoError(t, err)
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	b.Kernel, err = governance.New(b.DB, &governance.Options{Authorizer: authorizer, Directory: store, LedgerKey: skey, Rules: rules})
	require.NoError(t, err)
	h, err := access.NewHistory(b.DB)
	require.NoError(t, err)
	b.auth, err = govauth.New(b.Kernel, store, &govauth.Options{OnChange: h.Keep})
	require.NoError(t, err)
	b.svc, err = access.New(b.Kernel, b.auth, h, nil)
	require.NoError(t, err)
	require.NoError(t, b.svc.Install(t.Context()))
	for name, roles := range map[string][]string{"kim": {govauth.RoleSuperAdmin}, "vera": {govauth.RoleSuperAdmin, govauth.RoleApprover}, "dana": {govauth.RoleCSAgent, govauth.RoleAuditor}, "finn": {govauth.RoleFinanceViewer}} {
		_, err := b.auth.AddUser(t.Context(), govauth.User{ID: governance.PersonID(name), Name: name + " <b>", Email: name + "@example.com", Roles: roles})
		require.NoError(t, err)
	}
	b.section = Access(b.svc)
	b.h, err = New(&Options{Kernel: b.Kernel, Sections: []Section{b.section}})
	require.NoError(t, err)
	return b
}

func (b *accessBench) as(t *testing.T, id governance.PersonID) governance.Identity {
	t.Helper()
	p, err := b.Kernel.Directory().Resolve(t.Context(), id)
	require.NoError(t, err)
	return governance.Identity{Actor: governance.Actor{ID: "user:" + string(id), Kind: governance.ActorUser, Person: id, Name: p.Name, Roles: p.Roles}}
}

func TestAccessStories(t *testing.T) {
	t.Parallel()
	b := newAccessBench(t)
	requireStories(t, b.Kernel, b.section)
}

// TestAccess_Journey reads the list before and after a change, and reviews everybody.
func TestAccess_Journey(t *testing.T) {
	t.Parallel()
	b := newAccessBench(t)
	kim, vera := browse(t, b.h, b.as(t, "kim")), browse(t, b.h, b.as(t, "vera"))
	for _, path := range []string{"/access", "/access/list.csv", "/access/reviews", "/access/people/dana", "/access/reviews/new"} {
		browse(t, b.h, b.as(t, "finn")).get(path, 403)
	}
	before := b.Now()
	b.Advance(time.Hour)
	_, err := b.auth.Deactivate(t.Context(), b.as(t, "kim"), govauth.Deactivate{Person: "finn"}, nil)
	require.NoError(t, err)
	page := kim.get("/access", 200)
	requireMarkup(t, page.body)
	require.NotContains(t, page.body, govauth.RoleFinanceViewer)
	require.NotContains(t, page.body, "<b>")
	then := "?on=" + before.Format(time.DateOnly) + "&time=" + url.QueryEscape(before.Format("15:04:05.999999"))
	require.Contains(t, kim.get("/access"+then, 200).body, govauth.RoleFinanceViewer)
	require.Contains(t, kim.get("/access/list.csv"+then, 200).body, "finn,"+govauth.RoleFinanceViewer)
	require.Contains(t, kim.get("/access?on=2020-01-01", 200).body, "may miss something")
	for _, bad := range []string{"?on=soon", "?on=2026-01-15&time=noon", "?time=12:00", "?on=2199-01-01"} {
		kim.get("/access"+bad, 422)
	}
	page = kim.get("/access/people/finn", 200)
	requireMarkup(t, page.body)
	kim.get("/access/people/nobody", 404)

	page = kim.get("/access/reviews/new", 200)
	requireMarkup(t, page.body)
	due := b.Now().AddDate(0, 0, 7).Format(time.DateOnly)
	back := kim.post("/access/reviews", http.StatusUnprocessableEntity, "title", "Autumn <i>", "due_at", due, "reviewers", "kim")
	require.Contains(t, back.body, "nobody reviews themself")
	require.Contains(t, back.body, "Autumn &lt;i&gt;", "what was typed is kept")
	kim.post("/access/reviews", http.StatusSeeOther, "title", "Autumn <i>", "due_at", due, "reviewers", "kim", "reviewers", "vera")
	cs, err := b.svc.Campaigns(t.Context(), uuid.Nil, 1)
	require.NoError(t, err)
	require.Len(t, cs, 1)
	require.Len(t, cs[0].Items, 3)
	at := "/access/reviews/" + cs[0].ID.String()
	require.Contains(t, kim.get("/access/reviews", 200).body, at)
	page = kim.get(at, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, at+"/people/dana")
	require.NotContains(t, page.body, at+"/people/kim", "nobody reviews themself")
	require.NotContains(t, browse(t, b.h, b.as(t, "dana")).get(at, 200).body, "/people/")
	kim.post(at+"/people/vera", http.StatusSeeOther, "verdict", "confirm", "version", "1")
	vera.post(at+"/people/kim", http.StatusSeeOther, "verdict", "confirm", "version", "1")
	kim.post(at+"/people/dana", http.StatusUnprocessableEntity, "verdict", "revoke", "version", "1", "keep", govauth.RoleAuditor)
	kim.post(at+"/people/dana", http.StatusConflict, "verdict", "confirm", "version", "7")
	browse(t, b.h, b.as(t, "dana")).post(at+"/people/dana", http.StatusForbidden, "verdict", "confirm", "version", "1")
	kim.post(at+"/people/dana", http.StatusSeeOther, "verdict", "revoke", "version", "1", "keep", govauth.RoleAuditor, "comment", "left support")
	u, err := b.auth.User(t.Context(), "dana")
	require.NoError(t, err)
	require.Equal(t, []string{govauth.RoleAuditor}, u.Roles)
	require.NoError(t, b.svc.Tick(t.Context()))
	page = kim.get(at, 200)
	requireMarkup(t, page.body)
	require.Contains(t, page.body, "3 of 3 people are settled")
	require.Contains(t, page.body, "may keep only gov_auditor")
}
