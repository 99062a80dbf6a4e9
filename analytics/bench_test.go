package analytics_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/analytics/sqlwarehouse"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// BenchmarkRefresh builds the figures of 250 tenants with two years of daily usage
// on SQLite, and reports the longest that the one writer was kept.
func BenchmarkRefresh(b *testing.B) {
	e := govtest.New(b, schemas)
	e.People.Put("ops", "root")
	svc, err := analytics.New(e.Kernel, sqlwarehouse.New(e.DB), nil)
	require.NoError(b, err)
	var batch []analytics.Fact
	send := func(f analytics.Fact) {
		batch = append(batch, f)
		if len(batch) == 10_000 {
			_, err := svc.Ingest(b.Context(), e.As("ops"), batch, nil)
			require.NoError(b, err)
			batch = batch[:0]
		}
	}
	last := day("2026-01-14")
	for t := range 250 {
		name := fmt.Sprintf("tenant-%03d", t)
		for m := range 24 {
			send(sub(name, name, last.AddDate(0, -m, -t%25).Format(time.DateOnly), int64(10_000+m*100)))
		}
		for d := range 730 {
			send(analytics.Fact{Source: "app", Key: fmt.Sprintf("%s/%d", name, d), Kind: analytics.KindUsage, Tenant: governance.TenantID(name), Metric: "active_users",
				Quantity: int64(d % 40), At: last.AddDate(0, 0, -d)})
		}
	}
	send(watermark("2026-01-14"))
	_, err = svc.Ingest(b.Context(), e.As("ops"), batch, nil)
	require.NoError(b, err)

	// Another writer asks for its turn all the time, as a busy server does.
	ctx, stop := context.WithCancel(b.Context())
	longest := make(chan time.Duration)
	go func() {
		var most time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			_ = e.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE gov_setting SET value = value")
				return err
			})
			most = max(most, time.Since(began))
			time.Sleep(time.Millisecond)
		}
		longest <- most
	}()
	for b.Loop() {
		r, err := svc.Refresh(b.Context(), governance.System("bench"), "")
		require.NoError(b, err)
		require.Equal(b, analytics.RefreshPublished, r.State)
	}
	stop()
	b.ReportMetric(float64((<-longest).Milliseconds()), "ms-longest-wait")
}
