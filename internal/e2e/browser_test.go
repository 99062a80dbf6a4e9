package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The journeys, every page and both themes in a real browser: see journeys.mjs.
func TestBrowser(t *testing.T) {
	browser := os.Getenv("REEVE_TEST_BROWSER")
	if browser == "" {
		t.Skip("SKIP browser: not verified, REEVE_TEST_BROWSER is not set")
	}
	if _, err := os.Stat("node_modules"); err != nil {
		t.Skip("SKIP browser: not verified, node_modules is not there; run npm install in internal/e2e")
	}
	s := start(t, t.TempDir())
	line, err := json.Marshal(s.ready)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "journeys.mjs")
	cmd.Env = append(os.Environ(), "REEVE_E2E_READY="+string(line))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	s.stop(t)
	require.NotContains(t, s.log.String(), "level=ERROR")
}
