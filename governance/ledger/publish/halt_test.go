package publish_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/publish"
)

// appendOne writes a record and does not seal it.
func appendOne(t testing.TB, e *govtest.Env) {
	t.Helper()
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		id := uuid.Must(uuid.NewV7())
		_, err := e.Kernel.Ledger().Append(ctx, tx, ledger.Entry{ID: id, Kind: "test", At: e.Now(), Body: fmt.Appendf(nil, `{"id":%q}`, id)})
		return err
	}))
}

// resume lets a log sign again that somebody's word stopped.
func resume(t testing.TB, e *govtest.Env, log *ledger.Log) {
	t.Helper()
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		_, err := log.ResumeTx(ctx, tx)
		return err
	}))
}

// TestHalt_Witness: a witness that knows another past stops signing in every process.
// Records go on, a critical alert says so, and only the guarded action goes on.
func TestHalt_Witness(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, string, string){
		"a larger tree": func(w http.ResponseWriter, _, _ string) { http.Error(w, "99", http.StatusConflict) },
		"another past":  func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusUnprocessableEntity) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts, skey := keyed(t)
			govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
				ctx, log := t.Context(), e.Kernel.Ledger()
				e.People.Put("ada", "root")
				w, address := newWitness(t, "witness.test/one")
				w.answer = answer
				p, err := publish.New(log, &publish.Options{Client: client(), Witnesses: []publish.Witness{address}})
				require.NoError(t, err)
				_, err = e.Kernel.ResumeLedger(ctx, e.As("ada"), governance.Resumption{Finding: "x"}, nil)
				require.ErrorIs(t, err, governance.ErrConflict, "nothing stopped it")
				add(t, e, log, 3)
				require.ErrorIs(t, p.Turn(ctx), ledger.ErrForked)
				head, err := log.Checkpoint(ctx)
				require.NoError(t, err)
				alerts, err := e.Kernel.Alerts(ctx, governance.AlertFilter{})
				require.NoError(t, err)
				require.Len(t, alerts, 1)
				require.Equal(t, "ledger.halted", alerts[0].Key)
				require.Equal(t, governance.Critical, alerts[0].Severity)

				appendOne(t, e)
				other, err := ledger.New(e.DB, skey, nil) // a server that never asked the witness
				require.NoError(t, err)
				for _, l := range []*ledger.Log{log, other} {
					_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM gov_lease")
					require.NoError(t, err)
					_, err = l.Seal(ctx)
					require.ErrorIs(t, err, ledger.ErrHalted)
				}
				asked := len(w.asked)
				require.ErrorIs(t, p.Turn(ctx), ledger.ErrHalted)
				require.Len(t, w.asked, asked)
				same, _ := successor(t, "reeve.test")
				_, err = log.Succeed(ctx, same, nil, func(context.Context, *govdb.Tx, ledger.Succession) error { return nil })
				require.ErrorIs(t, err, ledger.ErrHalted, "a new key of the same name would sign over it")
				now, err := log.Checkpoint(ctx)
				require.NoError(t, err)
				require.Equal(t, head, now)

				_, err = e.Kernel.ResumeLedger(ctx, e.As("ada"), governance.Resumption{}, nil)
				require.ErrorContains(t, err, "finding: is required")
				_, err = e.Kernel.ResumeLedger(ctx, e.As("ada"), governance.Resumption{Finding: "the witness lost its disk"}, nil)
				require.NoError(t, err)
				n, err := log.Seal(ctx)
				require.NoError(t, err)
				require.Positive(t, n)
				require.ErrorIs(t, p.Turn(ctx), ledger.ErrForked, "whoever says it again stops it again")
				_, err = log.Seal(ctx)
				require.NoError(t, err, "there is nothing to sign")
				appendOne(t, e)
				_, err = log.Seal(ctx)
				require.ErrorIs(t, err, ledger.ErrHalted)
			})
		})
	}
}

// TestHalt_ResumedForWhatStoppedIt: an approval to sign again is of what stopped signing
// when it was asked for. It cannot be had in advance, and does not outlive that.
func TestHalt_ResumedForWhatStoppedIt(t *testing.T) {
	t.Parallel()
	opts, _ := keyed(t)
	govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
		ctx, k, day := t.Context(), e.Kernel, governance.Duration{Duration: 24 * time.Hour}
		log := k.Ledger()
		e.People.Put("ada", "root")
		e.People.Put("ben", "finance")
		e.People.Put("cy", "finance")
		e.People.Allow("finance", "approval:vote", "approval:read")
		require.NoError(t, k.InstallPolicies(ctx, governance.Policy{ID: "resume", Title: "Resume", Actions: []string{governance.ActionResumeLedger}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "finance", Approvals: 1}}, DecideWithin: day, ExecuteWithin: day}}))
		ask := func() error {
			_, err := k.ResumeLedger(ctx, e.As("ada"), governance.Resumption{Finding: "the witness lost its disk"}, nil)
			return err
		}
		approve := func(err error) governance.State {
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := k.Approval(ctx, held.Approval)
			require.NoError(t, err)
			a, err = k.Decide(ctx, e.As("ben"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
			require.NoError(t, err)
			return a.State
		}
		halted := func() string {
			h, err := log.Halted(ctx)
			require.NoError(t, err)
			if h == nil {
				return ""
			}
			return h.Reason
		}
		require.ErrorIs(t, ask(), governance.ErrConflict, "nothing stopped it")
		waits, err := k.Approvals(ctx, governance.ApprovalFilter{})
		require.NoError(t, err)
		require.Empty(t, waits)

		require.NoError(t, log.Halt(ctx, "one says so", nil))
		first, second := ask(), ask()
		require.Equal(t, governance.StateExecuted, approve(first))
		require.Empty(t, halted())
		e.Advance(time.Minute)
		require.NoError(t, log.Halt(ctx, "another says so", nil))
		require.Equal(t, governance.StateSuperseded, approve(second))
		e.Advance(time.Hour)
		require.NoError(t, k.Sweep(ctx))
		require.Equal(t, "another says so", halted())
	})
}

// TestHalt_Published: a head of this log's own key cannot be passed over, whether larger
// or of another past; the log goes on under another name.
func TestHalt_Published(t *testing.T) {
	t.Parallel()
	for name, there := range map[string]int{"larger": 9, "as large": 4, "smaller": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts, _ := keyed(t)
			govtest.Each(t, opts, func(t *testing.T, e *govtest.Env) {
				ctx, log := t.Context(), e.Kernel.Ledger()
				e.People.Put("ada", "root")
				file := publish.File{Path: filepath.Join(t.TempDir(), "checkpoints")}
				past := govtest.New(t, opts)
				add(t, past, past.Kernel.Ledger(), there)
				p, err := publish.New(past.Kernel.Ledger(), &publish.Options{Sinks: []publish.Sink{file}})
				require.NoError(t, err)
				require.NoError(t, p.Turn(ctx))

				add(t, e, log, 4)
				q, err := publish.New(log, &publish.Options{Sinks: []publish.Sink{file}})
				require.NoError(t, err)
				require.ErrorIs(t, q.Turn(ctx), ledger.ErrForked, "found without a new start")
				told, err := file.Last(ctx)
				require.NoError(t, err)
				appendOne(t, e)
				_, err = log.Seal(ctx)
				require.ErrorIs(t, err, ledger.ErrHalted)
				_, err = e.Kernel.ResumeLedger(ctx, e.As("ada"), governance.Resumption{Finding: "never mind"}, nil)
				require.ErrorIs(t, err, governance.ErrConflict)
				_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM gov_log_halt")
				require.ErrorContains(t, err, "gov_log_halt")
				_, err = log.Seal(ctx)
				require.ErrorIs(t, err, ledger.ErrHalted)

				next, _ := successor(t, "reeve.test/2")
				_, err = e.Kernel.SucceedLedger(ctx, next, told)
				require.NoError(t, err)
				_, err = e.DB.Handle().ExecContext(ctx, "DELETE FROM gov_lease")
				require.NoError(t, err)
				anew, err := ledger.New(e.DB, next, nil)
				require.NoError(t, err)
				add(t, e, anew, 1)
				rep, err := anew.Verify(ctx)
				require.NoError(t, err)
				require.Empty(t, rep.Problems)
			})
		})
	}
}
