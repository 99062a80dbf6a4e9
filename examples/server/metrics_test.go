package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMetrics_BehindAProxy: a proxy on this machine is a loopback peer and asks for
// anybody.
func TestMetrics_BehindAProxy(t *testing.T) {
	t.Parallel()
	ask := func(token, peer string, header ...string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.RemoteAddr = peer
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		newMetrics().handler(token).ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, 200, ask("", "127.0.0.1:4000"))
	require.Equal(t, 200, ask("", "[::1]:4000"))
	require.Equal(t, 404, ask("", "203.0.113.9:4000"))
	for _, h := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP"} {
		require.Equal(t, 404, ask("", "127.0.0.1:4000", h, "203.0.113.9"), h)
	}
	require.Equal(t, 404, ask("", "127.0.0.1:4000", "X-Forwarded-For", ""), "an empty one was sent by a proxy as well")
	const token = "a token of some length"
	require.Equal(t, 404, ask(token, "127.0.0.1:4000"))
	require.Equal(t, 404, ask(token, "127.0.0.1:4000", "Authorization", "Bearer another"))
	require.Equal(t, 200, ask(token, "203.0.113.9:4000", "Authorization", "Bearer "+token))
	require.Error(t, checkMetricsToken("short"))
}
