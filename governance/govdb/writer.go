package govdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// writer is the single SQLite writer. Callers queue; while one batch commits the
// next gathers, so the price of a durable commit is shared by all who wait.
type writer struct {
	db *DB

	mu      sync.Mutex
	queue   []*job
	running bool
	closed  bool
	idle    sync.WaitGroup
}

type job struct {
	ctx  context.Context
	fn   func(context.Context, *Tx) error
	err  error
	done chan struct{}
	root *txRoot
}

func (w *writer) do(ctx context.Context, fn func(context.Context, *Tx) error) (*txRoot, error) {
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrClosed
	}
	w.queue = append(w.queue, j)
	if !w.running {
		w.running = true
		w.idle.Add(1)
		go w.run()
	}
	w.mu.Unlock()
	select {
	case <-j.done:
	case <-ctx.Done():
		if w.withdraw(j) {
			return nil, ctx.Err()
		}
		<-j.done // already begun: its outcome must be told as it was
	}
	return j.root, j.err
}

// withdraw takes a job back that no batch has begun.
func (w *writer) withdraw(j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range w.queue {
		if q == j {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return true
		}
	}
	return false
}

func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.idle.Wait()
}

func (w *writer) take(n int) []*job {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = min(n, len(w.queue))
	jobs := w.queue[:n:n]
	w.queue = w.queue[n:]
	return jobs
}

func (w *writer) run() {
	defer w.idle.Done()
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		w.batch()
	}
}

// batch runs queued jobs in one transaction. Every job taken is answered.
func (w *writer) batch() {
	var jobs []*job
	answer := func(batchErr error) {
		for _, j := range jobs {
			if batchErr != nil && j.err == nil {
				j.err = batchErr
			}
		}
		for _, j := range jobs {
			if j.err == nil && j.root != nil {
				j.root.committed()
			}
			close(j.done)
		}
	}
	ctx := context.WithValue(context.Background(), insideDo{}, true)
	conn, err := w.begin(ctx)
	if err != nil {
		jobs = w.take(w.db.opts.MaxBatch)
		answer(err)
		return
	}
	defer func() { _ = conn.Close() }()

	tx := &Tx{db: w.db, conn: conn, root: &txRoot{memo: map[string]string{}}}
	var put []deferred
	began := time.Now()
	for len(jobs) < w.db.opts.MaxBatch && (len(jobs) == 0 || time.Since(began) < w.db.opts.MaxHold) {
		more := w.take(w.db.opts.MaxBatch - len(jobs))
		if len(more) == 0 {
			break
		}
		jobs = append(jobs, more...)
		for i, j := range more {
			j.root = &txRoot{savepoint: 1 + i, memo: tx.root.memo}
			if j.err = w.one(tx, j); errors.Is(j.err, errBroken) {
				_, _ = conn.ExecContext(ctx, "ROLLBACK")
				answer(Classify(fmt.Errorf("govdb: the shared transaction failed: %w", j.err)))
				return
			}
			if j.err == nil {
				put = append(put, j.root.deferred...)
			}
		}
	}
	tx.root.deferred = put
	if err := tx.flushDeferred(ctx); err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		answer(Classify(err))
		return
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		answer(Classify(fmt.Errorf("govdb: commit: %w", err)))
		return
	}
	answer(nil)
}

func (w *writer) begin(ctx context.Context) (*sql.Conn, error) {
	conn, err := w.db.write.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("govdb: connection: %w", err)
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		_ = conn.Close()
		return nil, Classify(fmt.Errorf("govdb: begin: %w", err))
	}
	return conn, nil
}

// one runs a single job under its savepoint.
func (w *writer) one(shared *Tx, j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	tx := &Tx{db: w.db, conn: shared.conn, root: j.root}
	return tx.Savepoint(j.ctx, j.fn)
}
