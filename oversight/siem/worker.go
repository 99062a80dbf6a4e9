package siem

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/ledger"
)

// worker ships to one sink.
type worker struct {
	s       *Service
	sink    Sink
	busy    atomic.Bool // a call of the sink has not returned
	started bool        // this process has written down that it ships here; only turn reads it
}

// errMoved says that another server moved the cursor meanwhile: its work counts.
var errMoved = errors.New("siem: the cursor was moved elsewhere")

// errNoted says that a failure is written down, and when to try again.
var errNoted = errors.New("siem: the sink failed")

// turn ships until nothing is left, the sink fails, or the time of the turn is nearly up.
func (w *worker) turn(ctx context.Context) error {
	until := time.Now().Add(maxDeadline / 4) // a batch begun before then still has its whole deadline
	for time.Now().Before(until) {
		row, err := w.row(ctx)
		if err != nil {
			return err
		}
		if row.State != string(Active) || row.NextAt.Time().After(w.s.k.Now()) {
			return nil
		}
		alerts, err := w.shipAlerts(ctx, row) // in turn: neither kind may keep the other waiting
		leaves := false
		if err == nil {
			leaves, err = w.ship(ctx, row)
		}
		if errors.Is(err, errMoved) || errors.Is(err, errNoted) {
			return nil
		}
		if err != nil || !alerts && !leaves {
			return err
		}
	}
	return nil
}

// row is the sink's cursor; a sink that is new, or goes somewhere else than before, begins
// with a record.
func (w *worker) row(ctx context.Context) (sinkRow, error) {
	name, kind, target := w.sink.Name(), w.sink.Kind(), w.sink.Target()
	row, err := readSink(ctx, w.s.k.DB().Read(), name)
	if err != nil && !errors.Is(err, governance.ErrNotFound) {
		return row, err
	}
	why := ""
	switch {
	case err != nil:
		why = "it is new"
	case row.State == string(Removed):
		why = "it is in the settings again"
	case row.Kind != kind || row.Target != target:
		why = "it goes elsewhere than before"
	case !w.started:
		why = "the server started"
	default:
		return row, nil
	}
	err = w.s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row = sinkRow{Name: name, Kind: kind, Target: target, State: string(Active), CreatedAt: govdb.At(w.s.k.Now())}
		// A pause survives a restart and a change of address: only a person ends it.
		err := tx.NewRaw(`INSERT INTO siem_sink (name, kind, target, state, next, batch_to, alert_at, failures, error, next_at, sent_at, paused_by, paused_why, paused_at, created_at)
			VALUES (?, ?, ?, ?, 0, 0, 0, 0, '', 0, 0, '', '', 0, ?) ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, target = EXCLUDED.target,
			state = CASE WHEN siem_sink.state = ? AND siem_sink.paused_at = 0 THEN ? WHEN siem_sink.state = ? THEN ? ELSE siem_sink.state END RETURNING *`,
			name, kind, target, Active, row.CreatedAt, Removed, Active, Removed, Paused).Scan(ctx, &row)
		if err != nil {
			return fmt.Errorf("sink %s: %w", name, err)
		}
		_, err = w.s.k.RecordTx(ctx, tx, governance.System("siem"), governance.Record{Action: "siem.sink.start", Resource: sinkRef(name),
			Data: map[string]any{"kind": kind, "target": target, "next_leaf": strconv.FormatInt(row.Next, 10), "why": why, "state": row.State}})
		return err
	})
	w.started = w.started || err == nil
	return row, err
}

// ship sends one batch of leaves, and says whether there may be more.
func (w *worker) ship(ctx context.Context, row sinkRow) (more bool, err error) {
	log := w.s.k.Ledger()
	limit := w.s.opts.Batch
	if row.BatchTo > row.Next {
		limit = row.BatchTo - row.Next // what was begun before is finished as it was begun
	}
	rs, err := log.Leaves(ctx, row.Next, limit)
	if errors.Is(err, ledger.ErrNotFound) { // a hole in the log is nothing to pass over: it stays here, and shows
		return false, w.failed(ctx, row, err)
	}
	if err != nil || len(rs) == 0 {
		return false, err
	}
	to := row.Next + int64(len(rs))
	if row.BatchTo <= row.Next {
		if err := w.move(ctx, row, "batch_to = ?", to); err != nil {
			return false, err
		}
		row.BatchTo = to
	} else if to != row.BatchTo {
		return false, w.failed(ctx, row, fmt.Errorf("leaves %d to %d are not all there any more: %w", row.Next, row.BatchTo, ledger.ErrNotFound))
	}
	b := Batch{ID: batchID(log.Origin(), row.Name, fmt.Sprintf("leaves/%d-%d", row.Next, to))}
	for _, r := range rs {
		b.Events = append(b.Events, w.s.mapper.Record(r))
	}
	if err := w.send(ctx, b); err != nil {
		return false, w.failed(ctx, row, err)
	}
	return true, w.move(ctx, row, "next = ?, batch_to = 0, failures = 0, error = '', next_at = 0, sent_at = ?", to, govdb.At(w.s.k.Now()))
}

// move changes the cursor's row while it stands where we read it: a server that slept
// through its lease cannot set it back, nor over a batch that it did not send.
func (w *worker) move(ctx context.Context, row sinkRow, set string, args ...any) error {
	return w.s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error { return w.moveTx(ctx, tx, row, set, args...) })
}

func (w *worker) moveTx(ctx context.Context, tx *governance.Tx, row sinkRow, set string, args ...any) error {
	res, err := tx.ExecContext(ctx, "UPDATE siem_sink SET "+set+" WHERE name = ? AND next = ? AND batch_to = ?", append(args, row.Name, row.Next, row.BatchTo)...)
	if err != nil {
		return fmt.Errorf("cursor of sink %s: %w", row.Name, err)
	}
	if n, _ := res.RowsAffected(); n == 0 {
		return errMoved
	}
	return nil
}

// failed writes down a failure and when to try again; then it is [errNoted].
func (w *worker) failed(ctx context.Context, row sinkRow, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	w.s.opts.Logger.WarnContext(ctx, "the log could not be copied", "sink", row.Name, "failures", row.Failures+1, "error", plain(cause))
	wait := min(time.Second<<min(row.Failures, 12), 5*time.Minute)
	var later *RetryAfterError
	if errors.As(cause, &later) {
		wait = max(wait, later.After)
	}
	to := row.BatchTo
	if errors.Is(cause, ErrTooLarge) && to-row.Next > 1 {
		to, wait = row.Next+(to-row.Next)/2, 0
	}
	if err := w.move(ctx, row, "failures = failures + 1, error = ?, next_at = ?, batch_to = ?", plain(cause), govdb.At(w.s.k.Now().Add(wait)), to); err != nil {
		return err
	}
	return errNoted
}

// send calls the sink, and returns when the deadline is over whether the sink does or not.
// One that hangs is not called again before it came back.
func (w *worker) send(ctx context.Context, b Batch) error {
	if !w.busy.CompareAndSwap(false, true) {
		return errors.New("the sink hangs in an earlier batch")
	}
	ctx, cancel := context.WithTimeout(ctx, w.s.opts.Deadline)
	done := make(chan error, 1)
	go func() {
		defer cancel()
		err := w.call(ctx, b)
		w.busy.Store(false) // before the answer is there: the next batch may follow at once
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select { // both at once: what the sink says counts
		case err := <-done:
			return err
		default:
			return fmt.Errorf("the sink did not answer: %w", ctx.Err())
		}
	}
}

func (w *worker) call(ctx context.Context, b Batch) (err error) {
	defer func() {
		if p := recover(); p != nil { // a sink may be foreign code
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return w.sink.Send(ctx, b)
}

func batchID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return "siem_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// overlap is how late an alert may be committed behind the time it bears and still be told.
const overlap = time.Hour

// shipAlerts tells of alerts that were raised, or closed, since they were told last. They
// change, so they have no leaf: what was told of each is remembered for an hour.
func (w *worker) shipAlerts(ctx context.Context, row sinkRow) (more bool, err error) {
	told := map[string]string{}
	var have []toldRow
	if err := w.s.k.DB().Read().NewSelect().Model(&have).Where("sink = ?", row.Name).Scan(ctx); err != nil {
		return false, fmt.Errorf("alerts told to %s: %w", row.Name, err)
	}
	for _, h := range have {
		told[h.Alert.String()] = h.Told
	}
	from := time.Unix(0, 0)
	if row.AlertAt > 0 {
		from = row.AlertAt.Time().Add(-overlap)
	}
	var b Batch
	most := max(1, w.s.opts.Batch>>min(row.Failures, 10)) // what was refused may be refused for its size
	var rows []*toldRow
	id := []string{row.Name, "alerts"}
	last, after := row.AlertAt, [16]byte{}
	page := int(min(100, most))
	for int64(len(b.Events)) < most {
		as, err := w.s.k.AlertsSince(ctx, from, after, page)
		if err != nil {
			return false, err
		}
		for _, a := range as {
			now := fmt.Sprintf("%s/%d/%s/%d", a.State, a.Times, a.Severity, a.LastAt.UnixMicro())
			was, known := told[a.ID.String()]
			from, after, last = a.LastAt, a.ID, max(last, govdb.At(a.LastAt))
			if known && was == now {
				continue
			}
			b.Events = append(b.Events, w.s.mapper.Alert(a, !known && a.Times == 1))
			rows = append(rows, &toldRow{Sink: row.Name, Alert: a.ID, Told: now, LastAt: govdb.At(a.LastAt)})
			id = append(id, a.ID.String(), now)
		}
		if len(as) < page {
			break
		}
	}
	if len(b.Events) == 0 {
		return false, nil
	}
	b.ID = batchID(id...)
	if err := w.send(ctx, b); err != nil {
		return false, w.failed(ctx, row, err)
	}
	return true, w.s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		for _, r := range rows {
			if _, err := tx.NewInsert().Model(r).On("CONFLICT (sink, alert) DO UPDATE").Set("told = EXCLUDED.told").Set("last_at = EXCLUDED.last_at").Exec(ctx); err != nil {
				return fmt.Errorf("alerts told to %s: %w", row.Name, err)
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM siem_alert WHERE sink = ? AND last_at < ?", row.Name, govdb.At(last.Time().Add(-2*overlap))); err != nil {
			return fmt.Errorf("alerts told to %s: %w", row.Name, err)
		}
		return w.moveTx(ctx, tx, row, "alert_at = ?, failures = 0, error = '', next_at = 0, sent_at = ?", last, govdb.At(w.s.k.Now()))
	})
}
