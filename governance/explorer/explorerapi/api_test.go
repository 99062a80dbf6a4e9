package explorerapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/explorer"
	"github.com/reevehq/reeve/governance/explorer/explorerapi"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/offline/cosign"
)

func TestAPI(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, &govtest.Options{Schemas: []govdb.Schema{explorer.Schema()}})
	e.People.Put("vic", "auditor")
	e.People.Put("sam", "nobody")
	e.People.Allow("auditor", explorer.PermissionRead)
	svc, err := explorer.New(e.Kernel)
	require.NoError(t, err)
	mux := http.NewServeMux()
	explorerapi.Register(humago.New(mux, huma.DefaultConfig("test", "1")), svc)
	call := func(who governance.PersonID, method, path, body string, want int) string {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body)).WithContext(governance.WithIdentity(t.Context(), e.As(who)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, w.Body.String())
		return w.Body.String()
	}
	call("sam", http.MethodPost, "/ledger/verifications", "", http.StatusForbidden)
	call("sam", http.MethodPost, "/ledger/exports", `{"kind":"whole"}`, http.StatusForbidden)
	var v explorerapi.GovLedgerCheck
	require.NoError(t, json.Unmarshal([]byte(call("vic", http.MethodPost, "/ledger/verifications", "", http.StatusOK)), &v))
	require.Equal(t, "waiting", v.State)
	require.NoError(t, svc.Turn(t.Context()))
	require.NoError(t, json.Unmarshal([]byte(call("vic", http.MethodGet, "/ledger/verifications/"+v.ID, "", http.StatusOK)), &v))
	require.Equal(t, "done", v.State)
	require.Empty(t, v.Problems)
	require.Contains(t, call("vic", http.MethodGet, "/ledger/verifications", "", http.StatusOK), v.ID)
	e.Drain(t)
	file := call("vic", http.MethodPost, "/ledger/exports", `{"kind":"since"}`, http.StatusOK)
	_, err = offline.CheckGrowth(strings.NewReader(file), e.Kernel.Ledger().VerifierKey(), nil, cosign.Policy{})
	require.NoError(t, err)
	call("vic", http.MethodPost, "/ledger/exports", `{"kind":"since","from":4000}`, http.StatusNotFound)
	call("vic", http.MethodPost, "/ledger/exports", `{"kind":"other"}`, http.StatusUnprocessableEntity)
	var st explorerapi.GovLedgerState
	require.NoError(t, json.Unmarshal([]byte(call("vic", http.MethodGet, "/ledger/state", "", http.StatusOK)), &st))
	require.Equal(t, e.Kernel.Ledger().VerifierKey(), st.VerifierKey)
	require.Len(t, st.Keys, 1)
	require.Contains(t, call("vic", http.MethodGet, "/ledger/subjects?prefix=person:", "", http.StatusOK), "person:vic")
	require.Contains(t, call("vic", http.MethodGet, "/ledger/erasures", "", http.StatusOK), `"items":[]`)
}
