package sandboxvendor_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/plugins/sandboxvendor"
)

func open(t *testing.T, path string) (*sandboxvendor.Vendor, *connector.API) {
	t.Helper()
	v, err := sandboxvendor.Open(path, sandboxvendor.Options{Token: "token"})
	require.NoError(t, err)
	srv := httptest.NewServer(v)
	t.Cleanup(func() {
		srv.Close()
		_ = v.Close()
	})
	return v, &connector.API{URL: srv.URL, Header: http.Header{"Authorization": {"Bearer token"}}}
}

func TestVendor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.jsonl")
	v, api := open(t, path)
	var o sandboxvendor.Object
	in := map[string]any{"external_id": "a", "properties": map[string]any{"name": "A", "gone": 1}}
	require.NoError(t, api.Do(t.Context(), "POST", "/things", in, &o))
	require.Equal(t, connector.Conflict, connector.CodeOf(api.Do(t.Context(), "POST", "/things", in, nil)), "an external id is unique")
	patch := map[string]any{"properties": map[string]any{"gone": nil, "seats": 2}}
	require.Equal(t, connector.Conflict, connector.CodeOf(api.Do(t.Context(), "PATCH", "/things/"+o.ID, patch, nil, "If-Match", "9")))
	require.Equal(t, connector.Conflict, connector.CodeOf(api.Do(t.Context(), "PATCH", "/things/"+o.ID, patch, nil)), "no revision named")
	id := o.ID
	o = sandboxvendor.Object{}
	require.NoError(t, api.Do(t.Context(), "PATCH", "/things/"+id, patch, &o, "If-Match", "1"))
	require.Equal(t, map[string]any{"name": "A", "seats": 2.0}, o.Properties)
	require.Equal(t, connector.Auth, connector.CodeOf((&connector.API{URL: api.URL}).Do(t.Context(), "GET", "/things", nil, nil)))

	v.SetFault(sandboxvendor.Fault{Status: 429, RetryAfter: 5 * time.Second, Times: 1})
	err := api.Do(t.Context(), "GET", "/things", nil, nil)
	require.Equal(t, 5*time.Second, connector.AsError(err).RetryAfter)
	require.NoError(t, api.Do(t.Context(), "GET", "/things", nil, nil), "once, as asked")
	v.SetFault(sandboxvendor.Fault{Status: 502, Times: 1, After: true})
	lost := map[string]any{"external_id": "lost"}
	require.Equal(t, connector.Other, connector.CodeOf(api.Do(t.Context(), "POST", "/things", lost, nil)))
	require.Len(t, v.Objects("things"), 2, "the answer was lost, the effect was not")
	require.NoError(t, v.Edit("things", "a", map[string]any{"name": "by hand"}))
	before := v.Objects("things")
	require.NoError(t, v.Close())

	// A write that was cut off in the middle is as if it never was.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"c":"things","o":{"id":"obj_9`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	v, api = open(t, path)
	require.Equal(t, before, v.Objects("things"))
	require.NoError(t, api.Do(t.Context(), "POST", "/things", map[string]any{"external_id": "next"}, &o))
	require.NoError(t, v.Close())
	v, _ = open(t, path)
	require.Len(t, v.Objects("things"), 3)
}
