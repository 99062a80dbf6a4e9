package authapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth"
	"github.com/reevehq/reeve/governance/govauth/authapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

type bench struct {
	svc  *govauth.Service
	k    *governance.Kernel
	srv  *httptest.Server
	keys map[string]string
}

func newBench(t *testing.T, e *govtest.Env) bench {
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
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("test", "1")
	cfg.Servers = []*huma.Server{{URL: "/v1"}}
	api := humago.NewWithPrefix(mux, "/v1", cfg)
	govapi.Kernel(api, k)
	authapi.Register(api, svc)
	b := bench{svc, k, httptest.NewServer(svc.Middleware(mux)), map[string]string{}}
	t.Cleanup(b.srv.Close)
	for name, role := range map[string]string{"ada": "super_admin", "cleo": "gov_approver", "dan": "cs_agent", "fin": "finance_viewer"} {
		_, err := svc.AddUser(t.Context(), govauth.User{ID: governance.PersonID(name), Name: name, Email: name + "@example.com", Roles: []string{role}})
		require.NoError(t, err)
		b.keys[name], err = svc.MintKey(t.Context(), govauth.CreateKey{Kind: govauth.KeyPersonal, Person: governance.PersonID(name), Name: "test"})
		require.NoError(t, err)
	}
	return b
}

func (b bench) call(t *testing.T, who, method, path, body string, header ...string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.srv.URL+"/v1"+path, strings.NewReader(body))
	require.NoError(t, err)
	if who != "" {
		key, ok := b.keys[who]
		if !ok {
			key = who
		}
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	var doc map[string]any
	_ = json.Unmarshal(raw, &doc)
	return res.StatusCode, doc
}

func TestRegister(t *testing.T) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{govauth.Schema()}}, func(t *testing.T, e *govtest.Env) {
		b := newBench(t, e)

		code, doc := b.call(t, "dan", "GET", "/me", "")
		require.Equal(t, 200, code)
		require.Equal(t, []any{"dan", "key", []any{"cs_agent"}, false}, []any{doc["person"], doc["kind"], doc["roles"], doc["bootstrap"]})
		require.Contains(t, doc["permissions"], "tenant:plan")
		require.NotContains(t, doc["permissions"], "user:read")
		code, _ = b.call(t, "", "GET", "/me", "")
		require.Equal(t, 401, code)
		code, _ = b.call(t, "reeve_0123456789abcdef_"+strings.Repeat("A", 43), "GET", "/me", "")
		require.Equal(t, 401, code)
		for _, path := range []string{"/users", "/users/ada", "/invitations", "/keys"} {
			for _, who := range []string{"dan", "cleo", "fin"} {
				code, _ = b.call(t, who, "GET", path, "")
				require.Equal(t, 403, code, who+path)
			}
			code, _ = b.call(t, "ada", "GET", path, "")
			require.Equal(t, 200, code, path)
		}
		code, doc = b.call(t, "ada", "GET", "/users?limit=3", "")
		require.Equal(t, 200, code)
		require.Len(t, doc["items"], 3)
		code, doc = b.call(t, "ada", "GET", "/users?limit=3&cursor="+doc["next"].(string), "")
		require.Equal(t, 200, code)
		require.Len(t, doc["items"], 1)
		require.NotContains(t, doc, "next")
		code, _ = b.call(t, "ada", "GET", "/users?cursor=zzz", "")
		require.Equal(t, 422, code)
		code, _ = b.call(t, "ada", "GET", "/users/nobody", "")
		require.Equal(t, 404, code)

		// Invite: done at once for a harmless role, held for a powerful one; the link is apart.
		code, doc = b.call(t, "ada", "POST", "/invitations", `{"name":"Eve","email":"eve@example.com","roles":["cs_agent"]}`, "Idempotency-Key", "i1")
		require.Equal(t, 200, code, doc)
		invitation := doc["result"].(map[string]any)["invitation"].(string)
		code, doc = b.call(t, "ada", "POST", "/invitations", `{"name":"Eve","email":"eve@example.com","roles":["cs_agent"]}`, "Idempotency-Key", "i1")
		require.Equal(t, []any{200, true}, []any{code, doc["replayed"]})
		code, doc = b.call(t, "ada", "POST", "/invitations/"+invitation+"/link", "")
		require.Equal(t, 200, code)
		token := doc["url"].(string)[strings.LastIndex(doc["url"].(string), "/")+1:]
		in, err := b.svc.UseLink(t.Context(), token, governance.Origin{IP: "192.0.2.1"})
		require.NoError(t, err)
		require.Equal(t, invitation, string(in.Person))
		code, doc = b.call(t, "ada", "POST", "/invitations", `{"name":"Max","email":"max@example.com","roles":["super_admin"]}`)
		require.Equal(t, 202, code)
		code, _ = b.call(t, "cleo", "POST", "/approvals/"+doc["approval"].(string)+"/votes", `{"decision":"approve","digest":"`+doc["digest"].(string)+`"}`)
		require.Equal(t, 403, code, "a key does not vote on this")
		for _, bad := range []string{
			`{"name":"X","email":"x@example.com","roles":["root"]}`, `{"name":"X","email":"x@example.com","roles":[]}`, `{"name":"X","email":"nobody","roles":["cs_agent"]}`,
			`{"name":"X","email":"x@example.com","roles":["cs_agent"],"admin":true}`,
		} {
			code, _ = b.call(t, "ada", "POST", "/invitations", bad)
			require.Equal(t, 422, code, bad)
		}

		// A key: made, shown once, used, revoked.
		code, doc = b.call(t, "ada", "POST", "/keys", `{"kind":"shared","name":"helpdesk","roles":["support_key"]}`)
		require.Equal(t, 200, code, doc)
		key := doc["result"].(map[string]any)["key"].(string)
		code, _ = b.call(t, "dan", "POST", "/keys/"+key+"/show", "")
		require.Equal(t, 403, code)
		code, doc = b.call(t, "ada", "POST", "/keys/"+key+"/show", "")
		require.Equal(t, 200, code)
		secret := doc["secret"].(string)
		code, _ = b.call(t, "ada", "POST", "/keys/"+key+"/show", "")
		require.Equal(t, 409, code)
		code, doc = b.call(t, secret, "GET", "/me", "")
		require.Equal(t, []any{200, []any{"support:lookup"}, nil}, []any{code, doc["permissions"], doc["person"]})
		code, doc = b.call(t, secret, "GET", "/me/keys", "")
		require.Equal(t, []any{200, []any{}}, []any{code, doc["items"]})
		code, doc = b.call(t, "dan", "POST", "/keys/"+key+"/revoke", `{"reason":"x"}`)
		require.Equal(t, 403, code, doc)
		code, _ = b.call(t, "ada", "POST", "/keys/"+key+"/revoke", `{"reason":"x"}`)
		require.Equal(t, 204, code)
		code, _ = b.call(t, secret, "GET", "/me", "")
		require.Equal(t, 401, code)

		// Roles and deactivation.
		code, _ = b.call(t, "ada", "POST", "/users/dan/roles", `{"roles":["gov_auditor"]}`)
		require.Equal(t, 202, code)
		code, _ = b.call(t, "ada", "POST", "/users/dan/sign-in-link", `{}`)
		require.Equal(t, 202, code)
		code, _ = b.call(t, "cleo", "POST", "/users/dan/deactivate", `{}`)
		require.Equal(t, 403, code)
		code, _ = b.call(t, "ada", "POST", "/users/ada/deactivate", `{}`)
		require.Equal(t, 409, code, "the last super admin")
		code, doc = b.call(t, "ada", "POST", "/users/dan/deactivate", `{"reason":"left"}`)
		require.Equal(t, 200, code)
		require.Equal(t, "deactivated", doc["result"].(map[string]any)["state"])
		code, _ = b.call(t, "dan", "GET", "/me", "")
		require.Equal(t, 401, code)
	})
}
