package evidence_test

import (
	"context"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/internal/evidencetest"
	"github.com/reevehq/reeve/oversight/evidence"
)

func line(t *testing.T, c evidence.Coverage, key string) evidence.CoverageRow {
	t.Helper()
	for _, r := range c.Rows {
		if r.Key == key {
			return r
		}
	}
	t.Fatalf("no line %s", key)
	return evidence.CoverageRow{}
}

func TestCoverage(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx, from := t.Context(), r.Now().Add(-time.Minute)
		s := r.Session(t, 2)
		a := r.Executed(t, "goodwill")
		r.Executed(t, "no pack about this one")
		require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := r.Kernel.RecordTx(ctx, tx, r.As("dana"), governance.Record{Action: "odd.act"}) // about nothing
			return err
		}))
		r.Build(t, "session", s.ID)
		r.Build(t, "action", a.ID)
		_, err := r.Kernel.Ledger().Seal(ctx)
		require.NoError(t, err)
		c, err := r.Evidence.Coverage(ctx, r.As("aud"), from, r.Now())
		require.NoError(t, err)
		require.EqualValues(t, len(r.Actions(t))-1, c.Records, "each record once, without the one of counting")
		for _, key := range []string{"pci-user", "pci-type", "pci-time", "pci-outcome", "iso-protected"} {
			require.Equal(t, c.Records, line(t, c, key).Have, key)
		}
		res := line(t, c, "pci-resource")
		require.EqualValues(t, 1, res.Falls())
		missing, _, err := r.Evidence.CoverageRecords(ctx, r.As("aud"), from, r.Now(), "pci-resource", false, uuid.Nil, 50)
		require.NoError(t, err)
		require.Equal(t, "odd.act", missing[0].Action)
		require.Equal(t, res.Examples[0], missing[0].ID)
		origin := line(t, c, "pci-origin")
		require.Positive(t, origin.Falls(), "the rig's people come from nowhere, and it is not hidden")
		require.GreaterOrEqual(t, origin.Have, int64(6), "six votes came with an address")
		for key, want := range map[string][2]int64{"au10-bound": {6, 6}, "ac5-own": {0, 6}, "ac5-apart": {2, 2}, "au10-packs": {1, 2}, "au14-recorded": {1, 1}, "au14-ended": {1, 1},
			"au14-packs": {1, 1}, "hipaa-examined": {4, 4}} {
			got := line(t, c, key)
			require.Equal(t, want, [2]int64{got.Have, got.Of}, key)
		}
		// Every number walks down to as many records.
		for _, row := range c.Rows {
			for _, have := range []bool{true, false} {
				n, after := int64(0), uuid.Nil
				for {
					got, _, err := r.Evidence.CoverageRecords(ctx, r.As("aud"), from, c.MadeAt, row.Key, have, after, 5)
					require.NoError(t, err)
					n += int64(len(got))
					if len(got) < 5 {
						break
					}
					after = got[4].ID
				}
				want := row.Have
				if !have {
					want = row.Of - row.Have
				}
				require.Equal(t, want, n, "%s %v", row.Key, have)
			}
		}

		raw, err := c.CSV()
		require.NoError(t, err)
		rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
		require.NoError(t, err)
		require.Len(t, rows, len(c.Rows)+1)
		page, err := c.HTML()
		require.NoError(t, err)
		require.Contains(t, string(page), "AC-5")
		require.NotContains(t, string(page), "<script")
		require.Contains(t, string(page), res.Examples[0].String())
	})
}

// TestCoverage_OwnDecisionsAreCounted: the zero of AC-5 is counted, not assumed. A vote
// on one's own request, which the kernel refuses, is written by hand here.
func TestCoverage_OwnDecisionsAreCounted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx := t.Context()
		a := r.Ask(t, 5000, "goodwill")
		r.Advance(time.Hour)
		from := r.Now()
		require.NoError(t, r.DB.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			_, err := r.Kernel.RecordTx(ctx, tx, r.As("dana"), governance.Record{Action: "approval.vote", Tenant: "acme", Resource: governance.RefTo("approval", a.ID), ActionID: a.ID, Digest: a.Digest,
				Data: map[string]any{"decision": "approve"}})
			return err
		}))
		c, err := r.Evidence.Coverage(ctx, r.As("aud"), from, r.Now())
		require.NoError(t, err)
		row := line(t, c, "ac5-own")
		require.EqualValues(t, 1, row.Have, "the request lies before the period")
		require.EqualValues(t, 1, row.Falls())
		require.Len(t, row.Examples, 1)
	})
}

func TestCoverage_WhoAndWhen(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r *evidencetest.Rig) {
		ctx, now := t.Context(), r.Now()
		var denied *governance.DeniedError
		var invalid *governance.InvalidError
		_, err := r.Evidence.Coverage(ctx, r.As("fay"), now.Add(-time.Hour), now)
		require.ErrorAs(t, err, &denied)
		for _, p := range [][2]time.Time{{}, {now, now}, {now, now.Add(-time.Hour)}, {now.AddDate(-2, 0, 0), now}} {
			_, err := r.Evidence.Coverage(ctx, r.As("aud"), p[0], p[1])
			require.ErrorAs(t, err, &invalid)
		}
		_, _, err = r.Evidence.CoverageRecords(ctx, r.As("aud"), now.Add(-time.Hour), now, "nonsense", true, uuid.Nil, 5)
		require.ErrorIs(t, err, governance.ErrNotFound)
	})
}
