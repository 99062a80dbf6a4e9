package productapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWatchedSession goes through a session by the API alone: asked for with an
// observer, watched, ended, reviewed, and read by the customer's side.
func TestWatchedSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bench) {
		res, body := b.call(t, "dana", "POST", "/sessions", `{"tenant":"acme","user":"u1","scope":"write","minutes":10,"reason":"a look","observer":true}`)
		require.Equal(t, 200, res.StatusCode)
		result := body["result"].(map[string]any)
		require.Equal(t, true, result["observer"])
		at := "/sessions/" + result["session"].(string)
		res, body = b.call(t, "dana", "POST", at+"/open", "")
		require.Equal(t, 200, res.StatusCode)
		require.NotEmpty(t, res.Cookies())
		require.Equal(t, "paused", body["state"])
		require.Equal(t, "observer", body["paused_by"])
		require.NotEmpty(t, body["grace_at"])

		res, _ = b.call(t, "vic", "POST", at+"/observe", "")
		require.Equal(t, 403, res.StatusCode)
		res, _ = b.call(t, "dana", "POST", at+"/observe", "")
		require.Equal(t, 403, res.StatusCode, "nobody watches themselves")
		res, _ = b.call(t, "ada", "POST", at+"/observe", "")
		require.Equal(t, 204, res.StatusCode)
		_, body = b.call(t, "ada", "GET", at, "")
		require.Equal(t, "active", body["state"])
		_, body = b.call(t, "ada", "GET", at+"/observers", "")
		require.Equal(t, true, body["items"].([]any)[0].(map[string]any)["present"])
		res, _ = b.call(t, "ada", "POST", at+"/leave", "")
		require.Equal(t, 204, res.StatusCode)
		_, body = b.call(t, "ada", "GET", at, "")
		require.Equal(t, "paused", body["state"])
		res, _ = b.call(t, "ada", "POST", at+"/review", `{"verdict":"accepted"}`)
		require.Equal(t, 409, res.StatusCode, "it is not over")
		res, _ = b.call(t, "ada", "POST", at+"/end", `{"reason":"enough"}`)
		require.Equal(t, 204, res.StatusCode)
		res, _ = b.call(t, "ada", "POST", at+"/observe", "")
		require.Equal(t, 409, res.StatusCode)

		_, body = b.call(t, "ada", "GET", "/sessions?review=due", "")
		require.Len(t, body["items"], 1)
		b.Advance(73 * time.Hour)
		_, body = b.call(t, "ada", "GET", "/sessions?review=overdue", "")
		require.Len(t, body["items"], 1)
		res, _ = b.call(t, "dana", "POST", at+"/review", `{"verdict":"accepted"}`)
		require.Equal(t, 403, res.StatusCode, "nobody reviews themselves")
		res, _ = b.call(t, "ada", "POST", at+"/review", `{"verdict":"violation"}`)
		require.Equal(t, 422, res.StatusCode, "a violation says why")
		res, _ = b.call(t, "ada", "POST", at+"/review", `{"verdict":"accepted","note":"as asked"}`)
		require.Equal(t, 204, res.StatusCode)
		_, body = b.call(t, "ada", "GET", at, "")
		require.Equal(t, "reviewed", body["review"].(map[string]any)["state"])

		_, body = b.call(t, "ada", "GET", "/tenants/acme/access-log", "")
		require.Equal(t, "accepted", body["items"].([]any)[0].(map[string]any)["reviewed"])
		res, _ = b.call(t, "ada", "GET", "/tenants/nobody/access-log", "")
		require.Equal(t, 404, res.StatusCode)
		res, _ = b.call(t, "vic", "GET", "/tenants/acme/access-log", "")
		require.Equal(t, http.StatusForbidden, res.StatusCode)
		_, body = b.call(t, "ada", "GET", at+"/verification", "")
		require.Empty(t, body["gaps"])
	})
}
