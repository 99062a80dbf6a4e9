package governance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

// TestAlerts_PruneNotices: notices go with their tries after their time, in batches that
// are records; what still waits stays, and so do the alerts.
func TestAlerts_PruneNotices(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		count := func(table string) (n int) {
			require.NoError(t, w.DB.Read().NewRaw("SELECT COUNT(*) FROM "+table).Scan(t.Context(), &n))
			return n
		}
		pruned := func() (n int) {
			for _, a := range w.Actions(t) {
				if a == "alert.notices.prune done" {
					n++
				}
			}
			return n
		}
		w.raise(t, governance.Alert{Key: "old", Severity: governance.Critical, Title: "old"})
		w.turn(t, 10*time.Second)
		w.pager.refuse(fmt.Errorf("pager: answered 503"))
		w.raise(t, governance.Alert{Key: "stuck", Severity: governance.Critical, Title: "stuck"})
		w.turn(t, 10*time.Second)
		tries, notices, alerts := count("gov_alert_attempt"), count("gov_alert_notice"), count("gov_alert")
		require.Positive(t, tries)
		var waiting int
		require.NoError(t, w.DB.Read().NewRaw("SELECT COUNT(*) FROM gov_alert_notice WHERE state = 'waiting'").Scan(t.Context(), &waiting))
		require.Positive(t, waiting)
		require.Greater(t, notices, waiting)

		w.Advance(399 * 24 * time.Hour)
		n, err := w.Kernel.PruneNotices(t.Context())
		require.NoError(t, err)
		require.Zero(t, n, "not yet old")
		require.Equal(t, notices, count("gov_alert_notice"))
		require.Zero(t, pruned(), "nothing deleted is no record")

		w.Advance(2 * 24 * time.Hour)
		n, err = w.Kernel.PruneNotices(t.Context())
		require.NoError(t, err)
		require.Equal(t, notices-waiting, n)
		require.Equal(t, waiting, count("gov_alert_notice"), "what waits stays")
		require.Less(t, count("gov_alert_attempt"), tries)
		require.Equal(t, alerts, count("gov_alert"))
		require.Equal(t, 1, pruned())
		problems, err := governance.Check(t.Context(), w.DB)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}
