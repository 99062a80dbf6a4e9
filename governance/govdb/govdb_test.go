package govdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	_ "modernc.org/sqlite"

	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
)

func table(t *testing.T, e *govtest.Env) func() int {
	t.Helper()
	_, err := e.DB.Handle().ExecContext(t.Context(), "CREATE TABLE host (v TEXT PRIMARY KEY)")
	require.NoError(t, err)
	return func() int {
		var n int
		require.NoError(t, e.DB.Handle().NewRaw("SELECT COUNT(*) FROM host").Scan(context.Background(), &n))
		return n
	}
}

func put(v string) func(ctx context.Context, tx *govdb.Tx) error {
	return func(ctx context.Context, tx *govdb.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO host (v) VALUES (?)", v)
		return err
	}
}

func TestDo_NeighboursStand(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		count := table(t, e)
		var wg sync.WaitGroup
		var failed atomic.Int64
		for i := range 200 {
			wg.Go(func() {
				err := e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
					if err := put(fmt.Sprint(i))(ctx, tx); err != nil {
						return err
					}
					switch i % 10 {
					case 0:
						return errors.New("no")
					case 1:
						panic("no")
					case 2:
						_, err := tx.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
						return err
					}
					return nil
				})
				if err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 60, failed.Load())
		require.Equal(t, 140, count())
	})
}

func TestDo_Nested(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		err := e.DB.Do(t.Context(), func(ctx context.Context, _ *govdb.Tx) error { return e.DB.Do(ctx, put("x")) })
		require.ErrorIs(t, err, govdb.ErrNested)
	})
}

func TestDo_Cancelled(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	count := table(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	err := e.DB.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
		if err := put("a")(ctx, tx); err != nil {
			return err
		}
		// A statement that runs while its context ends must not be interrupted: SQLite
		// would roll the whole shared transaction back.
		go func() {
			time.Sleep(20 * time.Millisecond)
			cancel()
		}()
		var n int64
		if err := tx.NewRaw("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 2000000) SELECT COUNT(*) FROM c").Scan(ctx, &n); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		return put("b")(ctx, tx) // between statements cancellation is seen
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "interrupted")
	require.Zero(t, count())
	require.ErrorIs(t, e.DB.Do(ctx, put("c")), context.Canceled)
	require.NoError(t, e.DB.Do(t.Context(), put("d")))
	require.Equal(t, 1, count())
}

func TestTx_Savepoint(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		count := table(t, e)
		var flushed, committed []string
		defer1 := func(ctx context.Context, tx *govdb.Tx, v string) error {
			tx.AfterCommit(func() { committed = append(committed, v) })
			return tx.Defer(ctx, "k", func(_ context.Context, _ *govdb.Tx, items []any) error {
				for _, it := range items {
					flushed = append(flushed, it.(string))
				}
				return nil
			}, v)
		}
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			if err := errors.Join(put("a")(ctx, tx), defer1(ctx, tx, "a")); err != nil {
				return err
			}
			_ = tx.Savepoint(ctx, func(ctx context.Context, tx *govdb.Tx) error {
				return errors.Join(put("b")(ctx, tx), defer1(ctx, tx, "b"), errors.New("no"))
			})
			return tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewRaw("INSERT INTO host (v) VALUES (?)", "c").Exec(ctx)
				return err
			})
		}))
		require.Equal(t, 2, count())
		require.Equal(t, []string{"a"}, flushed)
		require.Equal(t, []string{"a"}, committed)
	})
}

// TestAdopt joins transactions that a host opened with its own library, on a pool
// of one connection: anything that escaped to the pool would wait for ever.
func TestAdopt(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		count := table(t, e)
		db := e.DB.Handle().DB
		db.SetMaxOpenConns(1)
		work := func(tx *sql.Tx) error {
			ctx := t.Context()
			mine := e.DB.Adopt(tx)
			if err := put("mine")(ctx, mine); err != nil {
				return err
			}
			_ = mine.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO host (v) VALUES ('undone')")
				return errors.Join(err, errors.New("no"))
			})
			return mine.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO host (v) VALUES ('nested')")
				return err
			})
		}
		gormDB := openGorm(t, e, db)
		driver := "sqlite"
		if e.DB.Postgres() {
			driver = "pgx"
		}
		for name, host := range map[string]func(commit bool) error{
			"database/sql": func(commit bool) error {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					return err
				}
				if err := work(tx); err != nil || !commit {
					return errors.Join(err, tx.Rollback())
				}
				return tx.Commit()
			},
			"sqlx": func(commit bool) error {
				tx, err := sqlx.NewDb(db, driver).BeginTxx(t.Context(), nil)
				if err != nil {
					return err
				}
				if err := work(tx.Tx); err != nil || !commit {
					return errors.Join(err, tx.Rollback())
				}
				return tx.Commit()
			},
			"gorm": func(commit bool) error {
				err := gormDB.Transaction(func(g *gorm.DB) error {
					if err := work(g.Statement.ConnPool.(*sql.Tx)); err != nil {
						return err
					}
					if !commit {
						return errRollback
					}
					return nil
				})
				if errors.Is(err, errRollback) {
					return nil
				}
				return err
			},
		} {
			require.NoError(t, host(false), name)
			require.Zero(t, count(), "%s rolled back", name)
			require.NoError(t, host(true), name)
			require.Equal(t, 2, count(), "%s committed", name)
			_, err := db.ExecContext(t.Context(), "DELETE FROM host")
			require.NoError(t, err)
		}
	})
}

var errRollback = errors.New("roll back")

// openGorm gives GORM the same handle. Its PostgreSQL dialect serves both engines
// here: nothing but GORM's handling of transactions is used.
func openGorm(t *testing.T, _ *govtest.Env, db *sql.DB) *gorm.DB {
	t.Helper()
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{})
	require.NoError(t, err)
	return g
}

func TestAttach_Refuses(t *testing.T) {
	t.Parallel()
	for want, pragmas := range map[string]string{
		"_pragma=journal_mode(WAL)":  "_pragma=busy_timeout(5000)",
		"_pragma=synchronous(FULL)":  "_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)",
		"_pragma=busy_timeout(5000)": "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)",
		"_txlock=immediate":          "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)",
	} {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "a.db")+"?"+pragmas)
		require.NoError(t, err)
		_, err = govdb.Attach(t.Context(), bun.NewDB(db, sqlitedialect.New()), nil, nil)
		require.ErrorContains(t, err, want)
		require.NoError(t, db.Close())
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "b.db")+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	_, err = govdb.Attach(t.Context(), bun.NewDB(db, sqlitedialect.New()), nil, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = opendb.Open(t.Context(), ":memory:", nil)
	require.Error(t, err)
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
		fs := fstest.MapFS{"sqlite/0001_a.up.sql": file("CREATE TABLE a (x INT);\n"), "postgres/0001_a.up.sql": file("CREATE TABLE a (x INT);\n")}
		s := govdb.Schema{Name: "a", FS: fs}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := govdb.Migrate(t.Context(), e.DB, s); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.NoError(t, govdb.CheckVersion(t.Context(), e.DB, s))
		changed := govdb.Schema{Name: "a", FS: fstest.MapFS{"sqlite/0001_a.up.sql": file("x"), "postgres/0001_a.up.sql": file("x")}}
		require.ErrorIs(t, govdb.Migrate(t.Context(), e.DB, changed), govdb.ErrSchemaVersion)
		fs["sqlite/0002_b.up.sql"], fs["postgres/0002_b.up.sql"] = file("CREATE TABLE b (x INT);\nCREATE TABLE a (x INT);\n"), file("CREATE TABLE b (x INT);\nCREATE TABLE a (x INT);\n")
		require.ErrorIs(t, govdb.CheckVersion(t.Context(), e.DB, s), govdb.ErrSchemaVersion)
		require.ErrorContains(t, govdb.Migrate(t.Context(), e.DB, s), "statement 2")
		_, err := e.DB.Handle().ExecContext(t.Context(), "CREATE TABLE b (x INT)")
		require.NoError(t, err, "a failed migration leaves nothing")
	})
}

func TestStatements(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"A", "B;\nC;", "D"}, govdb.Statements("-- note\nA;\n-- begin\nB;\nC;\n-- end\nD;\n"))
}

// BenchmarkDo prints how many times faster shared commits are than a transaction
// per call, at 64 callers with synchronous=FULL, both measured here.
func BenchmarkDo(b *testing.B) {
	run := func(b *testing.B, write func(i int64) error) float64 {
		b.Helper()
		var n atomic.Int64
		start := time.Now()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for {
					i := n.Add(1)
					if i > 6400 {
						return
					}
					if err := write(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return 6400 / time.Since(start).Seconds()
	}
	for b.Loop() {
		e := govtest.New(b, nil)
		_, err := e.DB.Handle().ExecContext(b.Context(), "CREATE TABLE host (v TEXT PRIMARY KEY)")
		require.NoError(b, err)
		shared := run(b, func(i int64) error { return e.DB.Do(b.Context(), put(fmt.Sprint("s", i))) })
		single := run(b, func(i int64) error {
			tx, err := e.DB.Handle().DB.BeginTx(b.Context(), nil)
			if err != nil {
				return err
			}
			if err := put(fmt.Sprint("o", i))(b.Context(), e.DB.Adopt(tx)); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		})
		b.ReportMetric(shared, "shared/s")
		b.ReportMetric(single, "single/s")
		b.ReportMetric(shared/single, "ratio")
	}
}

// TestDo_SwallowedErrorsDoNotCommit is about PostgreSQL, where COMMIT in a failed
// transaction rolls back and reports success.
func TestDo_SwallowedErrorsDoNotCommit(t *testing.T) {
	t.Parallel()
	e := govtest.NewPostgres(t, nil)
	count := table(t, e)
	for name, swallow := range map[string]func(ctx context.Context, tx *govdb.Tx){
		"a statement": func(ctx context.Context, tx *govdb.Tx) { _, _ = tx.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)") },
		"the first row": func(ctx context.Context, tx *govdb.Tx) {
			var n int
			_ = tx.QueryRowContext(ctx, "SELECT 1/0").Scan(&n)
		},
		"a later row": func(ctx context.Context, tx *govdb.Tx) {
			rows, err := tx.QueryContext(ctx, "SELECT 100 / (50 - i) FROM generate_series(0, 100) AS i") //nolint:rowserrcheck // left unread: that is the case
			if err != nil {
				return
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() { //nolint:revive // nothing to do with them
			}
		},
	} {
		err := e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			if err := put(name)(ctx, tx); err != nil {
				return err
			}
			swallow(ctx, tx)
			return nil
		})
		require.Error(t, err, name)
		require.Zero(t, count(), name)
	}
	require.NoError(t, e.DB.Do(t.Context(), put("the connections are usable")))
	require.Equal(t, 1, count())
}

func TestDo_Empty(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		told := false
		require.NoError(t, e.DB.Do(t.Context(), func(_ context.Context, tx *govdb.Tx) error {
			tx.AfterCommit(func() { told = true })
			return nil
		}))
		require.True(t, told)
	})
}

func TestTx_Recheck(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		count := table(t, e)
		var tries, failed int
		err := e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			tries++
			if !tx.Recheck("SELECT 1 FROM host WHERE v = ?", []any{"never there"}, func() { failed++ }) {
				return errors.New("read it now")
			}
			return put("x")(ctx, tx)
		})
		require.Zero(t, count())
		if !e.DB.Postgres() {
			require.EqualError(t, err, "read it now")
			return
		}
		require.ErrorIs(t, err, govdb.ErrRetry)
		require.Equal(t, 4, tries)
		require.Equal(t, 4, failed)
		require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
			tx.Recheck("SELECT 1 FROM host WHERE v = ?", []any{"y"}, func() { failed++ })
			return put("y")(ctx, tx)
		}))
		require.Equal(t, 4, failed)
	})
}

func TestDo_RowsLeftOpen(t *testing.T) {
	t.Parallel()
	e := govtest.NewPostgres(t, nil)
	count := table(t, e)
	for range 30 { // more than there are connections
		err := e.DB.Do(context.Background(), func(ctx context.Context, tx *govdb.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT generate_series(1, 100000)") //nolint:rowserrcheck,sqlclosecheck // left open: that is the case
			if err != nil {
				return err
			}
			rows.Next()
			panic("in the middle")
		})
		require.ErrorContains(t, err, "panic")
	}
	require.NoError(t, e.DB.Do(t.Context(), put("the connections are there")))
	require.Equal(t, 1, count())
}
