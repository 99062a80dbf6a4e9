package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBrowserRecorder records a session in a real browser by the npm package: what is
// typed is nowhere in what is stored, a cut way to the server is a gap and a pause, and
// the page is replayed without a script. See recorder.mjs.
func TestBrowserRecorder(t *testing.T) {
	browser := os.Getenv("REEVE_TEST_BROWSER")
	if browser == "" {
		t.Skip("SKIP browser: not verified, REEVE_TEST_BROWSER is not set")
	}
	if _, err := os.Stat("node_modules/@rrweb/record/package.json"); err != nil {
		t.Skip("SKIP browser: not verified, @rrweb/record is not there; run npm install in internal/e2e")
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	s := start(t, t.TempDir(), "REEVE_RRWEB_DIR="+here, "REEVE_RRWEB_REQUIRED=always")
	const agent = "super_admin"
	tenants := s.tenants(t)
	n := slices.IndexFunc(tenants, func(c tenant) bool { return c.Seats > 3 && c.Plan != "enterprise" }) // an enterprise is asked first
	require.GreaterOrEqual(t, n, 0)
	var opened answer
	c := tenants[n]
	at := as[done](t, s.call(t, agent, http.MethodPost, "/sessions", map[string]any{"tenant": c.ID, "user": c.ID + "-u00", "scope": "write", "reason": "The form is empty", "minutes": 10}).want(t, http.StatusOK))
	var started struct{ Session string }
	require.NoError(t, json.Unmarshal(at.Result, &started))
	path := "/sessions/" + started.Session
	opened = s.call(t, agent, http.MethodPost, path+"/open", nil).want(t, http.StatusOK)
	cookie := (&http.Response{Header: opened.Header}).Cookies()[0]

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "recorder.mjs")
	stage, err := json.Marshal(map[string]string{"app": strings.TrimSuffix(s.APIURL, "/v1") + "/app/", "console": s.ConsoleURL, "api": s.APIURL, "key": s.Keys[agent], "auditor": s.Keys["gov_auditor"], "signin": s.SignInURL,
		"session": started.Session, "cookie": cookie.Name, "token": cookie.Value, "document": c.ID + "-d00"})
	require.NoError(t, err)
	cmd.Env = append(os.Environ(), "REEVE_E2E_STAGE="+string(stage))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)

	of := map[string]int{}
	for _, r := range s.records(t, "tenant="+c.ID) {
		if r.Body.ActionID == started.Session {
			of[r.Body.Action]++
			if r.Body.Action == "impersonation.browser_chunk" {
				require.EqualValues(t, 0, r.Body.Data["masked"], "the browser masks what the server would: %v", r.Body.Data)
			}
		}
	}
	require.Positive(t, of["impersonation.browser_chunk"])
	require.Positive(t, of["impersonation.browser_silent"])
	require.Positive(t, of["impersonation.pause"])
	require.Positive(t, of["impersonation.resume"])
	events := map[string]int{}
	require.NoError(t, filepath.WalkDir(filepath.Join(s.data, "recordings"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		at := strings.Index(strings.ToLower(string(raw)), "leak-7f3a") // the digits alone stand in ids and hashes by chance
		require.Equal(t, -1, at, "typed text is stored in %s", path)
		if !strings.Contains(path, started.Session+"/browser/") {
			return err
		}
		for sc := bufio.NewScanner(strings.NewReader(string(raw))); sc.Scan(); {
			var e struct {
				Type int
				Data struct{ Source int }
			}
			if json.Unmarshal(sc.Bytes(), &e) == nil && e.Type == 3 && e.Data.Source == 5 {
				events["input"]++
			}
		}
		require.False(t, strings.Contains(string(raw), c.ID+"-u00@"), "a masked address is stored in %s", path)
		return err
	}))
	require.Positive(t, events["input"], "what was typed is there, masked")
	s.stop(t)
	require.NotContains(t, s.log.String(), "level=ERROR")
}
