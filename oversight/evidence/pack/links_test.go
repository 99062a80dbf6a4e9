package pack_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinks: an auditor's program that checks packs links neither database nor kernel.
func TestLinks(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, "golang.org/x/mod/sumdb/tlog")
	for _, d := range deps {
		ours, is := strings.CutPrefix(d, "github.com/reevehq/reeve/")
		require.False(t, is && ours != "oversight/evidence/pack" && ours != "governance/ledger/offline/cosign", d)
		for _, heavy := range []string{"database/sql", "net/http", "github.com/uptrace/bun", "testing"} {
			require.NotEqual(t, heavy, d)
		}
	}
}
