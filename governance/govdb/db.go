package govdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

var (
	// ErrNested is returned by [DB.Do] when it is called from inside another Do:
	// on SQLite the inner call would wait for the outer one for ever.
	ErrNested = errors.New("govdb: Do called inside Do; use the Tx you have")
	// ErrRetry marks a write that lost a race with another transaction and may be
	// tried again as a whole: SQLSTATE 40001 and 40P01, SQLITE_BUSY.
	ErrRetry = errors.New("govdb: the transaction lost a race, try again")
	// ErrClosed is returned after [DB.Close].
	ErrClosed = errors.New("govdb: closed")
)

// Options tunes a DB. The zero value is ready to use.
type Options struct {
	Logger   *slog.Logger  // default: discard
	SlowCall time.Duration // a Do callback longer than this is logged; default 100ms
	MaxBatch int           // most callers in one SQLite commit; default 256
	MaxHold  time.Duration // longest a SQLite batch keeps taking callers; default 20ms
	Now      func() time.Time
}

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.SlowCall == 0 {
		c.SlowCall = 100 * time.Millisecond
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = 256
	}
	if c.MaxHold == 0 {
		c.MaxHold = 20 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// DB is a database that Reeve writes to. Use [Attach] to make one.
type DB struct {
	write, read *bun.DB
	postgres    bool
	opts        Options
	writer      *writer // SQLite only
	closers     []io.Closer
	statements  sync.Map // query → *sql.Stmt on the read handle, SQLite only
}

// Attach takes handles that the host opened. read may be nil, then write serves
// reads as well; on SQLite a separate read-only handle keeps readers from
// waiting for the writer. Attach refuses a SQLite handle whose settings would
// lose acknowledged writes, with a message that names the DSN parameter.
func Attach(ctx context.Context, write, read *bun.DB, opts *Options) (*DB, error) {
	if write == nil {
		return nil, errors.New("govdb: a write handle is required")
	}
	if read == nil {
		read = write
	}
	d := &DB{write: write, read: read, opts: opts.withDefaults()}
	switch name := write.Dialect().Name(); name {
	case dialect.PG:
		d.postgres = true
	case dialect.SQLite:
		if err := probeSQLite(ctx, write.DB); err != nil {
			return nil, err
		}
		d.writer = &writer{db: d}
	default:
		return nil, fmt.Errorf("govdb: dialect %s is not supported, want SQLite or PostgreSQL", name)
	}
	if read.Dialect().Name() != write.Dialect().Name() {
		return nil, errors.New("govdb: the read handle and the write handle speak different dialects")
	}
	return d, nil
}

func probeSQLite(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return fmt.Errorf("govdb: read journal_mode: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("govdb: journal_mode is %q: add _pragma=journal_mode(WAL) to the DSN", mode)
	}
	var sync int
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&sync); err != nil {
		return fmt.Errorf("govdb: read synchronous: %w", err)
	}
	if sync < 2 {
		return fmt.Errorf("govdb: synchronous is %d, a power cut would lose acknowledged writes: add _pragma=synchronous(FULL) to the DSN", sync)
	}
	var busy int
	if err := db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&busy); err != nil {
		return fmt.Errorf("govdb: read busy_timeout: %w", err)
	}
	if busy < 100 {
		return fmt.Errorf("govdb: busy_timeout is %d ms, writers would fail instead of waiting: add _pragma=busy_timeout(5000) to the DSN", busy)
	}
	return probeImmediate(ctx, db)
}

// probeImmediate finds out whether the host's own transactions take the write
// lock when they begin. A deferred one that reads before it writes fails with
// SQLITE_BUSY_SNAPSHOT, which no busy_timeout helps against.
func probeImmediate(ctx context.Context, db *sql.DB) error {
	if db.Stats().MaxOpenConnections == 1 {
		return nil // one connection: nothing can write between the read and the write
	}
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("govdb: begin a probe: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	other, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("govdb: open a second connection: %w", err)
	}
	defer func() { _ = other.Close() }()
	var was int
	if err := other.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&was); err != nil {
		return fmt.Errorf("govdb: read busy_timeout: %w", err)
	}
	if _, err := other.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return fmt.Errorf("govdb: set busy_timeout: %w", err)
	}
	_, begin := other.ExecContext(ctx, "BEGIN IMMEDIATE")
	if begin == nil {
		_, _ = other.ExecContext(ctx, "ROLLBACK")
	}
	if _, err := other.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", was)); err != nil {
		return fmt.Errorf("govdb: restore busy_timeout: %w", err)
	}
	if begin == nil {
		return errors.New("govdb: transactions begin deferred: add _txlock=immediate to the DSN")
	}
	return nil
}

// Read is the handle for queries outside transactions.
func (d *DB) Read() *bun.DB { return d.read }

// Handle is the write handle itself, for migrations and tools. Writes of the
// library go through [DB.Do].
func (d *DB) Handle() *bun.DB { return d.write }

// Postgres tells the engine: true for PostgreSQL, false for SQLite.
func (d *DB) Postgres() bool { return d.postgres }

// Now is the injected clock, in UTC.
func (d *DB) Now() time.Time { return d.opts.Now().UTC() }

// OnClose adds something that Close closes, last added first.
func (d *DB) OnClose(c io.Closer) { d.closers = append(d.closers, c) }

// Close waits for the running batch and closes what [DB.OnClose] was given. The
// host's own handles stay open.
func (d *DB) Close() error {
	if d.writer != nil {
		d.writer.close()
	}
	var errs []error
	d.statements.Range(func(q, s any) bool {
		errs = append(errs, s.(*sql.Stmt).Close())
		d.statements.Delete(q)
		return true
	})
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i].Close())
	}
	d.closers = nil
	return errors.Join(errs...)
}

type insideDo struct{}

// Do runs fn in a transaction and returns after the commit is durable.
//
// On SQLite fn gets a savepoint in a commit shared with other callers, in the
// order of arrival; on PostgreSQL it gets a transaction of its own, tried up to
// four times when it loses a race. fn may therefore run more than once: it must
// touch nothing but tx and variables it overwrites, must not call out, and must
// not call Do again ([ErrNested]). A panic in fn is an error and rolls back.
// Once fn has begun it is not interrupted by ctx between statements' effects:
// cancellation is seen before queueing and before each statement.
func (d *DB) Do(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if ctx.Value(insideDo{}) != nil {
		return ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	inner := context.WithValue(ctx, insideDo{}, true)
	do := d.doPostgres
	if d.writer != nil {
		do = d.writer.do
	}
	root, err := do(inner, fn)
	if root == nil || len(root.undo) == 0 {
		return err
	}
	left := root.undone(ctx, err != nil)
	if err == nil && left != nil { // the commit stands
		d.opts.Logger.ErrorContext(ctx, "what a savepoint that was rolled back leaves", "error", left)
		return nil
	}
	return errors.Join(err, left)
}

func (d *DB) doPostgres(ctx context.Context, fn func(context.Context, *Tx) error) (*txRoot, error) {
	for try := 0; ; try++ {
		root, err := d.oncePostgres(ctx, fn)
		if err == nil || try == 3 || !errors.Is(err, ErrRetry) || ctx.Err() != nil {
			return root, err
		}
		select {
		case <-ctx.Done():
			return root, err
		case <-time.After(time.Duration(1+try*try*3) * time.Millisecond):
		}
	}
}

func (d *DB) oncePostgres(ctx context.Context, fn func(context.Context, *Tx) error) (*txRoot, error) {
	sqlConn, err := d.write.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("govdb: connection: %w", err)
	}
	conn := &pgTx{conn: sqlConn}
	defer conn.end(ctx)
	tx := &Tx{db: d, conn: conn, root: &txRoot{}}
	if err := d.call(ctx, tx, fn); err != nil {
		return tx.root, Classify(err)
	}
	if err := tx.commitPostgres(ctx, conn); err != nil {
		return tx.root, Classify(err)
	}
	tx.root.committed()
	return tx.root, nil
}

// call runs fn with a panic turned into an error and a slow call logged.
func (d *DB) call(ctx context.Context, tx *Tx, fn func(context.Context, *Tx) error) (err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("govdb: panic in a transaction: %v", p)
		}
		if took := time.Since(start); took > d.opts.SlowCall {
			d.opts.Logger.WarnContext(ctx, "slow write callback", "ms", took.Milliseconds())
		}
	}()
	return fn(ctx, tx)
}

// Classify wraps an error of a lost race with [ErrRetry], so that callers need no
// driver. Other errors come back unchanged.
func Classify(err error) error {
	if err == nil || errors.Is(err, ErrRetry) {
		return err
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		switch state.SQLState() {
		case "40001", "40P01", "55P03":
			return fmt.Errorf("%w: %w", ErrRetry, err)
		}
	}
	var code interface{ Code() int } // modernc.org/sqlite; the low byte is the primary code
	if errors.As(err, &code) && (code.Code()&0xff == 5 || code.Code()&0xff == 6) {
		return fmt.Errorf("%w: %w", ErrRetry, err)
	}
	return err
}

// IsUnique tells whether err is a violated UNIQUE or PRIMARY KEY constraint.
func IsUnique(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState() == "23505"
	}
	var code interface{ Code() int }
	return errors.As(err, &code) && (code.Code() == 2067 || code.Code() == 1555)
}
