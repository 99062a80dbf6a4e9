package integrationsapi_test

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
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/outgoing"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/integrationsapi"
	"github.com/reevehq/reeve/integrations/webhook"
)

type bench struct {
	*testing.T
	env *govtest.Env
	svc *integrations.Service
	mux *http.ServeMux
	api huma.API
}

func each(t *testing.T, fn func(b bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{integrations.Schema()}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "root")
		e.People.Put("carl", "cs_agent")
		e.People.Put("desk", "support_key")
		e.People.Put("finn", "finance_viewer")
		e.People.Allow("cs_agent", "integration:read")
		e.People.Allow("support_key", "support:lookup")
		sealer, err := integrations.NewSealer(make([]byte, 32))
		require.NoError(t, err)
		svc, err := integrations.New(e.Kernel, &integrations.Options{Sealer: sealer, PlainHTTP: true, Client: outgoing.New(&outgoing.Options{Allow: outgoing.Loopback()})})
		require.NoError(t, err)
		b := bench{T: t, env: e, svc: svc, mux: http.NewServeMux()}
		cfg := huma.DefaultConfig("host", "1")
		cfg.Servers = []*huma.Server{{URL: "/v1"}}
		b.api = humago.NewWithPrefix(b.mux, "/v1", cfg)
		integrationsapi.Register(b.api, svc)
		fn(b)
	})
}

// as makes a request; the answer is decoded when it is JSON.
func (b bench) as(person governance.PersonID, method, path, body string, headers ...string) (int, http.Header, map[string]any) {
	b.Helper()
	req := httptest.NewRequestWithContext(governance.WithIdentity(context.Background(), b.env.As(person)), method, "/v1"+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	b.mux.ServeHTTP(res, req)
	out := map[string]any{}
	if res.Body.Len() > 0 {
		require.NoError(b, json.Unmarshal(res.Body.Bytes(), &out), res.Body.String())
	}
	return res.Code, res.Header(), out
}

func TestAPI_targetsAndDeliveries(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		var secret string
		var answer = http.StatusOK
		var got []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			require.NoError(b, err)
			key, err := webhook.ParseSecret(secret)
			require.NoError(b, err)
			require.NoError(b, webhook.Verify(r.Header, body, b.env.Now(), key))
			got = append(got, r.Header.Get("webhook-id"))
			w.WriteHeader(answer)
		}))
		b.Cleanup(srv.Close)
		create := `{"name":"desk","kind":"webhook","config":{"url":"` + srv.URL + `/in"},"events":["tenant.*"],"mode":"strict"}`

		code, _, _ := b.as("carl", "POST", "/integrations/targets", create)
		require.Equal(b, 403, code)
		code, _, out := b.as("dana", "POST", "/integrations/targets", create, "Idempotency-Key", "k1")
		require.Equal(b, 200, code, out)
		made := out["result"].(map[string]any)
		secret = made["secret"].(string)
		id := made["id"].(string)
		code, _, out = b.as("dana", "POST", "/integrations/targets", create, "Idempotency-Key", "k1")
		require.Equal(b, 200, code)
		require.Equal(b, id, out["result"].(map[string]any)["id"])
		require.NotContains(b, out["result"], "secret", "a secret is shown once")
		code, _, out = b.as("dana", "POST", "/integrations/targets", strings.Replace(create, "tenant.*", "Nope!", 1))
		require.Equal(b, 422, code, out)
		code, _, out = b.as("dana", "POST", "/integrations/targets", strings.Replace(create, `"mode"`, `"modus"`, 1))
		require.Equal(b, 422, code, out)
		code, _, out = b.as("dana", "POST", "/integrations/targets", create)
		require.Equal(b, 409, code, out)

		code, h, out := b.as("carl", "GET", "/integrations/targets/"+id, "")
		require.Equal(b, 200, code, out)
		require.Equal(b, []any{"signing"}, out["secrets"])
		tag := h.Get("ETag")
		code, _, _ = b.as("dana", "PUT", "/integrations/targets/"+id, create)
		require.Equal(b, 422, code, "If-Match is required")
		code, _, out = b.as("dana", "PUT", "/integrations/targets/"+id, strings.Replace(create, "desk", "helpdesk", 1), "If-Match", tag)
		require.Equal(b, 200, code, out)
		code, _, _ = b.as("dana", "PUT", "/integrations/targets/"+id, create, "If-Match", tag)
		require.Equal(b, 412, code)

		code, _, out = b.as("dana", "POST", "/integrations/targets/"+id+"/test", "")
		require.Equal(b, 200, code, out)
		require.Equal(b, true, out["ok"])

		answer = http.StatusBadRequest
		require.NoError(b, b.env.DB.Do(b.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.env.Kernel.UpsertTenantTx(ctx, tx, b.env.As("dana"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro",
				ExternalKeys: map[string][]string{"domain": {"acme.example"}}})
			return err
		}))
		b.env.Drain(b)
		for range 12 {
			_, err := b.svc.Turn(b.Context())
			require.NoError(b, err)
			b.env.Advance(30 * time.Hour)
		}
		code, _, out = b.as("carl", "GET", "/integrations/deliveries?state=dead&target="+id, "")
		require.Equal(b, 200, code, out)
		dead := out["items"].([]any)[0].(map[string]any)
		code, _, out = b.as("carl", "GET", "/integrations/deliveries/"+dead["id"].(string), "")
		require.Equal(b, 200, code, out)
		require.Len(b, out["attempts"], 10)
		code, _, out = b.as("carl", "GET", "/integrations/targets", "")
		require.Equal(b, 200, code)
		require.EqualValues(b, 1, out["items"].([]any)[0].(map[string]any)["lag"].(map[string]any)["dead"])

		answer = http.StatusOK
		before := len(got)
		code, _, _ = b.as("carl", "POST", "/integrations/deliveries/"+dead["id"].(string)+"/replay", `{}`)
		require.Equal(b, 403, code)
		code, _, out = b.as("dana", "POST", "/integrations/deliveries/"+dead["id"].(string)+"/replay", `{"reason":"repaired"}`)
		require.Equal(b, 200, code, out)
		_, err := b.svc.Turn(b.Context())
		require.NoError(b, err)
		require.Len(b, got, before+1)
		require.Equal(b, got[before-1], got[before])
		code, _, out = b.as("dana", "POST", "/integrations/targets/"+id+"/replay", `{"include_delivered":true,"from":"2026-01-01T00:00:00Z"}`)
		require.Equal(b, 200, code, out)
		require.EqualValues(b, 2, out["result"].(map[string]any)["deliveries"], "the delivery and the ping")

		code, _, out = b.as("dana", "POST", "/integrations/targets/"+id+"/pause", `{"reason":"maintenance"}`)
		require.Equal(b, 204, code, out)
		code, _, _ = b.as("dana", "POST", "/integrations/targets/"+id+"/pause", `{}`)
		require.Equal(b, 409, code)
		code, _, _ = b.as("dana", "POST", "/integrations/targets/"+id+"/resume", `{}`)
		require.Equal(b, 204, code)
		code, _, out = b.as("dana", "POST", "/integrations/targets/"+id+"/secret", "")
		require.Equal(b, 200, code, out)
		require.NotEqual(b, secret, out["secret"])
		code, _, out = b.as("dana", "DELETE", "/integrations/targets/"+id, "")
		require.Equal(b, 200, code, out)
		code, _, _ = b.as("dana", "GET", "/integrations/targets/"+id, "")
		require.Equal(b, 404, code)
	})
}

func TestAPI_supportLookup(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		require.NoError(b, b.env.DB.Do(b.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.env.Kernel.UpsertTenantTx(ctx, tx, b.env.As("dana"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "pro", Seats: 3,
				ExternalKeys: map[string][]string{"domain": {"acme.example"}}, Attributes: map[string]string{"note": "confidential"}})
			return err
		}))
		code, h, out := b.as("desk", "GET", "/support/lookup?domain=acme.example", "")
		require.Equal(b, 200, code, out)
		require.Equal(b, "private, no-store", h.Get("Cache-Control"))
		require.Equal(b, "acme", out["tenant"])
		require.Equal(b, []any{}, out["reasons"])
		text, err := json.Marshal(out)
		require.NoError(b, err)
		require.NotContains(b, string(text), "confidential")
		for _, q := range []string{"?domain=nobody.example", "?tenant=nobody", "?system=crm&key=1"} {
			code, _, out = b.as("desk", "GET", "/support/lookup"+q, "")
			require.Equal(b, 404, code, out)
		}
		for _, q := range []string{"", "?domain=a&tenant=b", "?unknown=1", "?email=x"} {
			code, _, out = b.as("desk", "GET", "/support/lookup"+q, "")
			require.Equal(b, 422, code, out)
		}
		for _, who := range []governance.PersonID{"carl", "finn"} {
			code, _, _ = b.as(who, "GET", "/support/lookup?tenant=acme", "")
			require.Equal(b, 403, code)
		}
		for _, path := range []string{"/integrations/targets", "/integrations/deliveries", "/integrations/connectors"} {
			code, _, _ = b.as("desk", "GET", path, "")
			require.Equal(b, 403, code, path)
			code, _, out = b.as("carl", "GET", path, "")
			require.Equal(b, 200, code)
			require.Equal(b, []any{}, out["items"])
		}
	})
}
