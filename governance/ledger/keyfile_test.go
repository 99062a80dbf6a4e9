package ledger_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/ledger"
)

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	keys := make([]string, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { keys[i], _ = ledger.KeyFile(path, "reeve.test") })
	}
	wg.Wait()
	for _, k := range keys {
		require.Equal(t, keys[0], k)
		require.NotEmpty(t, k)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = ledger.VerifierKey(keys[0])
	require.NoError(t, err)
	_, err = ledger.KeyFile(filepath.Join(t.TempDir(), "no", "folder"), "x")
	require.Error(t, err)
}
