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
// log, whose answers golang.org/x/mod carries: a record's path to a head, and the growth
// from an earlier head, whose root that module's own test names.
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
	var head struct {
		Size int64     `json:"tree_size"`
		Root tlog.Hash `json:"sha256_root_hash"`
	}
	var entries struct {
		Entries []struct {
			Data []byte `json:"leaf_input"`
		}
	}
	var path struct {
		Index int64            `json:"leaf_index"`
		Proof tlog.RecordProof `json:"audit_path"`
	}
	var growth struct {
		Proof tlog.TreeProof `json:"consistency"`
	}
	read("sth.json", &head)
	read("entries.json", &entries)
	read("proof.json", &path)
	read("consistency.json", &growth)
	leaf := tlog.RecordHash(entries.Entries[0].Data)
	require.NoError(t, tlog.CheckRecord(path.Proof, head.Size, head.Root, path.Index, leaf))
	require.Error(t, tlog.CheckRecord(path.Proof, head.Size, head.Root, path.Index+1, leaf))
	const oldSize = 3654490
	old, err := tlog.ParseHash("AuIZ5V6sDUj1vn3Y1K85oOaQ7y+FJJKtyRTl1edIKBQ=")
	require.NoError(t, err)
	require.NoError(t, tlog.CheckTree(growth.Proof, head.Size, head.Root, oldSize, old))
	old[0] ^= 1
	require.Error(t, tlog.CheckTree(growth.Proof, head.Size, head.Root, oldSize, old))
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
