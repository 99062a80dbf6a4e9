package tiles_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"filippo.io/torchwood"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// fill appends records of a few tenants, with bodies of different lengths, and seals
// as many at a time as parts say.
func fill(t testing.TB, e *govtest.Env, parts ...int) []string {
	t.Helper()
	ctx := context.Background()
	var bodies []string
	for _, n := range parts {
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			for range n {
				i := len(bodies)
				tenant := []string{"acme", "globex", ""}[i%3]
				body := fmt.Sprintf(`{"data":{"tenant":"not this"},"i":%d,"pad":"%s","tenant":%q}`, i, strings.Repeat("ä\\\"", i%5), tenant)
				if tenant == "" {
					body = fmt.Sprintf(`{"i":%d}`, i)
				}
				bodies = append(bodies, body)
				if _, err := e.Kernel.Ledger().Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: tenant, Kind: "test", At: e.Now(), Body: []byte(body)}); err != nil {
					return err
				}
			}
			return nil
		}))
		for {
			sealed, err := e.Kernel.Ledger().Seal(ctx)
			require.NoError(t, err)
			if sealed == 0 {
				break
			}
		}
	}
	return bodies
}

func verifier(t testing.TB, l *ledger.Log) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(l.VerifierKey())
	require.NoError(t, err)
	return v
}

// cut is how Tessera reads a bundle of a log without a format of its own.
func cut(bundle []byte) ([][]byte, error) {
	var eb api.EntryBundle
	if err := eb.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(eb.Entries))
	for _, e := range eb.Entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return out, nil
}

// TestForeignClients lets programs that know nothing of us read and check our log.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		log := e.Kernel.Ledger()
		bodies := fill(t, e, 1, 255, 1, 300, 211) // 768: full tiles at the lowest level
		for _, more := range []int{0, 1, 130} {
			if more > 0 {
				bodies = append(bodies, fillMore(t, e, len(bodies), more)...)
			}
			dir := t.TempDir()
			out, err := tiles.Export(t.Context(), log, filepath.Join(dir, "log"), 0)
			require.NoError(t, err)
			require.EqualValues(t, len(bodies), out.Size)
			for name, h := range map[string]http.Handler{
				"served": tiles.Handler(log, nil), "exported": http.FileServer(http.Dir(filepath.Join(dir, "log"))),
			} {
				srv := httptest.NewServer(http.StripPrefix("/log", h))
				t.Cleanup(srv.Close)
				root, err := url.Parse(srv.URL + "/log/")
				require.NoError(t, err)

				fetcher, err := client.NewHTTPFetcher(root, srv.Client())
				require.NoError(t, err)
				require.NoError(t, fsck.New(log.Origin(), verifier(t, log), fetcher, cut, fsck.Opts{N: 2}).Check(t.Context()), "%s: Tessera's fsck", name)

				tf, err := torchwood.NewTileFetcher(root.String(), torchwood.WithHTTPClient(srv.Client()))
				require.NoError(t, err)
				raw, err := tf.ReadEndpoint(t.Context(), "checkpoint")
				require.NoError(t, err)
				checkpoint, _, err := torchwood.VerifyCheckpoint(raw, torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(log.Origin()), torchwood.SingleVerifierPolicy(verifier(t, log))))
				require.NoError(t, err)
				require.Contains(t, checkpoint.Extension, "reeve-tenants 3 ")
				reader, err := torchwood.NewClient(tf)
				require.NoError(t, err)
				var seen []string
				for _, entry := range reader.AllEntries(t.Context(), checkpoint.Tree, 0) {
					seen = append(seen, string(entry))
				}
				require.NoError(t, reader.Err())
				require.Equal(t, bodies, seen)
				entry, proof, err := reader.Entry(t.Context(), checkpoint.Tree, 17)
				require.NoError(t, err)
				require.NoError(t, tlog.CheckRecord(proof, checkpoint.N, checkpoint.Hash, 17, tlog.RecordHash(entry)))

				src, err := offline.NewURL(srv.URL+"/log", srv.Client(), nil)
				require.NoError(t, err)
				rep, err := offline.Check(t.Context(), src, log.VerifierKey(), nil)
				require.NoError(t, err)
				require.Empty(t, rep.Problems, name)
				require.EqualValues(t, 3, rep.Tenants)
				require.Equal(t, name == "exported", rep.Manifest)
			}
		}
		rep, err := log.Verify(t.Context())
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
	})
}

func fillMore(t testing.TB, e *govtest.Env, at, n int) []string {
	t.Helper()
	var bodies []string
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		for i := range n {
			body := fmt.Sprintf(`{"more":%d,"tenant":"acme"}`, at+i)
			bodies = append(bodies, body)
			if _, err := e.Kernel.Ledger().Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Tenant: "acme", Kind: "test", At: e.Now(), Body: []byte(body)}); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := e.Kernel.Ledger().Seal(context.Background())
	require.NoError(t, err)
	return bodies
}

func TestHandler_Refuses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	fill(t, e, 5)
	h := tiles.Handler(e.Kernel.Ledger(), nil)
	for path, want := range map[string]int{
		"/checkpoint": 200, "/tile/0/000.p/5": 200, "/tile/0/000.p/3": 200, "/tile/entries/000.p/5": 200,
		"/tile/0/000": 404, "/tile/0/000.p/6": 404, "/tile/0/000.p/0": 404, "/tile/0/00.p/5": 404, "/tile/1/000.p/1": 404,
		"/tile/8/000.p/1": 404, "/tile/0/x000/000.p/5": 404, "/tile/0/-01.p/5": 404, "/tile/data/000.p/5": 404, "/": 404, "/x": 404,
		"/tile/entries/000.p/05": 404, "/tile/entries/x999/x999/x999/x999/x999/999": 404,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, want, w.Code, path)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/checkpoint", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	_, err := tiles.Export(t.Context(), e.Kernel.Ledger(), filepath.Dir(t.TempDir()), 0)
	require.ErrorContains(t, err, "not empty")
}

// export reads an exported log into memory.
func export(t testing.TB, e *govtest.Env) fstest.MapFS {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "log")
	_, err := tiles.Export(context.Background(), e.Kernel.Ledger(), dir, 0)
	require.NoError(t, err)
	out := fstest.MapFS{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = &fstest.MapFile{Data: b}
		return err
	}))
	return out
}

func check(t testing.TB, files fs.FS, vkey string, opts *offline.Options) offline.Report {
	t.Helper()
	rep, err := offline.Check(context.Background(), offline.Files{FS: files}, vkey, opts)
	require.NoError(t, err)
	return rep
}

// TestCheck_EveryByte flips each byte of each file of an export, one at a time, once
// with the manifest and once, as a log that is served has none, without.
func TestCheck_EveryByte(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	fill(t, e, 3, 8)
	files, key := export(t, e), e.Kernel.Ledger().VerifierKey()
	require.Empty(t, check(t, files, key, nil).Problems)
	flips := 0
	for _, manifest := range []bool{true, false} {
		if !manifest {
			delete(files, offline.ManifestFile)
		}
		for name, f := range files {
			for i := range f.Data {
				for _, mask := range []byte{1, 0x20, 0x80} {
					f.Data[i] ^= mask
					rep := check(t, files, key, nil)
					f.Data[i] ^= mask
					flips++
					require.NotEmpty(t, rep.Problems, "%s, byte %d, mask %#x, manifest %v", name, i, mask, manifest)
					require.Contains(t, strings.Join(rep.Problems, "\n"), name, "the file is named")
				}
			}
		}
	}
	require.Empty(t, check(t, files, key, nil).Problems, "it is as it was")
	t.Logf("%d flips found in %d files", flips, len(files)+1)
}

// TestCheck_LargeLog flips random bytes of a log with three levels of which two have
// full tiles, and wants the very record named.
func TestCheck_LargeLog(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	bodies := fill(t, e, 700, 300)
	files, key := export(t, e), e.Kernel.Ledger().VerifierKey()
	delete(files, offline.ManifestFile)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	require.Contains(t, names, "tile/1/000.p/3")
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		name := names[r.IntN(len(names))]
		f := files[name]
		i, mask := r.IntN(len(f.Data)), byte(1)<<r.IntN(8)
		f.Data[i] ^= mask
		rep := check(t, files, key, nil)
		f.Data[i] ^= mask
		require.Len(t, rep.Problems, 1, "%s, byte %d", name, i)
		require.Contains(t, rep.Problems[0], name)
	}
	for _, n := range []int{0, 255, 256, 700, 767, 768, 999} { // in full bundles and in the last
		name := offline.TilePath(offline.EntriesLevel, int64(n/256), min(256, len(bodies)-n/256*256))
		data := files[name].Data
		at := bytes.Index(data, []byte(bodies[n]))
		require.Positive(t, at)
		data[at+len(bodies[n])-3] ^= 1
		require.Equal(t, []string{fmt.Sprintf("%s: record %d is not what was signed", name, n)}, check(t, files, key, nil).Problems)
		data[at+len(bodies[n])-3] ^= 1
	}
	for _, name := range names {
		if name == offline.CheckpointFile {
			continue
		}
		f := files[name]
		delete(files, name)
		require.Contains(t, strings.Join(check(t, files, key, nil).Problems, "\n"), name+": the file is missing")
		files[name] = &fstest.MapFile{Data: f.Data[:len(f.Data)-1]}
		require.Contains(t, strings.Join(check(t, files, key, nil).Problems, "\n"), name)
		files[name] = f
	}
}

func TestCheck_ForeignAndEarlier(t *testing.T) {
	t.Parallel()
	e, other := govtest.New(t, nil), govtest.New(t, nil)
	fill(t, e, 40)
	early, err := e.Kernel.Ledger().Checkpoint(t.Context())
	require.NoError(t, err)
	fill(t, other, 40)
	fillMore(t, e, 40, 300)
	files, key := export(t, e), e.Kernel.Ledger().VerifierKey()
	require.Contains(t, check(t, files, other.Kernel.Ledger().VerifierKey(), nil).Problems[0], "manifest: it is not signed by this key")
	require.Empty(t, check(t, files, key, &offline.Options{Earlier: []string{early.Note}}).Problems)

	files["left-over"] = &fstest.MapFile{Data: []byte("x")}
	require.Equal(t, []string{"left-over: the file was not exported"}, check(t, files, key, nil).Problems)
	delete(files, "left-over")

	swapped := export(t, other)
	swapped[offline.CheckpointFile] = files[offline.CheckpointFile]
	delete(swapped, offline.ManifestFile)
	require.NotEmpty(t, check(t, swapped, key, nil).Problems)

	_, err = offline.Check(t.Context(), offline.Files{FS: files}, "nonsense", nil)
	require.Error(t, err)
	_, err = offline.Check(t.Context(), offline.Files{FS: fstest.MapFS{}}, key, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestCheck_ForkIsFound: a log that has another past than the checkpoint somebody kept.
func TestCheck_ForkIsFound(t *testing.T) {
	t.Parallel()
	skey, vkey, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	var notes []string
	var logs []fstest.MapFS
	for _, first := range []int{40, 41} {
		e := govtest.New(t, nil)
		log, err := ledger.New(e.DB, skey, nil)
		require.NoError(t, err)
		for _, n := range []int{first, 300} {
			require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
				for i := range n {
					if _, err := e.Kernel.Ledger().Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Kind: "test", At: e.Now(), Body: fmt.Appendf(nil, `{"i":%d}`, i+first)}); err != nil {
						return err
					}
				}
				return nil
			}))
			_, err = log.Seal(t.Context())
			require.NoError(t, err)
			c, err := log.Checkpoint(t.Context())
			require.NoError(t, err)
			notes = append(notes, c.Note)
		}
		dir := filepath.Join(t.TempDir(), "log")
		_, err = tiles.Export(t.Context(), log, dir, 0)
		require.NoError(t, err)
		files := fstest.MapFS{}
		require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(filepath.Join(dir, path))
			files[path] = &fstest.MapFile{Data: b}
			return err
		}))
		logs = append(logs, files)
	}
	require.Empty(t, check(t, logs[0], vkey, &offline.Options{Earlier: notes[:2]}).Problems)
	require.Equal(t, []string{"earlier checkpoint 1: the log does not contain the 40 records it signed"}, check(t, logs[1], vkey, &offline.Options{Earlier: notes[:1]}).Problems)
	require.Equal(t, []string{"earlier checkpoint 1: it is of 341 records, the log has 340"}, check(t, logs[0], vkey, &offline.Options{Earlier: notes[3:]}).Problems)
}
