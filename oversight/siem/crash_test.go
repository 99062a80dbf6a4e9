package siem_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/siem"
)

func testKey(t testing.TB) string {
	t.Helper()
	skey, _, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	return skey
}

// killer takes a batch and is killed before anybody hears of it.
type killer struct {
	*siem.File
	calls, at int
}

func (k *killer) Send(ctx context.Context, b siem.Batch) error {
	err := k.File.Send(ctx, b)
	if k.calls++; k.calls == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return err
}

// TestKilled_child is the process that TestKilled_between kills; it is nothing by itself.
func TestKilled_child(t *testing.T) {
	dir := os.Getenv("REEVE_TEST_SIEM_DIR")
	if dir == "" {
		t.Skip("SKIP child process: run by TestKilled_between")
	}
	at, err := strconv.Atoi(os.Getenv("REEVE_TEST_SIEM_AT"))
	require.NoError(t, err)
	k, db := openCrash(t, dir)
	defer func() { require.NoError(t, db.Close()) }()
	f, err := siem.NewFile("file", filepath.Join(dir, "out.jsonl"))
	require.NoError(t, err)
	s, err := siem.New(k, &siem.Options{Sinks: []siem.Sink{&killer{File: f, at: at}}, Batch: 4})
	require.NoError(t, err)
	require.NoError(t, s.Turn(t.Context()))
}

func openCrash(t *testing.T, dir string) (*governance.Kernel, *govdb.DB) {
	t.Helper()
	dsn, schema := filepath.Join(dir, "reeve.db"), os.Getenv("REEVE_TEST_SIEM_SCHEMA")
	if schema != "" {
		dsn = os.Getenv(govtest.PostgresEnv)
	}
	db, err := opendb.Open(t.Context(), dsn, &opendb.Options{Schema: schema})
	require.NoError(t, err)
	require.NoError(t, govdb.Migrate(t.Context(), db, append(governance.Schemas(), siem.Schema())...))
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	require.NoError(t, err)
	nobody := nobodyMay{}
	k, err := governance.New(db, &governance.Options{Authorizer: nobody, Directory: nobody, LedgerKey: string(key)})
	require.NoError(t, err)
	return k, db
}

type nobodyMay struct{}

func (nobodyMay) Authorize(context.Context, governance.Identity, string, governance.Target) error {
	return errors.New("nobody may")
}

func (nobodyMay) Resolve(context.Context, governance.PersonID) (governance.Person, error) {
	return governance.Person{}, governance.ErrNotFound
}

func (nobodyMay) Members(context.Context, governance.GroupID) ([]governance.Person, error) {
	return nil, nil
}

// TestKilled_between kills the process with SIGKILL between a sink's taking of a batch and
// the commit of the cursor, at every batch there is. The batch comes again; none is passed
// over.
func TestKilled_between(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), []byte(testKey(t)), 0o600))
			if engine == "postgres" {
				govtest.PostgresDSN(t)
				t.Setenv("REEVE_TEST_SIEM_SCHEMA", govtest.Schema(t))
			}
			k, db := openCrash(t, dir)
			for range 10 {
				require.NoError(t, db.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
					_, err := k.RecordTx(ctx, tx, governance.System("test"), governance.Record{Action: "tenant.note"})
					return err
				}))
			}
			_, err := k.Ledger().Seal(t.Context())
			require.NoError(t, err)
			require.NoError(t, db.Close())
			killed := 0
			for at := 1; ; at = 2 { // the first batch once, then always one further
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled_child$")
				cmd.Env = append(os.Environ(), "REEVE_TEST_SIEM_DIR="+dir, "REEVE_TEST_SIEM_AT="+strconv.Itoa(at))
				out, err := cmd.CombinedOutput()
				if err == nil {
					break
				}
				exit, ok := errors.AsType[*exec.ExitError](err)
				require.True(t, ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL, "%v\n%s", err, out)
				killed++
				require.Less(t, killed, 20)
			}
			require.GreaterOrEqual(t, killed, 3)
			k, db = openCrash(t, dir)
			defer func() { require.NoError(t, db.Close()) }()
			_, err = k.Ledger().Seal(t.Context())
			require.NoError(t, err)
			f, err := siem.NewFile("file", filepath.Join(dir, "out.jsonl"))
			require.NoError(t, err)
			s, err := siem.New(k, &siem.Options{Sinks: []siem.Sink{f}, Batch: 4})
			require.NoError(t, err)
			require.NoError(t, s.Turn(t.Context()))
			n, err := k.Ledger().Sealed(t.Context())
			require.NoError(t, err)
			got := leaves(readFile(t, filepath.Join(dir, "out.jsonl")))
			requireEvery(t, got, n)
			require.Greater(t, int64(len(got)), n, "what was taken unseen came again")
		})
	}
}
