package govapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLedger_readingIsLogged: each door of the ledger says who looked, once an hour, and a
// request that shows nothing is no reading.
func TestLedger_readingIsLogged(t *testing.T) {
	t.Parallel()
	b := mount(t)
	b.env.Drain(t)
	all, err := b.env.Kernel.Ledger().Leaves(t.Context(), 0, 1)
	require.NoError(t, err)
	id := all[0].ID.String()
	reads := func() int {
		return strings.Count(strings.Join(b.env.Actions(t), "\n"), "ledger.read observed")
	}
	for _, path := range []string{"/v1/ledger/records?cursor=x", "/v1/ledger/records/x", "/v1/ledger/records/" + strings.Replace(id, id[:8], "00000000", 1), "/v1/ledger/checkpoint"} {
		b.call(t, "ana", "GET", path, "")
	}
	b.call(t, "eve", "GET", "/v1/ledger/records", "")
	require.Zero(t, reads())
	for want, c := range [][2]string{{"GET", "/records"}, {"GET", "/records/" + id}, {"GET", "/records/" + id + "/proof"}, {"POST", "/verify"}} {
		for range 3 {
			status, _, _, raw := b.call(t, "ana", c[0], "/v1/ledger"+c[1], "")
			require.Equal(t, 200, status, raw)
		}
		require.Equal(t, want+1, reads(), c[1])
	}
	b.call(t, "bo", "GET", "/v1/ledger/records", "")
	require.Equal(t, 5, reads())
}
