package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govtest"
)

// dumb is a notifier that takes nothing.
type dumb struct{ taken bool }

func (*dumb) Name() string { return "chat" }

func (d *dumb) Notify(context.Context, governance.Alert) error {
	if d.taken {
		return nil
	}
	return errors.New("chat: answered <503>")
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.hold(t)
	dana := b.as(t, "dana")
	page := dana.get("/alerts", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "Tenant credit waits for approval")
	require.Contains(t, page, "/console/approvals/"+a.ID.String())
	require.Contains(t, page, "Approval · Acme &lt;GmbH&gt; · credit-daily")
	as, err := b.Kernel.Alerts(t.Context(), governance.AlertFilter{})
	require.NoError(t, err)
	one := "/alerts/" + as[0].ID.String()
	require.Contains(t, page, `href="/console`+one+`"`)
	detail := dana.get(one, 200).body
	requireMarkup(t, detail)
	require.Contains(t, detail, `href="/console/policies/credit-daily"`)
	require.Contains(t, detail, "/console/ledger/")
	require.Contains(t, detail, "Nobody yet")
	dana.get("/alerts/x", 404)

	b.as(t, "finn").post(one+"/ack", 403)
	b.as(t, "finn").post(one+"/close", 403)
	dana.post(one+"/ack", 303)
	require.Contains(t, dana.get("/alerts", 200).body, "dana has it in hand")
	dana.post(one+"/ack", 404)
	require.Contains(t, dana.post(one+"/close", 422).body, "is required")
	dana.post(one+"/close", 303, "reason", "a drill")
	require.Contains(t, dana.get("/alerts", 200).body, "All quiet")
	require.Contains(t, dana.get("/alerts?show=resolved", 200).body, "Tenant credit waits for approval")
	requireMarkup(t, dana.get(one, 200).body)
}

func TestAlerts_Group(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.hold(t)
	b.hold(t)
	dana := b.as(t, "dana")
	page := dana.get("/alerts", 200).body
	require.Contains(t, page, "Acknowledge all 2")
	gs, err := b.Kernel.AlertGroups(t.Context(), governance.AlertFilter{})
	require.NoError(t, err)
	require.Len(t, gs, 1, "one tenant, one policy")
	b.as(t, "finn").post("/alerts/groups/"+gs[0].ID+"/ack", 403)
	dana.post("/alerts/groups/"+gs[0].ID+"/ack", 303)
	require.Contains(t, dana.get("/alerts", 200).body, "2 alerts acknowledged")
	dana.post("/alerts/groups/"+gs[0].ID+"/ack", 404)
}

func TestAlerts_Silences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.hold(t)
	dana, root := b.as(t, "dana"), b.as(t, "root")
	dana.get("/alerts/silences/new", 403)
	dana.post("/alerts/silences/new", 403)
	requireMarkup(t, root.get("/alerts/silences", 200).body)
	page := root.get("/alerts", 200).body
	require.Contains(t, page, "/console/alerts/silences/new?key=approval%3A")
	requireMarkup(t, root.get("/alerts/silences/new?key="+url.QueryEscape(`x"><b>`), 200).body)
	back := root.post("/alerts/silences/new", 422, "until", "4", "reason", "work").body
	requireMarkup(t, back)
	require.Contains(t, back, "name the beginning of a key, or a tenant")
	require.Contains(t, root.post("/alerts/silences/new", 422, "until", "99999", "reason", "work", "keys", "approval").body, "choose one")
	require.Contains(t, root.post("/alerts/silences/new", 422, "until", "4", "reason", "work", "keys", "alert.undelivered:").body, "cannot be silenced")
	root.post("/alerts/silences/new", 303, "until", "4", "reason", "planned work", "keys", "approval", "tenants", "acme")
	page = root.get("/alerts/silences", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "information and warnings whose key begins approval of acme")
	require.NotContains(t, dana.get("/alerts/silences", 200).body, "End it now")

	require.NoError(t, b.Kernel.DeliverAlerts(t.Context()))
	b.Advance(3 * time.Second)
	require.NoError(t, b.Kernel.DeliverAlerts(t.Context()))
	page = dana.get("/alerts", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, ">silenced</a>")
	ss, err := b.Kernel.Silences(t.Context(), false)
	require.NoError(t, err)
	dana.post("/alerts/silences/"+ss[0].ID.String()+"/end", 403)
	root.post("/alerts/silences/"+ss[0].ID.String()+"/end", 303)
	root.post("/alerts/silences/"+ss[0].ID.String()+"/end", 404)
}

func TestAlerts_Deliveries(t *testing.T) {
	t.Parallel()
	chat := &dumb{}
	e := govtest.New(t, &govtest.Options{Kernel: func(o *governance.Options) { o.Notifiers = []governance.Notifier{chat} }})
	e.People.Put("root", "root")
	e.People.Put("finn", "reader")
	e.People.Allow("reader", "alert:read")
	h, err := New(&Options{Kernel: e.Kernel})
	require.NoError(t, err)
	root, finn := browse(t, h, e.As("root")), browse(t, h, e.As("finn"))
	requireMarkup(t, root.get("/alerts/deliveries?state=dead", 200).body)
	require.NoError(t, e.DB.Do(t.Context(), func(ctx context.Context, tx *governance.Tx) error {
		_, err := e.Kernel.AlertTx(ctx, tx, governance.Alert{Key: "lane:1", Severity: governance.Critical, Title: "Lane is down"})
		return err
	}))
	for range 40 {
		require.NoError(t, e.Kernel.DeliverAlerts(t.Context()))
		e.Advance(5 * time.Minute)
	}
	page := finn.get("/alerts", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "not taken")
	require.Contains(t, page, "Alerts do not reach chat")
	page = finn.get("/alerts/deliveries?state=dead", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "8 tries: chat: answered &lt;503&gt;", "every try with its error")
	require.NotContains(t, page, "Send again", "may only read")
	ds, err := e.Kernel.AlertDeliveries(t.Context(), governance.DeliveryFilter{State: governance.NoticeDead})
	require.NoError(t, err)
	again := "/alerts/deliveries/" + ds[len(ds)-1].ID.String() + "/resend"
	finn.post(again, 403)
	require.Contains(t, root.get("/alerts/deliveries", 200).body, "/console"+again)
	chat.taken = true
	root.post(again, 303)
	root.post(again, http.StatusConflict)
	require.NoError(t, e.Kernel.DeliverAlerts(t.Context()))
	ds, err = e.Kernel.AlertDeliveries(t.Context(), governance.DeliveryFilter{State: governance.NoticeSent})
	require.NoError(t, err)
	require.NotEmpty(t, ds)
	require.Len(t, ds[len(ds)-1].Attempts, 9)
}

func TestAlerts_Routes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dana, root := b.as(t, "dana"), b.as(t, "root")
	page := dana.get("/alerts/routes", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "what no route took")
	require.NotContains(t, page, "/alerts/routes/edit")
	dana.get("/alerts/routes/edit", 403)
	dana.post("/alerts/routes/edit", 403)
	requireMarkup(t, root.get("/alerts/routes/edit", 200).body)
	doc := `{"routes":[{"name":"all","steps":[{"receiver":"everyone"},{"receiver":"everyone","after":"15m"}]}]}`
	for _, bad := range [][2]string{{`{`, "is not a document"}, {doc + doc, "something after"}, {`{"routes":[{"name":"all"}]}`, "at routes[0].steps"}, {`{"route":1}`, "unknown field"}, {`{"routes":[{"name":"a","steps":[{"receiver":"everyone"}],"group_wait":"soon"}]}`, "not a duration"}} {
		back := root.post("/alerts/routes/edit", 422, "document", bad[0], "reason", "nights").body
		requireMarkup(t, back)
		require.Contains(t, back, bad[1])
	}
	require.Contains(t, root.post("/alerts/routes/edit", 422, "document", doc).body, "is required")
	require.NoError(t, b.Kernel.InstallPolicies(t.Context(), governance.AlertPolicies("gov_approver")...))
	held := root.post("/alerts/routes/edit", 303, "document", doc, "reason", "nights")
	require.Contains(t, held.location, "/approvals/")
	require.NotContains(t, dana.get("/alerts/routes", 200).body, "after 15\u00a0min", "the old version stays in force")
	approval := held.location
	page = dana.get(approval, 200).body
	dana.post(approval+"/vote", 303, "decision", "approve", "digest", between(t, page, `name="digest" value="`, `"`))
	page = dana.get("/alerts/routes", 200).body
	requireMarkup(t, page)
	require.Contains(t, page, "everyone, after 15\u00a0min everyone")
	require.Contains(t, page, "Version 1")
}
