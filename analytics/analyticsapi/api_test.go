package analyticsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/analyticsapi"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
)

type bench struct {
	*testing.T
	env *govtest.Env
	mux *http.ServeMux
}

func each(t *testing.T, fn func(b bench)) {
	t.Helper()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{analytics.Schema(), sqlwarehouse.Schema()}}, func(t *testing.T, e *govtest.Env) {
		e.People.Put("ops", "ops")
		e.People.Put("finn", "finance_viewer")
		e.People.Put("carl", "cs_agent")
		e.People.Allow("ops", "analytics:read", "analytics:write")
		e.People.Allow("finance_viewer", "analytics:read")
		e.People.Allow("cs_agent", "tenant:read")
		svc, err := analytics.New(e.Kernel, sqlwarehouse.New(e.DB), nil)
		require.NoError(t, err)
		b := bench{t, e, http.NewServeMux()}
		cfg := huma.DefaultConfig("host", "1")
		cfg.Servers = []*huma.Server{{URL: "/v1"}}
		api := humago.NewWithPrefix(b.mux, "/v1", cfg)
		govapi.Kernel(api, e.Kernel)
		analyticsapi.Register(api, svc)
		fn(b)
	})
}

// as makes a request and decodes the answer.
func (b bench) as(person governance.PersonID, method, path, body string, headers ...string) (int, map[string]any, string) {
	b.Helper()
	req := httptest.NewRequestWithContext(governance.WithIdentity(context.Background(), b.env.As(person)), method, "/v1/analytics"+path, strings.NewReader(body))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.mux.ServeHTTP(w, req)
	raw, err := io.ReadAll(w.Body)
	require.NoError(b, err)
	var doc map[string]any
	_ = json.Unmarshal(raw, &doc)
	return w.Code, doc, string(raw)
}

// ok makes a request that must be answered with 200.
func (b bench) ok(person governance.PersonID, method, path, body string, headers ...string) map[string]any {
	b.Helper()
	status, doc, raw := b.as(person, method, path, body, headers...)
	require.Equal(b, 200, status, raw)
	return doc
}

func items(doc map[string]any) []map[string]any {
	out := []map[string]any{}
	for _, v := range doc["items"].([]any) {
		out = append(out, v.(map[string]any))
	}
	return out
}

const batch = `{"facts":[
	{"source":"billing","key":"a1","kind":"subscription","tenant":"acme","subscription":"s1","plan":"team","quantity":5,"amount":"100.00","currency":"EUR","at":"2024-11-10"},
	{"source":"billing","key":"a2","kind":"subscription","tenant":"acme","subscription":"s1","plan":"team","quantity":7,"amount":"140.00","currency":"EUR","at":"2025-03-10T08:00:00Z"},
	{"source":"billing","key":"z1","kind":"subscription","tenant":"zeta","subscription":"s2","plan":"team","quantity":1,"amount":"50.00","currency":"USD","at":"2025-01-20"},
	{"source":"billing","key":"z2","kind":"subscription","tenant":"zeta","subscription":"s2","cancelled":true,"at":"2025-06-20"},
	{"source":"bank","key":"r1","kind":"rate","currency":"USD","rate":"0.9","at":"2025-01-01"},
	{"source":"bank","key":"r2","kind":"rate","currency":"USD","rate":"0.95","at":"2025-04-01"},
	{"source":"billing","key":"i1","kind":"invoice","tenant":"acme","ref":"I-1","amount":"100.00","currency":"EUR","at":"2024-11-10","due":"2024-11-24"},
	{"source":"billing","key":"through","kind":"watermark","at":"2026-01-14"}]}`

func TestAPI(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		status, doc, _ := b.as("finn", "GET", "/summary", "")
		require.Equal(b, 404, status)
		require.Equal(b, "urn:reeve:problem:not-found", doc["type"])

		got := b.ok("ops", "POST", "/facts", batch)
		require.EqualValues(b, 8, got["added"])
		require.EqualValues(b, 8, b.ok("ops", "POST", "/facts", batch)["duplicate"])
		done := b.ok("ops", "POST", "/refreshes", `{"reason":"first"}`, "Idempotency-Key", "k")
		require.Equal(b, "executed", done["state"])
		require.Equal(b, true, b.ok("ops", "POST", "/refreshes", `{"reason":"first"}`, "Idempotency-Key", "k")["replayed"])

		s := b.ok("finn", "GET", "/summary", "")
		require.Equal(b, "2026-01-14", s["data_through"])
		require.Equal(b, map[string]any{"amount": "140.00", "currency": "EUR"}, s["mrr"])
		require.Equal(b, map[string]any{"amount": "1680.00", "currency": "EUR"}, s["arr"])
		require.EqualValues(b, 1, s["customers"])
		require.EqualValues(b, 140, s["nrr_percent"])
		require.EqualValues(b, 100, s["grr_percent"])

		months := items(b.ok("finn", "GET", "/rollforward?from=2025-04-01&to=2025-06-30", ""))
		require.Len(b, months, 3)
		require.Equal(b, "2.50", months[0]["fx"].(map[string]any)["amount"])
		require.Equal(b, "-47.50", months[2]["churn"].(map[string]any)["amount"])
		days := items(b.ok("finn", "GET", "/rollforward?grain=day&from=2025-03-09&to=2025-03-11", ""))
		require.Len(b, days, 3)
		require.Equal(b, "40.00", days[1]["expansion"].(map[string]any)["amount"])

		first := b.ok("finn", "GET", "/movements?limit=2", "")
		second := b.ok("finn", "GET", "/movements?limit=200&cursor="+url.QueryEscape(first["next"].(string)), "")
		require.Len(b, items(first), 2)
		require.Len(b, items(second), 3)

		d := b.ok("finn", "GET", "/drill?metric=churn&month=2025-06", "")
		require.Equal(b, "-47.50", d["number"].(map[string]any)["amount"])
		require.Equal(b, "zeta", d["tenants"].([]any)[0].(map[string]any)["tenant"])
		d = b.ok("finn", "GET", "/drill?metric=churn&month=2025-06&tenant=zeta", "")
		row := d["rows"].([]any)[0].(map[string]any)
		fact := row["facts"].([]any)[0].(string)
		facts := items(b.ok("finn", "GET", "/facts?id="+fact, ""))
		require.Equal(b, "z2", facts[0]["key"])
		require.Equal(b, true, facts[0]["cancelled"])
		page := b.ok("finn", "GET", "/drill?metric=closing&month=2025-05&limit=1", "")
		require.Len(b, page["tenants"], 1)
		page = b.ok("finn", "GET", "/drill?metric=closing&month=2025-05&limit=1&cursor="+page["next"].(string), "")
		require.Equal(b, "zeta", page["tenants"].([]any)[0].(map[string]any)["tenant"])
		require.NotContains(b, page, "next")

		require.NotEmpty(b, items(b.ok("finn", "GET", "/cohorts", "")))
		require.Empty(b, items(b.ok("finn", "GET", "/cohorts?basis=purchase", "")))
		require.Len(b, items(b.ok("finn", "GET", "/revenue", "")), 1)
		fc := b.ok("finn", "GET", "/forecast", "")
		require.Equal(b, true, fc["available"])
		require.Len(b, fc["points"], 12)
		require.NotEmpty(b, fc["backtest"].(map[string]any)["scores"])
		require.EqualValues(b, 2, b.ok("finn", "GET", "/survival", "")["subscriptions"])
		require.NotEmpty(b, items(b.ok("finn", "GET", "/definitions", "")))
		require.Empty(b, items(b.ok("finn", "GET", "/signals", "")))
		refreshes := items(b.ok("finn", "GET", "/refreshes", ""))
		require.Equal(b, "published", refreshes[0]["state"])
		require.NotEmpty(b, refreshes[0]["tests"])

		csv := "source,key,kind,tenant,subscription,amount,currency,at\nbilling,c1,subscription,acme,s1,150.00,EUR,2025-12-10\n"
		require.EqualValues(b, 1, b.ok("ops", "POST", "/facts/csv", csv, "Content-Type", "text/csv")["added"])
		b.ok("ops", "POST", "/refreshes", `{}`)
		refreshes = items(b.ok("finn", "GET", "/refreshes?limit=1", ""))
		require.NotEmpty(b, refreshes[0]["restatements"])
		require.EqualValues(b, 1, refreshes[0]["late_facts"])
		was := items(b.ok("finn", "GET", "/rollforward?as_of="+url.QueryEscape(s["as_of"].(string)), ""))
		require.Equal(b, "140.00", was[len(was)-1]["closing"].(map[string]any)["amount"])
	})
}

func TestAPI_RefusedGeneration(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		b.ok("ops", "POST", "/facts", `{"facts":[{"source":"b","key":"1","kind":"subscription","tenant":"a","subscription":"s","amount":"5","currency":"USD","at":"2025-01-01"},
			{"source":"b","key":"w","kind":"watermark","at":"2026-01-10"}]}`)
		status, doc, raw := b.as("ops", "POST", "/refreshes", `{}`)
		require.Equal(b, 409, status, raw)
		require.Contains(b, doc["detail"], "no rate of USD", raw)
		status, _, _ = b.as("finn", "GET", "/summary", "")
		require.Equal(b, 404, status)
		refreshes := items(b.ok("finn", "GET", "/refreshes", ""))
		require.Equal(b, "refused", refreshes[0]["state"])
	})
}

func TestAPI_Refusals(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		b.ok("ops", "POST", "/facts", batch)
		b.ok("ops", "POST", "/refreshes", `{}`)
		fact := func(change string) string {
			return `{"facts":[{"source":"billing","key":"x1","kind":"subscription","tenant":"acme","subscription":"s1","amount":"1.00","currency":"EUR","at":"2025-01-01"},{` + change + `}]}`
		}
		for name, c := range map[string]struct {
			who          governance.PersonID
			method, path string
			body         string
			status       int
			field        string
		}{
			"viewer may not send":    {"finn", "POST", "/facts", batch, 403, ""},
			"viewer may not refresh": {"finn", "POST", "/refreshes", `{}`, 403, ""},
			"viewer may not upload":  {"finn", "POST", "/facts/csv", "x", 403, ""},
			"agent may not read":     {"carl", "GET", "/summary", "", 403, ""},
			"unknown parameter":      {"finn", "GET", "/summary?x=1", "", 422, ""},
			"unknown metric":         {"finn", "GET", "/drill?metric=luck&month=2025-01", "", 422, ""},
			"no month":               {"finn", "GET", "/drill?metric=new", "", 422, ""},
			"month out of range":     {"finn", "GET", "/drill?metric=new&month=1999-01", "", 404, ""},
			"bad month":              {"finn", "GET", "/drill?metric=new&month=2025-13", "", 422, "query.month"},
			"bad day":                {"finn", "GET", "/rollforward?grain=day&from=yesterday", "", 422, "query.from"},
			"too many days":          {"finn", "GET", "/rollforward?grain=day&from=1999-01-01", "", 422, "from"},
			"as of tomorrow":         {"finn", "GET", "/rollforward?as_of=2031-01-01T00:00:00Z", "", 422, "as_of"},
			"bad cursor":             {"finn", "GET", "/movements?cursor=zzz", "", 422, "query.cursor"},
			"no such tenant":         {"finn", "GET", "/signals/nobody", "", 404, ""},
			"no facts":               {"ops", "POST", "/facts", `{"facts":[]}`, 422, ""},
			"unknown field":          {"ops", "POST", "/facts", fact(`"source":"b","key":"x2","kind":"usage","tenant":"a","metric":"m","at":"2025-01-01","colour":"vermilion"`), 422, "body.facts[1].colour"},
			"amount as a number":     {"ops", "POST", "/facts", fact(`"source":"b","key":"x2","kind":"purchase","tenant":"a","amount":1.5,"currency":"EUR","at":"2025-01-01"`), 422, "body.facts[1].amount"},
			"half a cent":            {"ops", "POST", "/facts", fact(`"source":"b","key":"x2","kind":"purchase","tenant":"a","amount":"1.505","currency":"EUR","at":"2025-01-01"`), 422, "body.facts[1].amount"},
			"no such day":            {"ops", "POST", "/facts", fact(`"source":"b","key":"x2","kind":"usage","tenant":"a","metric":"m","at":"2025-02-30"`), 422, "body.facts[1].at"},
			"no tenant":              {"ops", "POST", "/facts", fact(`"source":"b","key":"x2","kind":"usage","metric":"m","at":"2025-02-28"`), 422, "body.facts[1].tenant"},
			"NUL":                    {"ops", "POST", "/facts", fact(`"source":"b\u0000","key":"x2","kind":"usage","metric":"m","at":"2025-02-28"`), 400, ""},
			"CSV":                    {"ops", "POST", "/facts/csv", "source,key,kind,at\nb,x,watermark,never\n", 422, "row 2, column at"},
			"too large":              {"ops", "POST", "/facts/csv", strings.Repeat("x", analytics.MaxCSV+1), 413, ""},
		} {
			status, doc, raw := b.as(c.who, c.method, c.path, c.body)
			require.Equal(b, c.status, status, "%s: %.400s", name, raw)
			require.True(b, strings.HasPrefix(fmt.Sprint(doc["type"]), "urn:reeve:problem:"), name)
			if c.field != "" {
				require.Contains(b, raw, `"field":"`+c.field+`"`, name)
			}
			require.NotContains(b, raw, "vermilion", name)
		}
		require.Len(b, items(b.ok("finn", "GET", "/facts?limit=200&history=true", "")), 8, "nothing of what was refused is kept")
	})
}
