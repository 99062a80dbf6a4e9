package ledger_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

// TestArgon2020 checks the functions that we seal and prove with on a real certificate
// log, whose answers golang.org/x/mod carries.
func TestArgon2020(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/mod").Output()
	require.NoError(t, err)
	dir := filepath.Join(strings.TrimSpace(string(out)), "sumdb", "tlog", "testdata", "argon2020")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("SKIP argon2020: %v", err)
	}
	read := func(name string, v any) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, v), name)
	}
	type sth struct {
		Size int64     `json:"tree_size"`
		Root tlog.Hash `json:"sha256_root_hash"`
	}
	heads := map[string]sth{}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	seen := map[string]int{}
	var consistency []string
	for _, f := range files {
		switch {
		case strings.HasPrefix(f.Name(), "sth-"):
			var h sth
			read(f.Name(), &h)
			heads[strings.TrimSuffix(strings.TrimPrefix(f.Name(), "sth-"), ".json")] = h
		case strings.HasPrefix(f.Name(), "consistency-"):
			consistency = append(consistency, f.Name())
		}
	}
	var root, leaf sth
	for _, h := range heads {
		if h.Size > root.Size {
			root = h
		}
	}
	_ = leaf
	for _, name := range consistency {
		var c struct {
			Proof tlog.TreeProof `json:"consistency"`
		}
		read(name, &c)
		from, to, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, "consistency-"), ".json"), "-")
		require.True(t, ok, name)
		old, now := heads[from], heads[to]
		if old.Size == 0 || now.Size == 0 {
			continue
		}
		require.NoError(t, tlog.CheckTree(c.Proof, now.Size, now.Root, old.Size, old.Root), name)
		old.Root[0] ^= 1
		require.Error(t, tlog.CheckTree(c.Proof, now.Size, now.Root, old.Size, old.Root), name)
		seen["consistency"]++
	}
	t.Logf("checked %v of %d heads", seen, len(heads))
}

// TestLog_SignedWithinASecond commits while the real loop runs, woken and not, and wants
// a checkpoint over each record within a second.
func TestLog_SignedWithinASecond(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		skey, vkey, err := ledger.GenerateKey("reeve.test")
		require.NoError(t, err)
		log, err := ledger.New(e.DB, skey, nil)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { log.Run(ctx); close(done) }()
		var worst time.Duration
		for i := range 12 {
			id := uuid.Must(uuid.NewV7())
			require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				_, err := log.Append(ctx, tx, ledger.Entry{ID: id, Kind: "test", At: e.Now(), Body: []byte(`{}`)})
				return err
			}))
			committed := time.Now()
			if i%2 == 0 {
				log.Wake()
			}
			require.Eventually(t, func() bool {
				p, err := log.Prove(ctx, id)
				return err == nil && ledger.VerifyProof(vkey, p) == nil
			}, 10*time.Second, 2*time.Millisecond)
			worst = max(worst, time.Since(committed))
		}
		cancel()
		<-done
		t.Logf("slowest signature %s after its commit", worst)
		require.LessOrEqual(t, worst, time.Second)
		// Whoever comes next need not wait for the lease.
		next, err := ledger.New(e.DB, skey, nil)
		require.NoError(t, err)
		require.Len(t, add(t, e, 1), 1)
		n, err := next.Seal(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}
