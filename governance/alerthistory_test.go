package governance_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/governance/govtest"
)

// Whatever happens to alerts and to notifiers, each notifier hears of an alert in an
// order that makes sense, and nothing that fires and is not muted stays untold.
func TestAlerts_Histories(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		w.routes(t, `{"receivers":[{"name":"chat","notifiers":["slack"]},{"name":"night","notifiers":["pager"]}],
			"routes":[{"name":"a","match":{"keys":["a"]},"steps":[{"receiver":"chat"},{"receiver":"night","after":"10m"}],"continue":true},
			{"name":"b","match":{"keys":["b"]},"steps":[{"receiver":"night"},{"receiver":"chat","after":"20m"}],"group_by":["key"],"group_wait":"0s"}]}`)
		root := w.As("root")
		for seed := range uint64(4) {
			r := rand.New(rand.NewPCG(seed, 7))
			tenant := governance.TenantID(fmt.Sprint("t", seed))
			ids := map[uuid.UUID]string{}
			for range 25 {
				key := fmt.Sprintf("%s:%d-%d", []string{"a", "b", "c"}[r.IntN(3)], seed, r.IntN(2))
				switch r.IntN(7) {
				case 0, 1, 2:
					s := []governance.Severity{governance.Info, governance.Warning, governance.Critical}[r.IntN(3)]
					ids[w.raise(t, governance.Alert{Key: key, Tenant: tenant, Severity: s, Title: key})] = key
				case 3:
					w.resolve(t, key)
				case 4:
					var all []uuid.UUID
					for id := range ids {
						all = append(all, id)
					}
					slices.SortFunc(all, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
					if len(all) > 0 {
						_, err := w.Kernel.AckAlerts(t.Context(), root, all[r.IntN(len(all))])
						require.NoError(t, err)
					}
				case 5:
					var err error
					if r.IntN(2) == 0 {
						err = fmt.Errorf("pager: answered 503")
					}
					w.pager.refuse(err)
				case 6:
					_, err := w.Kernel.SilenceAlerts(t.Context(), root, governance.Silence{Match: alertroute.Match{Tenants: []string{string(tenant)}, Keys: []string{key[:1]}}, Reason: "r", Until: w.Now().Add(20 * time.Minute)}, nil)
					require.NoError(t, err)
				}
				w.turn(t, time.Duration(r.IntN(600))*time.Second)
			}
			w.pager.refuse(nil)
			w.turn(t, 30*time.Minute) // every silence ends
			for range 14 {            // and everything is tried again
				w.turn(t, 10*time.Minute)
			}
			gs, err := w.Kernel.AlertGroups(t.Context(), governance.AlertFilter{Tenant: tenant})
			require.NoError(t, err)
			heard := map[string]map[uuid.UUID][]governance.NoticeKind{"slack": {}, "pager": {}}
			for _, d := range []*desk{w.slack, w.pager} {
				for _, n := range d.got {
					for _, a := range n.Alerts {
						heard[d.name][a.ID] = append(heard[d.name][a.ID], n.Kind)
					}
				}
				d.got = nil
			}
			for _, g := range gs {
				for _, a := range g.Alerts {
					if a.State == governance.AlertFiring && a.Muted == "" {
						require.NotEmpty(t, append(heard["slack"][a.ID], heard["pager"][a.ID]...), "seed %d: %s fires and nobody knows", seed, a.Key)
					}
				}
			}
			for name, alerts := range heard {
				for id, kinds := range alerts {
					if _, ours := ids[id]; !ours {
						continue // that the pager is not reached
					}
					for i, kind := range kinds {
						before := kinds[:i]
						require.False(t, slices.Contains(before, governance.NoticeResolved), "seed %d, %s: %s after the end: %v", seed, name, kind, kinds)
						if i > 0 && before[i-1] == governance.NoticeAcked {
							require.Contains(t, []governance.NoticeKind{governance.NoticeRaised, governance.NoticeResolved}, kind, "seed %d, %s: %v", seed, name, kinds)
						}
						if i == 0 && name == "slack" { // the pager may have failed to answer about what it heard
							require.Contains(t, []governance.NoticeKind{governance.NoticeRaised, governance.NoticeEscalated}, kind, "seed %d: %v", seed, kinds)
						}
					}
				}
			}
		}
	})
}

// bad is a notifier that panics.
type bad struct{}

func (bad) Name() string { return "bad" }

func (bad) Notify(context.Context, governance.Alert) error { panic("at the worst time") }

func TestAlerts_NotifierPanics(t *testing.T) {
	t.Parallel()
	ok := &desk{name: "ok"}
	w := &ward{Env: govtest.New(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Notifiers = []governance.Notifier{bad{}, ok} }})}
	w.raise(t, governance.Alert{Key: "x", Severity: governance.Critical, Title: "one"})
	w.turn(t, 0)
	require.Equal(t, []string{"raised: one"}, ok.take())
	ds, err := w.Kernel.AlertDeliveries(t.Context(), governance.DeliveryFilter{State: governance.NoticeWaiting})
	require.NoError(t, err)
	require.Equal(t, "the notifier panicked", ds[0].Attempts[0].Error)
}

// A server that stops while a notifier is called did not fail to deliver.
func TestAlerts_StopWhileCalling(t *testing.T) {
	t.Parallel()
	slow := &desk{name: "slow", hang: make(chan struct{})}
	w := &ward{Env: govtest.New(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Notifiers = []governance.Notifier{slow} }})}
	w.raise(t, governance.Alert{Key: "x", Severity: governance.Critical, Title: "one"})
	ctx, stop := context.WithCancel(t.Context())
	slow.call = stop
	_ = w.Kernel.DeliverAlerts(ctx)
	ds, err := w.Kernel.AlertDeliveries(t.Context(), governance.DeliveryFilter{})
	require.NoError(t, err)
	require.Len(t, ds, 1)
	require.Equal(t, governance.NoticeWaiting, ds[0].State)
	require.Empty(t, ds[0].Attempts)
	slow.call = nil
	close(slow.hang)
	w.turn(t, 0)
	require.Equal(t, []string{"raised: one"}, slow.take())
}

// What waited for delivery before there were routes is delivered.
func TestAlerts_Migration(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dsn, o := filepath.Join(t.TempDir(), "reeve.db"), &opendb.Options{}
			if engine == "postgres" {
				dsn, o.Schema = govtest.PostgresDSN(t), govtest.Schema(t)
			}
			db, err := opendb.Open(t.Context(), dsn, o)
			require.NoError(t, err)
			t.Cleanup(func() { _ = db.Close() })
			all := governance.Schemas()
			require.Equal(t, "alertroute", all[len(all)-1].Name)
			require.NoError(t, govdb.Migrate(t.Context(), db, all[:len(all)-1]...))
			require.NoError(t, db.Do(t.Context(), func(ctx context.Context, tx *govdb.Tx) error {
				for i, state := range []string{"waiting", "sent"} {
					id := uuid.New()
					if _, err := tx.ExecContext(ctx, "INSERT INTO gov_alert VALUES (?, ?, ?, 'critical', 't', '', '', '[]', 'firing', 1, 1, 1, '', 0)", id, i, i); err != nil {
						return err
					}
					if _, err := tx.ExecContext(ctx, "INSERT INTO gov_alert_delivery VALUES (?, 'slack', ?, 0, 1, '')", id, state); err != nil {
						return err
					}
				}
				return nil
			}))
			require.NoError(t, govdb.Migrate(t.Context(), db, all...))
			var n int
			require.NoError(t, db.Read().NewRaw("SELECT COUNT(*) FROM gov_alert_change").Scan(t.Context(), &n))
			require.Equal(t, 1, n)
		})
	}
}
