package oversight_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

// TestObligation_Observer: a policy that wants an observer has one, whatever was asked
// for and whatever the service's own options say.
func TestObligation_Observer(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		require.NoError(t, b.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "watch", Title: "Watched", Actions: []string{oversight.ActionStart}, Mode: governance.Enforce, Observer: true}))
		s, c := b.open(t, oversight.ReadOnly)
		require.True(t, s.Observer)
		require.Equal(t, oversight.StatePaused, s.State)
		through := func() bool {
			_, seen := b.do(t, "dana", "GET", "/app/", c)
			return seen != nil
		}
		require.False(t, through(), "nobody watches yet")
		require.NoError(t, b.svc.Observe(t.Context(), b.As("kim"), s.ID))
		require.True(t, through())
		b.Advance(61 * time.Second)
		require.False(t, through(), "lost: paused")
		b.Advance(2 * time.Minute)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.EndObserver, b.ended(t, s), "and ended")
	})
}

// TestObligation_Record: a policy that wants a recording lets no session begin without
// a recorder, though the service's options would.
func TestObligation_Record(t *testing.T) {
	t.Parallel()
	each(t, nil, func(t *testing.T, b *bench) {
		require.NoError(t, b.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "keep", Title: "Recorded", Actions: []string{oversight.ActionStart}, Mode: governance.Enforce, Record: true}))
		out, err := b.svc.Start(t.Context(), b.As("dana"), request(oversight.ReadOnly))
		require.NoError(t, err)
		_, _, err = b.svc.Open(t.Context(), b.As("dana"), out.Action)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		require.Equal(t, "recorder", denied.Rule)
		got, err := b.svc.Session(t.Context(), out.Action)
		require.NoError(t, err)
		require.Equal(t, oversight.StateReady, got.State)

		b.svc.RequireRecorder(func(context.Context) error { return nil })
		s, token, err := b.svc.Open(t.Context(), b.As("dana"), out.Action)
		require.NoError(t, err)
		c := b.svc.Cookie(s, token)
		_, seen := b.do(t, "dana", "GET", "/app/", c)
		require.NotNil(t, seen)

		b.svc.RequireRecorder(nil) // the next process was started without
		w, seen := b.do(t, "dana", "GET", "/app/", c)
		require.Nil(t, seen, "nothing is shown that is not recorded")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		got, err = b.svc.Session(t.Context(), s.ID)
		require.NoError(t, err)
		require.Equal(t, oversight.ByRecorder, got.PausedBy)
		b.Advance(2 * time.Minute)
		require.NoError(t, b.svc.Sweep(t.Context()))
		require.Equal(t, oversight.EndRecorder, b.ended(t, s))
	})
}
