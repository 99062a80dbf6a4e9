package integrations_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/connector"
)

// Over random schedules of changes, failures, crashes, pauses and replays: what a
// connector is told never gets older, and both a receiver that applies what is newer
// and a vendor end at the tenant's newest state.
func TestProperty_newestStateWins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		hook, crm := w.webhook(integrations.Park), w.crm()
		for seed := range uint64(12) {
			t.Logf("seed %d", seed)
			w.walk(rand.New(rand.NewPCG(seed, 7)), fmt.Sprintf("s%d", seed), hook, crm)
		}
		last := map[string]int64{}
		for i, a := range w.vendor.told() {
			require.GreaterOrEqual(t, a.SourceVersion, last[a.TenantID], "call %d about %s", i, a.TenantID)
			last[a.TenantID] = a.SourceVersion
		}
	})
}

func (w *world) walk(r *rand.Rand, prefix string, hook, crm integrations.Created) {
	t := w.t
	tenants := []string{prefix + "a", prefix + "b"}
	dana := w.env.As("dana")
	heal := func() {
		w.recv.answer, w.recv.dies = nil, nil
		w.vendor.mu.Lock()
		w.vendor.fail, w.vendor.dies = nil, nil
		w.vendor.mu.Unlock()
		for _, c := range []integrations.Created{hook, crm} {
			_ = w.svc.Resume(t.Context(), dana, c.ID, "") // a conflict when it is not paused
		}
	}
	for range 40 {
		id := tenants[r.IntN(2)]
		switch r.IntN(12) {
		case 0, 1, 2:
			w.tenant(id, fmt.Sprintf("plan-%d", r.IntN(1000)))
		case 3:
			w.tenant(id, "pro")
			w.restrict(id, "payment")
		case 4:
			if s, err := w.k.TenantState(t.Context(), governance.TenantID(id)); err == nil && s.Suspended {
				w.lift(id, "payment")
			}
		case 5:
			code := []int{500, 404, 429, 401, 302, 410}[r.IntN(6)]
			w.recv.answer = func(received) (int, http.Header, string) { return code, nil, "" }
		case 6:
			code := []connector.Code{connector.Unavailable, connector.Other, connector.RateLimited, connector.Auth, connector.Conflict}[r.IntN(5)]
			w.vendor.mu.Lock()
			w.vendor.fail = func(connector.Account) error { return &connector.Error{Code: code} }
			w.vendor.mu.Unlock()
		case 7:
			w.recv.dies = func(received) bool { return true }
			w.vendor.mu.Lock()
			w.vendor.dies = func() bool { return true }
			w.vendor.mu.Unlock()
			w.die()
			w.restart()
		case 8:
			heal()
		case 9:
			if ds := w.deliveries(integrations.DeliveryFilter{Tenant: governance.TenantID(id), Limit: 200}); len(ds) > 0 {
				_, _ = w.svc.Replay(t.Context(), dana, integrations.ReplayInput{Delivery: ds[r.IntN(len(ds))].ID.String()}, nil) // refused while it is waiting
			}
		default:
			w.env.Advance(time.Duration(r.Int64N(int64(3 * time.Hour))))
			w.die()
		}
	}
	heal()
	for range 30 {
		w.env.Advance(30 * time.Hour)
		w.turn()
	}
	for _, c := range []integrations.Created{hook, crm} {
		_, err := w.svc.Replay(t.Context(), dana, integrations.ReplayInput{Target: c.ID.String()}, nil)
		require.NoError(t, err)
	}
	w.turn()
	require.Empty(t, w.deliveries(integrations.DeliveryFilter{Waiting: true}))
	require.Empty(t, w.deliveries(integrations.DeliveryFilter{State: integrations.Dead}))
	for _, id := range tenants {
		want, err := w.k.TenantState(t.Context(), governance.TenantID(id))
		if err != nil {
			continue // the walk never made it
		}
		seen := w.recv.state[id]
		require.Equal(t, want.Tenant.Version, seen.Version, id)
		var body struct{ Data governance.TenantState }
		require.NoError(t, json.Unmarshal([]byte(seen.Body), &body))
		require.Equal(t, want.Tenant.Plan, body.Data.Tenant.Plan)
		require.Equal(t, want.Suspended, body.Data.Suspended)
		got := w.vendor.accounts[id]
		require.Equal(t, want.Tenant.Version, got.SourceVersion, id)
		require.Equal(t, want.Tenant.Plan, got.Plan)
		require.Equal(t, want.Suspended, got.Suspended)
		seqs := map[int64]bool{}
		for _, r := range w.recv.all() {
			if r.Tenant == id {
				seqs[r.Seq] = true
			}
		}
		for n := int64(1); n <= int64(len(seqs)); n++ {
			require.True(t, seqs[n], "%s: event %d was lost", id, n)
		}
	}
}
