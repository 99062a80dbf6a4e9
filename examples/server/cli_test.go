package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb/opendb"
)

// TestCommands runs the scripts in testdata/script. In them server is this program,
// and "exits N server …" wants its exit code.
func TestCommands(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	dir, err := os.Getwd()
	require.NoError(t, err)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, "bin")
			if err := os.MkdirAll(bin, 0o755); err != nil {
				return err
			}
			env.Vars = slices.DeleteFunc(env.Vars, func(kv string) bool { return strings.HasPrefix(kv, "REEVE_") })
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv(asServer, "1")
			return os.Symlink(self, filepath.Join(bin, "server"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":  exits,
			"tamper": tamper,
			"taken":  taken,
			"free":   free,
			"ready":  ready,
			"sealed": sealed,
			"act":    act,
			"flip":   flip,
			"build":  func(ts *testscript.TestScript, _ bool, args []string) { build(ts, dir, args) },
		},
	})
}

// exits runs a program and wants its exit code: exits CODE PROGRAM ARG…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

// tamper runs SQL on a data folder's database, past everything that would refuse it.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: tamper DATA SQL…")
	}
	db, err := opendb.Open(context.Background(), ts.MkAbs(filepath.Join(args[0], "reeve.db")), nil)
	ts.Check(err)
	defer func() { _ = db.Close() }()
	for _, q := range args[1:] {
		var res sql.Result
		res, err = db.Handle().ExecContext(context.Background(), q)
		ts.Check(err)
		n, _ := res.RowsAffected()
		_, _ = fmt.Fprintln(ts.Stdout(), n, "rows")
	}
}

// taken gives the address of a socket that somebody listens on, as an environment
// variable.
func taken(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// build builds a program of this module and gives its SHA-256: build PACKAGE FILE VARIABLE.
func build(ts *testscript.TestScript, dir string, args []string) {
	file := ts.MkAbs(args[1])
	cmd := exec.Command("go", "build", "-o", file, args[0])
	cmd.Dir = dir // with the environment of the test, which has a build cache
	out, err := cmd.CombinedOutput()
	if err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	ts.Check(err)
	sum := sha256.Sum256(b)
	ts.Setenv(args[2], hex.EncodeToString(sum[:]))
}

// act asks for a guarded action on a data folder and gives its id and the log's
// verification key: act DATA ID KEY.
func act(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	cfg, err := loadConfig("", nil, map[string]string{"data": ts.MkAbs(args[0])})
	ts.Check(err)
	a, err := open(ctx, cfg, slog.New(slog.DiscardHandler), openOptions{})
	ts.Check(err)
	_, err = a.reeve.Kernel.PutPolicy(ctx, governance.System("test"), governance.Policy{ID: "tried", Title: "Tried", Actions: []string{"x.*"}, Mode: governance.Shadow, NeedWhy: true},
		&governance.DoOptions{Reason: "<b>new</b>"})
	var held *governance.ApprovalRequiredError
	if !errors.As(err, &held) {
		ts.Fatalf("not held: %v", err)
	}
	ts.Setenv(args[1], held.Approval.String())
	ts.Setenv(args[2], a.reeve.Kernel.Ledger().VerifierKey())
	ts.Check(a.close())
}

// flip changes one bit in the middle of a file: flip FILE.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[len(b)/2] ^= 4
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// free gives an address that nobody listens on.
func free(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// ready waits until a server answers /readyz.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, "the server is not ready", func() bool {
		res, err := http.Get("http://" + args[0] + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// sealed waits until every record of a data folder is in the tree.
func sealed(ts *testscript.TestScript, _ bool, args []string) {
	db, err := opendb.Open(context.Background(), ts.MkAbs(filepath.Join(args[0], "reeve.db")), nil)
	ts.Check(err)
	defer func() { _ = db.Close() }()
	eventually(ts, "the ledger is not sealed", func() bool {
		var open int
		err := db.Handle().NewRaw("SELECT COUNT(*) FROM gov_record WHERE n IS NULL OR n >= COALESCE((SELECT MAX(size) FROM gov_checkpoint), 0)").Scan(context.Background(), &open)
		return err == nil && open == 0
	})
}

func eventually(ts *testscript.TestScript, what string, ok func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s", what)
		}
	}
}
