package governance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/govtest"
)

// desk is a notifier that writes down what it is told.
type desk struct {
	name string
	mu   sync.Mutex
	got  []governance.Notice
	fail error
	hang chan struct{}
	call func() // when it is called and hangs
}

func (d *desk) Name() string { return d.name }

func (d *desk) Notify(context.Context, governance.Alert) error {
	return errors.New("a desk is told notices")
}

func (d *desk) Tell(ctx context.Context, n governance.Notice) error {
	if d.hang != nil {
		if d.call != nil {
			d.call()
		}
		select {
		case <-d.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.got = append(d.got, n)
	return nil
}

func (d *desk) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// take gives what came since the last call, as "kind: title, title".
func (d *desk) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []string{}
	for _, n := range d.got {
		var titles []string
		for _, a := range n.Alerts {
			titles = append(titles, a.Title)
		}
		out = append(out, string(n.Kind)+": "+strings.Join(titles, ", "))
	}
	d.got = nil
	return out
}

// ward is a kernel with two desks.
type ward struct {
	*govtest.Env
	slack, pager *desk
}

func eachWard(t *testing.T, fn func(t *testing.T, w *ward)) {
	t.Helper()
	t.Parallel()
	for name, make := range map[string]func(testing.TB, *govtest.Options) *govtest.Env{"sqlite": govtest.New, "postgres": govtest.NewPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &ward{slack: &desk{name: "slack"}, pager: &desk{name: "pager"}}
			w.Env = make(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Notifiers = []governance.Notifier{w.slack, w.pager} }})
			w.People.Put("root", "root")
			w.People.Put("dana", "gov_approver")
			w.People.Allow("gov_approver", "approval:vote", "approval:read")
			w.People.Put("omar", "cs_agent")
			fn(t, w)
		})
	}
}

func (w *ward) raise(t *testing.T, a governance.Alert) uuid.UUID {
	t.Helper()
	var id uuid.UUID
	require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) (err error) {
		id, err = w.Kernel.AlertTx(ctx, tx, a)
		return err
	}))
	return id
}

func (w *ward) resolve(t *testing.T, key string) {
	t.Helper()
	require.NoError(t, w.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error { return w.Kernel.ResolveAlertTx(ctx, tx, key) }))
}

// turn moves the clock on and lets the dispatcher work.
func (w *ward) turn(t *testing.T, d time.Duration) {
	t.Helper()
	w.Advance(d)
	require.NoError(t, w.Kernel.DeliverAlerts(t.Context()))
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

func (w *ward) routes(t *testing.T, doc string) {
	t.Helper()
	var d alertroute.Document
	require.NoError(t, json.Unmarshal([]byte(doc), &d))
	_, err := w.Kernel.PutAlertRoutes(t.Context(), w.As("root"), d, nil)
	require.NoError(t, err)
}

func TestAlerts_WithoutRoutes(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		w.raise(t, governance.Alert{Key: "job:1", Severity: governance.Critical, Title: "one"})
		w.turn(t, 0)
		for _, d := range []*desk{w.slack, w.pager} {
			require.Equal(t, []string{"raised: one"}, d.take(), "critical does not wait, and no route means everyone")
		}
		w.raise(t, governance.Alert{Key: "sync:1", Title: "two"})
		w.raise(t, governance.Alert{Key: "sync:2", Severity: governance.Info, Title: "three"})
		w.turn(t, 0)
		require.Empty(t, w.slack.take(), "they wait for others of their group")
		w.turn(t, 3*time.Second)
		require.Equal(t, []string{"raised: two, three"}, w.slack.take(), "one message for a group")
		require.Equal(t, []string{"raised: two, three"}, w.pager.take())
		w.raise(t, governance.Alert{Key: "sync:1", Title: "two"})
		w.turn(t, time.Hour)
		require.Empty(t, w.slack.take(), "a repeat of an open key is told to nobody")
		w.turn(t, 3*time.Hour+time.Minute)
		require.ElementsMatch(t, []string{"repeated: one", "repeated: two"}, w.slack.take(), "after four hours, and information never")

		// A host's own notifier of plain alerts.
		plain := governance.Notice{ID: uuid.New(), Kind: governance.NoticeRaised, Title: "sync", Group: "g", Alerts: []governance.Alert{{Title: "a", Severity: governance.Critical, Tenant: "acme"}, {Title: "b", Tenant: "globex"}}}
		s := plain.Summary()
		require.Equal(t, []any{"2 alerts: sync", governance.Critical, governance.TenantID(""), "a\nb"}, []any{s.Title, s.Severity, s.Tenant, s.Body})
	})
}

func TestAlerts_Routes(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		w.routes(t, `{"receivers":[{"name":"chat","notifiers":["slack"]},{"name":"night","notifiers":["pager"]}],
			"routes":[{"name":"worst","match":{"severities":["critical"]},"steps":[{"receiver":"night"}],"continue":true},
			{"name":"acme","match":{"tenants":["acme"]},"steps":[{"receiver":"chat"}],"group_interval":"1m"}]}`)
		w.raise(t, governance.Alert{Key: "a:1", Tenant: "acme", Title: "warned"})
		w.raise(t, governance.Alert{Key: "b:1", Tenant: "acme", Severity: governance.Critical, Title: "burning"})
		w.raise(t, governance.Alert{Key: "c:1", Tenant: "globex", Title: "elsewhere"})
		w.turn(t, 5*time.Second)
		require.Equal(t, []string{"raised: burning", "raised: elsewhere"}, w.slack.take(), "what no route takes goes to everyone")
		require.Equal(t, []string{"raised: burning", "raised: elsewhere"}, w.pager.take())
		w.turn(t, 30*time.Second)
		require.Equal(t, []string{"raised: warned"}, w.slack.take(), "after Alertmanager's group_wait")
		require.Empty(t, w.pager.take())

		// Within the group's interval nothing more is said about it.
		w.raise(t, governance.Alert{Key: "a:2", Tenant: "acme", Title: "second"})
		w.raise(t, governance.Alert{Key: "a:3", Tenant: "acme", Title: "third"})
		w.turn(t, 31*time.Second)
		require.Empty(t, w.slack.take())
		w.turn(t, 30*time.Second)
		require.Equal(t, []string{"raised: second, third"}, w.slack.take())

		// New routes: who is responsible now learns of what is open, and nobody twice.
		w.routes(t, `{"receivers":[{"name":"night","notifiers":["pager"]}],"routes":[{"name":"all","steps":[{"receiver":"night"}],"group_wait":"0s"}]}`)
		w.turn(t, time.Second)
		require.Empty(t, w.slack.take())
		got := w.pager.take()
		require.Equal(t, []string{"raised: warned, second, third"}, got)
		w.resolve(t, "a:1")
		w.turn(t, 6*time.Minute)
		require.Equal(t, []string{"resolved: warned"}, w.slack.take(), "who was told by the old route is told the end")
		require.Equal(t, []string{"resolved: warned"}, w.pager.take())

		// A server that lost a notifier is louder, not quieter.
		doc := alertroute.Document{Receivers: []alertroute.Receiver{{Name: "gone", Notifiers: []string{"fax"}}, {Name: "half", Notifiers: []string{"fax", "pager"}}}}
		require.Equal(t, []string{"slack", "pager"}, doc.Notifiers("gone", []string{"slack", "pager"}))
		require.Equal(t, []string{"fax", "pager"}, doc.Notifiers("half", []string{"slack", "pager"}))
	})
}

func TestAlerts_Inhibition(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		w.raise(t, governance.Alert{Key: "lane:1", Tenant: "acme", Title: "slow"})
		down := w.raise(t, governance.Alert{Key: "lane:2", Tenant: "acme", Severity: governance.Critical, Title: "down"})
		w.raise(t, governance.Alert{Key: "lane:3", Tenant: "globex", Title: "slow elsewhere"})
		w.turn(t, 3*time.Second)
		require.Equal(t, []string{"raised: down", "raised: slow elsewhere"}, w.slack.take(), "the group's warning is inhibited")
		gs, err := w.Kernel.AlertGroups(t.Context(), governance.AlertFilter{Tenant: "acme"})
		require.NoError(t, err)
		require.Len(t, gs, 1)
		require.Equal(t, governance.Critical, gs[0].Worst())
		require.Equal(t, "inhibited:"+down.String(), gs[0].Alerts[1].Muted)

		// Acknowledged it still explains the warning; gone it does not.
		require.NoError(t, w.Kernel.AckAlert(t.Context(), w.As("root"), down))
		w.turn(t, 10*time.Minute)
		require.Equal(t, []string{"acknowledged: down"}, w.slack.take())
		w.resolve(t, "lane:2")
		w.turn(t, time.Second)
		w.turn(t, 6*time.Minute)
		require.ElementsMatch(t, []string{"resolved: down", "raised: slow"}, w.slack.take())

		// By whichever route the critical alert goes.
		w.routes(t, `{"receivers":[{"name":"night","notifiers":["pager"]}],"routes":[{"name":"worst","match":{"severities":["critical"]},"steps":[{"receiver":"night"}],"group_by":["key"]}]}`)
		w.turn(t, time.Minute)
		w.raise(t, governance.Alert{Key: "disk:1", Severity: governance.Critical, Title: "full"})
		w.raise(t, governance.Alert{Key: "disk:2", Title: "filling"})
		w.slack.take()
		w.turn(t, 3*time.Second)
		require.Empty(t, w.slack.take())

		// A critical alert that is silenced itself takes no warning with it.
		until := w.Now().Add(time.Hour)
		_, err = w.Kernel.SilenceAlerts(t.Context(), w.As("root"), governance.Silence{Match: alertroute.Match{Keys: []string{"job:9"}, Severities: []string{"critical"}}, Reason: "maintenance", Until: until}, nil)
		require.NoError(t, err)
		w.raise(t, governance.Alert{Key: "job:9", Severity: governance.Critical, Title: "quiet"})
		w.raise(t, governance.Alert{Key: "job:8", Title: "heard"})
		w.turn(t, 3*time.Second)
		require.Equal(t, []string{"raised: heard"}, w.slack.take())
	})
}

func TestAlerts_Silences(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		ctx, root := t.Context(), w.As("root")
		day := w.Now().Add(24 * time.Hour)
		for field, s := range map[string]governance.Silence{
			"keys":    {Reason: "r", Until: day}, // nothing named never means everything
			"reason":  {Match: alertroute.Match{Keys: []string{"lane:"}}, Until: day},
			"until":   {Match: alertroute.Match{Keys: []string{"lane:"}}, Reason: "r"},
			"keys[0]": {Match: alertroute.Match{Keys: []string{"alert.undelivered:slack"}}, Reason: "r", Until: day},
		} {
			_, err := w.Kernel.SilenceAlerts(ctx, root, s, nil)
			var bad *governance.InvalidError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, field, bad.Field)
		}
		for _, until := range []time.Time{w.Now().Add(-time.Second), w.Now().Add(31 * 24 * time.Hour)} {
			_, err := w.Kernel.SilenceAlerts(ctx, root, governance.Silence{Match: alertroute.Match{Keys: []string{"lane:"}}, Reason: "r", Until: until}, nil)
			require.ErrorContains(t, err, "until")
		}
		quiet := governance.Silence{Match: alertroute.Match{Tenants: []string{"acme"}}, Reason: "planned work", Until: w.Now().Add(time.Hour)}
		_, err := w.Kernel.SilenceAlerts(ctx, w.As("omar"), quiet, nil)
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		out, err := w.Kernel.SilenceAlerts(ctx, root, quiet, nil)
		require.NoError(t, err)
		require.Contains(t, w.Actions(t), "alert.silence done")
		var made struct{ Silence uuid.UUID }
		require.NoError(t, out.Into(&made))
		list, err := w.Kernel.Silences(ctx, false)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, []any{made.Silence, "user:root", "planned work"}, []any{list[0].ID, list[0].Author, list[0].Reason})

		w.raise(t, governance.Alert{Key: "lane:1", Tenant: "acme", Title: "silenced"})
		w.raise(t, governance.Alert{Key: "lane:2", Tenant: "acme", Severity: governance.Critical, Title: "worse"})
		w.raise(t, governance.Alert{Key: "break-glass:7", Tenant: "acme", Title: "glass"})
		w.raise(t, governance.Alert{Key: "alert.undelivered:fax", Tenant: "acme", Title: "fax is dead"})
		w.turn(t, 3*time.Second)
		require.ElementsMatch(t, []string{"raised: worse", "raised: glass", "raised: fax is dead"}, w.slack.take(),
			"without a severity it takes no critical alert, and some alerts nobody silences")
		gs, err := w.Kernel.AlertGroups(ctx, governance.AlertFilter{Tenant: "acme"})
		require.NoError(t, err)
		for _, g := range gs {
			for _, a := range g.Alerts {
				require.Equal(t, a.Title == "silenced", a.Muted == "silence:"+made.Silence.String())
			}
		}
		w.resolve(t, "lane:2")

		w.turn(t, time.Hour)
		require.ElementsMatch(t, []string{"resolved: worse", "raised: silenced"}, w.slack.take(), "what is open when a silence ends is told")

		// Ended by hand it is told at once, and once only.
		quiet.Tenants, quiet.Until = []string{"globex"}, w.Now().Add(time.Hour)
		out, err = w.Kernel.SilenceAlerts(ctx, root, quiet, nil)
		require.NoError(t, err)
		require.NoError(t, out.Into(&made))
		w.raise(t, governance.Alert{Key: "lane:5", Tenant: "globex", Title: "early"})
		w.turn(t, 5*time.Second)
		require.Empty(t, w.slack.take())
		require.ErrorAs(t, w.Kernel.EndSilence(ctx, w.As("omar"), made.Silence), &denied)
		require.NoError(t, w.Kernel.EndSilence(ctx, root, made.Silence))
		require.ErrorIs(t, w.Kernel.EndSilence(ctx, root, made.Silence), governance.ErrNotFound)
		w.turn(t, time.Second)
		require.Equal(t, []string{"raised: early"}, w.slack.take())
		require.Contains(t, w.Actions(t), "alert.silence.end done")
		list, err = w.Kernel.Silences(ctx, false)
		require.NoError(t, err)
		require.Empty(t, list)
		list, err = w.Kernel.Silences(ctx, true)
		require.NoError(t, err)
		require.Equal(t, "user:root", list[0].EndedBy)
	})
}

func TestAlerts_AckAndEscalation(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		w.routes(t, `{"receivers":[{"name":"first","notifiers":["slack"]},{"name":"second","notifiers":["pager"]}],
			"routes":[{"name":"all","steps":[{"receiver":"first"},{"receiver":"second","after":"15m"},{"receiver":"everyone","after":"30m"}]}]}`)
		one := w.raise(t, governance.Alert{Key: "x:1", Severity: governance.Critical, Title: "one"})
		two := w.raise(t, governance.Alert{Key: "x:2", Severity: governance.Critical, Title: "two"})
		w.raise(t, governance.Alert{Key: "x:3", Severity: governance.Info, Title: "fyi"})
		w.turn(t, time.Second)
		require.Equal(t, []string{"raised: one, two"}, w.slack.take())
		require.Empty(t, w.pager.take())
		n, err := w.Kernel.AckAlerts(t.Context(), w.As("root"), one, uuid.New())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		w.turn(t, time.Second)
		require.Equal(t, []string{"acknowledged: one"}, w.slack.take())
		require.Empty(t, w.pager.take(), "who was not told of it is not told that somebody has it")
		w.turn(t, 14*time.Minute)
		require.Empty(t, w.pager.take())
		w.turn(t, time.Minute)
		require.Equal(t, []string{"escalated: two"}, w.pager.take(), "only what nobody acknowledged")
		gs, err := w.Kernel.AlertGroups(t.Context(), governance.AlertFilter{})
		require.NoError(t, err)
		require.Equal(t, []any{two, 1, 3}, []any{gs[0].Alerts[0].ID, gs[0].Alerts[0].Step, gs[0].Alerts[0].Steps})
		require.WithinDuration(t, w.Now().Add(30*time.Minute), gs[0].Alerts[0].NextAt, time.Second)
		w.turn(t, 31*time.Minute)
		require.Equal(t, []string{"escalated: two"}, w.slack.take())
		require.Equal(t, []string{"escalated: two"}, w.pager.take())
		w.turn(t, 3*time.Hour)
		require.Empty(t, w.pager.take(), "an escalation ends with its last step")
		w.turn(t, 2*time.Hour)
		require.Equal(t, []string{"repeated: two"}, w.pager.take())
		require.Equal(t, []string{"repeated: two"}, w.slack.take())
		n, err = w.Kernel.AckAlertGroup(t.Context(), w.As("root"), gs[0].ID)
		require.NoError(t, err)
		require.Equal(t, 2, n, "the information too")
		w.turn(t, time.Second)
		require.Equal(t, []string{"acknowledged: two"}, w.pager.take())

		// It grows worse than it was when somebody took it: that is new.
		w.raise(t, governance.Alert{Key: "x:3", Severity: governance.Critical, Title: "fyi"})
		w.turn(t, time.Second)
		require.Contains(t, w.slack.take(), "raised: fyi")
		require.NoError(t, w.Kernel.CloseAlert(t.Context(), w.As("root"), two, "was a drill"))
		w.turn(t, 6*time.Minute)
		require.Equal(t, []string{"resolved: two"}, w.pager.take())
		require.ErrorIs(t, w.Kernel.CloseAlert(t.Context(), w.As("root"), two, "again"), governance.ErrNotFound)
		held := w.raise(t, governance.Alert{Key: "break-glass:1", Severity: governance.Critical, Title: "glass"})
		require.ErrorIs(t, w.Kernel.CloseAlert(t.Context(), w.As("root"), held, "hide"), governance.ErrConflict)
		there := w.raise(t, governance.Alert{Key: "alert.undelivered:pager", Severity: governance.Critical, Title: "pager"})
		require.ErrorIs(t, w.Kernel.CloseAlert(t.Context(), w.As("root"), there, "hide"), governance.ErrConflict)
		gone := w.raise(t, governance.Alert{Key: "alert.undelivered:fax", Severity: governance.Critical, Title: "fax"})
		require.NoError(t, w.Kernel.CloseAlert(t.Context(), w.As("root"), gone, "the fax was given away"))
	})
}

func TestAlerts_Delivery(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		ctx := t.Context()
		w.pager.refuse(errors.New("pager: answered 503"))
		id := w.raise(t, governance.Alert{Key: "x:1", Severity: governance.Critical, Title: "one"})
		w.turn(t, 0)
		require.Equal(t, []string{"raised: one"}, w.slack.take())
		w.pager.refuse(nil)
		require.NoError(t, w.Kernel.AckAlert(ctx, w.As("root"), id))
		w.turn(t, 0)
		require.Equal(t, []string{"acknowledged: one"}, w.slack.take())
		w.turn(t, 30*time.Second)
		require.Empty(t, w.pager.take(), "an acknowledgement does not overtake the alert")
		w.turn(t, 31*time.Second)
		w.turn(t, time.Second)
		require.Equal(t, []string{"raised: one", "acknowledged: one"}, w.pager.take())

		// It is over before the pager took it: a late raise must not open it again.
		w.pager.refuse(errors.New("pager: answered 503"))
		w.raise(t, governance.Alert{Key: "x:2", Severity: governance.Critical, Title: "two"})
		w.turn(t, 0)
		w.resolve(t, "x:2")
		w.pager.refuse(nil)
		w.turn(t, 6*time.Minute)
		require.Equal(t, []string{"resolved: two"}, w.pager.take(), "it may have heard of it: the outcome of a failed call is not known")
		w.turn(t, 3*time.Hour)
		require.NotContains(t, w.pager.take(), "raised: two")

		// Nobody answers for two hours.
		w.slack.take()
		w.pager.refuse(errors.New("pager: answered 503"))
		lost := w.raise(t, governance.Alert{Key: "x:3", Severity: governance.Critical, Title: "three"})
		for range 40 {
			w.turn(t, 5*time.Minute)
		}
		ds, err := w.Kernel.AlertDeliveries(ctx, governance.DeliveryFilter{State: governance.NoticeDead})
		require.NoError(t, err)
		require.Len(t, ds, 1)
		require.Equal(t, []any{"pager", governance.NoticeRaised, []uuid.UUID{lost}}, []any{ds[0].Notifier, ds[0].Kind, ds[0].Alerts})
		require.Len(t, ds[0].Attempts, 8)
		for i, a := range ds[0].Attempts {
			require.Equal(t, []any{i + 1, "pager: answered 503"}, []any{a.N, a.Error})
		}
		require.Contains(t, w.slack.take(), "raised: Alerts do not reach pager", "the others tell")
		require.Empty(t, w.pager.take())
		for _, d := range must(w.Kernel.AlertDeliveries(ctx, governance.DeliveryFilter{Limit: 200}))(t) {
			if d.Notifier != "pager" {
				continue
			}
			for _, id := range d.Alerts {
				require.NotEqual(t, "alert.undelivered:pager", must(w.Kernel.Alert(ctx, id))(t).Key)
			}
		}
		gs, err := w.Kernel.AlertGroups(ctx, governance.AlertFilter{})
		require.NoError(t, err)
		failing := 0
		for _, g := range gs {
			for _, a := range g.Alerts {
				failing += a.Failing
			}
		}
		require.Positive(t, failing)

		w.pager.refuse(nil)
		require.NoError(t, w.Kernel.ResendNotice(ctx, w.As("root"), ds[0].ID))
		require.ErrorIs(t, w.Kernel.ResendNotice(ctx, w.As("root"), ds[0].ID), governance.ErrConflict)
		w.turn(t, time.Second)
		require.Contains(t, w.pager.take(), "raised: three")
		require.Contains(t, w.Actions(t), "alert.resend done")
		w.turn(t, 6*time.Minute)
		require.Contains(t, w.slack.take(), "resolved: Alerts do not reach pager", "it closes with its cause")
	})
}

func TestAlerts_RoutesPassTheGuard(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		ctx := t.Context()
		require.NoError(t, w.Kernel.InstallPolicies(ctx, governance.AlertPolicies("gov_approver")...))
		for _, p := range []governance.PersonID{"eve", "ben"} { // three people, so that nothing passes by bootstrap
			w.People.Put(p, "gov_approver")
		}
		doc := alertroute.Document{Receivers: []alertroute.Receiver{{Name: "chat", Notifiers: []string{"slack"}}}, Routes: []alertroute.Route{{Name: "all", Steps: []alertroute.Step{{Receiver: "chat"}}}}}
		_, err := w.Kernel.PutAlertRoutes(ctx, w.As("omar"), doc, &governance.DoOptions{Reason: "quiet"})
		var denied *governance.DeniedError
		require.ErrorAs(t, err, &denied)
		_, err = w.Kernel.PutAlertRoutes(ctx, w.As("root"), doc, &governance.DoOptions{Reason: "quiet nights"})
		var held *governance.ApprovalRequiredError
		require.ErrorAs(t, err, &held)
		v, err := w.Kernel.AlertRoutes(ctx)
		require.NoError(t, err)
		require.Equal(t, 0, v.Version, "the old version stays in force")
		w.raise(t, governance.Alert{Key: "x:1", Severity: governance.Critical, Title: "meanwhile"})
		w.turn(t, 3*time.Second)
		require.Contains(t, w.pager.take(), "raised: meanwhile")
		a, err := w.Kernel.Approval(ctx, held.Approval)
		require.NoError(t, err)
		_, err = w.Kernel.Decide(ctx, w.As("dana"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
		require.NoError(t, err)
		v, err = w.Kernel.AlertRoutes(ctx)
		require.NoError(t, err)
		require.Equal(t, []any{1, "all"}, []any{v.Version, v.Routes[0].Name})
		require.Equal(t, governance.PersonID("root"), v.EditedBy)
		h, err := w.Kernel.AlertRouteHistory(ctx)
		require.NoError(t, err)
		require.Len(t, h, 1)

		_, err = w.Kernel.PutAlertRoutes(ctx, w.As("root"), alertroute.Document{Receivers: []alertroute.Receiver{{Name: "x", Notifiers: []string{"fax"}}, {Name: "y"}}}, &governance.DoOptions{Reason: "r"})
		require.ErrorContains(t, err, "receivers[0].notifiers[0]")
		require.ErrorContains(t, err, "receivers[1].notifiers")
	})
}

type refundInput struct {
	Tenant governance.TenantID `json:"tenant"`
	Name   string              `json:"name"`
	Mail   string              `json:"mail"`
	IBAN   string              `json:"iban"`
	Note   string              `json:"note"`
}

// What a payload says stays in the approval; an alert leads there.
func TestAlerts_LeakNoPayload(t *testing.T) {
	eachWard(t, func(t *testing.T, w *ward) {
		refund := governance.Define("tenant.refund", governance.Spec[refundInput]{Permission: "tenant:refund",
			Tenant:   func(in refundInput) governance.TenantID { return in.Tenant },
			Resource: func(in refundInput) governance.Ref { return governance.Ref{Kind: "tenant", ID: string(in.Tenant)} },
		}, func(_ context.Context, _ *governance.Tx, in refundInput) (governance.Result, error) {
			return governance.Result{}, fmt.Errorf("bank refused %s of %s", in.IBAN, in.Name)
		})
		require.NoError(t, w.Kernel.Register(refund))
		hour := governance.Duration{Duration: time.Hour}
		require.NoError(t, w.Kernel.InstallPolicies(t.Context(), governance.Policy{ID: "refunds", Title: "Refunds", Actions: []string{"tenant.refund"}, Mode: governance.Enforce,
			Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: hour, ExecuteWithin: hour}}))
		w.People.Put("eve", "gov_approver")
		w.People.Put("ben", "gov_approver")
		in := refundInput{"acme", "Wilhelmina Quist", "w.quist@mail.example", "DE89370400440532013000", "call +49 30 901820 about it"}
		keys := map[string]bool{}
		for range 2 {
			_, err := refund.Do(t.Context(), w.Kernel, w.As("root"), in, &governance.DoOptions{Reason: "w.quist@mail.example asked"})
			var held *governance.ApprovalRequiredError
			require.ErrorAs(t, err, &held)
			a, err := w.Kernel.Approval(t.Context(), held.Approval)
			require.NoError(t, err)
			w.turn(t, 6*time.Minute)
			_, _ = w.Kernel.Decide(t.Context(), w.As("dana"), a.ID, governance.Vote{Decision: governance.Approve, Digest: a.Digest})
			w.turn(t, 6*time.Minute)
		}
		w.slack.mu.Lock()
		defer w.slack.mu.Unlock()
		require.NotEmpty(t, w.slack.got)
		for _, n := range w.slack.got {
			text, err := json.Marshal(n)
			require.NoError(t, err)
			for _, secret := range []string{"Quist", "quist@", "DE8937", "901820"} {
				require.NotContains(t, string(text), secret)
			}
			for _, a := range n.Alerts {
				keys[a.Key] = true
				if alertroute.Prefix(a.Key) == "approval" {
					require.Contains(t, n.Title, "refunds", "grouped by tenant and policy")
				}
			}
		}
		require.GreaterOrEqual(t, len(keys), 2, "each approval has its own key: %v", keys)
	})
}
