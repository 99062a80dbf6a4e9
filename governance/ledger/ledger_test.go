package ledger_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/internal/sharedtest"
)

func add(t testing.TB, e *govtest.Env, n int) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	for i := range n {
		d := ledger.NewDisclosure("name", fmt.Sprintf("Person %d", i), fmt.Sprintf("person:%d", i))
		entry := ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: "acme", Kind: "test", At: e.Now(), Disclosures: []ledger.Disclosure{d},
			Body: fmt.Appendf(nil, `{"i":%d,"personal":{"name":%q},"tenant":"acme"}`, i, d.Digest())}
		require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
			_, err := e.Kernel.Ledger().Append(ctx, tx, entry)
			return err
		}))
		ids = append(ids, entry.ID)
	}
	return ids
}

func TestLog_ProveAndVerify(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, log := t.Context(), e.Kernel.Ledger()
		var ids []uuid.UUID
		for _, n := range []int{1, 2, 5, 13} {
			ids = append(ids, add(t, e, n)...)
			sealed, err := log.Seal(ctx)
			require.NoError(t, err)
			require.Equal(t, n, sealed)
		}
		for _, id := range ids {
			p, err := log.Prove(ctx, id)
			require.NoError(t, err)
			require.NoError(t, ledger.VerifyProof(log.VerifierKey(), p))
			for name, change := range map[string]func(p *ledger.Proof){
				"body":       func(p *ledger.Proof) { p.Body = strings.Replace(p.Body, `"i":`, `"j":`, 1) },
				"place":      func(p *ledger.Proof) { p.N = (p.N + 1) % 21 },
				"path":       func(p *ledger.Proof) { p.Path = append([]string{}, p.Path[1:]...) },
				"checkpoint": func(p *ledger.Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "21\n", "22\n", 1) },
			} {
				bad := p
				change(&bad)
				require.ErrorIs(t, ledger.VerifyProof(log.VerifierKey(), bad), ledger.ErrBadProof, name)
			}
			_, other, err := ledger.GenerateKey("reeve.test")
			require.NoError(t, err)
			require.ErrorIs(t, ledger.VerifyProof(other, p), ledger.ErrBadProof)
		}
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			gone, err := log.ShredTx(ctx, tx, "person:0")
			require.Len(t, gone.Fields, 4, "the first of each round")
			return err
		}))
		rep, err := log.Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Problems, "erasing a disclosure breaks nothing")
		require.EqualValues(t, 21, rep.Records)
		require.EqualValues(t, 4, rep.Checkpoints)
	})
}

func TestLog_TamperingIsFound(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ sql, want string }{
		"edited body":       {"UPDATE gov_record SET body = '{\"i\":99}' WHERE n = 3", "leaf 3"},
		"edited digest":     {"UPDATE gov_record SET digest = (SELECT digest FROM gov_record WHERE n = 1) WHERE n = 3", "does not have its digest"},
		"deleted":           {"DELETE FROM gov_record WHERE n = 3", "leaf 3 is missing"},
		"deleted last":      {"DELETE FROM gov_record WHERE n = 6", "checkpoint of 7"},
		"hash removed":      {"DELETE FROM gov_hash_run WHERE first = 0", "missing"},
		"hash edited":       {"UPDATE gov_hash_run SET hashes = (SELECT digest FROM gov_record WHERE n = 0) WHERE first = 0", "not what was sealed"},
		"checkpoint edited": {"UPDATE gov_checkpoint SET note = 'x'", "not signed"},
		"disclosure edited": {"UPDATE gov_disclosure SET value = 'Somebody else', key_id = NULL WHERE record = (SELECT id FROM gov_record WHERE n = 2)", "not what the record speaks of"},
		"disclosure moved":  {"UPDATE gov_disclosure SET sealed = (SELECT sealed FROM gov_disclosure WHERE record = (SELECT id FROM gov_record WHERE n = 1)) WHERE record = (SELECT id FROM gov_record WHERE n = 2)", "does not open with its key"},
		"key removed":       {"DELETE FROM gov_subject_key WHERE subject = 'person:2'", "its key is gone"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
				ctx := t.Context()
				add(t, e, 7)
				_, err := e.Kernel.Ledger().Seal(ctx)
				require.NoError(t, err)
				h := e.DB.Handle()
				if !strings.Contains(c.sql, "gov_disclosure") && !strings.Contains(c.sql, "gov_subject_key") {
					_, err = h.ExecContext(ctx, c.sql)
					require.ErrorContains(t, err, "gov_", "a trigger refuses it")
				}
				dropTriggers(t, e)
				_, err = h.ExecContext(ctx, c.sql)
				require.NoError(t, err)
				rep, err := e.Kernel.Ledger().Verify(ctx)
				require.NoError(t, err)
				require.Contains(t, strings.Join(rep.Problems, "\n"), c.want)
			})
		})
	}
}

func dropTriggers(t *testing.T, e *govtest.Env) {
	t.Helper()
	h := e.DB.Handle()
	if e.DB.Postgres() {
		for _, table := range []string{"gov_record", "gov_hash_run", "gov_checkpoint"} {
			_, err := h.ExecContext(t.Context(), "ALTER TABLE "+table+" DISABLE TRIGGER ALL")
			require.NoError(t, err)
		}
		return
	}
	var names []string
	require.NoError(t, h.NewRaw("SELECT name FROM sqlite_master WHERE type = 'trigger'").Scan(t.Context(), &names))
	require.NotEmpty(t, names)
	for _, n := range names {
		_, err := h.ExecContext(t.Context(), "DROP TRIGGER "+n)
		require.NoError(t, err)
	}
}

func TestLog_RefusesToSignOverTampering(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	add(t, e, 4)
	_, err := e.Kernel.Ledger().Seal(t.Context())
	require.NoError(t, err)
	dropTriggers(t, e)
	_, err = e.DB.Handle().ExecContext(t.Context(), "DELETE FROM gov_checkpoint")
	require.NoError(t, err)
	add(t, e, 1)
	_, err = e.Kernel.Ledger().Seal(t.Context())
	require.ErrorIs(t, err, ledger.ErrForked)
}

func TestLog_TwoSealersOneTree(t *testing.T) {
	t.Parallel()
	e := govtest.NewPostgres(t, nil)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	one, err := ledger.New(e.DB, skey, nil)
	require.NoError(t, err)
	two, err := ledger.New(e.DB, skey, nil)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { add(t, e, 60) })
	for _, l := range []*ledger.Log{one, two} {
		wg.Go(func() {
			for range 60 {
				_, _ = l.Seal(t.Context())
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		_, _ = one.Seal(t.Context())
		_, _ = two.Seal(t.Context())
		rep, err := one.Verify(t.Context())
		return err == nil && len(rep.Problems) == 0 && rep.Records == 60
	}, 20*time.Second, 50*time.Millisecond)
}

func TestLog_LateRecordsAreReported(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	late := make(chan int64, 10)
	log, err := ledger.New(e.DB, skey, &ledger.Options{Poll: 10 * time.Millisecond, Late: time.Millisecond, OnLate: func(n int64) { late <- n }})
	require.NoError(t, err)
	log.Expect(ledger.Receipt{ID: uuid.Must(uuid.NewV7())}) // its record was removed before it was sealed
	e.Advance(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go log.Run(ctx)
	select {
	case n := <-late:
		require.EqualValues(t, 1, n)
	case <-ctx.Done():
		t.Fatal("nobody noticed")
	}
}

func TestAppend_Refuses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	good := ledger.Entry{ID: uuid.Must(uuid.NewV7()), Kind: "test", At: e.Now(), Body: []byte(`{}`)}
	for name, change := range map[string]func(e *ledger.Entry){
		"too large": func(e *ledger.Entry) { e.Body = []byte(`"` + strings.Repeat("x", ledger.MaxBody) + `"`) },
		"no JSON":   func(e *ledger.Entry) { e.Body = []byte("{") },
		"no UTF-8":  func(e *ledger.Entry) { e.Body = []byte("\"\xff\"") },
		"NUL":       func(e *ledger.Entry) { e.Tenant = "a\x00b" },
		"no id":     func(e *ledger.Entry) { e.ID = uuid.Nil },
		"thin salt": func(e *ledger.Entry) { e.Disclosures = []ledger.Disclosure{{Field: "x", Salt: []byte("1")}} },
	} {
		entry := good
		change(&entry)
		require.Error(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			_, err := e.Kernel.Ledger().Append(ctx, tx, entry)
			return err
		}), name)
	}
}

// TestLog_AnySequence checks that appending and sealing in any order keeps a tree
// that verifies and proves every sealed record.
func TestLog_AnySequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		e := govtest.New(t, nil)
		var ids []uuid.UUID
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, 9), 1, 8).Draw(r, "steps") {
			if step == 0 {
				if _, err := e.Kernel.Ledger().Seal(t.Context()); err != nil {
					r.Fatal(err)
				}
				continue
			}
			ids = append(ids, add(t, e, step)...)
		}
		e.Drain(t)
		rep, err := e.Kernel.Ledger().Verify(t.Context())
		if err != nil || len(rep.Problems) > 0 || rep.Records != int64(len(ids)) {
			r.Fatalf("%v %+v, want %d records", err, rep, len(ids))
		}
		if len(ids) == 0 {
			return
		}
		p, err := e.Kernel.Ledger().Prove(t.Context(), rapid.SampledFrom(ids).Draw(r, "id"))
		if err == nil {
			err = ledger.VerifyProof(e.Kernel.Ledger().VerifierKey(), p)
		}
		if err != nil {
			r.Fatal(err)
		}
	})
}

type vector struct {
	LeafIdx  uint64   `json:"leafIdx"`
	TreeSize uint64   `json:"treeSize"`
	Root     string   `json:"root"`
	LeafHash string   `json:"leafHash"`
	Size1    uint64   `json:"size1"`
	Size2    uint64   `json:"size2"`
	Root1    string   `json:"root1"`
	Root2    string   `json:"root2"`
	Proof    []string `json:"proof"`
	Desc     string   `json:"desc"`
	WantErr  bool     `json:"wantErr"`
}

// TestVectors runs the RFC 6962 vectors of transparency-dev/merkle through the
// functions that seal and prove.
func TestVectors(t *testing.T) {
	t.Parallel()
	root := sharedtest.Path(t, "merkle", "testdata")
	seen := map[string]int{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		kind := strings.Split(strings.TrimPrefix(path, root+"/"), "/")[0]
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var got error
		switch kind {
		case "inclusion":
			got = checkInclusion(v)
		case "consistency":
			if !v.WantErr && (v.Size1 == 0 || len(v.Root1) != 44) { // no proof from the empty tree in RFC 6962, nor roots of other lengths than SHA-256's
				seen["not applicable"]++
				return nil
			}
			got = checkConsistency(v)
		default:
			return nil
		}
		seen[kind]++
		if (got != nil) != v.WantErr {
			t.Errorf("%s: %s: got %v, want an error: %v", strings.TrimPrefix(path, root), v.Desc, got, v.WantErr)
		}
		return nil
	}))
	require.Greater(t, seen["inclusion"], 50)
	require.Greater(t, seen["consistency"], 50)
	t.Logf("checked %v", seen)
}

func hashOf(s string) (tlog.Hash, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != tlog.HashSize {
		return tlog.Hash{}, fmt.Errorf("hash %q: %w", s, ledger.ErrBadProof)
	}
	return tlog.Hash(b), nil
}

func hashesOf(ss []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(ss))
	for i, s := range ss {
		h, err := hashOf(s)
		if err != nil {
			return nil, err
		}
		out[i] = h
	}
	return out, nil
}

func checkInclusion(v vector) error {
	root, err := hashOf(v.Root)
	if err != nil {
		return err
	}
	leaf, err := hashOf(v.LeafHash)
	if err != nil {
		return err
	}
	path, err := hashesOf(v.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, int64(v.TreeSize), root, int64(v.LeafIdx), leaf)
}

func checkConsistency(v vector) error {
	one, err := hashOf(v.Root1)
	if err != nil {
		return err
	}
	two, err := hashOf(v.Root2)
	if err != nil {
		return err
	}
	path, err := hashesOf(v.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(path, int64(v.Size2), two, int64(v.Size1), one)
}
