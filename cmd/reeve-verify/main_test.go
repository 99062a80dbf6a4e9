package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// sample is a log of some records, and files with what it hands out.
type sample struct {
	env                         *govtest.Env
	dir, key, proof, text, body string
	tenant, earlier, foreign    string
	receipts, orphans           string
}

func newSample(t *testing.T) sample {
	t.Helper()
	e := govtest.New(t, nil)
	log, ctx, dir := e.Kernel.Ledger(), t.Context(), t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		return path
	}
	s := sample{env: e, dir: filepath.Join(dir, "log"), key: log.VerifierKey()}
	var id uuid.UUID
	var receipts []ledger.Receipt
	for i := range 20 {
		id = uuid.Must(uuid.NewV7())
		require.NoError(t, e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			rs, err := log.Append(ctx, tx, ledger.Entry{ID: id, Tenant: "acme", Kind: "test", At: e.Now(), Body: fmt.Appendf(nil, `{"i":%d,"tenant":"acme"}`, i)})
			receipts = append(receipts, rs...)
			return err
		}))
		if i == 9 || i == 19 {
			_, err := log.Seal(ctx)
			require.NoError(t, err)
			c, err := log.Checkpoint(ctx)
			require.NoError(t, err)
			if i == 9 {
				s.earlier = write("earlier", []byte(c.Note))
			}
		}
	}
	b, err := log.SignReceipts("s", 1, true, receipts)
	require.NoError(t, err)
	s.receipts = write("receipts", b)
	b, err = log.SignReceipts("s", 30, false, []ledger.Receipt{{At: e.Now()}})
	require.NoError(t, err)
	s.orphans = write("orphans", b)
	p, err := log.Prove(ctx, id)
	require.NoError(t, err)
	b, err = json.Marshal(p)
	require.NoError(t, err)
	s.proof, s.text, s.body = write("proof.json", b), write("proof.tlog-proof", []byte(p.Text())), write("body", []byte(p.Body))
	tp, err := log.ProveTenant(ctx, "acme", 10)
	require.NoError(t, err)
	b, err = json.Marshal(tp)
	require.NoError(t, err)
	s.tenant = write("tenant.json", b)
	_, err = tiles.Export(ctx, log, s.dir, 0)
	require.NoError(t, err)
	_, s.foreign, err = ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	return s
}

func invoke(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, &out, &out)
	return code, out.String()
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tiles.Handler(s.env.Kernel.Ledger(), nil).ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(s.key+"\n"), 0o600))
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "20 records of reeve.test", []string{"log", "-key", s.key, s.dir}},
		{0, "Every record is as it was signed.", []string{"log", "-key", "@" + keyFile, "-earlier", s.earlier, s.dir}},
		{0, `7 {"i":7,"tenant":"acme"}`, []string{"log", "-key", s.key, "-entries", s.dir}},
		{0, "the sequences of 1 tenants", []string{"log", "-key", s.key, "-header", "Authorization: Bearer x", srv.URL}},
		{1, "401", []string{"log", "-key", s.key, srv.URL}},
		{3, "problem: checkpoint: it is not signed by this key", []string{"log", "-key", s.foreign, s.dir}},
		{1, "does not parse", []string{"log", "-key", "nonsense", s.dir}},
		{1, "no such file", []string{"log", "-key", s.key, filepath.Join(s.dir, "nowhere")}},
		{0, "record 19 of reeve.test, in the log of 20 records", []string{"proof", "-key", s.key, s.proof}},
		{0, "The proof holds.", []string{"proof", "-key", s.key, "-body", s.body, s.text}},
		{3, "the path does not lead", []string{"proof", "-key", s.key, "-body", keyFile, s.text}},
		{3, "not signed by this key", []string{"proof", "-key", s.foreign, s.proof}},
		{3, "is no proof in JSON", []string{"proof", "-key", s.key, s.text}},
		{0, "These are all its records between the checkpoints of 10 and of 20.", []string{"tenant", "-key", s.key, s.tenant}},
		{3, "not signed by this key", []string{"tenant", "-key", s.foreign, s.tenant}},
		{0, "Every receipt has its record.", []string{"receipts", "-key", s.key, "-receipts", s.receipts, s.dir}},
		{3, "problem: record 00000000-0000-0000-0000-000000000000 of", []string{"receipts", "-key", s.key, "-receipts", s.orphans, s.dir}},
		{3, "receipts 21 to 29 of the stream s were not published", []string{"receipts", "-key", s.key, "-receipts", s.orphans, "-receipts", s.receipts, s.dir}},
		{3, "it is not signed by this key", []string{"receipts", "-key", s.foreign, "-receipts", s.receipts, s.dir}},
		{2, "want -receipts FILE", []string{"receipts", "-key", s.key, s.dir}},
		{2, "want -key KEY and one FILE", []string{"proof", s.proof}},
		{2, "want -key KEY and one FOLDER|ZIP|URL", []string{"log", "-key", s.key}},
		{2, "unknown command", []string{"prove", s.proof}},
		{2, "flag provided but not defined", []string{"proof", "-witness", "x", s.proof}},
		{0, "reeve-verify tenant", []string{"--help"}},
		{2, "a command is missing", nil},
	} {
		code, out := invoke(t, c.args...)
		require.Equal(t, c.code, code, "%v: %s", c.args, out)
		require.Contains(t, out, c.want, "%v", c.args)
	}
}

// TestBinary builds the program as it is handed out and lets it name a record that was
// edited.
func TestBinary(t *testing.T) {
	t.Parallel()
	s := newSample(t)
	bin := filepath.Join(t.TempDir(), "reeve-verify")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	if runtime.GOOS == "linux" {
		f, err := elf.Open(bin)
		require.NoError(t, err)
		libs, err := f.ImportedLibraries()
		require.NoError(t, err)
		require.Empty(t, libs, "it needs nothing of the machine")
		require.NoError(t, f.Close())
	}
	deps := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	out, err = deps.Output()
	require.NoError(t, err)
	for _, dep := range strings.Fields(string(out)) {
		if strings.Contains(dep, "reevehq/reeve/") {
			require.Contains(t, []string{"cmd/reeve-verify", "governance/ledger/offline", "governance/ledger/offline/cosign", "oversight/evidence/pack"}, strings.TrimPrefix(dep, "github.com/reevehq/reeve/"))
		}
		require.NotContains(t, dep, "database/sql")
	}
	verify := func() (int, string) {
		cmd := exec.CommandContext(t.Context(), bin, "log", "-key", s.key, s.dir)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	code, text := verify()
	require.Equal(t, 0, code, text)
	path := filepath.Join(s.dir, "tile", "entries", "000.p", "20")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(b, []byte(`"i":7,`), []byte(`"i":8,`), 1), 0o600))
	code, text = verify()
	require.Equal(t, exitProblems, code, text)
	require.Contains(t, text, "tile/entries/000.p/20: record 7 is not what was signed")
}

// TestProof_Personal: the verifier says of each personal value whether it is shown or
// under which record it was erased.
func TestProof_Personal(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	e.People.Put("ada", "root")
	var id uuid.UUID
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
		r, err := e.Kernel.RecordTx(ctx, tx, e.As("ada"), governance.Record{Action: "test.mail", Personal: map[string]string{"email": "zoe@example.com"}, PersonalOf: "customer:7"})
		id = r.ID
		return err
	}))
	file := filepath.Join(t.TempDir(), "proof.json")
	prove := func() string {
		e.Drain(t)
		o, err := e.Kernel.Ledger().ProveOpened(t.Context(), id)
		require.NoError(t, err)
		b, err := json.Marshal(o)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, b, 0o600))
		code, out := invoke(t, "proof", "-key", e.Kernel.Ledger().VerifierKey(), file)
		require.Zero(t, code, out)
		return out
	}
	require.Contains(t, prove(), `email is "zoe@example.com", as the record has it`)
	_, err := e.Kernel.Erase(t.Context(), e.As("ada"), governance.Erasure{Subject: "customer:7", Basis: "DSR-1"}, nil)
	require.NoError(t, err)
	out := prove()
	require.Contains(t, out, "email was erased, under record ")
	require.Contains(t, out, `actor_name is "ada"`)
	require.Contains(t, out, "The proof holds.")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(b, []byte(`"value":"ada"`), []byte(`"value":"eve"`), 1), 0o600))
	code, out := invoke(t, "proof", "-key", e.Kernel.Ledger().VerifierKey(), file)
	require.Equal(t, exitProblems, code, out)
}
