// Package opendb opens the databases that Reeve keeps itself: SQLite with the
// settings its promises need, or PostgreSQL.
//
// Start with [Open]. A DSN that begins with postgres:// or postgresql:// is
// PostgreSQL; anything else is the path of a SQLite file.
package opendb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"

	"github.com/reevehq/reeve/governance/govdb"
)

// Options tunes Open. The zero value is ready to use.
type Options struct {
	Readers  int    // SQLite read connections; default 4
	MaxConns int    // PostgreSQL connections; default 40
	Schema   string // PostgreSQL schema, created when absent; default: the role's own search_path
	Logger   *slog.Logger
	Now      func() time.Time
	Wrap     func(driver.Connector) driver.Connector // goes around the driver, for tracing and tests; default none
}

// pool opens a connection pool through what Options.Wrap makes of the driver.
func (o Options) pool(c driver.Connector) *sql.DB {
	if o.Wrap != nil {
		c = o.Wrap(c)
	}
	return sql.OpenDB(c)
}

// named is a connector of a driver that knows only names.
type named struct {
	driver driver.Driver
	name   string
}

// Connect implements driver.Connector.
func (c named) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.name) }

// Driver implements driver.Connector.
func (c named) Driver() driver.Driver { return c.driver }

// Open opens dsn and checks it with a round trip. Close the result.
func Open(ctx context.Context, dsn string, opts *Options) (*govdb.DB, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Readers == 0 {
		o.Readers = 4
	}
	if o.MaxConns == 0 {
		o.MaxConns = 40
	}
	attach := &govdb.Options{Logger: o.Logger, Now: o.Now}
	switch {
	case dsn == "":
		return nil, errors.New("opendb: the DSN is empty: give a file path or postgres://…")
	case IsPostgres(dsn):
		return openPostgres(ctx, dsn, o, attach)
	}
	return openSQLite(ctx, dsn, o, attach)
}

// IsPostgres tells whether dsn names a PostgreSQL server.
func IsPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

func openSQLite(ctx context.Context, file string, o Options, attach *govdb.Options) (*govdb.DB, error) {
	file = strings.TrimPrefix(file, "sqlite://")
	if strings.Contains(file, ":memory:") {
		return nil, errors.New("opendb: an in-memory SQLite database keeps nothing: give a file path")
	}
	pragmas := "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=secure_delete(1)&_pragma=temp_store(MEMORY)"
	name := "file:" + (&url.URL{Path: file}).EscapedPath()
	write := o.pool(named{&sqlite.Driver{}, name + "?_txlock=immediate&" + pragmas})
	write.SetMaxOpenConns(1) // with more, SQLite's busy handler decides who waits, and it is unfair
	write.SetMaxIdleConns(1)
	if err := write.PingContext(ctx); err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	read := o.pool(named{&sqlite.Driver{}, name + "?" + pragmas + "&_pragma=query_only(1)"})
	read.SetMaxOpenConns(o.Readers)
	read.SetMaxIdleConns(o.Readers)
	d, err := govdb.Attach(ctx, bun.NewDB(write, sqlitedialect.New()), bun.NewDB(read, sqlitedialect.New()), attach)
	if err != nil {
		return nil, errors.Join(err, write.Close(), read.Close())
	}
	d.OnClose(write)
	d.OnClose(read)
	return d, nil
}

func openPostgres(ctx context.Context, dsn string, o Options, attach *govdb.Options) (*govdb.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("opendb: the PostgreSQL DSN does not parse") // the driver's error would echo the password
	}
	// bun writes values into the text of a statement, so preparing it gains nothing.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if o.Schema != "" {
		cfg.RuntimeParams["search_path"] = quoteIdent(o.Schema)
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	if cfg.RuntimeParams["lock_timeout"] == "" {
		cfg.RuntimeParams["lock_timeout"] = "15s"
	}
	db := o.pool(stdlib.GetConnector(*cfg))
	db.SetMaxOpenConns(o.MaxConns)
	db.SetMaxIdleConns(o.MaxConns)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open PostgreSQL at %s:%d/%s: %w", cfg.Host, cfg.Port, cfg.Database, err)
	}
	if o.Schema != "" {
		if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+quoteIdent(o.Schema)); err != nil && !govdb.IsUnique(err) {
			_ = db.Close()
			return nil, fmt.Errorf("create schema %s: %w", o.Schema, err)
		}
	}
	h := bun.NewDB(db, pgdialect.New())
	d, err := govdb.Attach(ctx, h, h, attach)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	d.OnClose(db)
	return d, nil
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
