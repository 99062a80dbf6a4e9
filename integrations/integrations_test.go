package integrations_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/integrations/connector"
	"github.com/reevehq/reeve/integrations/webhook"
)

func TestWebhook_delivered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Park)
		w.tenant("acme", "pro")
		w.restrict("acme", "payment")
		require.Equal(t, 2, w.turn())
		require.Equal(t, []string{"tenant.created", "tenant.suspended"}, w.recv.types())
		got := w.recv.all()
		require.Equal(t, []int64{1, 2}, []int64{got[0].Version, got[1].Version})
		require.Equal(t, []int64{1, 2}, []int64{got[0].Seq, got[1].Seq})
		require.True(t, strings.HasPrefix(got[0].ID, "msg_"))
		require.Zero(t, w.turn(), "nothing is sent twice")

		told, err := w.svc.Told(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "tenant.suspended", told[0].Type)
		require.EqualValues(t, 2, told[0].Version)
		require.Contains(t, w.env.Actions(t), "integration.delivered done")
		d, attempts, err := w.svc.Delivery(t.Context(), w.deliveries(integrations.DeliveryFilter{})[0].ID)
		require.NoError(t, err)
		require.Equal(t, integrations.Done, d.State)
		require.Len(t, attempts, 1)
		require.Equal(t, http.StatusOK, attempts[0].Status)
		require.Equal(t, got[1].ID, attempts[0].Idempotency)
		require.False(t, attempts[0].EndedAt.IsZero())
	})
}

func TestWebhook_retriesThenDeadThenReplay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		c := w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		var tries atomic.Int64
		var ids atomic.Value
		w.recv.answer = func(r received) (int, http.Header, string) {
			tries.Add(1)
			if old, ok := ids.Swap(r.ID).(string); ok && old != r.ID {
				t.Errorf("webhook-id changed over retries: %s, %s", old, r.ID)
			}
			return 500, nil, "secret whsec_abcdefghijklmnop of dana@acme.example\x00 Bearer abcdef123456 " + strings.Repeat("é", 2000)
		}
		require.Equal(t, 1, w.turn())
		for i, wait := range []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
			w.env.Advance(wait*8/10 - time.Millisecond)
			require.Zero(t, w.turn(), "retry %d came too early", i+1)
			w.env.Advance(wait*4/10 + time.Second)
			require.Equal(t, 1, w.turn(), "retry %d", i+1)
		}
		require.EqualValues(t, 10, tries.Load())
		w.env.Advance(100 * time.Hour)
		require.Zero(t, w.turn())
		dead := w.deliveries(integrations.DeliveryFilter{State: integrations.Dead})
		require.Len(t, dead, 1)
		require.Equal(t, integrations.CodeStatus, dead[0].Code)
		alerts, err := w.k.Alerts(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Len(t, alerts, 2, "given up, and failing for long")
		_, attempts, err := w.svc.Delivery(t.Context(), dead[0].ID)
		require.NoError(t, err)
		require.Len(t, attempts, 10)
		require.LessOrEqual(t, len(attempts[0].Excerpt), 1000)
		for _, leak := range []string{"whsec_abc", "dana@", "abcdef123456", "\x00"} {
			require.NotContains(t, attempts[0].Excerpt, leak)
		}

		w.recv.answer = nil
		out, err := w.svc.Replay(t.Context(), w.env.As("dana"), integrations.ReplayInput{Target: c.ID.String()}, nil)
		require.NoError(t, err)
		require.JSONEq(t, `{"deliveries":1}`, string(out.Data))
		require.Equal(t, 1, w.turn())
		require.Equal(t, ids.Load(), w.recv.all()[0].ID, "a replay is the same message")
		require.Empty(t, w.deliveries(integrations.DeliveryFilter{State: integrations.Dead}))
	})
}

func TestWebhook_retryAfterIsHonouredAndClamped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		w.recv.answer = func(received) (int, http.Header, string) {
			return 503, http.Header{"Retry-After": {"60"}}, ""
		}
		require.Equal(t, 1, w.turn())
		w.env.Advance(50 * time.Second)
		require.Zero(t, w.turn(), "it asked for a minute")
		w.recv.answer = func(received) (int, http.Header, string) {
			return 503, http.Header{"Retry-After": {"9999999"}}, ""
		}
		w.env.Advance(11 * time.Second)
		require.Equal(t, 1, w.turn())
		w.recv.answer = nil
		w.env.Advance(time.Hour + time.Second)
		require.Equal(t, 1, w.turn(), "a receiver cannot park its queue for months")
	})
}

func TestWebhook_throttledHoldsTheTargetAndBurnsNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		w.tenant("zeta", "pro")
		w.recv.answer = func(received) (int, http.Header, string) {
			return 429, http.Header{"Retry-After": {"30"}}, ""
		}
		require.Equal(t, 1, w.turn(), "the other lane is held too")
		for range 20 { // more often than the schedule is long
			w.env.Advance(31 * time.Second)
			require.Equal(t, 1, w.turn())
		}
		w.recv.answer = nil
		w.env.Advance(31 * time.Second)
		require.Equal(t, 2, w.turn())
	})
}

func TestTarget_pausesOnAuthenticationAnd410(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		cause  integrations.PauseCause
	}{"401": {401, integrations.CauseAuth}, "410": {410, integrations.CauseGone}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, w *world) {
				hook := w.webhook(integrations.Strict)
				w.tenant("acme", "pro")
				w.tenant("acme", "free")
				w.recv.answer = status(c.status)
				require.Equal(t, 1, w.turn())
				target, err := w.svc.Target(t.Context(), hook.ID)
				require.NoError(t, err)
				require.Equal(t, integrations.TargetPaused, target.State)
				require.Equal(t, c.cause, target.Cause)
				w.tenant("acme", "max")
				w.env.Advance(200 * time.Hour)
				require.Zero(t, w.turn())
				lags, err := w.svc.Lags(t.Context())
				require.NoError(t, err)
				require.EqualValues(t, 3, lags[0].Waiting)
				require.Greater(t, lags[0].Oldest, 199*time.Hour)
				alerts, err := w.k.Alerts(t.Context(), governance.AlertFilter{})
				require.NoError(t, err)
				require.Len(t, alerts, 1)
				require.Equal(t, governance.Critical, alerts[0].Severity)

				w.recv.answer = nil
				require.ErrorAs(t, w.svc.Resume(t.Context(), w.env.As("carl"), hook.ID, "repaired"), new(*governance.DeniedError))
				require.NoError(t, w.svc.Resume(t.Context(), w.env.As("dana"), hook.ID, "repaired"))
				require.Equal(t, 3, w.turn())
				require.Equal(t, []string{"tenant.created", "tenant.plan_changed", "tenant.plan_changed"}, w.recv.types())
				alerts, err = w.k.Alerts(t.Context(), governance.AlertFilter{})
				require.NoError(t, err)
				require.Empty(t, alerts)
				require.ErrorIs(t, w.svc.Resume(t.Context(), w.env.As("dana"), hook.ID, ""), governance.ErrConflict)
			})
		})
	}
}

func TestLane_strictWaitsParkStepsAside(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		refuse := func(r received) (int, http.Header, string) {
			if r.Type == "tenant.created" {
				return 500, nil, ""
			}
			return 200, nil, ""
		}
		hook := w.webhook(integrations.Strict)
		w.recv.answer = refuse
		w.tenant("acme", "pro")
		w.tenant("acme", "max")
		w.tenant("other", "pro")
		for _, d := range []time.Duration{0, 7 * time.Second, 7 * time.Minute} {
			w.env.Advance(d)
			w.turn()
		}
		require.Empty(t, w.recv.all(), "strict: nothing overtakes")
		target, err := w.svc.Target(t.Context(), hook.ID)
		require.NoError(t, err)
		_, err = w.svc.EditTarget(t.Context(), w.env.As("dana"), hook.ID, target.Version, integrations.TargetInput{Name: "helpdesk", Kind: integrations.Webhook,
			Config: target.Config, Events: target.Events, Mode: integrations.Park}, nil)
		require.NoError(t, err)
		w.env.Advance(40 * time.Minute)
		w.turn()
		require.Equal(t, []string{"tenant.plan_changed"}, w.recv.types(), "park: after three attempts the next goes first")
		require.Contains(t, w.states(integrations.DeliveryFilter{Tenant: "acme"}), "tenant.created parked")
		w.tenant("acme", "free")
		require.Equal(t, 1, w.turn(), "a new one does not wait for the parked one")
		w.recv.answer = nil
		w.env.Advance(3 * time.Hour)
		w.turn()
		require.Equal(t, []string{"tenant.plan_changed", "tenant.plan_changed"}, w.recv.types()[:2])
		require.Len(t, w.recv.all(), 4)
		require.EqualValues(t, 3, w.recv.state["acme"].Version, "the late one is older than what is there")
	})
}

func TestCrash_betweenCallAndReceipt(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		w.tenant("acme", "max")
		w.restrict("acme", "payment")
		w.recv.dies = func(r received) bool { return r.Type == "tenant.plan_changed" }
		w.die()
		require.Equal(t, []string{"tenant.created", "tenant.plan_changed"}, w.recv.types())
		w.recv.dies = nil
		w.restart()
		require.Zero(t, w.turn(), "the lease of the dead process still stands")
		w.env.Advance(time.Minute)
		require.Equal(t, 2, w.turn())
		got := w.recv.all()
		require.Equal(t, []string{"tenant.created", "tenant.plan_changed", "tenant.plan_changed", "tenant.suspended"}, w.recv.types())
		require.Equal(t, got[1].ID, got[2].ID, "the repetition has the same idempotency id")
		require.Equal(t, got[1].Body, got[2].Body)
		ds := w.deliveries(integrations.DeliveryFilter{})
		_, attempts, err := w.svc.Delivery(t.Context(), ds[1].ID)
		require.NoError(t, err)
		require.Equal(t, integrations.CodeLost, attempts[0].Code)
		require.Equal(t, integrations.CodeOK, attempts[1].Code)
	})
}

// A delivery that kills the process each time must not do so for ever.
func TestCrash_poisonEndsDead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		w.recv.dies = func(r received) bool { return r.Type == "tenant.created" }
		for range 12 {
			w.die()
			w.restart()
			w.env.Advance(time.Minute)
		}
		w.recv.dies = nil
		w.turn()
		require.Equal(t, []string{"tenant.created dead"}, w.states(integrations.DeliveryFilter{}))
		w.tenant("acme", "max")
		require.Equal(t, 1, w.turn(), "the lane goes on")
	})
}

func TestLease_lateHolderChangesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		other := w.boot(nil)
		first := true
		w.recv.answer = func(received) (int, http.Header, string) {
			if !first {
				return 200, nil, ""
			}
			first = false
			n, err := other.svc.Turn(t.Context())
			require.NoError(t, err)
			require.Zero(t, n, "one call in flight in a lane")
			w.env.Advance(2 * time.Minute) // the holder sleeps past its lease
			n, err = other.svc.Turn(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, n)
			return 500, nil, "" // and then comes with a failure
		}
		require.Equal(t, 1, w.turn())
		require.Equal(t, []string{"tenant.created done"}, w.states(integrations.DeliveryFilter{}))
		require.Zero(t, w.turn())
	})
}

func TestLease_lateAnswerDoesNotPauseTheTarget(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		hook := w.webhook(integrations.Strict)
		w.tenant("acme", "pro")
		other := w.boot(nil)
		calls := 0
		w.recv.answer = func(received) (int, http.Header, string) {
			if calls++; calls == 2 {
				return 500, nil, ""
			}
			w.env.Advance(2 * time.Minute)
			n, err := other.svc.Turn(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, n)
			return 410, nil, "" // of a lane that is somebody else's now
		}
		require.Equal(t, 1, w.turn())
		target, err := w.svc.Target(t.Context(), hook.ID)
		require.NoError(t, err)
		require.Equal(t, integrations.TargetActive, target.State)
		_, attempts, err := w.svc.Delivery(t.Context(), w.deliveries(integrations.DeliveryFilter{})[0].ID)
		require.NoError(t, err)
		require.Equal(t, 410, attempts[0].Status, "what came late is still written down")
	})
}

func TestConnector_toldAlreadyIsNotToldAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.crm()
		w.tenant("acme", "pro")
		w.drain()
		w.tenant("acme", "max") // its event is not fanned out yet
		n, err := w.svc.Turn(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.EqualValues(t, 2, w.vendor.told()[0].SourceVersion)
		require.Zero(t, w.turn())
		d := w.deliveries(integrations.DeliveryFilter{})[0]
		require.Equal(t, integrations.Done, d.State)
		require.Equal(t, integrations.CodeUnchanged, d.Code)
	})
}

func TestConnector_coalescesAndNeverRegresses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		c := w.crm()
		for _, plan := range []string{"free", "pro", "max"} {
			w.tenant("acme", plan)
		}
		w.restrict("acme", "payment")
		require.Equal(t, 1, w.turn(), "four changes, one call")
		told := w.vendor.told()
		require.EqualValues(t, 4, told[0].SourceVersion)
		require.True(t, told[0].Suspended)
		require.Equal(t, "max", told[0].Plan)
		require.Equal(t, "key-of-acme-42", w.vendor.config["api_key"])
		require.Equal(t, []string{"tenant.suspended done", "tenant.plan_changed merged", "tenant.plan_changed merged", "tenant.created merged"}, w.states(integrations.DeliveryFilter{}))

		// The first event, sent again much later, does not undo the reactivation.
		w.lift("acme", "payment")
		require.Equal(t, 1, w.turn())
		oldest := w.deliveries(integrations.DeliveryFilter{})[4]
		require.Equal(t, "tenant.created", oldest.Type)
		_, err := w.svc.Replay(t.Context(), w.env.As("dana"), integrations.ReplayInput{Delivery: oldest.ID.String()}, nil)
		require.NoError(t, err)
		require.Equal(t, 1, w.turn())
		told = w.vendor.told()
		require.EqualValues(t, 5, told[2].SourceVersion)
		require.False(t, told[2].Suspended)
		require.NotEqual(t, told[1].IdempotencyID, told[2].IdempotencyID, "a vendor must not answer a replay from its memory")

		n, err := w.svc.Resync(t.Context(), w.env.As("dana"), c.ID, "", true)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, 1, w.turn())
		_, err = w.svc.Resync(t.Context(), w.env.As("dana"), c.ID, "", false)
		require.ErrorAs(t, err, new(*governance.InvalidError))
		rows, err := w.svc.Told(t.Context(), "acme")
		require.NoError(t, err)
		require.Equal(t, "acc-acme", rows[0].RemoteID)
		require.EqualValues(t, 5, rows[0].Version)
	})
}

func TestConnector_sameIdempotencyOverACrash(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.crm()
		w.tenant("acme", "pro")
		w.vendor.dies = func() bool { return true }
		w.die()
		w.vendor.dies = nil
		w.restart()
		w.env.Advance(time.Minute)
		require.Equal(t, 1, w.turn())
		told := w.vendor.told()
		require.Len(t, told, 2)
		require.Equal(t, told[0].IdempotencyID, told[1].IdempotencyID)
		require.Equal(t, []string{"tenant.created done"}, w.states(integrations.DeliveryFilter{}))
	})
}

func TestConnector_errors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		c := w.crm()
		fail := func(code connector.Code, after time.Duration) {
			w.vendor.mu.Lock()
			defer w.vendor.mu.Unlock()
			w.vendor.fail = nil
			if code != "" {
				w.vendor.fail = func(connector.Account) error {
					return &connector.Error{Code: code, Message: "key-of-acme-42 says no", RetryAfter: after}
				}
			}
		}
		w.tenant("a", "pro")
		fail(connector.Invalid, 0)
		require.Equal(t, 1, w.turn())
		dead := w.deliveries(integrations.DeliveryFilter{State: integrations.Dead})
		require.Len(t, dead, 1, "no repetition makes an invalid record valid")
		require.Equal(t, integrations.CodeInvalid, dead[0].Code)
		require.NotContains(t, dead[0].Detail, "key-of-acme-42")

		w.tenant("a", "max")
		w.tenant("b", "pro")
		fail(connector.RateLimited, 10*time.Minute)
		require.Equal(t, 1, w.turn(), "one answer holds the whole target")
		w.env.Advance(9 * time.Minute)
		require.Zero(t, w.turn())
		fail(connector.Auth, 0)
		w.env.Advance(2 * time.Minute)
		require.Equal(t, 1, w.turn())
		target, err := w.svc.Target(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, integrations.CauseAuth, target.Cause)
		fail("", 0)
		require.NoError(t, w.svc.Resume(t.Context(), w.env.As("dana"), c.ID, ""))
		require.Equal(t, 2, w.turn())
		require.Len(t, w.vendor.accounts, 2)

		w.vendor.fail = func(connector.Account) error { panic("boom") }
		w.tenant("a", "free")
		require.Equal(t, 1, w.turn())
		require.Equal(t, integrations.CodeUnknown, w.deliveries(integrations.DeliveryFilter{})[0].Code)
	})
}

func TestSecrets_neverInTheClear(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		hook := w.webhook(integrations.Park)
		crm := w.crm()
		w.tenant("acme", "pro")
		w.turn()
		rotated, err := w.svc.RotateSecret(t.Context(), w.env.As("dana"), hook.ID)
		require.NoError(t, err)
		require.NotEqual(t, hook.Secret, rotated.Secret)
		w.recv.trust(rotated.Secret)
		w.tenant("acme", "max")
		w.turn()
		require.Equal(t, 2, w.recv.all()[1].Signatures, "for a day both secrets sign")
		w.env.Advance(25 * time.Hour)
		w.tenant("acme", "free")
		w.turn()
		require.Equal(t, 1, w.recv.all()[2].Signatures)

		for _, table := range []string{"integration_target", "integration_attempt", "integration_delivery", "integration_call", "gov_action", "gov_event", "ledger_entry"} {
			rows, err := w.env.DB.Handle().QueryContext(t.Context(), "SELECT * FROM "+table)
			if err != nil && table == "ledger_entry" {
				continue
			}
			require.NoError(t, err)
			cols, err := rows.Columns()
			require.NoError(t, err)
			for rows.Next() {
				vals, ptrs := make([]any, len(cols)), make([]any, len(cols))
				for i := range vals {
					ptrs[i] = &vals[i]
				}
				require.NoError(t, rows.Scan(ptrs...))
				text := fmt.Sprintf("%s", vals)
				for _, s := range []string{hook.Secret[6:], rotated.Secret[6:], "key-of-acme-42"} {
					require.NotContains(t, text, s, table)
				}
			}
			require.NoError(t, rows.Close())
		}
		rs, err := w.k.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true, Limit: 200})
		require.NoError(t, err)
		for _, r := range rs {
			require.NotContains(t, string(r.Body), "key-of-acme-42")
			require.NotContains(t, string(r.Body), rotated.Secret[6:])
		}
		target, err := w.svc.Target(t.Context(), crm.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"api_key"}, target.Secrets)
		require.NotContains(t, fmt.Sprintf("%+v", target), "key-of-acme-42")
	})
}

func TestSealer(t *testing.T) {
	t.Parallel()
	_, err := integrations.NewSealer([]byte("short"))
	require.Error(t, err)
	s, err := integrations.NewSealer(make([]byte, 32))
	require.NoError(t, err)
	a, err := s.Seal([]byte("x"), []byte("here"))
	require.NoError(t, err)
	again, err := s.Seal([]byte("x"), []byte("here"))
	require.NoError(t, err)
	require.Equal(t, a, again)
	there, err := s.Seal([]byte("x"), []byte("there"))
	require.NoError(t, err)
	require.NotEqual(t, a, there)
	_, err = s.Open(a, []byte("there"))
	require.Error(t, err, "a secret moved to another target does not open")
	_, err = s.Open(a[:3], []byte("here"))
	require.Error(t, err)
	b, err := s.Open(a, []byte("here"))
	require.NoError(t, err)
	require.Equal(t, "x", string(b))
}

func TestTarget_createdOnceAndGuarded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		in := integrations.TargetInput{Name: "one", Kind: integrations.Webhook, Config: map[string]string{"url": "https://hooks.example/1"}, Events: []string{"*"}}
		a, _, err := w.svc.CreateTarget(t.Context(), w.env.As("dana"), in, &governance.DoOptions{Key: "k1"})
		require.NoError(t, err)
		b, out, err := w.svc.CreateTarget(t.Context(), w.env.As("dana"), in, &governance.DoOptions{Key: "k1"})
		require.NoError(t, err)
		require.True(t, out.Replayed)
		require.Equal(t, a.ID, b.ID)
		require.Empty(t, b.Secret, "a secret is shown once")
		_, _, err = w.svc.CreateTarget(t.Context(), w.env.As("dana"), in, nil)
		require.ErrorIs(t, err, governance.ErrConflict)
		_, _, err = w.svc.CreateTarget(t.Context(), w.env.As("carl"), in, nil)
		require.ErrorAs(t, err, new(*governance.DeniedError))
		imp := w.env.As("dana")
		imp.Subject = &governance.Actor{ID: "user:tenant", Kind: governance.ActorUser, Person: "tenant"}
		in.Name = "two"
		_, _, err = w.svc.CreateTarget(t.Context(), imp, in, nil)
		require.ErrorAs(t, err, new(*governance.DeniedError))
		_, err = w.svc.RotateSecret(t.Context(), imp, a.ID)
		require.ErrorAs(t, err, new(*governance.DeniedError))

		target, err := w.svc.Target(t.Context(), a.ID)
		require.NoError(t, err)
		in.Name = "renamed"
		_, err = w.svc.EditTarget(t.Context(), w.env.As("dana"), a.ID, target.Version, in, nil)
		require.NoError(t, err)
		_, err = w.svc.EditTarget(t.Context(), w.env.As("dana"), a.ID, target.Version, in, nil)
		require.ErrorIs(t, err, governance.ErrConflict)
		require.NoError(t, w.svc.Pause(t.Context(), w.env.As("dana"), a.ID, "maintenance"))
		w.tenant("acme", "pro")
		require.Zero(t, w.turn())
		_, err = w.svc.RemoveTarget(t.Context(), w.env.As("dana"), a.ID, nil)
		require.NoError(t, err)
		_, err = w.svc.Target(t.Context(), a.ID)
		require.ErrorIs(t, err, governance.ErrNotFound)
		require.Equal(t, []string{"tenant.created cancelled"}, w.states(integrations.DeliveryFilter{}))
		require.NoError(t, w.k.InstallPolicies(t.Context(), integrations.Policies()...))
	})
}

func TestTarget_newOneIsNotToldThePast(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.tenant("old", "pro")
		w.env.Advance(2 * time.Minute)
		c := w.crm()
		w.webhook(integrations.Park)
		w.tenant("new", "pro")
		require.Equal(t, 2, w.turn())
		require.Equal(t, "new", w.vendor.told()[0].TenantID)
		n, err := w.svc.Resync(t.Context(), w.env.As("dana"), c.ID, "", true)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		require.Equal(t, 2, w.turn())
		require.Len(t, w.vendor.accounts, 2)
	})
}

// A replay of many deliveries waits for a second person.
func TestReplay_ofManyIsHeld(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.env.People.Put("gwen", "gov_approver")
		w.env.People.Allow("gov_approver", "approval:vote", "approval:read")
		p := integrations.Policies()[0]
		p.Limits[0].Max = 2
		require.NoError(t, w.k.InstallPolicies(t.Context(), p))
		c := w.webhook(integrations.Strict)
		for i := range 3 {
			w.tenant(fmt.Sprintf("t%d", i), "pro")
		}
		require.Equal(t, 3, w.turn())
		_, err := w.svc.Replay(t.Context(), w.env.As("dana"), integrations.ReplayInput{Target: c.ID.String(), Delivers: true, Tenant: "t1"}, nil)
		require.NoError(t, err)
		require.Equal(t, 1, w.turn())
		var held *governance.ApprovalRequiredError
		_, err = w.svc.Replay(t.Context(), w.env.As("dana"), integrations.ReplayInput{Target: c.ID.String(), Delivers: true}, nil)
		require.ErrorAs(t, err, &held)
		require.Zero(t, w.turn())
		for _, in := range []integrations.ReplayInput{{}, {Tenant: "t1"}, {Target: "x"}, {Target: c.ID.String(), From: "yesterday"}, {Target: c.ID.String(), Delivery: c.ID.String()}} {
			_, err := w.svc.Replay(t.Context(), w.env.As("dana"), in, nil)
			require.ErrorAs(t, err, new(*governance.InvalidError))
		}
	})
}

func TestTarget_validation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		ok := func() integrations.TargetInput {
			return integrations.TargetInput{Name: "n", Kind: integrations.Webhook, Config: map[string]string{"url": "https://h.example/"}, Events: []string{"tenant.*"}}
		}
		for name, change := range map[string]func(in *integrations.TargetInput){
			"no name":         func(in *integrations.TargetInput) { in.Name = " " },
			"no kind":         func(in *integrations.TargetInput) { in.Kind = "" },
			"no events":       func(in *integrations.TargetInput) { in.Events = nil },
			"bad event":       func(in *integrations.TargetInput) { in.Events = []string{"Tenant created"} },
			"no url":          func(in *integrations.TargetInput) { in.Config = nil },
			"plain http":      func(in *integrations.TargetInput) { in.Config["url"] = "http://h.example/" },
			"file":            func(in *integrations.TargetInput) { in.Config["url"] = "file:///etc/passwd" },
			"password in url": func(in *integrations.TargetInput) { in.Config["url"] = "https://u:p@h.example/" },
			"unknown setting": func(in *integrations.TargetInput) { in.Config["x"] = "y" },
			"own secret":      func(in *integrations.TargetInput) { in.Secrets = map[string]string{"signing": "x"} },
			"coalesce":        func(in *integrations.TargetInput) { in.Mode = integrations.Coalesce },
			"unknown crm": func(in *integrations.TargetInput) {
				*in = integrations.TargetInput{Name: "n", Kind: integrations.CRM, Connector: "no"}
			},
			"wrong kind": func(in *integrations.TargetInput) {
				*in = integrations.TargetInput{Name: "n", Kind: integrations.Billing, Connector: "acme-crm", Secrets: map[string]string{"api_key": "x"}}
			},
			"missing secret": func(in *integrations.TargetInput) {
				*in = integrations.TargetInput{Name: "n", Kind: integrations.CRM, Connector: "acme-crm"}
			},
			"secret in config": func(in *integrations.TargetInput) {
				*in = integrations.TargetInput{Name: "n", Kind: integrations.CRM, Connector: "acme-crm", Config: map[string]string{"api_key": "x"}}
			},
			"strict connector": func(in *integrations.TargetInput) {
				*in = integrations.TargetInput{Name: "n", Kind: integrations.CRM, Connector: "acme-crm", Mode: integrations.Strict, Secrets: map[string]string{"api_key": "x"}}
			},
		} {
			in := ok()
			change(&in)
			_, _, err := w.svc.CreateTarget(t.Context(), w.env.As("dana"), in, nil)
			require.ErrorAs(t, err, new(*governance.InvalidError), name)
		}
		ts, err := w.svc.Targets(t.Context())
		require.NoError(t, err)
		require.Empty(t, ts)
	})
}

// The client that is used when the host names none reaches no private address, and a
// target that leads there is paused.
func TestWebhook_privateAddressIsBlocked(t *testing.T) {
	t.Parallel()
	var hits atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(srv.Close)
	each(t, func(t *testing.T, w *world) {
		k, err := governance.New(w.env.DB, w.kopts)
		require.NoError(t, err)
		sealer, err := integrations.NewSealer(make([]byte, 32))
		require.NoError(t, err)
		svc, err := integrations.New(k, &integrations.Options{Sealer: sealer})
		require.NoError(t, err)
		w.server = &server{k, svc}
		c, _, err := svc.CreateTarget(t.Context(), w.env.As("dana"), integrations.TargetInput{Name: "inside", Kind: integrations.Webhook,
			Config: map[string]string{"url": srv.URL}, Events: []string{"tenant.*"}}, nil)
		require.NoError(t, err)
		w.tenant("acme", "pro")
		require.Equal(t, 1, w.turn())
		target, err := svc.Target(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, integrations.CauseBlocked, target.Cause)
		require.Zero(t, hits.Load())
		p, err := svc.Test(t.Context(), w.env.As("dana"), c.ID)
		require.NoError(t, err)
		require.False(t, p.OK)
		require.Equal(t, integrations.CodeBlocked, p.Code)
	})
}

func TestTest_pingAndCheck(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		hook, crm := w.webhook(integrations.Park), w.crm()
		require.NoError(t, w.svc.Pause(t.Context(), w.env.As("dana"), hook.ID, ""))
		p, err := w.svc.Test(t.Context(), w.env.As("dana"), hook.ID)
		require.NoError(t, err)
		require.True(t, p.OK, "a paused target can be tested")
		require.Equal(t, []string{"ping"}, w.recv.types())
		w.recv.answer = status(500)
		p, err = w.svc.Test(t.Context(), w.env.As("dana"), hook.ID)
		require.NoError(t, err)
		require.False(t, p.OK)
		require.Equal(t, 500, p.Status)
		require.Empty(t, w.deliveries(integrations.DeliveryFilter{Waiting: true}))
		p, err = w.svc.Test(t.Context(), w.env.As("dana"), crm.ID)
		require.NoError(t, err)
		require.True(t, p.OK)
		_, err = w.svc.EditTarget(t.Context(), w.env.As("dana"), crm.ID, 0, integrations.TargetInput{Name: "crm", Kind: integrations.CRM, Connector: "acme-crm",
			Secrets: map[string]string{"api_key": "wrong"}, Events: []string{"tenant.*"}}, nil)
		require.NoError(t, err)
		p, err = w.svc.Test(t.Context(), w.env.As("dana"), crm.ID)
		require.NoError(t, err)
		require.Equal(t, integrations.CodeAuth, p.Code)
		_, err = w.svc.Test(t.Context(), w.env.As("carl"), crm.ID)
		require.ErrorAs(t, err, new(*governance.DeniedError))
	})
}

func TestCalls(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.crm()
		_, err := w.svc.OpenTicket(t.Context(), "run-1", integrations.TicketRequest{Tenant: "acme", Subject: "Renewal"})
		require.ErrorIs(t, err, governance.ErrNotFound, "there is no help desk")
		_, _, err = w.svc.CreateTarget(t.Context(), w.env.As("dana"), integrations.TargetInput{Name: "desk", Kind: integrations.Ticketing, Connector: "acme-desk"}, nil)
		require.NoError(t, err)
		w.tenant("acme", "pro")
		req := integrations.TicketRequest{Tenant: "acme", Subject: "Renewal", Body: "…"}

		_, found, err := w.svc.FindTicket(t.Context(), "run-1")
		require.NoError(t, err)
		require.False(t, found)
		w.vendor.dies = func() bool { return true }
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = w.svc.OpenTicket(t.Context(), "run-1", req)
		}()
		<-done
		w.vendor.dies = nil
		w.restart()
		calls, err := w.svc.Calls(t.Context(), "acme", 10)
		require.NoError(t, err)
		require.Equal(t, "unknown", calls[0].State, "written down before the call")
		got, found, err := w.svc.FindTicket(t.Context(), "run-1")
		require.NoError(t, err)
		require.True(t, found)
		again, err := w.svc.OpenTicket(t.Context(), "run-1", req)
		require.NoError(t, err)
		require.Equal(t, got, again)
		third, err := w.svc.OpenTicket(t.Context(), "run-1", req)
		require.NoError(t, err)
		require.Equal(t, got, third)
		require.Equal(t, 1, w.vendor.opened)

		w.vendor.fail = func(connector.Account) error {
			return &connector.Error{Code: connector.Unavailable, Message: "down"}
		}
		_, err = w.svc.OpenTicket(t.Context(), "run-2", req)
		require.Equal(t, connector.Unavailable, connector.CodeOf(err))
		w.vendor.fail = nil
		_, err = w.svc.OpenTicket(t.Context(), "run-2", req)
		require.NoError(t, err)

		list := integrations.ListRequest{Tenant: "acme", List: "nurture"}
		changed, err := w.svc.AddToList(t.Context(), "step-1", list)
		require.NoError(t, err)
		require.True(t, changed)
		in, err := w.svc.InList(t.Context(), list)
		require.NoError(t, err)
		require.True(t, in)
		changed, err = w.svc.AddToList(t.Context(), "step-2", list)
		require.NoError(t, err)
		require.False(t, changed)
		changed, err = w.svc.RemoveFromList(t.Context(), "step-1", list)
		require.NoError(t, err)
		require.True(t, changed)
		require.Contains(t, w.env.Actions(t), "integration.open_ticket done")
	})
}

func TestLookup(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.env.People.Put("desk", "support_key")
		w.env.People.Allow("support_key", "support:lookup")
		w.tenant("acme", "pro")
		w.restrict("acme", "payment")
		w.env.Drain(t)
		desk := w.env.As("desk")
		for name, q := range map[string]integrations.LookupQuery{
			"tenant": {Tenant: "acme"}, "domain": {Domain: " ACME.example "}, "email": {Email: "Boss@acme.example"},
			"email by domain": {Email: "anyone@acme.example"}, "key": {System: "crm", Key: "crm-acme"},
		} {
			s, err := w.svc.Lookup(t.Context(), desk, q)
			require.NoError(t, err, name)
			require.Equal(t, governance.TenantID("acme"), s.Tenant)
			require.True(t, s.Suspended)
			require.Equal(t, "payment", s.Reasons[0].Reason)
			require.Equal(t, "carl", s.OwnerName)
			require.Equal(t, "tenant.suspended", s.Recent[0].Type)
			require.Equal(t, "https://console.example/tenant/acme", s.ConsoleLink)
			require.NotContains(t, fmt.Sprint(s), "CFO", "free text of a restriction is not for everybody")
		}
		_, err := w.svc.Lookup(t.Context(), w.env.As("carl"), integrations.LookupQuery{Tenant: "acme"})
		require.ErrorAs(t, err, new(*governance.DeniedError))
		for _, q := range []integrations.LookupQuery{{}, {Tenant: "acme", Domain: "acme.example"}, {System: "crm"}, {Key: "x"}, {Email: "no"}} {
			_, err := w.svc.Lookup(t.Context(), desk, q)
			require.ErrorAs(t, err, new(*governance.InvalidError))
		}
		rs, err := w.k.Ledger().Records(t.Context(), ledger.Filter{AllTenants: true, Limit: 200})
		require.NoError(t, err)
		lookups := 0
		for _, r := range rs {
			if strings.Contains(string(r.Body), `"action":"support.lookup"`) {
				lookups++
				require.NotContains(t, string(r.Body), "boss@")
				require.NotContains(t, string(r.Body), "anyone@")
				require.NotContains(t, string(r.Body), "crm-acme")
			}
		}
		require.Equal(t, 5, lookups, "each answer is recorded")

		var denied *governance.DeniedError
		for range 30 {
			_, err := w.svc.Lookup(t.Context(), desk, integrations.LookupQuery{Domain: "nobody.example"})
			require.ErrorIs(t, err, governance.ErrNotFound)
			require.NotContains(t, err.Error(), "nobody")
		}
		_, err = w.svc.Lookup(t.Context(), desk, integrations.LookupQuery{Tenant: "acme"})
		require.ErrorAs(t, err, &denied)
		w.env.Advance(11 * time.Minute)
		_, err = w.svc.Lookup(t.Context(), desk, integrations.LookupQuery{Tenant: "acme"})
		require.NoError(t, err)
	})
}

// Two servers share the lanes: everything arrives, in order, in each lane one at a time.
func TestRun_twoServersShare(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.webhook(integrations.Strict)
		const tenants, changes = 12, 4
		for i := range tenants {
			for c := range changes {
				w.tenant(fmt.Sprintf("t%02d", i), fmt.Sprintf("plan-%d", c))
			}
		}
		var inFlight [tenants]atomic.Int64
		w.recv.answer = func(r received) (int, http.Header, string) {
			var i int
			_, _ = fmt.Sscanf(r.Tenant, "t%02d", &i)
			if inFlight[i].Add(1) != 1 {
				t.Error("two calls at once in a lane")
			}
			defer inFlight[i].Add(-1)
			return 200, nil, ""
		}
		w.drain()
		other := w.boot(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		ended := make(chan error, 2)
		for _, s := range []*server{w.server, other} {
			go func() { ended <- s.svc.Run(ctx) }()
		}
		require.Eventually(t, func() bool { return len(w.recv.all()) >= tenants*changes }, 20*time.Second, 5*time.Millisecond)
		cancel()
		require.NoError(t, errors.Join(<-ended, <-ended))
		last := map[string]int64{}
		for _, r := range w.recv.all() {
			require.Equal(t, last[r.Tenant]+1, r.Version, r.Tenant)
			last[r.Tenant] = r.Version
		}
		require.Len(t, last, tenants)
		require.Empty(t, w.deliveries(integrations.DeliveryFilter{Waiting: true}))
	})
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	v := newVendor()
	connect := integrations.Configured(func(_ context.Context, in integrations.Instance) (connector.Connector, error) {
		if in.Connector == "down" {
			return nil, &connector.Error{Code: connector.Unavailable}
		}
		return v, nil
	})
	ask := func(version int64, key string) error {
		_, err := connect(t.Context(), integrations.Instance{ID: "i", Connector: "c", Version: version, Config: connector.Config{"api_key": key}})
		return err
	}
	require.NoError(t, ask(1, "a"))
	require.NoError(t, ask(1, "not looked at"))
	require.Equal(t, "a", v.config["api_key"])
	require.NoError(t, ask(2, "b"))
	require.Equal(t, "b", v.config["api_key"])
	_, err := connect(t.Context(), integrations.Instance{ID: "i", Connector: "down", Version: 3})
	require.Error(t, err)
}

func TestWebhook_asymmetricSignatures(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		var keys []webhook.Verifier
		var bad error
		k, err := governance.New(w.env.DB, w.kopts)
		require.NoError(t, err)
		sealer, err := integrations.NewSealer(make([]byte, 32))
		require.NoError(t, err)
		n := 0
		svc, err := integrations.New(k, &integrations.Options{Sealer: sealer, Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			n++
			bad = errors.Join(bad, err, webhook.Verify(r.Header, body, w.env.Now(), keys...))
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
		})}})
		require.NoError(t, err)
		w.server = &server{k, svc}
		c, _, err := svc.CreateTarget(t.Context(), w.env.As("dana"), integrations.TargetInput{Name: "elsewhere", Kind: integrations.Webhook,
			Config: map[string]string{"url": "https://h.example/", "signature": "v1a"}, Events: []string{"tenant.*"}}, nil)
		require.NoError(t, err)
		require.Empty(t, c.Secret, "nobody outside needs a secret")
		public, err := webhook.ParsePublicKey(c.PublicKey)
		require.NoError(t, err)
		keys = append(keys, public)
		w.tenant("acme", "pro")
		require.Equal(t, 1, w.turn())
		rotated, err := svc.RotateSecret(t.Context(), w.env.As("dana"), c.ID)
		require.NoError(t, err)
		require.NotEqual(t, c.PublicKey, rotated.PublicKey)
		w.tenant("acme", "max")
		require.Equal(t, 1, w.turn(), "the old key still verifies")
		require.NoError(t, bad)
		require.Equal(t, 2, n)
		target, err := svc.Target(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, rotated.PublicKey, target.PublicKey)
	})
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
