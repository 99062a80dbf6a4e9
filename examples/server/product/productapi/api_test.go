package productapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/examples/server/product/productapi"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/oversightapi"
	"github.com/reevehq/reeve/oversight/recorder"
)

type bench struct {
	*govtest.Env
	h http.Handler
}

// call sends a request as somebody and decodes the answer.
func (b *bench) call(t *testing.T, as governance.PersonID, method, path, body string) (*http.Response, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As(as)), method, "/v1"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	res := w.Result()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	var out map[string]any
	_ = json.Unmarshal(raw, &out)
	res.Body = io.NopCloser(bytes.NewReader(raw))
	return res, out
}

func each(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), product.Schema()}, Rates: map[string]int64{"USD→EUR": 900_000}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "root")
		e.People.Put("ada", "root", "gov_approver")
		e.People.Put("vic", "viewer")
		e.People.Allow("viewer", "tenant:read")
		dir, err := recorder.OpenDir(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { _ = dir.Close() })
		p, err := product.New(e.Kernel, &product.Options{Blobs: dir, LinkKey: bytes.Repeat([]byte("k"), 32)})
		require.NoError(t, err)
		require.NoError(t, p.Install(t.Context()))
		o, err := oversight.New(e.Kernel, &oversight.Options{Targets: p.Target})
		require.NoError(t, err)
		rec, err := recorder.New(o, dir, nil)
		require.NoError(t, err)
		require.NoError(t, e.Kernel.InstallPolicies(t.Context(), oversight.Policies(nil)...))
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
			_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("t"), governance.Tenant{ID: "acme", Name: "Acme", Country: "DE", Status: governance.TenantActive, Plan: "growth", Seats: 5})
			return errors.Join(err, p.SubscribeTx(ctx, tx, governance.System("t"), "acme", "growth", "EUR", 5),
				p.AddUsersTx(ctx, tx, product.User{ID: "u1", Tenant: "acme", Email: "u1@example.com", Name: "U", Role: product.RoleAdmin, Active: true, CreatedAt: e.Now()}))
		}))
		mux := http.NewServeMux()
		cfg := huma.DefaultConfig("test", "1")
		cfg.Servers = []*huma.Server{{URL: "/v1"}}
		api := humago.NewWithPrefix(mux, "/v1", cfg)
		govapi.Kernel(api, e.Kernel)
		productapi.Register(api, p)
		oversightapi.Register(api, o, rec)
		fn(t, &bench{e, o.Middleware(rec.Middleware(mux))})
	})
}

func TestCredits(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		res, body := b.call(t, "dana", "POST", "/tenants/acme/credits", `{"amount":"5.00","currency":"EUR","reason":"sorry"}`)
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, map[string]any{"amount": "5.00", "currency": "EUR"}, body["result"].(map[string]any)["money"])
		res, body = b.call(t, "dana", "POST", "/tenants/acme/credits", `{"amount":"1200.00","currency":"USD","reason":"sorry"}`)
		require.Equal(t, 202, res.StatusCode)
		require.Equal(t, "/v1/approvals/"+body["approval"].(string), res.Header.Get("Location"))
		approval := strings.TrimPrefix(res.Header.Get("Location"), "/v1")
		_, body = b.call(t, "ada", "GET", approval, "")
		require.Equal(t, "pending", body["state"])
		res, body = b.call(t, "ada", "POST", approval+"/votes", fmt.Sprintf(`{"decision":"approve","digest":%q,"comment":"ok"}`, body["digest"]))
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "executed", body["state"])
		res, _ = b.call(t, "vic", "POST", "/tenants/acme/credits", `{"amount":"5.00","currency":"EUR","reason":"sorry"}`)
		require.Equal(t, 403, res.StatusCode)
		_, body = b.call(t, "vic", "GET", "/tenants/acme/credits?limit=1", "")
		require.Len(t, body["items"], 1)
		_, body = b.call(t, "vic", "GET", "/tenants/acme/credits?limit=1&cursor="+body["next"].(string), "")
		require.Len(t, body["items"], 1)
		for _, bad := range []string{
			`{"amount":"5.001","currency":"EUR","reason":"x"}`, `{"amount":5,"currency":"EUR","reason":"x"}`, `{"amount":"-5","currency":"EUR","reason":"x"}`,
			`{"amount":"5","currency":"XXX","reason":"x"}`, `{"amount":"5","currency":"EUR"}`, `{"amount":"5","currency":"EUR","reason":""}`,
			`{"amount":"5","currency":"EUR","reason":"x","more":1}`, `{"amount":"99999999999999999999","currency":"EUR","reason":"x"}`, `{"amount":"5","currency":"EUR","reason":"\u0000"}`,
			`{"amount":"1e3","currency":"EUR","reason":"x"}`, `{"amount":"0","currency":"EUR","reason":"x"}`, `nope`,
		} {
			res, _ = b.call(t, "dana", "POST", "/tenants/acme/credits", bad)
			require.GreaterOrEqual(t, res.StatusCode, 400, bad)
			require.Less(t, res.StatusCode, 500, bad)
			require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"), bad)
		}
		res, _ = b.call(t, "dana", "POST", "/tenants/nobody/credits", `{"amount":"5.00","currency":"EUR","reason":"x"}`)
		require.Equal(t, 404, res.StatusCode)
		_, body = b.call(t, "dana", "GET", "/sensitive-actions?tenant=acme", "")
		require.Len(t, body["items"], 2)
	})
}

func TestPlanAndExport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		res, body := b.call(t, "dana", "POST", "/tenants/acme/plan", `{"plan":"starter","reason":"smaller team"}`)
		require.Equal(t, 200, res.StatusCode)
		require.Equal(t, "60.00", body["result"].(map[string]any)["mrr_after"].(map[string]any)["amount"])
		res, _ = b.call(t, "dana", "POST", "/tenants/acme/plan", `{"plan":"gold","reason":"x"}`)
		require.Equal(t, 422, res.StatusCode)
		res, _ = b.call(t, "dana", "POST", "/tenants/acme/plan", `{"plan":"starter","reason":"x"}`)
		require.Equal(t, 409, res.StatusCode)
		_, body = b.call(t, "vic", "GET", "/plans", "")
		require.Len(t, body["items"], 4)

		res, body = b.call(t, "dana", "POST", "/tenants/acme/exports", `{"dataset":"all","reason":"they asked"}`)
		require.Equal(t, 200, res.StatusCode)
		require.EqualValues(t, 1, body["result"].(map[string]any)["rows"])
		_, body = b.call(t, "ada", "GET", "/tenants/acme/exports", "")
		require.NotContains(t, body["items"].([]any)[0], "download")
		_, body = b.call(t, "dana", "GET", "/tenants/acme/exports", "")
		link := body["items"].([]any)[0].(map[string]any)["download"].(string)
		res, _ = b.call(t, "dana", "GET", link, "")
		require.Equal(t, 200, res.StatusCode)
		require.Contains(t, res.Header.Get("Content-Disposition"), "acme-all-")
		raw, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		_, err = zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
		require.NoError(t, err)
		res, _ = b.call(t, "ada", "GET", link, "")
		require.Equal(t, 403, res.StatusCode)
		b.Advance(20 * time.Minute)
		res, _ = b.call(t, "dana", "GET", link, "")
		require.Equal(t, 403, res.StatusCode)
		res, _ = b.call(t, "dana", "POST", "/tenants/acme/exports", `{"dataset":"everything","reason":"x"}`)
		require.Equal(t, 422, res.StatusCode)
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		res, body := b.call(t, "dana", "POST", "/sessions", `{"tenant":"acme","user":"u1","reason":"a look"}`)
		require.Equal(t, 200, res.StatusCode, body)
		id := body["result"].(map[string]any)["session"].(string)
		res, _ = b.call(t, "ada", "POST", "/sessions/"+id+"/open", "")
		require.Equal(t, 404, res.StatusCode)
		res, body = b.call(t, "dana", "POST", "/sessions/"+id+"/open", "")
		require.Equal(t, 200, res.StatusCode)
		cookie := res.Header.Get("Set-Cookie")
		for _, want := range []string{"reeve_impersonation=", "HttpOnly", "Secure", "SameSite=Strict"} {
			require.Contains(t, cookie, want)
		}
		require.NotContains(t, fmt.Sprint(body), strings.Split(strings.Split(cookie, "=")[1], ";")[0])

		// While impersonating, a vote, a credit and another session are refused.
		impersonating := func(method, path, body string) int {
			r := httptest.NewRequestWithContext(governance.WithIdentity(t.Context(), b.As("dana")), method, "/v1"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Cookie", strings.Split(cookie, ";")[0])
			w := httptest.NewRecorder()
			b.h.ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, 200, impersonating("GET", "/plans", ""))
		require.Equal(t, 403, impersonating("POST", "/tenants/acme/credits", `{"amount":"5.00","currency":"EUR","reason":"x"}`))

		_, body = b.call(t, "ada", "GET", "/sessions?state=active", "")
		require.Len(t, body["items"], 1)
		_, body = b.call(t, "ada", "GET", "/sessions/"+id+"/frames", "")
		require.Len(t, body["items"], 1)
		_, body = b.call(t, "ada", "GET", "/sessions/"+id+"/frames/1", "")
		require.Equal(t, "/v1/plans", body["path"])
		res, _ = b.call(t, "ada", "GET", "/sessions/"+id+"/frames/1/page", "")
		require.Equal(t, recorder.ReplayPolicy, res.Header.Get("Content-Security-Policy"))
		require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		res, _ = b.call(t, "ada", "GET", "/sessions/"+id+"/frames/9", "")
		require.Equal(t, 404, res.StatusCode)
		res, _ = b.call(t, "vic", "GET", "/sessions/"+id+"/frames", "")
		require.Equal(t, 403, res.StatusCode)
		res, _ = b.call(t, "vic", "POST", "/sessions/"+id+"/end", `{}`)
		require.Equal(t, 403, res.StatusCode)
		res, _ = b.call(t, "ada", "POST", "/sessions/"+id+"/end", `{"reason":"enough"}`)
		require.Equal(t, 204, res.StatusCode)
		require.Equal(t, 401, impersonating("GET", "/plans", ""))
		b.Drain(t)
		res, body = b.call(t, "ada", "GET", "/sessions/"+id+"/evidence", "")
		require.Equal(t, 200, res.StatusCode)
		require.Contains(t, res.Header.Get("Content-Disposition"), id)
		require.NotEmpty(t, body["records"].([]any)[0].(map[string]any)["proof"])
		_, body = b.call(t, "ada", "GET", "/sessions/"+id+"/verification", "")
		require.Empty(t, body["problems"])
		res, _ = b.call(t, "ada", "GET", "/sessions?state=asleep", "")
		require.Equal(t, 422, res.StatusCode)
		res, _ = b.call(t, "ada", "GET", "/sessions?color=red", "")
		require.Equal(t, 422, res.StatusCode)
	})
}
