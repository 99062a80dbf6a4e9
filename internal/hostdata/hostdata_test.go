package hostdata_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/retention/sqlsource"
)

func TestGenerate(t *testing.T) {
	ctx := context.Background()
	today := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	make1 := func() *sql.DB {
		db, err := opendb.Open(ctx, filepath.Join(t.TempDir(), "host.db"), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		require.False(t, hostdata.Present(ctx, db.Handle().DB))
		require.NoError(t, hostdata.Generate(ctx, db.Handle().DB, false, 1, 2000, today))
		require.True(t, hostdata.Present(ctx, db.Handle().DB))
		return db.Handle().DB
	}
	a, b := make1(), make1()
	for _, table := range hostdata.Tables() {
		var x, y int
		require.NoError(t, a.QueryRow("SELECT COUNT(*) FROM "+table).Scan(&x))
		require.NoError(t, b.QueryRow("SELECT COUNT(*) FROM "+table).Scan(&y))
		require.Positive(t, x, table)
		require.Equal(t, x, y, "%s: the same seed gives the same rows", table)
	}
	ms, err := hostdata.Mapping()
	require.NoError(t, err)
	for _, m := range ms {
		src, err := sqlsource.New(ctx, a, m, nil)
		require.NoError(t, err)
		d, err := src.Describe(ctx)
		require.NoError(t, err)
		require.Empty(t, d.Warnings)
	}
}

func BenchmarkGenerate(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		db, err := opendb.Open(ctx, filepath.Join(b.TempDir(), "host.db"), nil)
		require.NoError(b, err)
		require.NoError(b, hostdata.Generate(ctx, db.Handle().DB, false, 1, 50000, time.Now()))
		require.NoError(b, db.Close())
	}
}
