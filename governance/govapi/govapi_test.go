package govapi_test

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger/offline"
)

// Policy and Session are a host's own types: huma would panic if ours had the names.
type Policy struct {
	Premium int `json:"premium" minimum:"1"`
}

type hostInput struct {
	Body Policy
}

type grantInput struct {
	govapi.Idempotent
	ID   string `path:"id"`
	Body struct {
		Amount string `json:"amount"`
		Kind   string `json:"kind,omitempty" enum:"a,b"`
	}
}

type grant struct {
	Tenant governance.TenantID `json:"tenant"`
	Money  governance.Money    `json:"money"`
}

type bench struct {
	env *govtest.Env
	srv *httptest.Server
}

func mount(t *testing.T) bench {
	t.Helper()
	e := govtest.New(t, nil)
	e.People.Put("ana", "root")
	e.People.Put("bo", "root", "gov_approver")
	e.People.Put("eve")
	give := governance.Define("credit.give", governance.Spec[grant]{
		Permission: "tenant:credit", Tenant: func(g grant) governance.TenantID { return g.Tenant },
		Resource: func(g grant) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(g.Tenant)} },
		Measures: func(_ context.Context, _ *governance.Tx, g grant) ([]governance.Measure, error) {
			return []governance.Measure{governance.MoneyMeasure(g.Money)}, nil
		},
	}, func(_ context.Context, _ *governance.Tx, g grant) (governance.Result, error) {
		if g.Money.Minor == 66600 {
			return governance.Result{}, errors.New("pq: secret driver text")
		}
		return governance.Result{Data: map[string]any{"credited": g.Money}}, nil
	})
	require.NoError(t, e.Kernel.Register(give))
	require.NoError(t, e.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "credit", Title: "Credits", Actions: []string{"credit.give"}, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: 100000, Window: governance.Duration{Duration: 24 * time.Hour}, By: governance.ByTenant}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: governance.Duration{Duration: time.Hour}, ExecuteWithin: governance.Duration{Duration: time.Hour}}}))

	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("host", "1")
	cfg.Servers = []*huma.Server{{URL: "/v1"}}
	api := humago.NewWithPrefix(mux, "/v1", cfg)
	huma.Register(api, huma.Operation{OperationID: "host-put", Method: http.MethodPost, Path: "/host"}, func(_ context.Context, in *hostInput) (*struct{ Body Policy }, error) {
		if in.Body.Premium == 7 {
			return nil, errors.New("host text")
		}
		return &struct{ Body Policy }{in.Body}, nil
	})
	govapi.Kernel(api, e.Kernel)
	govapi.Guarded(govapi.New(api, e.Kernel), "tenant:credit", huma.Operation{OperationID: "grant", Method: http.MethodPost, Path: "/grants/{id}", MaxBodyBytes: 1000},
		func(ctx context.Context, id governance.Identity, in *grantInput) (governance.Outcome, error) {
			m, err := governance.ParseMoney(in.Body.Amount, "EUR")
			if err != nil {
				return governance.Outcome{}, governance.Invalid("body.amount", "is not an amount")
			}
			return give.Do(ctx, e.Kernel, id, grant{governance.TenantID(in.ID), m}, &governance.DoOptions{Key: in.Key})
		})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := r.Header.Get("X-Person"); who != "" {
			r = r.WithContext(governance.WithIdentity(r.Context(), e.As(governance.PersonID(who))))
		}
		mux.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return bench{e, srv}
}

func (b bench) call(t *testing.T, who, method, path, body string, header ...string) (int, map[string]any, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.srv.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("X-Person", who)
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
	return res.StatusCode, doc, res.Header, string(raw)
}

func TestGuarded(t *testing.T) {
	t.Parallel()
	b := mount(t)
	status, doc, _, _ := b.call(t, "ana", "POST", "/v1/grants/acme", `{"amount":"5.00"}`, "Idempotency-Key", "k1")
	require.Equal(t, 200, status)
	require.Equal(t, "executed", doc["state"])
	require.NotEmpty(t, doc["receipt"].(map[string]any)["record"])
	require.NotContains(t, doc["receipt"], "signed")
	_, doc2, _, _ := b.call(t, "ana", "POST", "/v1/grants/acme", `{"amount":"1.00"}`, "Prefer", "respond-async, Receipt=signed; kept=yes")
	receipt := doc2["receipt"].(map[string]any)
	batch, err := offline.ParseReceipts([]byte(receipt["signed"].(string)), b.env.Kernel.Ledger().VerifierKey())
	require.NoError(t, err)
	require.Equal(t, receipt["record"], batch.Receipts[0].ID)

	status, again, _, _ := b.call(t, "ana", "POST", "/v1/grants/acme", `{"amount":"5.00"}`, "Idempotency-Key", "k1")
	require.Equal(t, 200, status)
	require.Equal(t, doc["action"], again["action"])
	require.Equal(t, true, again["replayed"])
	status, _, _, _ = b.call(t, "ana", "POST", "/v1/grants/acme", `{"amount":"6.00"}`, "Idempotency-Key", "k1")
	require.Equal(t, 409, status)

	status, held, h, _ := b.call(t, "ana", "POST", "/v1/grants/acme", `{"amount":"995.01"}`)
	require.Equal(t, 202, status)
	require.Equal(t, "/v1/approvals/"+held["approval"].(string), h.Get("Location"))
	at := h.Get("Location")
	_, ap, _, _ := b.call(t, "bo", "GET", at, "")
	require.Equal(t, held["digest"], ap["digest"])
	require.Equal(t, "pending", ap["state"])

	status, _, _, _ = b.call(t, "bo", "POST", at+"/votes", `{"decision":"approve","digest":"sha256:00"}`)
	require.Equal(t, 409, status)
	vote := `{"decision":"approve","digest":"` + ap["digest"].(string) + `","comment":"fine"}`
	status, _, _, _ = b.call(t, "ana", "POST", at+"/votes", vote)
	require.Equal(t, 403, status)
	status, ap, _, _ = b.call(t, "bo", "POST", at+"/votes", vote)
	require.Equal(t, 200, status)
	require.Equal(t, "executed", ap["state"])
	status, _, _, _ = b.call(t, "ana", "POST", at+"/execute", "")
	require.Equal(t, 409, status)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := mount(t)
	for name, c := range map[string]struct {
		who, method, path, body string
		status                  int
		kind                    string
	}{
		"nobody":              {"", "GET", "/v1/tenants", "", 401, "unauthenticated"},
		"no permission":       {"eve", "GET", "/v1/tenants", "", 403, "denied"},
		"before the body":     {"eve", "POST", "/v1/grants/acme", `{"bad`, 403, "denied"},
		"unknown parameter":   {"ana", "GET", "/v1/tenants?nane=x", "", 422, "invalid"},
		"unknown field":       {"ana", "POST", "/v1/grants/acme", `{"amount":"1.00","extra":1}`, 422, "invalid"},
		"wrong type":          {"ana", "POST", "/v1/grants/acme", `{"amount":1}`, 422, "invalid"},
		"enum":                {"ana", "POST", "/v1/grants/acme", `{"amount":"1.00","kind":"zebra"}`, 422, "invalid"},
		"not JSON":            {"ana", "POST", "/v1/grants/acme", `{"amount":`, 400, "malformed"},
		"NUL":                 {"ana", "POST", "/v1/grants/acme", `{"amount":"1\u0000"}`, 400, "malformed"},
		"NUL in the query":    {"ana", "GET", "/v1/tenants?search=%00", "", 422, "invalid"},
		"no text":             {"ana", "GET", "/v1/tenants?search=%ff", "", 422, "invalid"},
		"no text in the path": {"ana", "GET", "/v1/tenants/%ff", "", 422, "invalid"},
		"empty tenant":        {"ana", "GET", "/v1/approvals?tenant=", "", 422, "invalid"},
		"a name in two cases": {"ana", "POST", "/v1/grants/acme", `{"amount":"1.00","AMOUNT":"2.00"}`, 400, "malformed"},
		"a parser's words":    {"ana", "GET", "/v1/approvals/zebra", "", 422, "invalid"},
		"another case":        {"ana", "POST", "/v1/grants/acme", `{"Amount":"1.00"}`, 422, "invalid"},
		"a name twice":        {"ana", "POST", "/v1/grants/acme", `{"amount":"1.00","amount":"2.00"}`, 400, "malformed"},
		"too large":           {"ana", "POST", "/v1/grants/acme", `{"amount":"` + strings.Repeat("1", 2000) + `"}`, 413, "too-large"},
		"bad amount":          {"ana", "POST", "/v1/grants/acme", `{"amount":"x"}`, 422, "invalid"},
		"NUL in the cursor":   {"ana", "GET", "/v1/tenants?cursor=WyJcdTAwMDAiXQ", "", 422, "invalid"},
		"bad cursor":          {"ana", "GET", "/v1/approvals?cursor=zzz", "", 422, "invalid"},
		"no such approval":    {"ana", "GET", "/v1/approvals/5f3b8f52-3f0f-4b60-8ad2-6b9c3a7d2f10", "", 404, "not-found"},
		"driver text":         {"ana", "POST", "/v1/grants/acme", `{"amount":"666.00"}`, 500, "internal"},
		"unreachable quorum":  {"ana", "PUT", "/v1/policies/p", `{"policy":{"id":"p","title":"T","actions":["x"],"mode":"enforce","require":{"all_of":[{"group":"nobody","approvals":1}],"decide_within":"1h","execute_within":"1h"}}}`, 422, "invalid"},
		"policy of two names": {"ana", "PUT", "/v1/policies/q", `{"policy":{"id":"p","title":"T","actions":["x"],"mode":"enforce","deny":true}}`, 422, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			status, doc, h, raw := b.call(t, c.who, c.method, c.path, c.body)
			require.Equal(t, c.status, status, raw)
			require.Equal(t, "urn:reeve:problem:"+c.kind, doc["type"], raw)
			require.Equal(t, "application/problem+json", h.Get("Content-Type"))
			require.NotContains(t, raw, "zebra")
			require.NotContains(t, raw, "secret")
			require.NotContains(t, raw, "length", "the words of a library")
		})
	}
}

// TestBody_OtherCase: a name in other letters is refused at its place, which is named as
// the document names it.
func TestBody_OtherCase(t *testing.T) {
	t.Parallel()
	b := mount(t)
	for body, at := range map[string]string{
		`{"Amount":"1.00"}`: "body.amount",
		`{"policy":{"id":"p","title":"T","actions":["x"],"mode":"enforce","require":{"all_of":[{"group":"g","approvals":1,"Approvals":2}],"decide_within":"1h","execute_within":"1h"}}}`: "",
		`{"policy":{"id":"p","title":"T","actions":["x"],"mode":"enforce","require":{"all_of":[{"group":"g","APPROVALS":2}],"decide_within":"1h","execute_within":"1h"}}}`:               "body.policy.require.all_of[0].approvals",
	} {
		method, path := "POST", "/v1/grants/acme"
		if strings.Contains(body, "policy") {
			method, path = "PUT", "/v1/policies/p"
		}
		status, _, _, raw := b.call(t, "ana", method, path, body)
		if at == "" {
			require.Equal(t, 400, status, "twice, in any case")
			continue
		}
		require.Equal(t, 422, status)
		require.Contains(t, raw, `"`+at+`"`)
	}
}

// TestHostUntouched: the host's own operations answer as if we were not there.
func TestHostUntouched(t *testing.T) {
	t.Parallel()
	alone := http.NewServeMux()
	api := humago.NewWithPrefix(alone, "/v1", huma.DefaultConfig("host", "1"))
	huma.Register(api, huma.Operation{OperationID: "host-put", Method: http.MethodPost, Path: "/host"}, func(_ context.Context, in *hostInput) (*struct{ Body Policy }, error) {
		if in.Body.Premium == 7 {
			return nil, errors.New("host text")
		}
		return &struct{ Body Policy }{in.Body}, nil
	})
	b := mount(t)
	for _, body := range []string{`{"premium":0}`, `{"premium":"x"}`, `{`, `{"premium":7}`, `{"other":1}`} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/host", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		alone.ServeHTTP(rec, r)
		status, _, h, raw := b.call(t, "", "POST", "/v1/host", body)
		require.Equal(t, rec.Code, status)
		require.Equal(t, rec.Header().Get("Content-Type"), h.Get("Content-Type"))
		host := strings.ReplaceAll(raw, b.srv.URL, "https://example.com")
		require.Equal(t, rec.Body.String(), host)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	b := mount(t)
	_, doc, _, _ := b.call(t, "", "GET", "/v1/openapi.json", "")
	op := doc["paths"].(map[string]any)["/grants/{id}"].(map[string]any)["post"].(map[string]any)
	responses := op["responses"].(map[string]any)
	for _, code := range []string{"200", "202", "401", "403", "404", "409", "422", "500"} {
		require.Contains(t, responses, code)
	}
	require.Contains(t, responses["202"].(map[string]any)["headers"], "Location")
	require.Equal(t, "tenant:credit", op["x-permission"])
}

func TestReference(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("Reeve", "1")
	cfg.Servers = []*huma.Server{{URL: "/v1"}}
	cfg.DocsPath = ""
	api := humago.NewWithPrefix(mux, "/v1", cfg)
	govapi.Kernel(api, e.Kernel)
	h := govapi.Reference(api, "/docs")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/docs", nil))
	page := rec.Body.String()
	require.Equal(t, 200, rec.Code)
	require.False(t, strings.Contains(page, "<script"))
	for _, outside := range []string{`href="http`, `src=`, `url(`} {
		require.False(t, strings.Contains(page, outside), outside)
	}
	for _, want := range []string{`id="gov-vote"`, "approval:vote", `id="s-GovApproval"`, `id="s-GovProblem"`} {
		require.True(t, strings.Contains(page, want), want)
	}
}

func TestProblem_Values(t *testing.T) {
	t.Parallel()
	_, err := governance.ParseMoney("zebra", "EUR")
	b, err := json.Marshal(govapi.Problem(err))
	require.NoError(t, err)
	require.Contains(t, string(b), `"reason":"is not a decimal amount with at most 2 decimals"`)
	require.NotContains(t, string(b), "zebra")
}
