package nth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight"
)

const (
	placeEnv    = "REEVE_NTH_PLACE"
	scenarioEnv = "REEVE_NTH_SCENARIO"
	nameEnv     = "REEVE_NTH_NAME"
	countEnv    = "REEVE_NTH_COUNT"
)

// scenario is work that a process may die in at any statement. run must be safe to
// repeat with the same name, as a client repeats a request with its key; ended is
// what must be so once it has run to its end, and before is what must be so at any
// time.
type scenario struct {
	name   string
	run    func(ctx context.Context, w *world, name string) error
	before func(ctx context.Context, w *world, name string) error
	ended  func(ctx context.Context, w *world, name string) error
}

func key(name string) *governance.DoOptions {
	return &governance.DoOptions{Key: name, Reason: "because", Ticket: "T-1"}
}

func want(what string, got, want any) error {
	if got != want {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

// once wants n effects in our database and the action in a state.
func once(action, state string, n int) func(ctx context.Context, w *world, name string) error {
	return func(ctx context.Context, w *world, name string) error {
		got, err := w.state(ctx, action, name)
		effects, err2 := w.effects(ctx, name)
		return errors.Join(err, err2, want("state", got, state), want("effects", effects, n))
	}
}

// atMost wants no second effect, whatever has happened so far.
func atMost(ctx context.Context, w *world, name string) error {
	n, err := w.effects(ctx, name)
	calls, err2 := w.calls(name)
	if n+calls > 1 {
		return fmt.Errorf("%d effects", n+calls)
	}
	return errors.Join(err, err2)
}

// decide lets bob approve what waits of a name, unless that is done.
func decide(ctx context.Context, w *world, action, name string) error {
	as1, err := w.k.Actions(ctx, governance.ActionFilter{Names: []string{action}, States: []governance.State{governance.StatePending}, Limit: 200})
	if err != nil {
		return err
	}
	for _, a := range as1 {
		if a.Resource == "thing/"+name {
			if _, err := w.k.Decide(ctx, as("bob"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest, Comment: "seen"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// held is an expected hold.
func held(err error) error {
	var wait *governance.ApprovalRequiredError
	if errors.As(err, &wait) {
		return nil
	}
	return err
}

var scenarios = []scenario{
	{name: "allowed", before: atMost, ended: once("thing.credit", "executed", 1), run: func(ctx context.Context, w *world, name string) error {
		_, err := w.credit.Do(ctx, w.k, as("ann"), input{name, 60}, key(name))
		return err
	}},
	{name: "refused", before: atMost, ended: once("thing.closed", "denied", 0), run: func(ctx context.Context, w *world, name string) error {
		_, err := w.closed.Do(ctx, w.k, as("ann"), input{name, 60}, key(name))
		var denied *governance.DeniedError
		if errors.As(err, &denied) {
			return nil
		}
		return err
	}},
	{name: "approved", before: atMost, ended: once("thing.credit", "executed", 1), run: func(ctx context.Context, w *world, name string) error {
		_, err := w.credit.Do(ctx, w.k, as("ann"), input{name, 6000}, key(name))
		if err := held(err); err != nil {
			return err
		}
		return decide(ctx, w, "thing.credit", name)
	}},
	{name: "signed", before: atMost, ended: once("thing.signed", "executed", 1), run: sign},
	{name: "withdrawn", before: atMost, ended: once("thing.credit", "cancelled", 0), run: func(ctx context.Context, w *world, name string) error {
		out, err := w.credit.Do(ctx, w.k, as("ann"), input{name, 6000}, key(name))
		var wait *governance.ApprovalRequiredError
		if !errors.As(err, &wait) {
			return err
		}
		a, err := w.k.Approval(ctx, out.Action)
		if err != nil || a.State == governance.StateCancelled {
			return err
		}
		return w.k.Cancel(ctx, as("ann"), out.Action, "not needed")
	}},
	{name: "remote", before: atMost, run: func(ctx context.Context, w *world, name string) error {
		_, err := w.refund.Do(ctx, w.k, as("ann"), input{name, 60}, key(name))
		if errors.Is(err, governance.ErrConflict) { // it is on its way
			return nil
		}
		return err
	}, ended: remoteOnce},
	{name: "remote approved", before: atMost, run: func(ctx context.Context, w *world, name string) error {
		_, err := w.refund.Do(ctx, w.k, as("ann"), input{name, 6000}, key(name))
		if err := held(err); err != nil {
			return err
		}
		return decide(ctx, w, "thing.refund", name)
	}, ended: remoteOnce},
	{name: "sealed", before: atMost, ended: once("thing.credit", "executed", 1), run: func(ctx context.Context, w *world, name string) error {
		if _, err := w.credit.Do(ctx, w.k, as("ann"), input{name, 60}, key(name)); err != nil {
			return err
		}
		if _, err := w.k.Ledger().Seal(ctx); err != nil {
			return err
		}
		_, err := w.k.Outbox().Turn(ctx)
		return err
	}},
	{name: "impersonation", before: atMost, ended: ended, run: visit},
}

func remoteOnce(ctx context.Context, w *world, name string) error {
	got, err := w.state(ctx, "thing.refund", name)
	n, err2 := w.calls(name)
	return errors.Join(err, err2, want("state", got, "executed"), want("calls", n, 1))
}

// visit starts, opens and ends a session.
func visit(ctx context.Context, w *world, name string) error {
	out, err := w.visits.Start(ctx, as("ann"), oversight.Request{Tenant: "acme", User: "u1", For: 10 * time.Minute, Reason: name, Ticket: "T-1", Key: name})
	if err != nil {
		return err
	}
	s, err := w.visits.Session(ctx, out.Action)
	if err != nil {
		return err
	}
	if s.State == oversight.StateReady {
		if s, _, err = w.visits.Open(ctx, as("ann"), s.ID); err != nil {
			return err
		}
	}
	if s.State == oversight.StateEnded {
		return nil
	}
	return w.visits.End(ctx, as("ann"), s.ID, "done")
}

func ended(ctx context.Context, w *world, name string) error {
	all, err := w.visits.Sessions(ctx, oversight.Filter{Limit: 200})
	n := 0
	for _, s := range all {
		if s.Reason == name {
			n++
			err = errors.Join(err, want("session", s.State, oversight.StateEnded))
		}
	}
	return errors.Join(err, want("sessions", n, 1))
}

// TestNth kills a process before its first statement, its second and so on, until one
// comes to its end.
func TestNth(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		every(t, place{DSN: filepath.Join(t.TempDir(), "reeve.db")})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		every(t, place{DSN: govtest.PostgresDSN(t), Schema: govtest.Schema(t)})
	})
}

func every(t *testing.T, p place) {
	var err error
	p.Folder = t.TempDir()
	p.Key, _, err = ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	w, err := open(t.Context(), p, 0, nil)
	require.NoError(t, err)
	require.NoError(t, w.prepare(t.Context()))
	require.NoError(t, w.db.Close())
	total := 0
	step := 1
	if testing.Short() {
		step = 5
	}
	for _, s := range scenarios {
		n := 1
		for ; ; n += step {
			name := fmt.Sprintf("%s %d", s.name, n)
			died := child(t, p, s.name, name, n)
			after(t, p, s, name)
			if t.Failed() || !died {
				break
			}
		}
		require.False(t, t.Failed(), "%s, killed before statement %d", s.name, n)
		require.Greater(t, n, 3, "%s: hardly a statement was counted", s.name)
		t.Logf("%s: killed in each of %d places", s.name, (n-1)/step)
		total += (n - 1) / step
	}
	t.Logf("%d kills", total)
}

// child runs a scenario in a process of its own that dies before its nth statement;
// died is false when it came to its end first.
func child(t *testing.T, p place, scenario, name string, n int) (died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), placeEnv+"="+p.String(), scenarioEnv+"="+scenario, nameEnv+"="+name, countEnv+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%s: %s\n%s", name, err, out)
	return true
}

// TestMain makes the test's program the process that dies, when TestNth started it.
func TestMain(m *testing.M) {
	if os.Getenv(placeEnv) == "" {
		os.Exit(m.Run())
	}
	run := work
	if os.Getenv(scenarioEnv) == histories {
		run = client
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func work(ctx context.Context) error {
	var p place
	if err := json.Unmarshal([]byte(os.Getenv(placeEnv)), &p); err != nil {
		return err
	}
	n, err := strconv.ParseInt(os.Getenv(countEnv), 10, 64)
	if err != nil {
		return err
	}
	b := &bomb{}
	b.left.Store(n)
	w, err := open(ctx, p, 0, b.wrap)
	if err != nil {
		return err
	}
	for _, s := range scenarios {
		if s.name == os.Getenv(scenarioEnv) {
			b.armed.Store(true)
			return s.run(ctx, w, os.Getenv(nameEnv))
		}
	}
	return errors.New("there is no such scenario")
}

// after is the next server and the client that repeats its request.
func after(t *testing.T, p place, s scenario, name string) {
	t.Helper()
	ctx := t.Context()
	w, err := open(ctx, p, 10*time.Second, nil) // what waits for a second try is due
	require.NoError(t, err)
	defer func() { _ = w.db.Close() }()
	sound := func(when string) {
		t.Helper()
		problems, err := governance.Check(ctx, w.db)
		require.NoError(t, err)
		require.Empty(t, problems, "%s, %s", name, when)
		require.NoError(t, s.before(ctx, w, name), "%s, %s", name, when)
	}
	sound("right after the kill")
	// The dead process's leases have run out, and what it had begun is due.
	_, err = w.db.Handle().ExecContext(ctx, "UPDATE gov_lease SET until = 0")
	require.NoError(t, err)
	_, err = w.db.Handle().ExecContext(ctx, "UPDATE gov_action SET lease_until = 1 WHERE lease_until > 0 AND state IN ('executing', 'unknown')")
	require.NoError(t, err)
	require.NoError(t, s.run(ctx, w, name), "%s, repeated", name)
	require.NoError(t, w.settle(ctx), name)
	sound("at rest")
	require.NoError(t, s.ended(ctx, w, name), name)
	rep, err := w.k.Ledger().Verify(ctx)
	require.NoError(t, err)
	require.Empty(t, rep.Problems, name)
	require.Zero(t, rep.Unsealed, name)
}
