package crashtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
)

// program is the server's, built once into a folder that TestMain removes.
type program struct {
	dir  string
	once sync.Once
	err  error
}

func (p *program) path(t *testing.T) string {
	t.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "reeve-crash-"); p.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(p.dir, "server"), "github.com/reevehq/reeve/examples/server")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			p.err = fmt.Errorf("build the server: %w\n%s", err, out.String())
		}
	})
	require.NoError(t, p.err)
	return filepath.Join(p.dir, "server")
}

var built program

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// engine is one database that servers are started on.
type engine struct {
	name   string
	data   string // the server's folder
	dsn    string // of PostgreSQL, else empty
	schema string
}

func (e engine) settings() []string {
	args := []string{"--set", "data=" + e.data}
	if e.dsn != "" {
		args = append(args, "--set", "database="+e.dsn, "--set", "database_schema="+e.schema)
	}
	return args
}

// read opens the database beside the server and closes it after fn, so that no
// handle of ours is open at the next kill: recovery must be the server's own.
func (e engine) read(t *testing.T, dsn, schema string, fn func(ctx context.Context, db *govdb.DB)) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleaning up reads, too
	db, err := opendb.Open(ctx, dsn, &opendb.Options{Schema: schema, MaxConns: 4})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	fn(ctx, db)
}

func (e engine) ours() (dsn, schema string) {
	if e.dsn != "" {
		return e.dsn, e.schema
	}
	return filepath.Join(e.data, "reeve.db"), ""
}

// server is one running process of it.
type server struct {
	cmd  *exec.Cmd
	log  *tail
	API  string            `json:"api_url"`
	Keys map[string]string `json:"keys"`
}

// tail keeps the last of what a process said.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	w.b = w.b[max(0, len(w.b)-8000):]
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}

// start starts the server on what is there and waits until it is ready.
func (e engine) start(t *testing.T) *server {
	t.Helper()
	s := &server{log: &tail{}}
	s.cmd = exec.Command(built.path(t), append([]string{"demo", "--json", "--listen", "127.0.0.1:0", "--data", e.data}, e.settings()...)...)
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "REEVE_") })
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(s.kill)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, "the server said: %s", s.log)
	require.NoError(t, json.Unmarshal(line, s))
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return s
}

// kill ends the process group at once and waits until it is gone.
func (s *server) kill() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

// orphans are processes that run the server's program although no server should:
// a connector runs the very file of the server that started it.
func orphans(program string) []string {
	var out []string
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, f := range exes {
		if to, err := os.Readlink(f); err == nil && to == program {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			out = append(out, filepath.Base(filepath.Dir(f))+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return out
}

// requireAlone waits a moment for the connectors of a killed server to be gone, as
// each dies with its parent, and fails when one stays.
func requireAlone(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := orphans(built.path(t))
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			require.Empty(t, left, "processes that outlived the server")
		}
	}
}

// verify runs the ledger's check as an operator would, in a process of its own.
func (e engine) verify(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(built.path(t), append([]string{"ledger", "verify"}, e.settings()...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "ledger verify: %s", out)
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
