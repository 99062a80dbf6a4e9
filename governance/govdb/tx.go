package govdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// Tx is a transaction: a bun.IDB bound to one connection. It comes from [DB.Do]
// or [DB.Adopt] and must not outlive them. Not for concurrent use.
type Tx struct {
	db      *DB
	conn    bun.IConn
	root    *txRoot
	adopted bool // the host commits: nothing can be put off until then
	virtual *bun.DB
}

// txRoot is what the savepoints of one transaction share.
type txRoot struct {
	deferred  []deferred
	after     []func()
	undo      []*undo
	savepoint int
	recheck   *recheck
	forgot    bool
	memo      map[string]string // SQLite: what the shared commit has read already
	together  *[]byte           // PostgreSQL: where a flush gathers its statements
}

// Memo remembers a value read in this transaction, and on SQLite in the commit it
// shares: nobody else writes meanwhile, so what one caller read the next need not read
// again. Whoever writes the thing calls [Tx.Forget] in the same transaction; a rollback
// to a savepoint forgets everything. On PostgreSQL and in adopted transactions, where
// others do write meanwhile, nothing is remembered.
func (t *Tx) Memo(key string, read func() (string, error)) (string, error) {
	if t.root.memo == nil {
		return read()
	}
	if v, ok := t.root.memo[key]; ok {
		return v, nil
	}
	v, err := read()
	if err == nil {
		t.root.memo[key] = v
	}
	return v, err
}

// Forget drops what [Tx.Memo] remembers under key, and keeps this transaction from
// relying on a [Tx.Recheck]: what it has read since may be undone with it.
func (t *Tx) Forget(key string) {
	delete(t.root.memo, key)
	t.root.forgot = true
}

// Forgot tells whether this transaction called [Tx.Forget]: what it reads may be its
// own and not be committed yet, so nobody may cache it.
func (t *Tx) Forgot() bool { return t.root.forgot }

type recheck struct {
	query  string
	failed func()
}

type deferred struct {
	key   string
	flush Flush
	item  any
}

// Flush writes the items that were put off with one key, in order, in one
// statement if it can.
type Flush func(ctx context.Context, tx *Tx, items []any) error

func (r *txRoot) committed() {
	for _, f := range r.after {
		f()
	}
}

var _ bun.IDB = (*Tx)(nil)

// Adopt joins a transaction that the host opened with database/sql, or with a
// library built on it (sqlx: tx.Tx; GORM: tx.Statement.ConnPool.(*sql.Tx); bun:
// tx.Tx). Nothing is committed or rolled back here: what is written through the
// result stands or falls with the host's transaction.
func (d *DB) Adopt(tx *sql.Tx) *Tx {
	return &Tx{db: d, conn: tx, root: &txRoot{}, adopted: true}
}

// DB is the database this transaction belongs to.
func (t *Tx) DB() *DB { return t.db }

// Adopted tells whether the host commits this transaction.
func (t *Tx) Adopted() bool { return t.adopted }

// Defer puts item off until just before the commit, where all items of one key,
// over all callers that share the commit, are written by one call of flush. In
// an adopted transaction flush is called at once.
func (t *Tx) Defer(ctx context.Context, key string, flush Flush, item any) error {
	if t.adopted {
		return flush(ctx, t, []any{item})
	}
	t.root.deferred = append(t.root.deferred, deferred{key, flush, item})
	return nil
}

// AfterCommit runs f after the commit succeeded, on the committing goroutine: it
// must be quick and must not write. In an adopted transaction it never runs, so it
// may only ever make something sooner.
func (t *Tx) AfterCommit(f func()) {
	if !t.adopted {
		t.root.after = append(t.root.after, f)
	}
}

// undo is what is written down of work that was rolled back.
type undo struct {
	run  func(ctx context.Context) error
	done bool // its savepoint was rolled back: run it whatever becomes of the rest
}

// OnRollback runs f once what was done until now has been rolled back: with the whole
// transaction, or with a savepoint around this call, then after the commit. f runs
// outside of the transaction and may use [DB.Do]; of a transaction that is tried again
// the last try counts. In an adopted transaction it runs when the host calls
// [Tx.RolledBack].
func (t *Tx) OnRollback(f func(ctx context.Context) error) {
	t.root.undo = append(t.root.undo, &undo{run: f})
}

// RolledBack runs what was put by for the case that the transaction is rolled back. The
// host calls it on an adopted transaction, once its own rollback is through: only the
// host knows. It runs each function once.
func (t *Tx) RolledBack(ctx context.Context) error { return t.root.undone(ctx, true) }

// undoneFor is how long what is left of a rolled back transaction may take to write.
const undoneFor = 10 * time.Second

func (r *txRoot) undone(ctx context.Context, all bool) error {
	todo := r.undo
	r.undo = nil
	var errs []error
	for _, u := range todo {
		if all || u.done {
			// Who hangs up does not undo that they tried.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoneFor)
			errs = append(errs, u.run(ctx))
			cancel()
		}
	}
	return errors.Join(errs...)
}

// undoneFrom marks what was put by since a savepoint that was rolled back.
func (r *txRoot) undoneFrom(n int) {
	for _, u := range r.undo[n:] {
		u.done = true
	}
}

// commitPostgres writes what was put off and commits, in one round trip: the
// recheck is the last statement before COMMIT.
func (t *Tx) commitPostgres(ctx context.Context, conn *pgTx) error {
	var text []byte
	t.root.together = &text
	err := t.flushDeferred(ctx)
	t.root.together = nil
	if err != nil {
		return err
	}
	check := t.root.recheck
	if check != nil {
		text = fmt.Appendf(text, "SELECT 1 / COUNT(*) FROM (%s) AS still;\n", check.query)
	}
	err = conn.commit(ctx, string(text))
	switch {
	case err == nil:
		return nil
	case check != nil && vanished(err):
		check.failed()
		return fmt.Errorf("govdb: what was read has changed: %w: %w", ErrRetry, err)
	}
	return fmt.Errorf("govdb: commit: %w", err)
}

// Recheck makes the commit depend on query, a SELECT, still giving a row then; else
// failed is told and the error is [ErrRetry]. It saves a round trip where what was
// decided by is cached. It is for PostgreSQL and not for adopted transactions: ok is
// false there, and the caller reads now instead. A transaction has one recheck; a
// second one replaces it.
func (t *Tx) Recheck(query string, args []any, failed func()) (ok bool) {
	if !t.db.postgres || t.adopted || t.root.forgot {
		return false
	}
	t.root.recheck = &recheck{t.format(query, args), failed}
	return true
}

func (t *Tx) flushDeferred(ctx context.Context) error {
	for len(t.root.deferred) > 0 { // a flush may put off more
		todo := t.root.deferred
		t.root.deferred = nil
		if err := flushAll(ctx, t, todo); err != nil {
			return err
		}
	}
	return nil
}

func flushAll(ctx context.Context, t *Tx, todo []deferred) error {
	var keys []string
	items := map[string][]any{}
	flush := map[string]Flush{}
	for _, d := range todo {
		if _, ok := items[d.key]; !ok {
			keys = append(keys, d.key)
			flush[d.key] = d.flush
		}
		items[d.key] = append(items[d.key], d.item)
	}
	for _, k := range keys {
		if err := flush[k](ctx, t, items[k]); err != nil {
			return fmt.Errorf("govdb: write put-off %s: %w", k, err)
		}
	}
	return nil
}

// Savepoint runs fn so that its error undoes only what fn did. It is how one
// step of a transaction may fail and the rest go on.
func (t *Tx) Savepoint(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	name, err := t.save(ctx)
	if err != nil {
		return err
	}
	kept, after, undo := len(t.root.deferred), len(t.root.after), len(t.root.undo)
	if err := t.db.call(ctx, t, fn); err != nil {
		t.root.deferred, t.root.after = t.root.deferred[:kept], t.root.after[:after]
		t.root.undoneFrom(undo)
		if back := t.rollbackTo(ctx, name); back != nil {
			return errors.Join(err, back)
		}
		return err
	}
	return t.release(ctx, name)
}

// errBroken marks a transaction that the engine has ended under us.
var errBroken = errors.New("the transaction is gone")

func (t *Tx) save(ctx context.Context) (string, error) {
	t.root.savepoint++
	name := fmt.Sprintf("reeve_%d", t.root.savepoint)
	if _, err := t.conn.ExecContext(t.statementContext(ctx), "SAVEPOINT "+name); err != nil {
		return "", fmt.Errorf("govdb: savepoint: %w: %w", errBroken, err)
	}
	return name, nil
}

func (t *Tx) release(ctx context.Context, name string) error {
	if _, err := t.conn.ExecContext(t.statementContext(ctx), "RELEASE SAVEPOINT "+name); err != nil {
		return fmt.Errorf("govdb: release: %w: %w", errBroken, err)
	}
	return nil
}

func (t *Tx) rollbackTo(ctx context.Context, name string) error {
	clear(t.root.memo) // it may hold what is being undone
	ctx = context.WithoutCancel(ctx)
	for _, q := range []string{"ROLLBACK TO SAVEPOINT " + name, "RELEASE SAVEPOINT " + name} {
		if _, err := t.conn.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("govdb: roll back to savepoint: %w: %w", errBroken, err)
		}
	}
	return nil
}

// statementContext takes cancellation away on SQLite: an interrupted statement
// there rolls back the whole transaction, with the work of every neighbour, and
// later statements would commit one by one.
func (t *Tx) statementContext(ctx context.Context) context.Context {
	if t.db.postgres {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// ExecContext implements bun.IConn.
func (t *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return t.conn.ExecContext(t.statementContext(ctx), t.format(query, args))
}

// QueryContext implements bun.IConn.
func (t *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return t.conn.QueryContext(t.statementContext(ctx), t.format(query, args))
}

// QueryRowContext implements bun.IConn.
func (t *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.conn.QueryRowContext(t.statementContext(ctx), t.format(query, args))
}

func (t *Tx) format(query string, args []any) string {
	if len(args) == 0 {
		return query
	}
	return t.db.write.QueryGen().FormatQuery(query, args...)
}

// Dialect implements bun.IDB.
func (t *Tx) Dialect() schema.Dialect { return t.db.write.Dialect() }

// BeginTx implements bun.IDB with a savepoint on this transaction's connection;
// it never takes another from the pool. Prefer [Tx.Savepoint].
func (t *Tx) BeginTx(ctx context.Context, _ *sql.TxOptions) (bun.Tx, error) {
	if t.virtual == nil {
		t.virtual = bun.NewDB(sql.OpenDB(nestedConnector{t}), t.db.write.Dialect())
	}
	return t.virtual.BeginTx(t.statementContext(ctx), nil)
}

// RunInTx implements bun.IDB by [Tx.BeginTx].
func (t *Tx) RunInTx(ctx context.Context, opts *sql.TxOptions, fn func(ctx context.Context, tx bun.Tx) error) error {
	tx, err := t.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback()
		}
	}()
	if err := fn(ctx, tx); err != nil {
		done = true
		if back := tx.Rollback(); back != nil {
			return errors.Join(err, back)
		}
		return err
	}
	done = true
	return tx.Commit()
}

// NewValues implements bun.IDB.
func (t *Tx) NewValues(model any) *bun.ValuesQuery {
	return bun.NewValuesQuery(t.db.write, model).Conn(t)
}

// NewSelect implements bun.IDB.
func (t *Tx) NewSelect() *bun.SelectQuery { return bun.NewSelectQuery(t.db.write).Conn(t) }

// NewInsert implements bun.IDB.
func (t *Tx) NewInsert() *bun.InsertQuery { return bun.NewInsertQuery(t.db.write).Conn(t) }

// NewUpdate implements bun.IDB.
func (t *Tx) NewUpdate() *bun.UpdateQuery { return bun.NewUpdateQuery(t.db.write).Conn(t) }

// NewDelete implements bun.IDB.
func (t *Tx) NewDelete() *bun.DeleteQuery { return bun.NewDeleteQuery(t.db.write).Conn(t) }

// NewMerge implements bun.IDB.
func (t *Tx) NewMerge() *bun.MergeQuery { return bun.NewMergeQuery(t.db.write).Conn(t) }

// NewRaw implements bun.IDB.
func (t *Tx) NewRaw(query string, args ...any) *bun.RawQuery {
	return bun.NewRawQuery(t.db.write, query, args...).Conn(t)
}

// NewCreateTable implements bun.IDB.
func (t *Tx) NewCreateTable() *bun.CreateTableQuery {
	return bun.NewCreateTableQuery(t.db.write).Conn(t)
}

// NewDropTable implements bun.IDB.
func (t *Tx) NewDropTable() *bun.DropTableQuery { return bun.NewDropTableQuery(t.db.write).Conn(t) }

// NewCreateIndex implements bun.IDB.
func (t *Tx) NewCreateIndex() *bun.CreateIndexQuery {
	return bun.NewCreateIndexQuery(t.db.write).Conn(t)
}

// NewDropIndex implements bun.IDB.
func (t *Tx) NewDropIndex() *bun.DropIndexQuery { return bun.NewDropIndexQuery(t.db.write).Conn(t) }

// NewTruncateTable implements bun.IDB.
func (t *Tx) NewTruncateTable() *bun.TruncateTableQuery {
	return bun.NewTruncateTableQuery(t.db.write).Conn(t)
}

// NewAddColumn implements bun.IDB.
func (t *Tx) NewAddColumn() *bun.AddColumnQuery { return bun.NewAddColumnQuery(t.db.write).Conn(t) }

// NewDropColumn implements bun.IDB.
func (t *Tx) NewDropColumn() *bun.DropColumnQuery { return bun.NewDropColumnQuery(t.db.write).Conn(t) }
