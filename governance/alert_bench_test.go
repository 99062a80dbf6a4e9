package governance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/ledger"
)

// clockDesk writes down when it was first called about each alert.
type clockDesk struct {
	mu sync.Mutex
	at map[uuid.UUID]time.Time
}

func (*clockDesk) Name() string { return "desk" }

func (*clockDesk) Notify(context.Context, governance.Alert) error { return nil }

func (d *clockDesk) Tell(_ context.Context, n governance.Notice) error {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range n.Alerts {
		if _, ok := d.at[a.ID]; !ok {
			d.at[a.ID] = now
		}
	}
	return nil
}

// BenchmarkAlertDelivery runs the real loops on a real clock, without routes, beside a
// notifier that never answers, and prints how long it takes from the commit that raises
// an alert to the call of a notifier.
func BenchmarkAlertDelivery(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			dsn, o := filepath.Join(b.TempDir(), "reeve.db"), &opendb.Options{}
			if engine == "postgres" {
				if dsn = os.Getenv(govtest.PostgresEnv); dsn == "" {
					b.Skipf("SKIP postgres: %s is not set", govtest.PostgresEnv)
				}
				o.Schema = govtest.Schema(b)
			}
			ctx, stop := context.WithCancel(b.Context())
			db, err := opendb.Open(ctx, dsn, o)
			require.NoError(b, err)
			defer func() { _ = db.Close() }()
			require.NoError(b, govdb.Migrate(ctx, db, governance.Schemas()...))
			key, _, err := ledger.GenerateKey("reeve.bench")
			require.NoError(b, err)
			people, quick, hanging := &govtest.People{}, &clockDesk{at: map[uuid.UUID]time.Time{}}, &desk{name: "hangs", hang: make(chan struct{})}
			k, err := governance.New(db, &governance.Options{Authorizer: people, Directory: people, LedgerKey: key, Notifiers: []governance.Notifier{hanging, quick}})
			require.NoError(b, err)
			var run sync.WaitGroup
			run.Go(func() { _ = k.Run(ctx) })
			defer run.Wait()
			defer stop()

			const count = 300
			for b.Loop() {
				committed := map[uuid.UUID]time.Time{}
				took := map[governance.Severity][]time.Duration{}
				sev := map[uuid.UUID]governance.Severity{}
				for i := range count {
					s := []governance.Severity{governance.Critical, governance.Warning}[i%2]
					err := db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
						id, err := k.AlertTx(ctx, tx, governance.Alert{Key: fmt.Sprintf("%s-%d:%d", s, i/2%40, i), Tenant: governance.TenantID(fmt.Sprint("t", i%17)), Severity: s, Title: "bench"})
						sev[id] = s
						committed[id] = time.Now()
						return err
					})
					require.NoError(b, err)
					time.Sleep(15 * time.Millisecond)
				}
				require.Eventually(b, func() bool {
					quick.mu.Lock()
					defer quick.mu.Unlock()
					for id := range committed {
						if _, ok := quick.at[id]; !ok {
							return false
						}
					}
					return true
				}, 7*time.Minute, 50*time.Millisecond)
				for id, at := range committed {
					took[sev[id]] = append(took[sev[id]], quick.at[id].Sub(at))
				}
				for s, ds := range took {
					slices.Sort(ds)
					for _, p := range []int{50, 95, 99} {
						b.ReportMetric(float64(ds[(len(ds)-1)*p/100].Milliseconds()), fmt.Sprintf("%s-p%d-ms", s, p))
					}
				}
			}
		})
	}
}
