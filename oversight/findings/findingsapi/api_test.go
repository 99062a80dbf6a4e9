package findingsapi_test

import (
	"context"
	"encoding/json"
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
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/oversight/findings"
	"github.com/reevehq/reeve/oversight/findings/findingsapi"
)

// TestAPI judges a finding and reads the figures over HTTP.
func TestAPI(t *testing.T) {
	t.Parallel()
	govtest.Each(t, &govtest.Options{Schemas: []govdb.Schema{oversight.Schema(), findings.Schema()}}, func(t *testing.T, e *govtest.Env) {
		ctx := t.Context()
		e.People.Put("dana", "cs_agent")
		e.People.Put("kim", "gov_approver")
		e.People.Allow("gov_approver", "approval:vote", "ledger:read")
		e.People.Allow("cs_agent", "tenant:credit")
		credit := governance.Define(oversight.ActionCredit, oversight.CreditSpec(nil, "EUR"), func(context.Context, *governance.Tx, oversight.Credit) (governance.Result, error) {
			return governance.Result{}, nil
		})
		require.NoError(t, e.Kernel.Register(credit))
		svc, err := findings.New(e.Kernel, &findings.Options{Hours: &findings.Hours{From: 1, To: 2, Days: []time.Weekday{time.Sunday}}})
		require.NoError(t, err)
		require.NoError(t, e.Kernel.InstallPolicies(ctx, oversight.Policies(nil)...))
		_, err = credit.Do(ctx, e.Kernel, e.As("dana"), oversight.Credit{Tenant: "acme", Money: governance.Money{Minor: 12_345, Currency: "EUR"}}, &governance.DoOptions{Reason: "sorry"})
		require.NoError(t, err)
		e.Drain(t)
		require.NoError(t, svc.Turn(ctx))

		mux := http.NewServeMux()
		findingsapi.Register(humago.NewWithPrefix(mux, "/v1", huma.DefaultConfig("test", "1")), svc)
		call := func(who governance.PersonID, method, path, body string, want int) string {
			t.Helper()
			r := httptest.NewRequestWithContext(governance.WithIdentity(ctx, e.As(who)), method, "/v1"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			require.Equal(t, want, w.Code, "%s %s: %s", method, path, w.Body)
			return w.Body.String()
		}
		var list struct {
			Items []findingsapi.OversightFinding
		}
		require.NoError(t, json.Unmarshal([]byte(call("kim", "GET", "/findings?state=open&kind=off_hours&who=dana", "", 200)), &list))
		require.Len(t, list.Items, 1)
		f := list.Items[0]
		require.Len(t, f.Acts, 1)
		require.NotEmpty(t, f.Acts[0].Act)
		require.Nil(t, f.DecidedAt)
		for _, path := range []string{"/findings", "/findings/" + f.ID, "/audit/samples", "/audit/share", "/audit/credits", "/audit/approvers", "/audit/samples-csv"} {
			call("dana", "GET", path, "", 403)
		}
		call("kim", "GET", "/findings?state=wrong", "", 422)
		call("kim", "GET", "/findings?cursor=x", "", 422)
		call("kim", "GET", "/findings/0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f", "", 404)
		decide := "/findings/" + f.ID + "/decision"
		call("dana", "POST", decide, `{"state":"dismissed","reason":"fine by me"}`, 403)
		call("kim", "POST", decide, `{"state":"open","reason":"fine by me"}`, 422)
		require.Contains(t, call("kim", "POST", decide, `{"state":"confirmed","reason":"not by me"}`, 200), `"state":"confirmed"`)
		call("kim", "POST", decide, `{"state":"dismissed","reason":"after all"}`, 409)
		require.Contains(t, call("kim", "GET", "/findings/"+f.ID, "", 200), `"reason":"not by me"`)

		require.Contains(t, call("kim", "GET", "/audit/samples?credits=true&limit_state=not_over", "", 200), `"amount":"123.45"`)
		require.NotContains(t, call("kim", "GET", "/audit/samples?credits=true&limit_state=over", "", 200), `"amount"`)
		require.Contains(t, call("kim", "GET", "/audit/share", "", 200), `{"action":"tenant.credit","enforced":1,"total":1}`)
		require.Contains(t, call("kim", "GET", "/audit/credits", "", 200), `"key":"sorry","under_count":1`)
		require.Contains(t, call("kim", "GET", "/audit/approvers", "", 200), `"people":["kim"],"spare":0`)
		require.Contains(t, call("kim", "GET", "/audit/credits-csv", "", 200), "person,dana,EUR,1,123.45,0,0.00")
		call("kim", "GET", "/audit/share?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "", 422)
	})
}
