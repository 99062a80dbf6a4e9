package govdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// pgTx is a transaction on PostgreSQL that saves round trips: BEGIN goes out with the
// first statement, and COMMIT with the last ones. Not for concurrent use.
type pgTx struct {
	conn  *sql.Conn
	begun bool
	// doubt says that a statement failed, or may have without our knowing: COMMIT in a
	// failed transaction rolls back and reports no error.
	doubt bool
	// cancels end the queries whose rows nobody closed: the connection waits for them.
	cancels []context.CancelFunc
}

// query is the context of a query: it ends with the transaction at the latest.
func (t *pgTx) query(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	t.cancels = append(t.cancels, cancel)
	return ctx
}

// ExecContext implements bun.IConn.
func (t *pgTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if !t.begun {
		t.begun = true
		query = "BEGIN;\n" + query
	}
	res, err := t.conn.ExecContext(ctx, query, args...)
	if err != nil {
		t.doubt = true
	}
	return res, err
}

// QueryContext implements bun.IConn.
func (t *pgTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	t.doubt = true // an error while reading rows is the caller's to see, not ours
	return t.conn.QueryContext(t.query(ctx), query, args...)
}

// QueryRowContext implements bun.IConn.
func (t *pgTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := t.begin(ctx); err != nil {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return t.conn.QueryRowContext(ended, query, args...)
	}
	t.doubt = true
	return t.conn.QueryRowContext(t.query(ctx), query, args...)
}

// begin is for a query, whose rows must be the only result.
func (t *pgTx) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	t.begun = true
	if _, err := t.conn.ExecContext(ctx, "BEGIN"); err != nil {
		t.doubt = true
		return fmt.Errorf("govdb: begin: %w", err)
	}
	return nil
}

// commit runs text, statements that each end with a semicolon, and commits. What
// fails in it keeps the commit from being reached.
func (t *pgTx) commit(ctx context.Context, text string) error {
	switch {
	case !t.begun && text == "":
		return nil
	case !t.begun:
		t.begun = true
		text = "BEGIN;\n" + text
	case text == "" && t.doubt:
		text = "SELECT 1;\n" // fails in a failed transaction, where COMMIT would not
	}
	if _, err := t.conn.ExecContext(ctx, text+"COMMIT"); err != nil {
		return err
	}
	t.begun = false
	return nil
}

// end rolls back what was not committed and gives the connection back; one in an
// unknown state is thrown away.
func (t *pgTx) end(ctx context.Context) {
	for _, cancel := range t.cancels {
		cancel()
	}
	if t.begun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			_ = t.conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	_ = t.conn.Close()
}

// vanished tells whether err is the recheck's: its division by the number of rows
// that are still there.
func vanished(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "22012"
}
