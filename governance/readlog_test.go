package governance_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

func count(acts []string, what string) (n int) {
	for _, a := range acts {
		if a == what {
			n++
		}
	}
	return n
}

// TestLogRead_coalesced: reading the log is in the log, and reading it again and again does
// not make it grow.
func TestLogRead_coalesced(t *testing.T) {
	t.Parallel()
	govtest.Each(t, nil, func(t *testing.T, e *govtest.Env) {
		read := func(id governance.Identity, what string) {
			require.NoError(t, e.Kernel.LogRead(t.Context(), id, what))
		}
		const line = "ledger.read observed"
		for range 50 {
			read(e.As("ana"), "records")
		}
		require.Equal(t, 1, count(e.Actions(t), line))
		read(e.As("ben"), "records")
		read(e.As("ana"), "proof")
		represented := e.As("ana")
		represented.Subject = &governance.Actor{ID: "product:u1"}
		read(represented, "records")
		require.Equal(t, 4, count(e.Actions(t), line))
		e.Advance(time.Hour)
		for range 3 {
			read(e.As("ana"), "records")
		}
		require.Equal(t, 5, count(e.Actions(t), line))
		require.Error(t, e.Kernel.LogRead(t.Context(), e.As("ana"), ""))
	})
}

// TestLogRead_notWritten: what cannot be written down is not remembered as written.
func TestLogRead_notWritten(t *testing.T) {
	t.Parallel()
	e := govtest.New(t, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, e.Kernel.LogRead(gone, e.As("ana"), "records"))
	require.NoError(t, e.Kernel.LogRead(t.Context(), e.As("ana"), "records"))
	require.Equal(t, 1, count(e.Actions(t), "ledger.read observed"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_ = e.Kernel.LogRead(t.Context(), e.As(governance.PersonID(fmt.Sprint("p", i))), "records")
		})
	}
	wg.Wait()
	require.Equal(t, 9, count(e.Actions(t), "ledger.read observed"))
}
