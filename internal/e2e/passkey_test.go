package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A real browser with a security key of its own making: the key is registered, signs a
// vote, the act is carried out, and the pack holds without the server. See passkeys.mjs.
func TestBrowser_SignedVote(t *testing.T) {
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
	file := filepath.Join(t.TempDir(), "a.evidence.zip")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "passkeys.mjs")
	cmd.Env = append(os.Environ(), "REEVE_E2E_READY="+string(line), "REEVE_E2E_PACK="+file)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	key := get[struct {
		VerifierKey string `json:"verifier_key"`
	}](t, s, "super_admin", "/ledger/checkpoint").VerifierKey
	s.stop(t)
	require.NotContains(t, s.log.String(), "level=ERROR")

	code, said := verb(t, "evidence", "verify", file, "--key", key)
	require.Equal(t, 0, code, "%s", said)
	require.Contains(t, said, "1 votes on action")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	at := bytes.Index(b, []byte(`"client_data":"`)) + 20
	require.Greater(t, at, 20)
	b[at] ^= 1
	require.NoError(t, os.WriteFile(file, b, 0o600))
	code, said = verb(t, "evidence", "verify", file, "--key", key)
	require.Equal(t, 3, code, "%s", said)
	require.Contains(t, said, "signatures.json")
}
