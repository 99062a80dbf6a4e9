package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOffice(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	o, err := openOffice(ctx, t.TempDir())
	require.NoError(t, err)
	h, err := o.handler(ctx)
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.Close()
		cancel()
		_ = o.db.Close()
	})
	call := func(who, method, path, body string) (int, map[string]any, string) {
		req, err := http.NewRequestWithContext(ctx, method, srv.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("X-Staff", who)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		raw, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		var doc map[string]any
		_ = json.Unmarshal(raw, &doc)
		return res.StatusCode, doc, string(raw)
	}
	due := func() (n int64) {
		require.NoError(t, o.db.GetContext(ctx, &n, "SELECT due FROM policies WHERE number = 'P-1'"))
		return n
	}

	status, _, raw := call("ana", "POST", "/policies/P-1/write-off", `{"cents":20000}`)
	require.Equal(t, 200, status, raw)
	require.EqualValues(t, 100000, due())

	status, held, raw := call("ana", "POST", "/policies/P-1/write-off", `{"cents":40000}`)
	require.Equal(t, 202, status, raw)
	require.EqualValues(t, 100000, due())
	at := "/reeve/approvals/" + held["approval"].(string)
	vote := `{"decision":"approve","digest":"` + held["digest"].(string) + `"}`
	status, _, raw = call("ana", "POST", at+"/votes", vote)
	require.Equal(t, 403, status, raw)
	status, ap, raw := call("bo", "POST", at+"/votes", vote)
	require.Equal(t, 200, status, raw)
	require.Equal(t, "executed", ap["state"])
	require.EqualValues(t, 60000, due())

	status, _, _ = call("", "POST", "/policies/P-1/write-off", `{"cents":1}`)
	require.Equal(t, 401, status)
}

// TestShort: the integration is one function of fewer than 40 lines, counted from its
// first line to its last, without comments.
func TestShort(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("reeve.go")
	require.NoError(t, err)
	_, fn, ok := strings.Cut(string(b), "func (o *office) guard(ctx")
	require.True(t, ok)
	lines := 0
	for line := range strings.Lines(fn) {
		if s := strings.TrimSpace(line); s != "" && !strings.HasPrefix(s, "//") {
			lines++
		}
	}
	t.Logf("the integration has %d lines", lines)
	require.Less(t, lines, 40)
}
