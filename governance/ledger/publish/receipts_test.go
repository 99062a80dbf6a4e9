package publish_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/governance/ledger/offline"
	"github.com/reevehq/reeve/governance/ledger/publish"
	"github.com/reevehq/reeve/governance/ledger/tiles"
)

// act writes one record as the kernel does.
func act(t testing.TB, e *govtest.Env) ledger.Receipt {
	t.Helper()
	var out ledger.Receipt
	require.NoError(t, e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
		var err error
		out, err = e.Kernel.RecordTx(ctx, tx, governance.System("test"), governance.Record{Action: "test.act"})
		return err
	}))
	return out
}

// remove deletes a record that is not sealed, as somebody with the database's own rights
// would, with every trace of it.
func remove(t testing.TB, e *govtest.Env, id uuid.UUID) {
	t.Helper()
	for _, q := range map[bool][]string{
		true: {"ALTER TABLE gov_record DISABLE TRIGGER ALL", "DELETE FROM gov_record WHERE id = ?", "ALTER TABLE gov_record ENABLE TRIGGER ALL"},
		false: {
			"DROP TRIGGER gov_record_delete", "DROP TRIGGER gov_hash_run_delete", "DELETE FROM gov_record WHERE id = ?",
			"DELETE FROM gov_hash_run WHERE first = (SELECT MAX(first) FROM gov_hash_run)",
		},
	}[e.DB.Postgres()] {
		var args []any
		if strings.Contains(q, "?") {
			args = append(args, id)
		}
		_, err := e.DB.Handle().NewRaw(q, args...).Exec(t.Context())
		require.NoError(t, err, q)
	}
}

// TestReceipts_DeletedBeforeSealing: a record that is removed before it has a leaf leaves
// nothing in the log; whoever kept its receipt names it, and an alert says so within
// seconds.
func TestReceipts_DeletedBeforeSealing(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		log, file := e.Kernel.Ledger(), publish.File{Path: filepath.Join(t.TempDir(), "receipts")}
		r, err := publish.NewReceipts(log, &publish.ReceiptsOptions{Sinks: []publish.ReceiptSink{file}, Every: time.Millisecond})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.Run(ctx) })
		act(t, e)
		_, err = log.Seal(ctx)
		require.NoError(t, err)
		gone := act(t, e)
		remove(t, e, gone.ID)
		require.Eventually(t, func() bool {
			kept, _ := os.ReadFile(file.Path)
			return bytes.Contains(kept, []byte(gone.ID.String()))
		}, 10*time.Second, time.Millisecond, "the sink has it at once")
		e.Advance(10 * time.Second)
		act(t, e)
		_, err = log.Seal(ctx)
		require.NoError(t, err)
		cancel()
		wg.Wait()

		require.NoError(t, log.CheckLate(t.Context()))
		alerts, err := e.Kernel.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 1)
		require.Equal(t, "ledger.late", alerts[0].Key)
		require.Contains(t, alerts[0].Body, "1 receipts have no leaf")

		rep, err := log.Verify(t.Context())
		require.NoError(t, err)
		require.Empty(t, rep.Problems, "the log itself does not know")
		dir := filepath.Join(t.TempDir(), "log")
		_, err = log.Seal(t.Context()) // nothing, or the alert's
		require.NoError(t, err)
		_, err = tiles.Export(t.Context(), log, dir, 0)
		require.NoError(t, err)
		kept, err := os.ReadFile(file.Path)
		require.NoError(t, err)
		found, err := offline.CheckReceipts(t.Context(), offline.Dir(dir), log.VerifierKey(), [][]byte{kept, kept}, nil)
		require.NoError(t, err)
		require.Equal(t, 3, found.Receipts)
		require.Len(t, found.Problems, 1)
		require.Contains(t, found.Problems[0], gone.ID.String())
		require.Empty(t, found.Unclosed)
		for i := 0; i < len(kept); i += 7 { // no byte of it can be changed unseen
			kept[i] ^= 1
			bad, err := offline.CheckReceipts(t.Context(), offline.Dir(dir), log.VerifierKey(), [][]byte{kept}, nil)
			require.NoError(t, err)
			kept[i] ^= 1
			if !bytes.Equal(bytes.TrimSpace(kept[i:]), nil) {
				require.NotEqual(t, found.Problems, bad.Problems, "byte %d", i)
			}
		}
	})
}

// hung is a sink that takes nothing until it is let go.
type hung struct {
	free chan struct{}
	mu   sync.Mutex
	got  [][]byte
}

func (h *hung) Name() string { return "hung" }

func (h *hung) PublishReceipts(ctx context.Context, _ string, _ int64, signed []byte) error {
	select {
	case <-h.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, signed)
	return nil
}

// TestReceipts_HungSink: a sink that hangs makes nobody wait, keeps no other from its
// receipts, and what it was not told shows in the numbers.
func TestReceipts_HungSink(t *testing.T) {
	t.Parallel()
	skey, vkey, err := ledger.GenerateKey("reeve.test")
	require.NoError(t, err)
	e := govtest.New(t, nil)
	synctest.Test(t, func(t *testing.T) {
		log, err := ledger.New(e.DB, skey, nil)
		require.NoError(t, err)
		slow, well := &hung{free: make(chan struct{})}, publish.File{Path: filepath.Join(t.TempDir(), "receipts")}
		gaps := map[string]int64{}
		r, err := publish.NewReceipts(log, &publish.ReceiptsOptions{Sinks: []publish.ReceiptSink{slow, well}, Queue: 50, OnGap: func(s string, n int64) { gaps[s] += n }})
		require.NoError(t, err)
		give := func(n int) {
			for range n {
				log.Expect(ledger.Receipt{ID: uuid.Must(uuid.NewV7()), At: time.Now()})
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		give(60) // ten more than may wait
		go func() { defer close(done); r.Run(ctx) }()
		synctest.Wait()
		require.EqualValues(t, 10, gaps[""])
		for range 80 {
			give(1)
			time.Sleep(time.Second)
		}
		close(slow.free)
		synctest.Wait()
		cancel()
		<-done
		numbers := func(notes []string) (first []int64, ended bool) {
			for _, n := range notes {
				b, err := offline.ParseReceipts([]byte(n), vkey)
				require.NoError(t, err)
				first, ended = append(first, b.First), b.End
			}
			return first, ended
		}
		kept, err := os.ReadFile(well.Path)
		require.NoError(t, err)
		first, ended := numbers(offline.SplitReceipts(kept))
		require.True(t, ended)
		require.Len(t, first, 82)
		require.Equal(t, []int64{1, 61, 62}, first[:3])
		require.Positive(t, gaps["hung"])
		var notes []string
		for _, b := range slow.got {
			notes = append(notes, string(b))
		}
		first, ended = numbers(notes)
		require.True(t, ended)
		require.EqualValues(t, 82-len(first), gaps["hung"])
	})
}
