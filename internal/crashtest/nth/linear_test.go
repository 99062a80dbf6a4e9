package nth

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

// histories is the scenario of a client whose history is kept.
const histories = "histories"

// The operations on an approval that needs bob and cleo.
const (
	opApprove = "approve"
	opDeny    = "deny"
	opLate    = "late" // a vote after its time: the approval expires by it
	opExecute = "execute"
	opCancel  = "cancel"
	opRead    = "read"
)

// What an operation answers beside a state.
const (
	outConflict = "conflict"
	outRefused  = "refused"
	outRetry    = "retry" // it lost a race and did nothing
	outDone     = "done"  // a vote that counts
	outUnknown  = "?"     // nobody lived to hear
)

// op is one operation of a history. It is written before and again after; what has no
// answer was killed.
type op struct {
	ID       uuid.UUID           `json:"id"`
	Approval uuid.UUID           `json:"approval"`
	Kind     string              `json:"kind"`
	Person   governance.PersonID `json:"person"`
	Call     int64               `json:"call"`
	Return   int64               `json:"return,omitempty"`
	Out      string              `json:"out,omitempty"`
}

// model is the state of one approval.
type model struct {
	State     governance.State
	Bob, Cleo bool
}

func (m model) voted(p governance.PersonID) bool { return p == "bob" && m.Bob || p == "cleo" && m.Cleo }

// step is the sequential specification: what an operation answers in a state, and the
// state after it.
func (m model) step(o op) (out string, next model) {
	next = m
	vote := o.Kind == opApprove || o.Kind == opDeny || o.Kind == opLate
	switch {
	case o.Kind == opRead:
		return string(m.State), m
	case vote && m.State != governance.StatePending:
		return outConflict, m
	case vote && m.voted(o.Person):
		return outRefused, m
	case o.Kind == opApprove:
		next.Bob, next.Cleo = m.Bob || o.Person == "bob", m.Cleo || o.Person == "cleo"
		if next.Bob && next.Cleo {
			next.State = governance.StateApproved
		}
	case o.Kind == opDeny:
		next.State = governance.StateDenied
	case o.Kind == opLate:
		next.State = governance.StateExpired
	case o.Kind == opExecute && m.State == governance.StateApproved:
		next.State = governance.StateExecuted
	case o.Kind == opCancel && (m.State == governance.StatePending || m.State == governance.StateApproved):
		next.State = governance.StateCancelled
	default:
		return outConflict, m
	}
	return string(next.State), next
}

var approvals = porcupine.Model{
	Init: func() any { return model{State: governance.StatePending} },
	Step: func(state, in, out any) (bool, any) {
		m := state.(model)
		want, next := m.step(in.(op))
		switch got := out.(string); got {
		case outUnknown:
			return true, next
		case outRetry:
			return true, m
		case outDone:
			return want != outConflict && want != outRefused, next
		default:
			return got == want, next
		}
	},
	DescribeOperation: func(in, out any) string {
		o := in.(op)
		return fmt.Sprintf("%s by %s: %s", o.Kind, o.Person, out)
	},
}

// client is a process that works on the approvals of its environment until it is
// killed or has done enough, and writes its history.
func client(ctx context.Context) error {
	var p place
	if err := json.Unmarshal([]byte(os.Getenv(placeEnv)), &p); err != nil {
		return err
	}
	n, err := strconv.ParseInt(os.Getenv(countEnv), 10, 64)
	if err != nil {
		return err
	}
	var ids []uuid.UUID
	if err := json.Unmarshal([]byte(os.Getenv(nameEnv)), &ids); err != nil {
		return err
	}
	b := &bomb{}
	b.left.Store(n)
	w, err := open(ctx, p, 0, b.wrap)
	if err != nil {
		return err
	}
	late, err := open(ctx, p, 25*time.Hour, b.wrap)
	if err != nil {
		return err
	}
	b.armed.Store(true)
	rng := rand.New(rand.NewPCG(uint64(n), uint64(time.Now().UnixNano())))
	write := json.NewEncoder(os.Stdout)
	for range 60 {
		o := op{ID: uuid.New(), Approval: ids[rng.IntN(len(ids))], Person: []governance.PersonID{"bob", "cleo"}[rng.IntN(2)], Call: time.Now().UnixNano(),
			Kind: []string{opApprove, opApprove, opApprove, opApprove, opExecute, opExecute, opRead, opRead, opCancel, opDeny, opLate}[rng.IntN(11)]}
		if err := write.Encode(o); err != nil {
			return err
		}
		if o.Out, err = perform(ctx, w, late, o); err != nil {
			return err
		}
		o.Return = time.Now().UnixNano()
		if err := write.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

func perform(ctx context.Context, w, late *world, o op) (string, error) {
	a, err := w.k.Approval(ctx, o.Approval)
	if err != nil {
		return "", err
	}
	state := ""
	switch o.Kind {
	case opRead:
		return string(a.State), nil
	case opExecute:
		_, err = w.k.Execute(ctx, as("ann"), o.Approval)
		state = string(governance.StateExecuted)
	case opCancel:
		err = w.k.Cancel(ctx, as("ann"), o.Approval, "not needed")
		state = string(governance.StateCancelled)
	case opLate, opApprove, opDeny:
		k, v := w.k, governance.Vote{Decision: governance.Approve, Digest: a.Digest}
		if o.Kind == opLate {
			k = late.k
		}
		if o.Kind == opDeny {
			v.Decision = governance.Reject
		}
		// The vote's own answer is the state when it is read afterwards, by when
		// somebody else may have moved it on: what is checked is that it went through.
		_, err = k.Decide(ctx, as(o.Person), o.Approval, v)
		state = outDone
	}
	var denied *governance.DeniedError
	switch {
	case err == nil:
		return state, nil
	case errors.As(err, &denied):
		return outRefused, nil
	case errors.Is(err, governance.ErrRetry):
		return outRetry, nil
	case errors.Is(err, governance.ErrConflict):
		return outConflict, nil
	}
	return "", err
}

// TestHistories lets five clients work on the same approvals, kills them at random
// statements, starts them again, and wants their histories to be those of some order
// in which the operations happened one by one (Herlihy and Wing, linearizability).
func TestHistories(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		history(t, place{DSN: filepath.Join(t.TempDir(), "reeve.db")})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		history(t, place{DSN: govtest.PostgresDSN(t), Schema: govtest.Schema(t)})
	})
}

func history(t *testing.T, p place) {
	ctx := t.Context()
	var err error
	p.Folder = t.TempDir()
	p.Key, _, err = ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	w, err := open(ctx, p, 0, nil)
	require.NoError(t, err)
	defer func() { _ = w.db.Close() }()
	require.NoError(t, w.prepare(ctx))
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	total, killed := 0, 0
	ends := map[governance.State]int{}
	for round := range rounds {
		ids := make([]uuid.UUID, 10)
		for i := range ids {
			out, err := w.manual.Do(ctx, w.k, as("ann"), input{fmt.Sprintf("%d-%d", round, i), 1}, key(fmt.Sprintf("%d-%d", round, i)))
			require.NoError(t, held(err))
			ids[i] = out.Action
		}
		ops, dead := clients(t, p, ids)
		killed += dead
		total += len(ops)
		for i, id := range ids {
			a, err := w.k.Approval(ctx, id)
			require.NoError(t, err)
			now := time.Now().UnixNano()
			mine := []porcupine.Operation{{ClientId: 99, Input: op{Kind: opRead}, Call: now, Output: string(a.State), Return: now + 1}}
			for n, o := range ops {
				if o.Approval == id {
					mine = append(mine, porcupine.Operation{ClientId: n, Input: o, Call: o.Call, Output: o.Out, Return: o.Return})
				}
			}
			got := porcupine.CheckOperationsTimeout(approvals, mine, 20*time.Second)
			require.Equal(t, porcupine.Ok, got, "approval %s:\n%s", id, story(mine))
			n, err := w.effects(ctx, fmt.Sprintf("%d-%d", round, i))
			require.NoError(t, err)
			require.NoError(t, want("effects", n == 1, a.State == governance.StateExecuted))
			ends[a.State]++
		}
		problems, err := governance.Check(ctx, w.db)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
	require.Greater(t, killed, rounds)
	t.Logf("%d operations, %d clients killed, %v", total, killed, ends)
}

// story is a history in the order of its calls, in microseconds since the first.
func story(ops []porcupine.Operation) string {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, o := range ops {
		until := "never"
		if o.Return != math.MaxInt64 {
			until = strconv.FormatInt((o.Return-ops[0].Call)/1000, 10)
		}
		in := o.Input.(op)
		fmt.Fprintf(&b, "%9d to %9s  %-8s %-5s %v\n", (o.Call-ops[0].Call)/1000, until, in.Kind, in.Person, o.Output)
	}
	return b.String()
}

// clients runs five clients until each has been started three times.
func clients(t *testing.T, p place, ids []uuid.UUID) (ops []op, killed int) {
	t.Helper()
	list, err := json.Marshal(ids)
	require.NoError(t, err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range 5 {
		wg.Go(func() {
			for range 3 {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				n := 5 + rand.IntN(250) //nolint:gosec // where a process dies need not be secret
				cmd.Env = append(os.Environ(), placeEnv+"="+p.String(), scenarioEnv+"="+histories, nameEnv+"="+string(list), countEnv+"="+strconv.Itoa(n))
				var out, fault bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &fault
				err := cmd.Run()
				var exit *exec.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
					t.Errorf("client %d: %v: %s", c, err, fault.String())
					return
				}
				mu.Lock()
				ops = append(ops, parse(t, &out)...)
				if err != nil {
					killed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ops, killed
}

// parse joins the two lines of each operation; one that has no second ends never.
func parse(t *testing.T, out *bytes.Buffer) []op {
	byID := map[uuid.UUID]op{}
	var order []uuid.UUID
	for s := bufio.NewScanner(out); s.Scan(); {
		var o op
		if err := json.Unmarshal(s.Bytes(), &o); err != nil {
			continue // the line that it was writing when it died
		}
		if _, known := byID[o.ID]; !known {
			order = append(order, o.ID)
		}
		byID[o.ID] = o
	}
	ops := make([]op, len(order))
	for i, id := range order {
		ops[i] = byID[id]
		if ops[i].Return == 0 {
			ops[i].Out, ops[i].Return = outUnknown, math.MaxInt64
		}
	}
	if len(ops) == 0 {
		t.Log("a client died before its first operation")
	}
	return ops
}

// TestHistories_TheModelRefuses shows that the check can fail: an approval executed
// without its second vote is no history of the model.
func TestHistories_TheModelRefuses(t *testing.T) {
	at := func(n int64, o op, out string) porcupine.Operation {
		return porcupine.Operation{ClientId: int(n), Input: o, Call: n * 10, Output: out, Return: n*10 + 5}
	}
	good := []porcupine.Operation{at(1, op{Kind: opApprove, Person: "bob"}, outDone), at(2, op{Kind: opApprove, Person: "cleo"}, outDone), at(3, op{Kind: opExecute}, "executed"), at(4, op{Kind: opExecute}, outConflict)}
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(approvals, good, time.Second))
	require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(approvals, []porcupine.Operation{good[0], good[2]}, time.Second))
	require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(approvals, append(good[:3:3], at(5, op{Kind: opExecute}, "executed")), time.Second))
	require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(approvals, append(good[:3:3], at(5, op{Kind: opRead}, "approved")), time.Second))
}
