package publish_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"filippo.io/torchwood"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

func add(t testing.TB, e *govtest.Env, log *ledger.Log, n int) {
	t.Helper()
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		for range n {
			id := uuid.Must(uuid.NewV7())
			if _, err := log.Append(ctx, tx, ledger.Entry{ID: id, Kind: "test", At: e.Now(), Body: fmt.Appendf(nil, `{"id":%q}`, id)}); err != nil {
				return err
			}
		}
		return nil
	}))
	_, err := log.Seal(context.Background())
	require.NoError(t, err)
}

// keyed makes a kernel whose key the test knows.
func keyed(t testing.TB) (opts *govtest.Options, skey string) {
	t.Helper()
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	return &govtest.Options{Kernel: func(o *governance.Options) { o.LedgerKey = skey }}, skey
}

func successor(t testing.TB, name string) (skey, vkey string) {
	t.Helper()
	skey, vkey, err := ledger.GenerateKey(name)
	require.NoError(t, err)
	return skey, vkey
}

// witness is one on the signer of torchwood, whose answers a test may bend.
type witness struct {
	signer *torchwood.CosignatureSigner
	asked  []string
	answer func(w http.ResponseWriter, body, signed string)
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.asked = append(w.asked, r.Method+" "+r.URL.Path+" "+strings.SplitN(string(b), "\n", 2)[0])
	_, text, _ := strings.Cut(string(b), "\n\n")
	body, _, _ := strings.Cut(text, "\n\n")
	signed, err := note.Sign(&note.Note{Text: body + "\n"}, w.signer)
	if err != nil {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	if w.answer != nil {
		w.answer(rw, string(b), line)
		return
	}
	_, _ = io.WriteString(rw, line)
}

func newWitness(t testing.TB, name string) (*witness, publish.Witness) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := torchwood.NewCosignatureSigner(name, private)
	require.NoError(t, err)
	w := &witness{signer: signer}
	srv := httptest.NewServer(http.StripPrefix("/w", w))
	t.Cleanup(srv.Close)
	return w, publish.Witness{URL: srv.URL + "/w/", Key: signer.Verifier().String()}
}

func TestPublisher_Witnesses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	ctx, log := t.Context(), e.Kernel.Ledger()
	one, w1 := newWitness(t, "witness.test/one")
	two, w2 := newWitness(t, "witness.test/two")
	p, err := publish.New(log, &publish.Options{Client: client(), Witnesses: []publish.Witness{w1, w2}})
	require.NoError(t, err)
	add(t, e, log, 3)
	require.NoError(t, p.Turn(ctx))
	require.Equal(t, []string{"POST /add-checkpoint old 0"}, one.asked)
	c, err := log.Witnessed(ctx, 2)
	require.NoError(t, err)

	add(t, e, log, 4)
	_, foreign := newWitness(t, "witness.test/one")
	for name, bend := range map[string]struct {
		answer func(w http.ResponseWriter, body, line string)
		want   string
	}{
		"another's signature": {func(w http.ResponseWriter, _, _ string) {
			_, _ = io.WriteString(w, strings.SplitAfterN(c.Note, "\n\n", 2)[1])
		}, "without a signature"},
		"nothing": {func(http.ResponseWriter, string, string) {}, "without a signature"},
		"much":    {func(w http.ResponseWriter, _, _ string) { _, _ = io.WriteString(w, strings.Repeat("x\n", 1<<20)) }, "without a signature"},
		"no size": {func(w http.ResponseWriter, _, _ string) { http.Error(w, "soon", http.StatusConflict) }, "409 without a size"},
		"sizes that jump": {func(w http.ResponseWriter, b, _ string) {
			http.Error(w, map[bool]string{true: "1", false: "2"}[strings.HasPrefix(b, "old 3")], http.StatusConflict)
		}, "then from another size"},
		"a larger size": {func(w http.ResponseWriter, _, _ string) { http.Error(w, "99", http.StatusConflict) }, "the stored tree does not match"},
		"another past":  {func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusUnprocessableEntity) }, "did not only grow"},
		"unknown":       {func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusNotFound) }, "does not know this log"},
		"another key":   {func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusForbidden) }, "under another key"},
		"a redirect": {func(w http.ResponseWriter, _, _ string) {
			w.Header().Set("Location", foreign.URL)
			w.WriteHeader(http.StatusFound)
		}, "302"},
		"a server's error": {func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusBadGateway) }, "502"},
	} {
		two.answer = bend.answer
		require.ErrorContains(t, p.Turn(ctx), bend.want, name)
		size, err := log.Cosigned(ctx, w1.Key)
		require.NoError(t, err)
		require.EqualValues(t, 7, size, "%s: one that fails keeps no other from its turn", name)
		h, err := log.Halted(ctx)
		require.NoError(t, err)
		require.Equal(t, name == "a larger size" || name == "another past", h != nil, name)
		if h != nil {
			resume(t, e, log)
		}
	}
	got, err := log.Witnessed(ctx, 2)
	require.NoError(t, err)
	require.Equal(t, c.Size, got.Size, "the newest that both signed")
	two.answer = nil
	require.NoError(t, p.Turn(ctx))
	got, err = log.Witnessed(ctx, 2)
	require.NoError(t, err)
	require.EqualValues(t, 7, got.Size)

	// What is exported goes with the cosignatures; a verifier without the keys says so.
	dir := filepath.Join(t.TempDir(), "log")
	_, err = tiles.Export(ctx, log, dir, 2)
	require.NoError(t, err)
	rep, err := offline.Check(ctx, offline.Dir(dir), log.VerifierKey(), &offline.Options{Witnesses: []string{w1.Key}})
	require.NoError(t, err)
	require.Empty(t, rep.Problems)
	require.Equal(t, []string{"witness.test/two"}, rep.Head.Unchecked)
	require.Equal(t, "witness.test/one", rep.Head.Cosigned[0].Witness)
	rep, err = offline.Check(ctx, offline.Dir(dir), log.VerifierKey(), &offline.Options{Witnesses: []string{foreign.Key}})
	require.NoError(t, err)
	require.Len(t, rep.Head.Unchecked, 2, "a key of the same name is not the same key")

	// Every byte counts, also of signatures that nobody checks.
	text, err := os.ReadFile(filepath.Join(dir, offline.CheckpointFile))
	require.NoError(t, err)
	files := fstest.MapFS{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = &fstest.MapFile{Data: b}
		return err
	}))
	for i := range text {
		files[offline.CheckpointFile].Data[i] ^= 1
		rep, err := offline.Check(ctx, offline.Files{FS: files}, log.VerifierKey(), nil)
		files[offline.CheckpointFile].Data[i] ^= 1
		require.NoError(t, err)
		require.NotEmpty(t, rep.Problems, "byte %d of %q", i, text)
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	_, w := newWitness(t, "witness.test/one")
	hook, err := publish.NewWebhook("https://example.com/x", client())
	require.NoError(t, err)
	for want, o := range map[string]*publish.Options{
		"Client is required":  {Witnesses: []publish.Witness{w}},
		"is not an http":      {Client: client(), Witnesses: []publish.Witness{{URL: "witness", Key: w.Key}}},
		"does not parse":      {Client: client(), Witnesses: []publish.Witness{{URL: w.URL, Key: e.Kernel.Ledger().VerifierKey()}}},
		"witness 2 stands tw": {Client: client(), Witnesses: []publish.Witness{w, w}},
		"stands twice":        {Sinks: []publish.Sink{hook, hook}},
	} {
		_, err := publish.New(e.Kernel.Ledger(), o)
		require.ErrorContains(t, err, want)
	}
	_, err = publish.New(nil, &publish.Options{})
	require.Error(t, err)
	_, err = publish.NewWebhook("ftp://x", client())
	require.Error(t, err)
	_, err = publish.NewWebhook("https://example.com", nil)
	require.Error(t, err)
}

func TestPublisher_Sinks(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, log := t.Context(), e.Kernel.Ledger()
		status, posted := http.StatusInternalServerError, []string{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			posted = append(posted, string(b))
			w.WriteHeader(status)
		}))
		t.Cleanup(srv.Close)
		hook, err := publish.NewWebhook(srv.URL+"/keep?token=secret", client())
		require.NoError(t, err)
		require.NotContains(t, hook.Name(), "secret")
		file := publish.File{Path: filepath.Join(t.TempDir(), "checkpoints")}
		last, err := file.Last(ctx)
		require.NoError(t, err)
		require.Nil(t, last)
		p, err := publish.New(log, &publish.Options{Sinks: []publish.Sink{hook, file}})
		require.NoError(t, err)

		add(t, e, log, 2)
		err = p.Turn(ctx)
		require.ErrorContains(t, err, "500")
		require.NotContains(t, err.Error(), "secret")
		c, err := log.Checkpoint(ctx)
		require.NoError(t, err)
		last, err = file.Last(ctx)
		require.NoError(t, err)
		require.Equal(t, c.Note, string(last), "the file has it although the webhook failed")
		status = http.StatusNoContent
		require.NoError(t, p.Turn(ctx))
		require.NoError(t, p.Turn(ctx))
		require.Equal(t, []string{c.Note, c.Note}, posted, "once failed, once kept, then not again")

		add(t, e, log, 1)
		require.NoError(t, p.Turn(ctx))
		c, err = log.Checkpoint(ctx)
		require.NoError(t, err)
		whole, err := os.ReadFile(file.Path)
		require.NoError(t, err)
		last, err = file.Last(ctx)
		require.NoError(t, err)
		require.Equal(t, c.Note, string(last))
		require.NoError(t, os.WriteFile(file.Path, whole[:len(whole)-9], 0o600)) // torn in the last one
		last, err = file.Last(ctx)
		require.NoError(t, err)
		require.Equal(t, posted[0], string(last))
		status = http.StatusFound
		add(t, e, log, 1)
		require.ErrorContains(t, p.Turn(ctx), "302")
	})
}

// TestRestore: a database from a backup is behind what was published. Nothing is signed
// until the log begins anew under another name, committed to the head it lacks.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, postgres := range []bool{false, true} {
		t.Run(map[bool]string{false: "sqlite", true: "postgres"}[postgres], func(t *testing.T) {
			t.Parallel()
			opts, skey := keyed(t)
			open := govtest.New
			if postgres {
				open = govtest.NewPostgres
			}
			e, restored := open(t, opts), open(t, opts)
			ctx, file := t.Context(), publish.File{Path: filepath.Join(t.TempDir(), "checkpoints")}
			p, err := publish.New(e.Kernel.Ledger(), &publish.Options{Sinks: []publish.Sink{file}})
			require.NoError(t, err)
			require.NoError(t, p.Restore(ctx), "nothing was published yet")
			add(t, e, e.Kernel.Ledger(), 9)
			require.NoError(t, p.Turn(ctx))
			require.NoError(t, p.Restore(ctx))
			add(t, e, e.Kernel.Ledger(), 1)

			log := restored.Kernel.Ledger() // has less, and then something else
			add(t, restored, log, 4)
			q, err := publish.New(log, &publish.Options{Sinks: []publish.Sink{file}})
			require.NoError(t, err)
			require.NoError(t, q.Restore(ctx))
			require.NoError(t, restored.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Kind: "test", At: restored.Now(), Body: []byte(`{}`)})
				return err
			}))
			_, err = log.Seal(ctx)
			require.ErrorIs(t, err, ledger.ErrForked)

			lost, err := file.Last(ctx)
			require.NoError(t, err)
			same, _ := successor(t, "reeve.test")
			next, vkey := successor(t, "reeve.test/2")
			record := func(ctx context.Context, tx *govdb.Tx, s ledger.Succession) error {
				_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Kind: "test", At: restored.Now(), Body: fmt.Appendf(nil, `{"size":%d}`, s.Size)})
				return err
			}
			_, err = log.Succeed(ctx, same, nil, record)
			require.ErrorIs(t, err, ledger.ErrForked, "rotating the key would sign over it")
			_, err = log.Succeed(ctx, same, lost, record)
			require.ErrorContains(t, err, "under another name")
			_, err = log.Succeed(ctx, next, nil, record)
			require.ErrorContains(t, err, "another name is for a log that lost a head")
			here, err := log.Checkpoint(ctx)
			require.NoError(t, err)
			_, err = log.Succeed(ctx, next, []byte(here.Note), record)
			require.ErrorContains(t, err, "is not lost")
			_, err = log.Succeed(ctx, skey, nil, record)
			require.ErrorContains(t, err, "is the one the log has")
			s, err := log.Succeed(ctx, next, lost, record)
			require.NoError(t, err)
			require.EqualValues(t, 4, s.Size)

			_, err = log.Seal(ctx)
			require.ErrorIs(t, err, ledger.ErrSucceeded, "the old key signs nothing more")
			_, err = restored.DB.Handle().ExecContext(ctx, "DELETE FROM gov_lease")
			require.NoError(t, err)
			anew, err := ledger.New(restored.DB, next, nil)
			require.NoError(t, err)
			add(t, restored, anew, 3)
			rep, err := anew.Verify(ctx)
			require.NoError(t, err)
			require.Empty(t, rep.Problems)
			c, err := anew.Checkpoint(ctx)
			require.NoError(t, err)
			head, err := offline.ParseHead([]byte(c.Note), vkey)
			require.NoError(t, err)
			require.Equal(t, "reeve.test/2", head.Origin)
			require.EqualValues(t, 9, head.Size, "four, the one that waited, the succession, three")

			dir := filepath.Join(t.TempDir(), "log")
			_, err = tiles.Export(ctx, anew, dir, 0)
			require.NoError(t, err)
			for _, key := range []string{vkey, log.VerifierKey()} { // who knows the old key is led to the new one
				got, err := offline.Check(ctx, offline.Dir(dir), key, nil)
				require.NoError(t, err)
				require.Empty(t, got.Problems)
				require.Equal(t, "reeve.test/2", got.Head.Origin)
			}
			keys, err := anew.Keys(ctx)
			require.NoError(t, err)
			st, err := offline.ParseSuccession(keys)
			require.NoError(t, err)
			require.Equal(t, string(lost), st.Lost, "the new log commits to the head it lacks")
			for i := range keys {
				keys[i] ^= 1
				_, err := offline.ParseSuccession(keys)
				require.Error(t, err, "byte %d", i)
				keys[i] ^= 1
			}
		})
	}
}

// TestRotation: the key changes, twice; old checkpoints, proofs and histories stay
// verifiable by whoever has any of the keys.
func TestRotation(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		ctx, log := t.Context(), e.Kernel.Ledger()
		logs := []*ledger.Log{log}
		var notes []string
		add(t, e, log, 5)
		for i := range 2 {
			c, err := log.Checkpoint(ctx)
			require.NoError(t, err)
			notes = append(notes, c.Note)
			skey, _ := successor(t, "reeve.test")
			recorded := false
			_, err = log.Succeed(ctx, skey, nil, func(context.Context, *govdb.Tx, ledger.Succession) error {
				recorded = true
				return nil
			})
			require.NoError(t, err)
			require.True(t, recorded)
			_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM gov_lease")
			require.NoError(t, err)
			require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				_, err := log.Append(ctx, tx, ledger.Entry{ID: uuid.Must(uuid.NewV7()), Kind: "test", At: e.Now(), Body: []byte(`{}`)})
				return err
			}))
			_, err = log.Seal(ctx)
			require.ErrorIs(t, err, ledger.ErrSucceeded, "a server that was not started anew signs nothing")
			log, err = ledger.New(e.DB, skey, nil)
			require.NoError(t, err)
			logs = append(logs, log)
			add(t, e, log, 3+i)
		}
		rep, err := log.Verify(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		dir := filepath.Join(t.TempDir(), "log")
		_, err = tiles.Export(ctx, log, dir, 0)
		require.NoError(t, err)
		p, err := log.ProveTenant(ctx, "", 5)
		require.NoError(t, err)
		for i, l := range logs {
			rep, err := offline.Check(ctx, offline.Dir(dir), l.VerifierKey(), &offline.Options{Earlier: notes[min(i, 1):]})
			require.NoError(t, err)
			if i < 2 {
				require.Empty(t, rep.Problems, "key %d", i)
			} else {
				require.Len(t, rep.Problems, 1, "the newest key does not vouch for what an older one signed")
			}
		}
		require.NoError(t, ledger.VerifyTenant(logs[0].VerifierKey(), p), "from a checkpoint of the first key to one of the third")
		require.ErrorIs(t, ledger.VerifyTenant(logs[2].VerifierKey(), p), ledger.ErrBadProof)
		_, foreign := successor(t, "reeve.test")
		rep2, err := offline.Check(ctx, offline.Dir(dir), foreign, nil)
		require.NoError(t, err)
		require.NotEmpty(t, rep2.Problems)
	})
}
