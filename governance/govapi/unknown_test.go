package govapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govapi"
)

func TestUnknown(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/things", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "the host's own", http.StatusNotFound) })
	h := govapi.Unknown(mux)
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/v1/nothing", 404, "not-found"}, {"POST", "/v1/things", 405, "method"}, {"GET", "/v1/things", 404, ""}, {"GET", "/v1//things", 307, ""},
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
		require.Equal(t, c.status, rec.Code, c.path)
		var p govapi.GovProblem
		if c.kind == "" {
			require.Error(t, json.Unmarshal(rec.Body.Bytes(), &p), "left alone")
			continue
		}
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p), rec.Body.String())
		require.Equal(t, "urn:reeve:problem:"+c.kind, p.Type)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
		if c.status == http.StatusMethodNotAllowed {
			require.Equal(t, "GET, HEAD", rec.Header().Get("Allow"))
		}
	}
}
