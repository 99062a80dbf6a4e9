// Package hosttest opens databases that are not ours, with the settings a stranger
// would have: SQLite with foreign keys off and deferred transactions, PostgreSQL with
// the driver's own protocol.
//
// Start with [Each]. [Host.Chinook] and [Host.Fides] load the published databases.
package hosttest

import (
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver a stranger would use

	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/internal/sharedtest"
)

// Host is a foreign database.
type Host struct {
	DB       *sql.DB
	Postgres bool
	DSN      string
	Schema   string
}

// SQLite makes an empty host in a temporary folder.
func SQLite(t testing.TB) Host {
	t.Helper()
	return OpenSQLite(t, filepath.Join(t.TempDir(), "host.db"))
}

// OpenSQLite opens a host's file.
func OpenSQLite(t testing.TB, file string) Host {
	t.Helper()
	dsn := "file:" + file + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db, err := sql.Open("sqlite", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return Host{DB: db, DSN: file}
}

// Postgres makes an empty host in a schema of its own, or skips.
func Postgres(t testing.TB) Host {
	t.Helper()
	return OpenPostgres(t, govtest.PostgresDSN(t), govtest.Schema(t))
}

// OpenPostgres opens a host's schema, which is made if it is not there.
func OpenPostgres(t testing.TB, dsn, schema string) Host {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.RuntimeParams["search_path"] = schema
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(8)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec("CREATE SCHEMA IF NOT EXISTS " + schema)
	require.NoError(t, err)
	return Host{DB: db, Postgres: true, DSN: dsn, Schema: schema}
}

// Each runs fn on both engines.
func Each(t *testing.T, fn func(t *testing.T, h Host)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		fn(t, SQLite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		fn(t, Postgres(t))
	})
}

// Exec runs statements.
func (h Host) Exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, q := range statements {
		_, err := h.DB.Exec(q)
		require.NoError(t, err, q)
	}
}

// Int reads one number.
func (h Host) Int(t testing.TB, query string) int {
	t.Helper()
	var n int
	require.NoError(t, h.DB.QueryRow(query).Scan(&n), query)
	return n
}

var database = regexp.MustCompile(`(?m)^(DROP DATABASE|CREATE DATABASE|\\c ).*$`)

// Chinook loads the media shop: its script would make a database of its own, which a
// schema of its own stands in for.
func (h Host) Chinook(t testing.TB) {
	t.Helper()
	name := "chinook_sqlite.sql"
	if h.Postgres {
		name = "chinook_postgres.sql"
	}
	b, err := os.ReadFile(sharedtest.Path(t, "chinook", name))
	require.NoError(t, err)
	h.Exec(t, database.ReplaceAllString(string(b), ""))
}

// Fides loads the annotated shop, on PostgreSQL.
func (h Host) Fides(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(sharedtest.Path(t, "fides", "postgres_sample.sql"))
	require.NoError(t, err)
	// The script fills two schemas; both must be this test's own.
	text := strings.ReplaceAll(strings.ReplaceAll(string(b), "backup_schema", h.Schema+"_b"), "public.", h.Schema+".")
	t.Cleanup(func() { _, _ = h.DB.Exec("DROP SCHEMA IF EXISTS " + h.Schema + "_b CASCADE") })
	h.Exec(t, text)
}
