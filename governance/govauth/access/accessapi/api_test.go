package accessapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govauth/access"
	"github.com/reevehq/reeve/governance/govauth/access/accessapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

// TestAPI reads the list at two instants and reviews a person over HTTP.
func TestAPI(t *testing.T) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema(), access.Schema()}}, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
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
		h, err := access.NewHistory(e.DB)
		require.NoError(t, err)
		auth, err := govauth.New(k, store, &govauth.Options{OnChange: h.Keep})
		require.NoError(t, err)
		svc, err := access.New(k, auth, h, nil)
		require.NoError(t, err)
		require.NoError(t, svc.Install(ctx))
		for name, role := range map[string]string{"kim": govauth.RoleSuperAdmin, "vera": govauth.RoleApprover, "dana": govauth.RoleCSAgent} {
			_, err := auth.AddUser(ctx, govauth.User{ID: governance.PersonID(name), Name: name, Email: name + "@example.com", Roles: []string{role}})
			require.NoError(t, err)
		}
		require.NoError(t, k.InstallPolicies(ctx, govauth.Policies()...))
		mux := http.NewServeMux()
		accessapi.Register(humago.NewWithPrefix(mux, "/v1", huma.DefaultConfig("test", "1")), svc)
		call := func(who governance.PersonID, method, path, body string, want int) string {
			t.Helper()
			p, err := store.Resolve(ctx, who)
			require.NoError(t, err)
			id := governance.Identity{Actor: governance.Actor{ID: "user:" + string(who), Kind: governance.ActorUser, Person: who, Roles: p.Roles}}
			r := httptest.NewRequestWithContext(governance.WithIdentity(ctx, id), method, "/v1"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body)
			return w.Body.String()
		}
		before := e.Now()
		e.Advance(time.Hour)
		_, err = auth.AddUser(ctx, govauth.User{ID: "late", Name: "late", Email: "late@example.com", Roles: []string{govauth.RoleAuditor}})
		require.NoError(t, err)
		require.Contains(t, call("kim", "GET", "/access", "", 200), `"late"`)
		require.NotContains(t, call("kim", "GET", "/access?at="+url.QueryEscape(before.Format(time.RFC3339Nano)), "", 200), `"late"`)
		require.Contains(t, call("kim", "GET", "/access-csv", "", 200), "late,gov_auditor")
		require.Contains(t, call("kim", "GET", "/access/people/late", "", 200), `"source":"live"`)
		call("kim", "GET", "/access/people/nobody", "", 404)
		call("kim", "GET", "/access?at=2199-01-01T00:00:00Z", "", 422)
		for _, path := range []string{"/access", "/access-csv", "/access/people/late", "/access/campaigns"} {
			call("dana", "GET", path, "", 403)
		}
		start := `{"title":"Autumn","due_at":"` + e.Now().AddDate(0, 0, 7).Format(time.RFC3339) + `","reviewers":["kim","late"]}`
		call("late", "POST", "/access/campaigns", start, 403)
		var done struct{ Result accessapi.AuthAccessStarted }
		require.NoError(t, json.Unmarshal([]byte(call("kim", "POST", "/access/campaigns", start, 200)), &done))
		require.Equal(t, 4, done.Result.People)
		at := "/access/campaigns/" + done.Result.Campaign
		require.Contains(t, call("late", "GET", "/access/campaigns", "", 200), done.Result.Campaign)
		call("kim", "POST", at+"/people/kim", `{"verdict":"confirm","version":1}`, 403)
		call("kim", "POST", at+"/people/dana", `{"verdict":"confirm","version":9}`, 409)
		call("kim", "POST", at+"/people/dana", `{"verdict":"revoke","version":1}`, 422)
		call("kim", "POST", at+"/people/dana", `{"verdict":"revoke","version":1,"comment":"gone"}`, 200)
		call("kim", "POST", at+"/people/late", `{"verdict":"confirm","version":1}`, 200)
		var c accessapi.AuthAccessCampaign
		require.NoError(t, json.Unmarshal([]byte(call("kim", "GET", at, "", 200)), &c))
		require.Equal(t, 2, c.Open)
		require.Equal(t, "revoke", c.Items[0].Verdict)
		require.False(t, c.Items[0].Active)
	})
}
