package govapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

func TestAlerts(t *testing.T) {
	t.Parallel()
	b := mount(t)
	raise := func(key, tenant string, s governance.Severity) {
		require.NoError(t, b.env.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := b.env.Kernel.AlertTx(ctx, tx, governance.Alert{Key: key, Tenant: governance.TenantID(tenant), Severity: s, Title: key})
			return err
		}))
	}
	raise("lane:1", "acme", governance.Critical)
	raise("lane:2", "acme", governance.Warning)
	require.NoError(t, b.env.Kernel.DeliverAlerts(t.Context()))
	b.env.Advance(3 * time.Second)
	require.NoError(t, b.env.Kernel.DeliverAlerts(t.Context()))

	items := func(path string) []any {
		code, doc, _, raw := b.call(t, "ana", http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, code, raw)
		return doc["items"].([]any)
	}
	groups := items("/v1/alert-groups?tenant=acme")
	require.Len(t, groups, 1)
	g := groups[0].(map[string]any)
	require.Equal(t, []any{"critical", "default", "lane, acme"}, []any{g["worst"], g["route"], g["title"]})
	as := g["alerts"].([]any)
	worst := as[0].(map[string]any)["alert"].(map[string]any)
	require.Equal(t, "inhibited:"+worst["id"].(string), as[1].(map[string]any)["muted"])
	code, doc, _, _ := b.call(t, "ana", http.MethodGet, "/v1/alerts/"+worst["id"].(string), "")
	require.Equal(t, []any{http.StatusOK, "lane:1"}, []any{code, doc["key"]})
	require.Empty(t, items("/v1/alert-deliveries?alert="+worst["id"].(string)), "there is no notifier")

	for _, path := range []string{"GET /alerts/x", "GET /alert-groups", "GET /alert-deliveries", "GET /alert-silences", "GET /alert-routes", "GET /alert-routes/versions",
		"POST /alerts/x/close", "POST /alert-groups/x/ack", "POST /alert-deliveries/x/resend", "POST /alert-silences", "POST /alert-silences/x/end", "PUT /alert-routes"} {
		var method, p string
		_, err := fmt.Sscan(path, &method, &p)
		require.NoError(t, err)
		code, _, _, _ := b.call(t, "eve", method, "/v1"+p, "")
		require.Equal(t, http.StatusForbidden, code, path)
	}

	code, _, _, raw := b.call(t, "ana", http.MethodPost, "/v1/alert-groups/"+g["id"].(string)+"/ack", "")
	require.Equal(t, http.StatusNoContent, code, raw)
	code, _, _, _ = b.call(t, "ana", http.MethodPost, "/v1/alert-groups/"+g["id"].(string)+"/ack", "")
	require.Equal(t, http.StatusNotFound, code)
	code, _, _, _ = b.call(t, "ana", http.MethodPost, "/v1/alerts/"+worst["id"].(string)+"/close", `{"reason":"drill"}`)
	require.Equal(t, http.StatusNoContent, code)
	require.Len(t, items("/v1/alerts"), 1)

	until := b.env.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	code, _, _, raw = b.call(t, "ana", http.MethodPost, "/v1/alert-silences", `{"match":{},"reason":"r","until":"`+until+`"}`)
	require.Equal(t, http.StatusUnprocessableEntity, code, raw)
	require.Contains(t, raw, `"keys"`)
	code, doc, _, raw = b.call(t, "ana", http.MethodPost, "/v1/alert-silences", `{"match":{"keys":["lane:"]},"reason":"planned","until":"`+until+`"}`, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusOK, code, raw)
	id := doc["result"].(map[string]any)["silence"].(string)
	_, doc, _, _ = b.call(t, "ana", http.MethodPost, "/v1/alert-silences", `{"match":{"keys":["lane:"]},"reason":"planned","until":"`+until+`"}`, "Idempotency-Key", "k1")
	require.Equal(t, []any{true, id}, []any{doc["replayed"], doc["result"].(map[string]any)["silence"]})
	require.Len(t, items("/v1/alert-silences"), 1)
	code, _, _, _ = b.call(t, "ana", http.MethodPost, "/v1/alert-silences/"+id+"/end", "")
	require.Equal(t, http.StatusNoContent, code)
	require.Empty(t, items("/v1/alert-silences"))
	require.Len(t, items("/v1/alert-silences?ended=true"), 1)

	code, doc, _, _ = b.call(t, "ana", http.MethodGet, "/v1/alert-routes", "")
	require.Equal(t, []any{http.StatusOK, 0.0, true}, []any{code, doc["version"], doc["active"]})
	routing := `{"receivers":[{"name":"all","notifiers":["*"]}],"routes":[{"name":"worst","match":{"severities":["critical"]},"steps":[{"receiver":"all"},{"receiver":"everyone","after":"15m0s"}],"group_by":["tenant"],"group_wait":"0s","repeat_interval":"1h0m0s"}]}`
	code, doc, _, raw = b.call(t, "ana", http.MethodPut, "/v1/alert-routes", `{"routing":`+routing+`,"reason":"nights"}`)
	require.Equal(t, http.StatusOK, code, raw)
	require.Equal(t, 1.0, doc["result"].(map[string]any)["version"])
	_, doc, _, _ = b.call(t, "ana", http.MethodGet, "/v1/alert-routes", "")
	back, err := json.Marshal(doc["routing"])
	require.NoError(t, err)
	require.JSONEq(t, routing, string(back), "what was put is read again")
	require.Len(t, items("/v1/alert-routes/versions"), 1)
	for bad, field := range map[string]string{
		`{"routes":[{"name":"a","steps":[{"receiver":"nobody"}]}]}`:                           "routes[0].steps[0].receiver",
		`{"routes":[{"name":"a","steps":[{"receiver":"everyone"}],"group_wait":"soon"}]}`:     "body.routing.routes[0].group_wait",
		`{"receivers":[{"name":"a","notifiers":["fax"]}]}`:                                    "receivers[0].notifiers[0]",
		`{"routes":[{"name":"a","steps":[{"receiver":"everyone"}],"group_by":["severity"]}]}`: "group_by",
		`{"routes":[{"name":"a","steps":[]}]}`:                                                "steps",
	} {
		code, _, _, raw := b.call(t, "ana", http.MethodPut, "/v1/alert-routes", `{"routing":`+bad+`}`)
		require.Equal(t, http.StatusUnprocessableEntity, code, raw)
		require.Contains(t, raw, field)
	}
}
