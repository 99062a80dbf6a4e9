package playbookapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/playbook/actions"
	"github.com/reevehq/reeve/playbook/playbookapi"
)

const source = `
name: coach
title: Coach
trigger: {daily: "06:00"}
signals:
  usage: {type: number, max_age: 36h}
when: signals.usage < 50.0
safeguards: {max_targets: 5, max_percent: 50, max_unusable: 50, repeat_after: 30d}
steps:
  - {id: tell, kind: notice, params: {title: "Hello ${tenant.name}"}}
  - {id: grant, kind: entitlement.grant, params: {feature: coach}}
`

type bench struct {
	*testing.T
	env *govtest.Env
	svc *playbook.Service
	mux *http.ServeMux
}

func each(t *testing.T, fn func(b bench)) {
	t.Helper()
	opts := &govtest.Options{Schemas: []govdb.Schema{playbook.Schema()}, Kernel: func(o *governance.Options) {
		rules, err := celrules.New(nil)
		require.NoError(t, err)
		o.Rules = rules
	}}
	govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
		e.People.Put("dana", "root")
		e.People.Put("ana", "gov_approver")
		e.People.Put("carl", "cs_agent")
		e.People.Put("finn", "finance_viewer")
		e.People.Allow("cs_agent", "playbook:read", "runbook:read", "runbook:work")
		e.People.Allow("gov_approver", "approval:vote", "approval:read")
		e.People.Allow("playbook", "tenant:plan")
		require.NoError(t, e.Kernel.InstallPolicies(t.Context(), playbook.Policies()...))
		acts, err := actions.New(e.Kernel)
		require.NoError(t, err)
		svc, err := playbook.New(e.Kernel, &playbook.Options{Kinds: acts.Kinds(), Signals: func(_ context.Context, ids []governance.TenantID) (map[governance.TenantID]map[string]playbook.Signal, error) {
			out := map[governance.TenantID]map[string]playbook.Signal{}
			for _, id := range ids {
				out[id] = map[string]playbook.Signal{"usage": {Value: 60.5, AsOf: e.Now()}}
			}
			out["t0"] = map[string]playbook.Signal{"usage": {Value: 1.5, AsOf: e.Now()}}
			return out, nil
		}})
		require.NoError(t, err)
		for i := range 4 {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
				_, err := e.Kernel.UpsertTenantTx(ctx, tx, governance.System("host"), governance.Tenant{ID: governance.TenantID(fmt.Sprintf("t%d", i)), Name: "T", Country: "DE", Status: governance.TenantActive})
				return err
			}))
		}
		b := bench{T: t, env: e, svc: svc, mux: http.NewServeMux()}
		cfg := huma.DefaultConfig("host", "1")
		cfg.Servers = []*huma.Server{{URL: "/v1"}}
		playbookapi.Register(humago.NewWithPrefix(b.mux, "/v1", cfg), svc)
		fn(b)
	})
}

func (b bench) as(person governance.PersonID, method, path string, body any) (int, http.Header, map[string]any) {
	b.Helper()
	text := ""
	if s, ok := body.(string); ok {
		text = s
	} else if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(b, err)
		text = string(raw)
	}
	req := httptest.NewRequestWithContext(governance.WithIdentity(context.Background(), b.env.As(person)), method, "/v1"+path, strings.NewReader(text))
	if text != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res := httptest.NewRecorder()
	b.mux.ServeHTTP(res, req)
	out := map[string]any{}
	if res.Body.Len() > 0 {
		require.NoError(b, json.Unmarshal(res.Body.Bytes(), &out), res.Body.String())
	}
	return res.Code, res.Header(), out
}

func (b bench) ok(person governance.PersonID, method, path string, body any) map[string]any {
	b.Helper()
	code, _, out := b.as(person, method, path, body)
	require.Less(b, code, 300, "%s %s: %v", method, path, out)
	return out
}

func items(out map[string]any) []any {
	is, _ := out["items"].([]any)
	return is
}

type m map[string]any

func TestPlaybooks(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		code, _, out := b.as("dana", "PUT", "/playbooks/coach", m{"source": strings.Replace(source, "max_percent", "max_procent", 1)})
		require.Equal(b, http.StatusUnprocessableEntity, code)
		require.Contains(b, fmt.Sprint(out), "line 8 column")
		code, _, _ = b.as("dana", "PUT", "/playbooks/other", m{"source": source})
		require.Equal(b, http.StatusUnprocessableEntity, code, "another name")
		code, _, _ = b.as("carl", "PUT", "/playbooks/coach", m{"source": source})
		require.Equal(b, http.StatusForbidden, code)
		code, _, _ = b.as("finn", "GET", "/playbooks", nil)
		require.Equal(b, http.StatusForbidden, code)
		require.Empty(b, items(b.ok("carl", "GET", "/playbooks", nil)), "nothing is half stored")

		out = b.ok("dana", "PUT", "/playbooks/coach", m{"source": source, "reason": "first"})
		require.Equal(b, "shadow", out["result"].(map[string]any)["mode"])
		plan := b.ok("carl", "GET", "/playbooks/coach/versions/1/simulation", nil)
		require.EqualValues(b, 1, plan["matched"])
		require.Equal(b, "Hello T", plan["candidates"].([]any)[0].(map[string]any)["steps"].([]any)[0].(map[string]any)["params"].(map[string]any)["title"])
		plan = b.ok("carl", "POST", "/playbook-simulations", m{"source": strings.Replace(source, "< 50.0", "< 500.0", 1)})
		require.Contains(b, plan["stopped"], "more than the cap")
		code, _, _ = b.as("carl", "POST", "/playbooks/coach/scan", nil)
		require.Equal(b, http.StatusForbidden, code)
		bs := items(b.ok("dana", "POST", "/playbooks/coach/scan", nil))
		require.Len(b, bs, 1)
		cs := items(b.ok("carl", "GET", "/playbook-batches/"+bs[0].(map[string]any)["id"].(string)+"/candidates", nil))
		require.Len(b, cs, 1)

		code, h, out := b.as("dana", "POST", "/playbooks/coach/versions/1/activate", m{})
		require.Equal(b, http.StatusAccepted, code)
		require.Equal(b, "/v1/approvals/"+out["approval"].(string), h.Get("Location"))
		ap, err := b.env.Kernel.Approvals(b.Context(), governance.ApprovalFilter{})
		require.NoError(b, err)
		_, err = b.env.Kernel.Decide(b.Context(), b.env.As("ana"), ap[0].ID, governance.Vote{Decision: governance.Approve, Digest: ap[0].Digest})
		require.NoError(b, err)
		p := b.ok("carl", "GET", "/playbooks/coach", nil)
		require.EqualValues(b, 1, p["live_version"])
		require.Equal(b, "30d", p["safeguards"].(map[string]any)["repeat_after"])

		b.ok("dana", "POST", "/playbook-pauses/all", m{"reason": "looks wrong"})
		require.Len(b, items(b.ok("carl", "GET", "/playbook-pauses", nil)), 1)
		code, _, _ = b.as("dana", "POST", "/playbooks/coach/scan", nil)
		require.Equal(b, http.StatusConflict, code)
		b.ok("dana", "POST", "/playbook-pauses/all/end", m{"reason": "fine"})
		b.ok("dana", "POST", "/playbooks/coach/pause", m{"reason": "x"})
		b.ok("dana", "POST", "/playbooks/coach/resume", m{"reason": "x"})
		b.ok("dana", "POST", "/playbooks/coach/scan", nil)
		require.NoError(b, b.svc.Advance(b.Context()))
		rs := items(b.ok("carl", "GET", "/playbook-runs?playbook=coach&mode=live", nil))
		require.Len(b, rs, 1)
		id := rs[0].(map[string]any)["id"].(string)
		run := b.ok("carl", "GET", "/playbook-runs/"+id, nil)
		require.Equal(b, "succeeded", run["state"])
		require.NotEmpty(b, run["timeline"])
		require.InDelta(b, 1.5, run["signals"].([]any)[0].(map[string]any)["value"], 0)
		code, _, _ = b.as("carl", "POST", "/playbook-runs/"+id+"/rollback", m{"reason": "no right"})
		require.Equal(b, http.StatusForbidden, code)
		code, _, _ = b.as("dana", "POST", "/playbook-runs/"+id+"/cancel", m{"reason": "too late"})
		require.Equal(b, http.StatusConflict, code)
		code, _, _ = b.as("dana", "POST", "/playbook-runs/"+id+"/end-wait", m{"reason": "it does not wait"})
		require.Equal(b, http.StatusConflict, code)
		require.Equal(b, "stopping", b.ok("dana", "POST", "/playbook-runs/"+id+"/rollback", m{"reason": "wrong"})["state"])
		require.NoError(b, b.svc.Advance(b.Context()))
		require.Equal(b, "rolled_back", b.ok("carl", "GET", "/playbook-runs/"+id, nil)["state"])
		page := b.ok("carl", "GET", "/playbook-runs?limit=1", nil)
		require.Len(b, items(page), 1)
		page = b.ok("carl", "GET", "/playbook-runs?limit=1&cursor="+page["next"].(string), nil)
		require.Len(b, items(page), 1)
		require.NotEqual(b, id, items(page)[0].(map[string]any)["id"])
		for _, path := range []string{"/playbook-runs/0190c42b-0000-7000-8000-000000000000", "/playbooks/nothing", "/playbooks/nothing/versions", "/playbooks/coach/versions/9/simulation"} {
			code, _, _ = b.as("carl", "GET", path, nil)
			require.Equal(b, http.StatusNotFound, code, path)
		}
		for _, path := range []string{"/playbook-runs?stat=running", "/playbook-runs?state=whatever", "/playbook-runs/x", "/playbook-runs?cursor=zz"} {
			code, _, _ = b.as("carl", "GET", path, nil)
			require.Equal(b, http.StatusUnprocessableEntity, code, path)
		}
		require.Len(b, items(b.ok("carl", "GET", "/playbooks/coach/batches", nil)), 2)
		require.NotEmpty(b, items(b.ok("carl", "GET", "/playbook-kinds", nil)))
		b.ok("dana", "POST", "/playbooks/coach/retire", m{"reason": "done with it"})
	})
}

func TestExemptions(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		until := b.env.Now().Add(time.Hour).Format(time.RFC3339)
		for name, body := range map[string]m{
			"neither playbook nor all": {"tenant": "t0", "reason": "contract", "until": until},
			"both":                     {"tenant": "t0", "reason": "contract", "until": until, "playbook": "coach", "all_playbooks": true},
			"no end":                   {"tenant": "t0", "reason": "contract", "all_playbooks": true},
			"unknown field":            {"tenant": "t0", "reason": "contract", "until": until, "all_playbooks": true, "forever": true},
			"no reason":                {"tenant": "t0", "reason": "", "until": until, "all_playbooks": true},
		} {
			code, _, _ := b.as("dana", "POST", "/playbook-exemptions", body)
			require.Equal(b, http.StatusUnprocessableEntity, code, name)
		}
		x := b.ok("dana", "POST", "/playbook-exemptions", m{"tenant": "t0", "reason": "contract", "until": until, "all_playbooks": true})
		require.Len(b, items(b.ok("carl", "GET", "/playbook-exemptions", nil)), 1)
		b.ok("dana", "POST", "/playbook-exemptions/"+x["id"].(string)+"/end", m{"reason": "settled"})
		require.Empty(b, items(b.ok("carl", "GET", "/playbook-exemptions", nil)))
		require.Len(b, items(b.ok("carl", "GET", "/playbook-exemptions?all=true", nil)), 1)
	})
}

func TestRunbooks(t *testing.T) {
	t.Parallel()
	each(t, func(b bench) {
		src := "name: look\ntitle: Look\nsteps:\n  - {id: a, title: A, do: it, evidence: a link}\n"
		code, _, out := b.as("dana", "PUT", "/runbooks/look", m{"source": src + "stepz: []\n"})
		require.Equal(b, http.StatusUnprocessableEntity, code)
		require.Contains(b, fmt.Sprint(out), "line 5 column 1")
		b.ok("dana", "PUT", "/runbooks/look", m{"source": src})
		require.Len(b, items(b.ok("carl", "GET", "/runbooks", nil)), 1)
		in := b.ok("carl", "POST", "/runbook-instances", m{"runbook": "look", "tenant": "t0", "subject": "odd", "ticket": "T-1"})
		at := "/runbook-instances/" + in["id"].(string)
		require.Len(b, items(b.ok("carl", "GET", "/runbook-instances?state=open", nil)), 1)
		code, _, _ = b.as("carl", "POST", at+"/steps/a/check", m{})
		require.Equal(b, http.StatusUnprocessableEntity, code)
		code, _, _ = b.as("ana", "POST", at+"/steps/a/check", m{"evidence": "x"})
		require.Equal(b, http.StatusForbidden, code)
		in = b.ok("carl", "POST", at+"/steps/a/check", m{"evidence": "https://example.com/1"})
		require.EqualValues(b, 0, in["left"])
		in = b.ok("carl", "POST", at+"/ticket", m{"ticket": "T-2"})
		require.Equal(b, "T-2", in["ticket"])
		in = b.ok("carl", "POST", at+"/close", m{"outcome": "resolved"})
		require.Equal(b, "closed", in["state"])
		code, _, _ = b.as("carl", "POST", at+"/close", m{"outcome": "resolved"})
		require.Equal(b, http.StatusConflict, code)
		code, _, _ = b.as("carl", "POST", "/runbook-instances", m{"runbook": "nothing"})
		require.Equal(b, http.StatusNotFound, code)
		require.Equal(b, "carl", b.ok("carl", "GET", at, nil)["steps"].([]any)[0].(map[string]any)["person"])
	})
}
