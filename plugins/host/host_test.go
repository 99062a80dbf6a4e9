//go:build linux

package host_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
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

	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/plugins/host"
	"github.com/reevehq/reeve/plugins/serve"
)

// The test binary is its own plugin, and, for the test that kills a host, its own host.
func TestMain(m *testing.M) {
	if serve.IfPlugin(map[string]connector.Connector{"naughty": &naughty{}, "plain": plain{}, "desk": desk{}}) {
		return
	}
	if dir := os.Getenv("REEVE_TEST_HOST_DIR"); dir != "" {
		beHost(dir)
		return
	}
	if err := os.Setenv("REEVE_HOST_ONLY", "db-password"); err != nil { // no plugin may see it
		panic(err)
	}
	os.Exit(m.Run())
}

// plain offers nothing.
type plain struct{}

func (plain) Describe() connector.Descriptor {
	return connector.Descriptor{ID: "plain", Version: "1.2.3", Kind: connector.CRM}
}
func (plain) Configure(context.Context, connector.Config) error { return nil }
func (plain) Check(context.Context) error                       { return nil }

// desk offers tickets and lists, none of which works.
type desk struct {
	plain
	connector.Tickets
	connector.Lists
}

// naughty does what the tenant id says.
type naughty struct{ secret string }

const secret = "hunter2/with&signs"

func (n *naughty) Describe() connector.Descriptor {
	return connector.Descriptor{ID: "naughty", Version: "0.0.1", Kind: connector.CRM, MaxBatch: 10, Config: []connector.Field{{Key: "token", Secret: true}, {Key: "crash"}}}
}

func (n *naughty) Configure(_ context.Context, cfg connector.Config) error {
	if n.secret = cfg["token"]; n.secret == "refused-token" {
		return &connector.Error{Code: connector.Auth, Message: "refused " + n.secret}
	}
	if cfg["crash"] != "" {
		os.Exit(9)
	}
	return nil
}

func (n *naughty) Check(context.Context) error {
	return fmt.Errorf("the vendor said: %s is wrong %s", n.secret, strings.Repeat("x", 2000))
}

func (n *naughty) Upsert(ctx context.Context, batch []connector.Account) []connector.Result {
	var out []connector.Result
	for _, a := range batch {
		r := connector.Result{TenantID: a.TenantID, Outcome: connector.Updated, RemoteID: strconv.Itoa(len(batch))}
		switch a.TenantID {
		case "exit":
			os.Exit(7)
		case "goroutine":
			go panic("in a goroutine with " + n.secret)
			select {}
		case "panic":
			panic("with " + n.secret)
		case "hang":
			select {}
		case "few":
			return nil
		case "other":
			r.TenantID = "somebody-else"
		case "silent":
			r.Outcome = ""
		case "print":
			fmt.Println("stdout has", n.secret)
			fmt.Fprintln(os.Stderr, "stderr has", n.secret, strings.Repeat("y", 100_000))
			slog.Info("log has", "token", n.secret)
			for i := range 1000 {
				fmt.Fprintln(os.Stderr, "flood", i)
			}
		case "env":
			b, _ := json.Marshal(append(os.Environ(), os.Args...))
			r.RemoteURL = string(b)
		case "child":
			cmd := exec.Command("/bin/sleep", "1000")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Start(); err != nil {
				return nil
			}
			r.RemoteID = strconv.Itoa(cmd.Process.Pid)
		}
		out = append(out, r)
	}
	return out
}

func account(tenant string) connector.Account {
	return connector.Account{Meta: connector.Meta{TenantID: tenant, SourceVersion: 1, IdempotencyID: tenant}, Name: tenant}
}

// logs is a buffer that many write to.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type env struct {
	*host.Host
	logs *logs
}

func setup(t *testing.T, opts host.Options, cfg connector.Config) (*env, connector.Connector) {
	t.Helper()
	e := &env{logs: &logs{}}
	opts.Logger = slog.New(slog.NewTextHandler(e.logs, nil))
	if opts.BackoffMin == 0 {
		opts.BackoffMin = time.Millisecond
	}
	var err error
	e.Host, err = host.New(t.TempDir(), &opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		pids := e.pids()
		e.Close()
		for _, pid := range pids {
			requireGone(t, pid)
		}
	})
	if cfg == nil {
		cfg = connector.Config{"token": secret}
	}
	require.NoError(t, e.Add(host.Spec{Name: "n", Self: true, Serve: "naughty", Settings: func(context.Context) (connector.Config, error) { return cfg, nil }}))
	c, err := e.Connector(t.Context(), "n")
	require.NoError(t, err)
	return e, c
}

func (e *env) pids() (out []int) {
	for _, s := range e.Status() {
		if s.PID != 0 {
			out = append(out, s.PID)
		}
	}
	return out
}

func (e *env) one() host.Status { return e.Status()[0] }

func (e *env) await(t *testing.T, what string, ok func(host.Status) bool) host.Status {
	t.Helper()
	var s host.Status
	require.Eventually(t, func() bool { s = e.one(); return ok(s) }, 30*time.Second, time.Millisecond, "%s; it is %+v\n%s", what, &s, e.logs)
	return s
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.Eventually(t, func() bool { return !alive(pid) }, 10*time.Second, time.Millisecond, "process %d is still there", pid)
}

func upsert(ctx context.Context, c connector.Connector, tenants ...string) []connector.Result {
	var batch []connector.Account
	for _, tenant := range tenants {
		batch = append(batch, account(tenant))
	}
	return c.(connector.Upserter).Upsert(ctx, batch)
}

func TestHost_capabilities(t *testing.T) {
	t.Parallel()
	e, c := setup(t, host.Options{}, nil)
	require.NoError(t, e.Add(host.Spec{Name: "p", Self: true, Serve: "plain"}))
	require.NoError(t, e.Add(host.Spec{Name: "d", Self: true, Serve: "desk"}))
	require.Equal(t, []connector.Capability{connector.CanUpsert}, connector.Capabilities(c))
	p, err := e.Connector(t.Context(), "p")
	require.NoError(t, err)
	require.Empty(t, connector.Capabilities(p))
	require.NoError(t, p.Check(t.Context()))
	d, err := e.Connector(t.Context(), "d")
	require.NoError(t, err)
	require.Equal(t, []connector.Capability{connector.CanLists, connector.CanTickets}, connector.Capabilities(d))
	_, err = d.(connector.Lists).InList(t.Context(), "l", "t")
	require.Equal(t, connector.Other, connector.CodeOf(err), "a nil pointer in the plugin is an error here")

	st := e.Status()
	require.Equal(t, []string{"d", "n", "p"}, []string{st[0].Name, st[1].Name, st[2].Name})
	require.Equal(t, host.Ready, st[2].State)
	require.Equal(t, "1.2.3", st[2].Descriptor.Version)
	require.Positive(t, st[2].RSS)
	require.Len(t, st[2].SHA256, 64)
	_, err = e.Connector(t.Context(), "nobody")
	require.Equal(t, connector.NotFound, connector.CodeOf(err))
	pid := st[2].PID
	require.NoError(t, e.Remove("p"))
	requireGone(t, pid)
	require.Equal(t, connector.Unavailable, connector.CodeOf(p.Check(t.Context())))
}

func TestHost_calls(t *testing.T) {
	t.Parallel()
	e, c := setup(t, host.Options{CallTimeout: 500 * time.Millisecond}, nil)

	t.Run("batches are split, bad records and odd answers stay alone", func(t *testing.T) {
		tenants := make([]string, 25)
		for i := range tenants {
			tenants[i] = fmt.Sprint("t", i)
		}
		tenants[12] = ""
		out := upsert(t.Context(), c, tenants...)
		require.Len(t, out, 25)
		for i, r := range out {
			require.Equal(t, tenants[i], r.TenantID)
			if i == 12 {
				require.Equal(t, connector.Invalid, r.Err.Code)
			} else {
				require.Equal(t, connector.Updated, r.Outcome)
			}
		}
		require.Equal(t, "10", out[0].RemoteID)
		require.Equal(t, "2", out[10].RemoteID)
		for _, odd := range []string{"few", "other", "silent", "panic"} {
			require.Equal(t, connector.Unknown, upsert(t.Context(), c, odd)[0].Outcome, odd)
		}
	})

	t.Run("large batches go in messages that gRPC takes", func(t *testing.T) {
		var batch []connector.Account
		for i := range 9 {
			a := account(fmt.Sprint("big", i))
			a.Attributes = map[string]string{"blob": strings.Repeat("z", 700<<10)}
			batch = append(batch, a)
		}
		for _, r := range c.(connector.Upserter).Upsert(t.Context(), batch) {
			require.Equal(t, connector.Updated, r.Outcome)
			require.Equal(t, "1", r.RemoteID)
		}
		batch[4].Attributes["blob"] = strings.Repeat("z", 5<<20)
		out := c.(connector.Upserter).Upsert(t.Context(), batch[:5])
		require.Equal(t, connector.Updated, out[3].Outcome)
		require.Equal(t, connector.Invalid, out[4].Err.Code, "no retry makes it smaller")
	})

	t.Run("every call has a deadline", func(t *testing.T) {
		began := time.Now()
		out := upsert(t.Context(), c, "hang")
		require.Equal(t, connector.Unknown, out[0].Outcome)
		require.Less(t, time.Since(began), 5*time.Second)
	})

	t.Run("errors are scrubbed and cut", func(t *testing.T) {
		err := c.Check(t.Context())
		require.NotContains(t, err.Error(), "hunter2")
		require.Contains(t, err.Error(), "[secret] is wrong")
		require.Less(t, len(err.Error()), 600)
	})

	t.Run("secrets come by Configure alone", func(t *testing.T) {
		seen := upsert(t.Context(), c, "env")[0].RemoteURL
		require.NotEmpty(t, seen)
		require.NotContains(t, seen, "hunter2")
		require.NotContains(t, seen, "HOME=")
		require.NotContains(t, seen, "db-password")
		require.Contains(t, seen, "GOMEMLIMIT=")
	})

	t.Run("output is logged, scrubbed, cut and limited", func(t *testing.T) {
		upsert(t.Context(), c, "print")
		for _, want := range []string{"stdout has [secret]", "stderr has [secret]", "log has"} {
			require.Eventually(t, func() bool { return strings.Contains(e.logs.String(), want) }, 10*time.Second, time.Millisecond, want)
		}
		require.NotContains(t, e.logs.String(), "hunter2")
		require.NotContains(t, e.logs.String(), strings.Repeat("y", 5000))
		require.NotContains(t, e.logs.String(), "flood 999")
	})
	require.Zero(t, e.one().Restarts)
}

func TestHost_crash(t *testing.T) {
	t.Parallel()
	alerts := make(chan host.Status, 10)
	clock := struct {
		sync.Mutex
		at time.Time
	}{at: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	e, c := setup(t, host.Options{OnQuarantine: func(s host.Status) { alerts <- s; panic("in the hook") }, Now: func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return clock.at
	}}, nil)
	crash := func(how string) {
		t.Helper()
		pid := e.one().PID
		require.Equal(t, connector.Unknown, upsert(t.Context(), c, how)[0].Outcome, "nobody knows what a dead process had done")
		requireGone(t, pid)
	}
	up := func(s host.Status) bool { return s.State == host.Ready && s.PID != 0 && alive(s.PID) }

	crash("exit")
	e.await(t, "restart", func(s host.Status) bool { return up(s) && s.Restarts == 1 })
	require.Equal(t, connector.Updated, upsert(t.Context(), c, "fine")[0].Outcome, "the connector survives the restart")
	require.Contains(t, e.one().LastError, "exit status 7")
	crash("goroutine")
	e.await(t, "restart", func(s host.Status) bool { return up(s) && s.Restarts == 2 })
	require.Eventually(t, func() bool { return strings.Contains(e.logs.String(), "in a goroutine with [secret]") }, 10*time.Second, time.Millisecond, "last words are logged")

	clock.Lock()
	clock.at = clock.at.Add(time.Hour + time.Second)
	clock.Unlock()
	crash("exit")
	e.await(t, "restart: crashes of an hour ago do not count", func(s host.Status) bool { return up(s) && s.Restarts == 3 })
	crash("exit")
	e.await(t, "restart", func(s host.Status) bool { return up(s) && s.Restarts == 4 })
	crash("exit")
	e.await(t, "quarantine", func(s host.Status) bool { return s.State == host.Quarantined && s.PID == 0 })
	require.Equal(t, "n", (<-alerts).Name)
	r := upsert(t.Context(), c, "fine")[0]
	require.Equal(t, connector.Failed, r.Outcome, "it was never sent")
	require.Equal(t, connector.Unavailable, r.Err.Code)
	_, err := e.Connector(t.Context(), "n")
	require.Equal(t, connector.Unavailable, connector.CodeOf(err))

	require.NoError(t, e.Reset("n"))
	e.await(t, "reset", up)
	require.Equal(t, connector.Updated, upsert(t.Context(), c, "fine")[0].Outcome)
	require.Empty(t, alerts, "one alert for one quarantine")
}

// freeze stops every thread of a process, and returns when they have stopped.
func freeze(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, f := range threads {
			if b, err := os.ReadFile(f); err != nil || !strings.Contains(string(b), ") T ") {
				return false
			}
		}
		return len(threads) > 0
	}, 10*time.Second, time.Millisecond)
}

func TestHost_hungPlugin(t *testing.T) {
	t.Parallel()
	e, c := setup(t, host.Options{ProbeEvery: 20 * time.Millisecond, ProbeTimeout: 200 * time.Millisecond, CallTimeout: 300 * time.Millisecond}, nil)
	pid := e.one().PID
	freeze(t, pid)
	began := time.Now()
	require.Equal(t, connector.Unknown, upsert(t.Context(), c, "fine")[0].Outcome)
	require.Less(t, time.Since(began), 3*time.Second)
	e.await(t, "restart", func(s host.Status) bool { return s.State == host.Ready && s.PID != pid && s.PID != 0 })
	requireGone(t, pid)
	require.Contains(t, e.one().LastError, "health probe")

	pid = e.one().PID // and a stop must not hang on it either
	freeze(t, pid)
	began = time.Now()
	e.Close()
	require.Less(t, time.Since(began), 8*time.Second)
	requireGone(t, pid)
}

func TestHost_leavesNobody(t *testing.T) {
	t.Parallel()
	e, c := setup(t, host.Options{}, nil)
	child, err := strconv.Atoi(upsert(t.Context(), c, "child")[0].RemoteID)
	require.NoError(t, err)
	require.True(t, alive(child))
	pid := e.one().PID
	e.Close()
	requireGone(t, pid)
	requireGone(t, child)
	require.Error(t, e.Add(host.Spec{Name: "x", Self: true, Serve: "plain"}))
	require.Equal(t, host.Stopped, e.one().State)
	e.Close() // again is fine
}

func TestHost_settings(t *testing.T) {
	t.Parallel()

	t.Run("refused settings are no crash", func(t *testing.T) {
		t.Parallel()
		e, c := setup(t, host.Options{}, connector.Config{"token": "refused-token"})
		s := e.one()
		require.Equal(t, host.Misconfigured, s.State)
		require.NotContains(t, s.LastError, "refused-token")
		require.Equal(t, connector.Unavailable, connector.CodeOf(c.Check(t.Context())))
		require.NoError(t, c.Configure(t.Context(), connector.Config{"token": "another-one"}))
		require.Equal(t, host.Ready, e.one().State)
		require.Zero(t, e.one().Restarts)
	})

	t.Run("a plugin that dies on its settings ends in quarantine", func(t *testing.T) {
		t.Parallel()
		e := &env{logs: &logs{}}
		h, err := host.New(t.TempDir(), &host.Options{BackoffMin: time.Millisecond})
		require.NoError(t, err)
		e.Host = h
		t.Cleanup(h.Close)
		require.NoError(t, h.Add(host.Spec{Name: "n", Self: true, Serve: "naughty", Settings: func(context.Context) (connector.Config, error) { return connector.Config{"crash": "yes"}, nil }}))
		e.await(t, "quarantine", func(s host.Status) bool { return s.State == host.Quarantined })
		require.Equal(t, 2, e.one().Restarts)
	})

	t.Run("settings that could not be had are asked for again", func(t *testing.T) {
		t.Parallel()
		h, err := host.New(t.TempDir(), &host.Options{ProbeEvery: 5 * time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(h.Close)
		asked := 0 // by one goroutine at a time
		require.NoError(t, h.Add(host.Spec{Name: "n", Self: true, Serve: "naughty", Settings: func(context.Context) (connector.Config, error) {
			if asked++; asked < 3 {
				return nil, fmt.Errorf("the vault is sealed")
			}
			return connector.Config{"token": secret}, nil
		}}))
		e := &env{Host: h, logs: &logs{}}
		e.await(t, "settings", func(s host.Status) bool { return s.State == host.Ready })
	})
}

func TestHost_program(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	sum := sha256.Sum256(program)
	want := hex.EncodeToString(sum[:])
	path := filepath.Join(t.TempDir(), "plugin")
	require.NoError(t, os.WriteFile(path, program, 0o700))
	dir := filepath.Join(t.TempDir(), "copies")
	h, err := host.New(dir, &host.Options{BackoffMin: time.Millisecond, MaxCrashes: 100})
	require.NoError(t, err)
	t.Cleanup(h.Close)
	e := &env{Host: h, logs: &logs{}}

	for _, bad := range []host.Spec{
		{Name: "x", Path: path},
		{Name: "x", Path: path, SHA256: "abc"},
		{Name: "x", SHA256: want},
		{Name: "../x", Path: path, SHA256: want},
		{Name: "x", Self: true},
		{Name: "x", Self: true, Serve: "plain", Path: path},
	} {
		require.Error(t, h.Add(bad), "%+v", bad)
	}

	require.NoError(t, h.Add(host.Spec{Name: "p", Path: path, SHA256: want, Serve: "plain"}))
	_, err = h.Connector(t.Context(), "p")
	require.NoError(t, err)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", e.one().PID))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, want), exe, "the copy runs, not the file")

	// The file is swapped and the plugin restarted: the copy that was checked still runs.
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, append(program, "swapped"...), 0o700))
	pid := e.one().PID
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	s := e.await(t, "restart", func(s host.Status) bool { return s.State == host.Ready && s.PID != 0 && s.PID != pid })
	require.Equal(t, want, s.SHA256)
	require.NoError(t, h.Remove("p"))

	// The copy is spoiled too: now nothing may run, and waiting does not help.
	copied := filepath.Join(dir, want)
	require.NoError(t, os.Chmod(copied, 0o700))
	require.NoError(t, os.WriteFile(copied, append(program, "spoiled"...), 0o700))
	require.NoError(t, h.Add(host.Spec{Name: "p", Path: path, SHA256: want, Serve: "plain"}))
	s = e.await(t, "quarantine", func(s host.Status) bool { return s.State == host.Quarantined })
	require.Contains(t, s.LastError, "SHA-256")
	require.Zero(t, s.Restarts)
	_, err = h.Connector(t.Context(), "p")
	require.Equal(t, connector.Unavailable, connector.CodeOf(err))
}

// Hosts that close while a plugin starts, at any point of it, leave nothing either.
func TestHost_closedWhileStarting(t *testing.T) {
	t.Parallel()
	for i := range 12 {
		h, err := host.New(t.TempDir(), nil)
		require.NoError(t, err)
		name := fmt.Sprintf("starting-%d-%d", os.Getpid(), i)
		require.NoError(t, h.Add(host.Spec{Name: name, Self: true, Serve: "naughty"}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*8*time.Millisecond)
		_, _ = h.Connector(ctx, name)
		cancel()
		h.Close()
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		require.NoError(t, err)
		for _, f := range files {
			b, _ := os.ReadFile(f)
			require.False(t, strings.HasPrefix(string(b), name), "%s is still there", f)
		}
	}
}

// beHost runs a plugin until it is killed.
func beHost(dir string) {
	h, err := host.New(dir, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := h.Add(host.Spec{Name: "n", Self: true, Serve: "naughty", Settings: func(context.Context) (connector.Config, error) {
		return connector.Config{}, nil
	}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if _, err := h.Connector(context.Background(), "n"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(h.Status()[0].PID)
	_, _ = os.Stdin.Read(make([]byte, 1)) // or until the test is gone
}

func TestHost_killed(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "REEVE_TEST_HOST_DIR="+t.TempDir())
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	first, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	require.NoError(t, err, first)
	require.True(t, alive(pid))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	requireGone(t, pid)
}
