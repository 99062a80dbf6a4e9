package docstest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	runDemo  = "go run ./examples/server demo"
	runTests = "go test ./..."
	runShown = "go run ./examples/server" // in docs: any verb
	address  = "127.0.0.1:8080"           // where documents say the demo is
)

// TestReadmeTests: the README's test command is the one that CI runs. It is not run
// here, for it would run itself.
func TestReadmeTests(t *testing.T) {
	t.Parallel()
	flags := regexp.MustCompile(` -\S+`)
	var found bool
	for line := range strings.Lines(read(t, ".ci/run")) {
		line, _, _ = strings.Cut(line, " >")
		found = found || flags.ReplaceAllString(strings.TrimSpace(line), "") == runTests
	}
	require.True(t, found, ".ci/run does not call %q", runTests)
	require.Contains(t, read(t, "Makefile"), strings.Replace(runTests, "go", "$(GO)", 1))
}

// TestShell builds the server once, runs the README's demo command with a free port
// and a folder of its own, then the sh blocks of docs against it, and stops it.
func TestShell(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIP short: the demo is not started")
	}
	var shown []string
	for _, b := range append(blocks(t, "sh", "README.md"), blocks(t, "console", "README.md")...) {
		for line := range strings.Lines(b.text) {
			line, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "$ "), " #")
			shown = append(shown, strings.TrimSpace(line))
		}
	}
	require.ElementsMatch(t, []string{runDemo, runTests}, shown, "README.md shows the two commands, each once")

	dir := t.TempDir()
	server := filepath.Join(dir, "server")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", server, "./examples/server")
	build.Dir = root(t)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	for _, b := range blocks(t, "yaml", documents(t)...) {
		if strings.Contains(b.text, "listen:") {
			file := filepath.Join(dir, "server.yaml")
			require.NoError(t, os.WriteFile(file, []byte(b.text), 0o600))
			check := exec.CommandContext(t.Context(), server, "--config", file, "config", "check")
			check.Env = environment()
			out, err := check.CombinedOutput()
			require.NoError(t, err, "%s\n%s", b, out)
		}
	}

	printed := exec.CommandContext(t.Context(), server, "config", "print")
	printed.Env = environment()
	out, err = printed.Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		key, _, _ := strings.Cut(line, ":")
		require.Contains(t, read(t, "docs/operations.md"), "`"+key+"`", "the setting is not documented")
	}

	d := startDemo(t, server, filepath.Join(dir, "data"))
	for _, path := range []string{"/readyz", "/docs", "/console/signin"} {
		res, err := http.Get(d.base + path) //nolint:noctx // the server is ours, and near
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, path)
	}
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Log("SKIP shell: not verified, there is no bash")
		return
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("SKIP shell: not verified, there is no curl")
		return
	}
	for _, b := range blocks(t, "sh", documents(t)[1:]...) {
		text := strings.ReplaceAll(b.text, runShown, server)
		text = strings.ReplaceAll(text, address, strings.TrimPrefix(d.base, "http://"))
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
		cmd.Dir = d.work
		cmd.Env = append(environment(), "REEVE_DATA="+d.data, "KEY="+d.ready.Keys["super_admin"], "APPROVER="+d.ready.Keys["gov_approver"],
			"FINANCE="+d.ready.Keys["finance_viewer"], "AGENT="+d.ready.Keys["cs_agent"], "SUPPORT="+d.ready.Keys["support"])
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", b, out)
	}
	d.stop(t)
}

// environment is ours without the settings of a server.
func environment() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "REEVE_") {
			out = append(out, kv)
		}
	}
	return out
}

type demo struct {
	cmd   *exec.Cmd
	base  string
	data  string
	work  string
	ended chan error
	ready struct {
		ConsoleURL string            `json:"console_url"`
		APIURL     string            `json:"api_url"`
		Keys       map[string]string `json:"keys"`
	}
}

func startDemo(t *testing.T, server, data string) *demo {
	t.Helper()
	d := &demo{data: data, work: t.TempDir(), ended: make(chan error, 1)}
	args := append(strings.Fields(strings.TrimPrefix(runDemo, runShown)), "--listen", "127.0.0.1:0", "--data", data, "--json")
	d.cmd = exec.CommandContext(t.Context(), server, args...)
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = 10 * time.Second
	d.cmd.Env = environment()
	d.cmd.Dir = d.work
	log, err := os.Create(filepath.Join(d.work, "log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = log.Close() })
	d.cmd.Stderr = log
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, d.cmd.Start())
	line := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(out)
		for first := true; s.Scan(); first = false {
			if first {
				line <- s.Text()
			}
		}
		close(line)
		d.ended <- d.cmd.Wait()
	}()
	said := func() string {
		b, _ := os.ReadFile(log.Name())
		return string(b)
	}
	select {
	case text, ok := <-line:
		require.True(t, ok, "the demo ended: %s", said())
		require.NoError(t, json.Unmarshal([]byte(text), &d.ready), "%s", text)
	case <-time.After(3 * time.Minute):
		t.Fatalf("the demo does not come up: %s", said())
	}
	d.base = strings.TrimSuffix(d.ready.APIURL, "/v1")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the demo said: %s", said())
		}
	})
	return d
}

// stop ends the demo as Ctrl-C does.
func (d *demo) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, d.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-d.ended:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the demo does not stop")
	}
}
