package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is the built server.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "reeve-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-o", program, "./examples/server")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// ready is the line that a script reads.
type ready struct {
	ConsoleURL  string            `json:"console_url"`
	APIURL      string            `json:"api_url"`
	SignInURL   string            `json:"sign_in_url"`
	CustomerURL string            `json:"customer_url"`
	Keys        map[string]string `json:"keys"`
}

// server is a running demo.
type server struct {
	ready
	data   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
	log    *logbook
}

// logbook keeps what a process says on stderr.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all of it.
func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs the demo on a free port and waits for its line. Settings are NAME=value.
func start(t *testing.T, data string, settings ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIP server: not verified, -short is set")
	}
	s := &server{data: data, exited: make(chan struct{}), log: &logbook{}}
	s.cmd = exec.Command(program, "demo", "--json", "--listen", "127.0.0.1:0", "--data", data)
	s.cmd.Env = append(append(environ(), "HOME="+data), settings...)
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", tail(s.log.String(), 6000))
		}
		_ = s.cmd.Process.Kill() // nothing where it was stopped
		<-s.exited
	})
	lines := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		lines <- line
		_, _ = io.Copy(io.Discard, r)
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	select {
	case line := <-lines:
		require.NoError(t, json.Unmarshal([]byte(line), &s.ready), "first line on stdout: %q\n%s", line, s.log)
	case <-time.After(2 * time.Minute):
		t.Fatalf("the demo was not ready in two minutes:\n%s", s.log)
	}
	return s
}

// environ is ours without settings of the server.
func environ() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REEVE_") && !strings.HasPrefix(v, "HOME=") {
			out = append(out, v)
		}
	}
	return out
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// stop ends the server as an operator does, and expects that it leaves nothing.
func (s *server) stop(t *testing.T) {
	t.Helper()
	plugins := children(t, s.cmd.Process.Pid)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		t.Fatalf("still there 30 s after SIGTERM:\n%s", tail(s.log.String(), 6000))
	}
	require.NoError(t, s.err, "exit after SIGTERM:\n%s", tail(s.log.String(), 6000))
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
	for pid, began := range plugins {
		require.Eventually(t, func() bool { return startOf(pid) != began }, 5*time.Second, 20*time.Millisecond, "plugin process %d outlives the server", pid)
	}
}

// children maps the child processes of a process to when they began.
func children(t *testing.T, parent int) map[int]string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	out := map[int]string{}
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(d)))
		if f := stat(pid); len(f) > 19 && f[1] == strconv.Itoa(parent) {
			out[pid] = f[19]
		}
	}
	return out
}

// stat is the fields of a process from its state on: 1 is the parent, 19 the start.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return nil
	}
	return strings.Fields(string(b[i+1:]))
}

func startOf(pid int) string {
	if f := stat(pid); len(f) > 19 && f[0] != "Z" {
		return f[19]
	}
	return ""
}

// verb runs another verb of the program on the folder and says its exit code.
func verb(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = environ()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// answer is what the server said.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
	what   string
}

// call sends a request with a key of the demo; body is JSON of anything.
func (s *server) call(t *testing.T, key, method, path string, body any) answer {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.APIURL+path, r)
	require.NoError(t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return s.send(t, key, req)
}

func (s *server) send(t *testing.T, key string, req *http.Request) answer {
	t.Helper()
	if key != "" {
		require.NotEmpty(t, s.Keys[key], "key %s", key)
		req.Header.Set("Authorization", "Bearer "+s.Keys[key])
	}
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{Status: resp.StatusCode, Header: resp.Header, Body: b, what: req.Method + " " + req.URL.Path + " as " + key}
}

// want is the answer, if it has that status.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	require.Equal(t, status, a.Status, "%s: %s", a.what, tail(string(a.Body), 1500))
	return a
}

// as reads the answer's JSON.
func as[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal(a.Body, &v), "%s: %s", a.what, a.Body)
	return v
}

// get reads one thing with status 200.
func get[T any](t *testing.T, s *server, key, path string) T {
	t.Helper()
	return as[T](t, s.call(t, key, http.MethodGet, path, nil).want(t, http.StatusOK))
}

// list is a page of a list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// soon polls until the condition holds: deliveries, the ledger and playbooks go on
// by themselves.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

type (
	money struct {
		Amount   string `json:"amount"`
		Currency string `json:"currency"`
	}
	tenant struct {
		ID, Name, Plan, Status, Country string
		Seats                           int64
		Version                         int64
	}
	// held is a 202.
	held struct {
		Approval, State, Digest string
		Why                     []string
	}
	// done is a 200 of a guarded operation.
	done struct {
		State  string
		Result json.RawMessage
		Action string
	}
	approval struct {
		ID, Action, State, Digest, Error string
		Requester                        struct{ Person string }
		Votes                            []struct{ Person, Decision string }
		Decision                         json.RawMessage
		Result                           json.RawMessage
	}
	record struct {
		ID   string
		N    int64
		Body struct {
			Action, Outcome, Reason, Resource string
			ActionID                          string `json:"action_id"`
			Actor                             struct{ ID, Person string }
			Subject                           *struct{ ID string }
			Data                              map[string]any
		}
	}
)

// minor reads an amount with two decimals.
func (m money) minor(t *testing.T) int64 {
	t.Helper()
	whole, frac, ok := strings.Cut(m.Amount, ".")
	require.True(t, ok && len(frac) == 2, "amount %q", m.Amount)
	n, err := strconv.ParseInt(whole+frac, 10, 64)
	require.NoError(t, err)
	return n
}

// hold sends what has to be held and gives the approval.
func (s *server) hold(t *testing.T, key, path string, body any) held {
	t.Helper()
	a := s.call(t, key, http.MethodPost, path, body).want(t, http.StatusAccepted)
	h := as[held](t, a)
	require.Equal(t, "/v1/approvals/"+h.Approval, a.Header.Get("Location"))
	require.Equal(t, "pending", h.State)
	require.NotEmpty(t, h.Why)
	got := get[approval](t, s, key, "/approvals/"+h.Approval)
	require.Equal(t, "pending", got.State)
	require.Equal(t, h.Digest, got.Digest)
	return h
}

// vote decides with the digest that the approval shows.
func (s *server) vote(t *testing.T, key, id, decision string) approval {
	t.Helper()
	ap := get[approval](t, s, key, "/approvals/"+id)
	return as[approval](t, s.call(t, key, http.MethodPost, "/approvals/"+id+"/votes", map[string]string{"decision": decision, "digest": ap.Digest, "comment": "Looked at"}).want(t, http.StatusOK))
}

// tenantState is what GET /v1/tenants/{id} answers.
type tenantState struct {
	Tenant    tenant
	Suspended bool
}

func (s *server) tenant(t *testing.T, id string) tenantState {
	t.Helper()
	return get[tenantState](t, s, "cs_agent", "/tenants/"+id)
}

// tenants lists the active ones, all pages.
func (s *server) tenants(t *testing.T) []tenant {
	t.Helper()
	var out []tenant
	for cursor := ""; ; {
		page := get[list[tenant]](t, s, "cs_agent", "/tenants?status=active&limit=100&cursor="+cursor)
		out = append(out, page.Items...)
		if cursor = page.Next; cursor == "" {
			return out
		}
	}
}
