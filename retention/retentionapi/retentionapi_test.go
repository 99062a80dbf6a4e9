package retentionapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/internal/hostdata/hosttest"
	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/retentionapi"
	"github.com/reevehq/reeve/retention/rulepack"
	"github.com/reevehq/reeve/retention/sqlsource"
)

type bench struct {
	*testing.T
	env *govtest.Env
	mux *http.ServeMux
}

func (b bench) as(person governance.PersonID, method, path, body string, headers ...string) (int, http.Header, map[string]any) {
	b.Helper()
	ctx := context.Background()
	if person != "" {
		ctx = governance.WithIdentity(ctx, b.env.As(person))
	}
	req := httptest.NewRequestWithContext(ctx, method, "/v1"+path, strings.NewReader(body))
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

func (b bench) must(code int, person governance.PersonID, method, path, body string, headers ...string) map[string]any {
	b.Helper()
	got, _, out := b.as(person, method, path, body, headers...)
	require.Equal(b, code, got, "%s %s: %v", method, path, out)
	return out
}

func TestAPI(t *testing.T) {
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{retention.Schema()}}, func(t *testing.T, e *govtest.Env) {
		ctx := context.Background()
		e.People.Put("ann", "root")
		e.People.Put("bob", "root", "gov_approver")
		e.People.Put("aud", "gov_auditor")
		e.People.Put("finn", "finance_viewer")
		e.People.Allow("gov_auditor", "retention:read")
		host := hosttest.SQLite(t)
		require.NoError(t, hostdata.Generate(ctx, host.DB, false, 1, 400, e.Now()))
		js, err := rulepack.Jurisdictions()
		require.NoError(t, err)
		rules, err := rulepack.Rules()
		require.NoError(t, err)
		svc, err := retention.New(e.Kernel, &retention.Options{Jurisdictions: js, CallFor: time.Minute})
		require.NoError(t, err)
		require.NoError(t, e.Kernel.InstallPolicies(ctx, retention.Policies()...))
		require.NoError(t, svc.Install(ctx, rules, hostdata.Policies()))
		ms, err := hostdata.Mapping()
		require.NoError(t, err)
		for _, m := range ms {
			src, err := sqlsource.New(ctx, host.DB, m, nil)
			require.NoError(t, err)
			require.NoError(t, svc.AddSource(ctx, src))
		}
		b := bench{t, e, http.NewServeMux()}
		cfg := huma.DefaultConfig("host", "1")
		cfg.Servers = []*huma.Server{{URL: "/v1"}}
		retentionapi.Register(humago.NewWithPrefix(b.mux, "/v1", cfg), svc)

		// Doors.
		for _, path := range []string{"/retention/dashboard", "/retention/rules", "/retention/holds", "/retention/plans", "/retention/runs", "/retention/sources", "/retention/policies"} {
			b.must(401, "", "GET", path, "")
			b.must(403, "finn", "GET", path, "")
			b.must(200, "aud", "GET", path, "")
			b.must(422, "aud", "GET", path+"?colour=red", "")
		}
		b.must(403, "aud", "POST", "/retention/plans", `{"source":"crm-documents"}`)
		b.must(403, "aud", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{"tenant":"t-1"}}`)
		b.must(403, "aud", "PUT", "/retention/paused", `{"paused":true,"reason":"r"}`)

		// Law, a page at a time.
		seen, cursor := 0, ""
		for {
			out := b.must(200, "aud", "GET", "/retention/rules?limit=30&cursor="+cursor, "")
			for _, it := range out["items"].([]any) {
				require.NotEmpty(t, it.(map[string]any)["citation"])
				seen++
			}
			next, ok := out["next"].(string)
			if !ok {
				break
			}
			cursor = next
		}
		require.Equal(t, len(rules), seen)
		b.must(422, "aud", "GET", "/retention/rules?cursor=nonsense", "")
		body := `{"jurisdiction":"DE","class":"invoice","kind":"floor","period":"P9Y","citation":"a law to come","status":"contested","clock":{"from":"date","round":"calendar_year"}}`
		b.must(202, "ann", "PUT", "/retention/rules/de.next", body)
		for _, bad := range []string{
			strings.Replace(body, "P9Y", "9 years", 1), strings.Replace(body, "DE", "ZZ", 1), strings.Replace(body, "floor", "ground", 1),
			strings.Replace(body, `"status"`, `"colour":"red","status"`, 1), strings.Replace(body, "a law", "a\\u0000law", 1), `{}`, `[]`,
		} {
			code, _, out := b.as("ann", "PUT", "/retention/rules/de.next", bad)
			require.Contains(t, []int{400, 422}, code, "%s: %v", bad, out)
		}

		// Holds.
		b.must(422, "ann", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{}}`)
		b.must(422, "ann", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{"source":"nope","key":"1"}}`)
		h := b.must(201, "ann", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{"tenant":"t-1"}}`, "Idempotency-Key", "k1")
		require.Equal(t, h["id"], b.must(201, "ann", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{"tenant":"t-1"}}`, "Idempotency-Key", "k1")["id"])
		b.must(409, "ann", "POST", "/retention/holds", `{"matter":"m","reason":"r","selector":{"tenant":"t-2"}}`, "Idempotency-Key", "k1")
		require.Len(t, b.must(200, "aud", "GET", "/retention/holds", "")["items"], 1)
		b.must(200, "aud", "GET", "/retention/holds/"+h["id"].(string), "")
		b.must(404, "aud", "GET", "/retention/holds/"+uuid.NewString(), "")
		b.must(202, "ann", "POST", "/retention/holds/"+h["id"].(string)+"/release", `{"reason":"settled"}`)

		// Plan, approval, purge, evidence.
		b.must(404, "ann", "POST", "/retention/plans", `{"source":"nope"}`)
		p := b.must(201, "ann", "POST", "/retention/plans", `{"source":"crm-documents"}`, "Idempotency-Key", "k3")
		require.Equal(t, p["id"], b.must(201, "ann", "POST", "/retention/plans", `{"source":"crm-documents"}`, "Idempotency-Key", "k3")["id"])
		b.must(409, "ann", "POST", "/retention/plans", `{"source":"crm-tickets"}`, "Idempotency-Key", "k3")
		at := "/retention/plans/" + p["id"].(string)
		require.Equal(t, p["digest"], b.must(200, "aud", "GET", at, "")["digest"])
		b.must(409, "ann", "POST", at+"/purge", `{"digest":"sha256:1"}`)
		code, header, held := b.as("ann", "POST", at+"/purge", `{"digest":"`+p["digest"].(string)+`"}`, "Idempotency-Key", "k2")
		require.Equal(t, 202, code)
		require.Equal(t, "/v1/approvals/"+held["approval"].(string), header.Get("Location"))
		_, err = e.Kernel.Decide(ctx, e.As("bob"), uuid.MustParse(held["approval"].(string)), governance.Vote{Decision: governance.Approve, Digest: governance.Digest(held["digest"].(string))})
		require.NoError(t, err)
		run := "/retention/runs/" + held["approval"].(string)
		r := b.must(200, "aud", "GET", run, "")
		require.Contains(t, []any{"completed", "completed_with_exceptions"}, r["state"])
		b.must(200, "aud", "GET", run+"/exceptions?limit=1", "")
		code, header, ev := b.as("aud", "GET", run+"/evidence", "")
		require.Equal(t, 200, code)
		require.Equal(t, `"`+r["evidence_hash"].(string)+`"`, header.Get("ETag"))
		require.Equal(t, "reeve/retention/evidence/v1", ev["kind"])
		require.Contains(t, header.Get("Content-Disposition"), "attachment")
		b.must(403, "finn", "GET", run+"/evidence", "")
		b.must(409, "ann", "POST", run+"/cancel", `{"reason":"late"}`)
		require.Len(t, b.must(200, "aud", "GET", "/retention/dashboard", "")["runs"], 1)
		require.Equal(t, p["id"], b.must(200, "aud", "GET", at, "")["id"])
		require.Equal(t, held["approval"], b.must(200, "aud", "GET", at, "")["run"])

		// Why a row is kept.
		c := b.must(201, "ann", "POST", "/retention/plans", `{"source":"crm-customers"}`)
		key := url.QueryEscape(c["sample"].([]any)[0].(string))
		x := b.must(200, "aud", "GET", "/retention/decision?source=crm-customers&key="+key, "")
		require.Equal(t, "due", x["state"])
		require.NotEmpty(t, x["trace"])
		x = b.must(200, "aud", "GET", "/retention/decision?source=crm-customers&as_of=2012-01-01T00:00:00Z&key="+key, "")
		require.Equal(t, "kept", x["state"])
		b.must(404, "aud", "GET", "/retention/decision?source=crm-customers&key=none", "")
		b.must(422, "aud", "GET", "/retention/decision?source=crm-customers", "")
		b.must(204, "ann", "PUT", "/retention/paused", `{"paused":true,"reason":"look"}`)
		require.Equal(t, true, b.must(200, "aud", "GET", "/retention/dashboard", "")["paused"])
	})
}
