package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

// TestRoutes_EveryDoor opens the address of every form as a link would, the vote's
// with everything it needs: nothing answers, and nothing has changed.
func TestRoutes_EveryDoor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.hold(t)
	b.Drain(t)
	before := b.Env.Actions(t)
	c := &console{opts: Options{Kernel: b.Kernel}, kernel: b.Kernel}
	doors := 0
	for _, s := range c.kernelSections() {
		for _, r := range s.Routes {
			method, path, err := r.check()
			require.NoError(t, err, r.Pattern)
			if method != http.MethodPost {
				require.Nil(t, r.Post, r.Pattern)
				continue
			}
			doors++
			path = strings.NewReplacer("{id}", a.ID.String(), "{$}", "").Replace(path) + "?decision=approve&digest=" + string(a.Digest) + "&verdict=accepted&note=x"
			w := httptest.NewRecorder()
			b.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console"+path, nil).WithContext(governance.WithIdentity(t.Context(), b.As("dana"))))
			require.NotEqual(t, http.StatusSeeOther, w.Code, r.Pattern)
		}
	}
	require.Greater(t, doors, 5)
	now, err := b.Kernel.Approval(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, governance.StatePending, now.State)
	require.Empty(t, now.Votes)
	for _, said := range b.Env.Actions(t)[len(before):] {
		require.Contains(t, said, "ledger.read", "only that somebody looked is written down")
	}
}
