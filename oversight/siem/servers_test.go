package siem_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/oversight/siem"
)

// TestService_twoServers: two that ship at once to one receiver, without the lease that
// keeps them apart, repeat and never skip.
func TestService_twoServers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e *govtest.Env) {
		r := newReceiver(t, func(int) int { return 200 })
		one := newService(t, e, r.sink(t, "http"))
		two, err := siem.New(newKernel(t, e), &siem.Options{Sinks: []siem.Sink{r.sink(t, "http")}, Batch: 3})
		require.NoError(t, err)
		write(t, e, 40)
		require.NoError(t, one.Turn(t.Context()))
		write(t, e, 40)
		var wg sync.WaitGroup
		for _, s := range []*siem.Service{one, two} {
			wg.Go(func() {
				for range 30 {
					if err := s.Turn(t.Context()); err != nil && !errors.Is(err, governance.ErrRetry) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		n := sealed(t, e)
		require.NoError(t, one.Turn(t.Context()))
		r.mu.Lock()
		defer r.mu.Unlock()
		requireEvery(t, leaves(r.events), n)
	})
}
