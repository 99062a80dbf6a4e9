package govdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// The types below are a database/sql driver whose only connection is a Tx: what
// begins there is a savepoint of that Tx. It lets bun's own RunInTx nest inside a
// transaction that bun did not open.

type nestedConnector struct{ tx *Tx }

func (c nestedConnector) Connect(context.Context) (driver.Conn, error) {
	return &nestedConn{tx: c.tx}, nil
}
func (c nestedConnector) Driver() driver.Driver { return nestedDriver{} }

type nestedDriver struct{}

func (nestedDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("govdb: a nested transaction is not opened by name")
}

type nestedConn struct{ tx *Tx }

var errPrepare = errors.New("govdb: prepared statements are not supported in a nested transaction")

func (c *nestedConn) Prepare(string) (driver.Stmt, error) { return nil, errPrepare }
func (c *nestedConn) Close() error                        { return nil }
func (c *nestedConn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *nestedConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	name, err := c.tx.save(ctx)
	if err != nil {
		return nil, err
	}
	return &nestedTx{c.tx, name, len(c.tx.root.undo)}, nil
}

func (c *nestedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.tx.conn.ExecContext(c.tx.statementContext(ctx), query, values(args)...)
}

func (c *nestedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.tx.conn.QueryContext(c.tx.statementContext(ctx), query, values(args)...)
	if err != nil {
		return nil, err
	}
	columns, err := rows.Columns()
	if err != nil {
		_ = rows.Close()
		return nil, err
	}
	return &nestedRows{rows, columns}, nil
}

func values(args []driver.NamedValue) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a.Value
	}
	return out
}

type nestedTx struct {
	tx   *Tx
	name string
	undo int
}

func (t *nestedTx) Commit() error { return t.tx.release(context.Background(), t.name) }

func (t *nestedTx) Rollback() error {
	t.tx.root.undoneFrom(t.undo)
	return t.tx.rollbackTo(context.Background(), t.name)
}

type nestedRows struct {
	rows    *sql.Rows
	columns []string
}

func (r *nestedRows) Columns() []string { return r.columns }
func (r *nestedRows) Close() error      { return r.rows.Close() }

func (r *nestedRows) Next(dest []driver.Value) error {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	pointers := make([]any, len(dest))
	out := make([]any, len(dest))
	for i := range out {
		pointers[i] = &out[i]
	}
	if err := r.rows.Scan(pointers...); err != nil {
		return err
	}
	for i := range out {
		dest[i] = out[i]
	}
	return nil
}
