package passkeyapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govauth/passkey"
	"github.com/reevehq/reeve/governance/govauth/passkey/passkeyapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/softkey"
)

type late struct{ *passkey.Store }

type note struct{}

// A key is registered, signs a vote, and is revoked, over HTTP.
func TestRegister(t *testing.T) {
	t.Parallel()
	const origin = "https://reeve.example.com"
	votes := &late{}
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{passkey.Schema()}, Kernel: func(o *governance.Options) { o.Votes = votes }})
	var err error
	votes.Store, err = passkey.NewStore(e.DB, func() passkey.Site { return passkey.SiteOf(origin) })
	require.NoError(t, err)
	svc, err := passkey.New(e.Kernel, votes.Store, nil)
	require.NoError(t, err)
	e.People.Put("dana", "agent")
	e.People.Put("fay", "finance")
	e.People.Put("aud", "auditor")
	e.People.Allow("agent", "note:write")
	e.People.Allow("finance", "approval:vote", "approval:read")
	e.People.Allow("auditor", "user:read", "approval:read")
	act := governance.Define("note.write", governance.Spec[note]{Permission: "note:write", Tenant: func(note) governance.TenantID { return "" }, Resource: func(note) governance.Ref { return governance.Ref{Kind: "note", ID: "1"} }},
		func(context.Context, *governance.Tx, note) (governance.Result, error) {
			return governance.Result{}, nil
		})
	require.NoError(t, e.Kernel.Register(act))
	day := governance.Duration{Duration: 24 * time.Hour}
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "notes", Title: "Notes", Actions: []string{"note.write"}, Mode: governance.Enforce,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day, Signed: true}}))

	mux := http.NewServeMux()
	api := humago.NewWithPrefix(mux, "/v1", huma.DefaultConfig("test", "1"))
	govapi.Kernel(api, e.Kernel)
	passkeyapi.Register(api, svc)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := r.Header.Get("X-Who"); who != "" {
			r = r.WithContext(governance.WithIdentity(r.Context(), e.As(governance.PersonID(who))))
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	call := func(who, method, path string, body any, status int) map[string]json.RawMessage {
		t.Helper()
		var in io.Reader
		if body != nil {
			b, err := json.Marshal(body)
			require.NoError(t, err)
			in = strings.NewReader(string(b))
		}
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/v1"+path, in)
		require.NoError(t, err)
		req.Header.Set("X-Who", who)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, status, res.StatusCode, "%s %s as %s: %s", method, path, who, raw)
		out := map[string]json.RawMessage{}
		_ = json.Unmarshal(raw, &out)
		return out
	}

	call("", http.MethodGet, "/passkeys", nil, 401)
	soft := softkey.New(t, softkey.ES256, origin)
	begun := call("fay", http.MethodPost, "/passkeys/challenges", nil, 200)
	call("aud", http.MethodPost, "/passkeys", map[string]any{"name": "mine", "credential": soft.Create(t, begun["public_key"])}, 422)
	made := call("fay", http.MethodPost, "/passkeys", map[string]any{"name": "mine", "credential": soft.Create(t, begun["public_key"])}, 200)
	var key string
	require.NoError(t, json.Unmarshal(made["id"], &key))
	require.Contains(t, string(call("fay", http.MethodGet, "/passkeys", nil, 200)["items"]), key)
	require.Contains(t, string(call("aud", http.MethodGet, "/passkeys?person=fay", nil, 200)["items"]), key)
	call("dana", http.MethodGet, "/passkeys?person=fay", nil, 403)

	_, err = act.Do(t.Context(), e.Kernel, e.As("dana"), note{}, nil)
	var held *governance.ApprovalRequiredError
	require.ErrorAs(t, err, &held)
	at := "/approvals/" + held.Approval.String()
	a, err := e.Kernel.Approval(t.Context(), held.Approval)
	require.NoError(t, err)
	vote := map[string]any{"decision": "approve", "digest": a.Digest}
	call("fay", http.MethodPost, at+"/votes", vote, 403)
	call("aud", http.MethodPost, at+"/challenges", vote, 403)
	call("fay", http.MethodPost, at+"/challenges", map[string]any{"decision": "approve", "digest": "sha256:00"}, 409)
	asked := call("fay", http.MethodPost, at+"/challenges", vote, 200)
	vote["assertion"] = map[string]any{"id": "x"}
	call("fay", http.MethodPost, at+"/votes", vote, 403)
	vote["assertion"] = soft.Get(t, asked["public_key"])
	done := call("fay", http.MethodPost, at+"/votes", vote, 200)
	require.JSONEq(t, `"executed"`, string(done["state"]))
	require.Contains(t, string(done["votes"]), `"signed_by":"`+key+`"`)

	call("dana", http.MethodPost, "/passkeys/"+key+"/revoke", map[string]any{"reason": "why not"}, 403)
	call("fay", http.MethodPost, "/passkeys/none/revoke", map[string]any{"reason": "lost"}, 422)
	call("fay", http.MethodPost, "/passkeys/"+key+"/revoke", map[string]any{"reason": "lost"}, 204)
	call("fay", http.MethodPost, "/passkeys/"+key+"/revoke", map[string]any{"reason": "lost"}, 409)
}
