package console

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
)

func alertsSection() Section {
	return Section{
		Name: "alerts",
		Nav:  []NavItem{{Group: GroupOversight, Order: 30, Title: "Alerts", Path: "/alerts", Icon: "bell", Permission: "alert:read", Count: firingCount}},
		Routes: append([]Route{
			{Pattern: "GET /alerts", Permission: "alert:read", Page: alertList},
			{Pattern: "GET /alerts/{id}", Permission: "alert:read", Page: alertDetail},
			{Pattern: "POST /alerts/{id}/ack", Permission: "alert:ack", Post: alertAck},
			{Pattern: "POST /alerts/{id}/close", Permission: "alert:ack", Post: alertClose, Back: alertDetail},
			{Pattern: "POST /alerts/groups/{id}/ack", Permission: "alert:ack", Post: alertGroupAck},
		}, alertRoutingRoutes()...),
		Home:    []HomeCard{{Permission: "alert:read", Lead: []string{"super_admin", "gov_auditor"}, Order: 5, Load: alertCard}},
		Stories: append(alertStories(), alertRoutingStories()...),
	}
}

// firingCount counts what somebody should act on: information is not that.
func firingCount(c *Ctx) (int, error) {
	as, err := c.Kernel().Alerts(c.Context(), governance.AlertFilter{State: governance.AlertFiring, Limit: 100})
	n := 0
	for _, a := range as {
		if a.Severity != governance.Info {
			n++
		}
	}
	return n, err
}

// bySeverity puts the worst first and keeps the newest first among equals; what
// somebody has in hand comes after what nobody has.
func bySeverity(as []governance.Alert) {
	rank := func(a governance.Alert) int {
		n := slices.Index([]governance.Severity{governance.Critical, governance.Warning, governance.Info}, a.Severity)
		if a.State == governance.AlertAcked {
			n += 3
		}
		return n
	}
	slices.SortStableFunc(as, func(a, b governance.Alert) int { return rank(a) - rank(b) })
}

func alertCard(c *Ctx) (Card, error) {
	card := Card{Title: "What needs attention?", Href: "/alerts", Empty: "No alert is open."}
	as, err := c.Kernel().Alerts(c.Context(), governance.AlertFilter{Limit: 200})
	bySeverity(as)
	for _, a := range as[:min(len(as), 6)] {
		row := CardRow{Title: alertTitle(a.Title), Meta: tenantName(c, a.Tenant), Href: "/alerts/" + a.ID.String(), Status: string(a.Severity), At: a.LastAt}
		if a.State == governance.AlertAcked {
			row.Status = "acked"
		}
		card.Rows = append(card.Rows, row)
	}
	return card, err
}

type alertView struct {
	governance.QueuedAlert
	TenantName string
	Links      []Crumb
	Muted      string // in words
	MutedBy    string // where that is explained
	CanAck     bool
	CanClose   bool
	Silence    string // address of the form
}

type alertGroupView struct {
	governance.AlertGroup
	Worst  governance.Severity
	Alerts []alertView
	Firing int
	CanAck bool
}

type alertPage struct {
	Groups []alertGroupView
	Alerts []alertView // resolved ones, which are in no group
	Empty  Empty
}

func alertTabs(current string) []Tab {
	tabs := []Tab{{Title: "Open", Href: "/alerts"}, {Title: "Resolved", Href: "/alerts?show=resolved"}, {Title: "Silences", Href: "/alerts/silences"},
		{Title: "Deliveries", Href: "/alerts/deliveries"}, {Title: "Routes", Href: "/alerts/routes"}}
	for i := range tabs {
		tabs[i].Current = tabs[i].Title == current
	}
	return tabs
}

func alertList(c *Ctx) (View, error) {
	if c.Query("show") == "resolved" {
		page := alertPage{Empty: Empty{Icon: "bell", Title: "Nothing was resolved yet"}}
		as, err := c.Kernel().Alerts(c.Context(), governance.AlertFilter{State: governance.AlertResolved, Limit: 200})
		for _, a := range as {
			page.Alerts = append(page.Alerts, newAlertView(c, governance.QueuedAlert{Alert: a}, tenantName(c, a.Tenant)))
		}
		return alertListView(page, "Resolved"), err
	}
	page := alertPage{Empty: Empty{Icon: "check", Title: "All quiet", Text: "No alert is open. New ones also go to the notifiers that are configured."}}
	gs, err := c.Kernel().AlertGroups(c.Context(), governance.AlertFilter{})
	for _, g := range gs {
		page.Groups = append(page.Groups, newAlertGroup(c, g, func(t governance.TenantID) string { return tenantName(c, t) }))
	}
	return alertListView(page, "Open"), err
}

func alertListView(page alertPage, tab string) View {
	return View{Title: "Alerts", Lead: "Repeats of one cause are one alert, and one message tells of a group. An alert closes by itself when its cause is gone.", Template: "alerts", Data: page, Tabs: alertTabs(tab)}
}

func newAlertGroup(c *Ctx, g governance.AlertGroup, name func(governance.TenantID) string) alertGroupView {
	v := alertGroupView{AlertGroup: g, Worst: g.Worst(), CanAck: c.Can("alert:ack")}
	for _, a := range g.Alerts {
		v.Alerts = append(v.Alerts, newAlertView(c, a, name(a.Tenant)))
		if a.State == governance.AlertFiring {
			v.Firing++
		}
	}
	v.CanAck = v.CanAck && v.Firing > 1
	v.Title = alertGroupTitle(g, name)
	return v
}

// alertGroupTitle is what a group's alerts have in common, in words.
func alertGroupTitle(g governance.AlertGroup, name func(governance.TenantID) string) string {
	out := Humanize(g.Labels["prefix"])
	if out == "" {
		out = "Alerts"
	}
	if t := g.Labels["tenant"]; t != "" {
		out += " · " + name(governance.TenantID(t))
	}
	if p := g.Labels["policy"]; p != "" {
		out += " · " + p
	}
	return out
}

func newAlertView(c *Ctx, a governance.QueuedAlert, tenant string) alertView {
	a.Title = alertTitle(a.Title)
	v := alertView{QueuedAlert: a, TenantName: tenant, CanAck: c.Can("alert:ack") && a.State == governance.AlertFiring}
	v.CanClose = c.Can("alert:ack") && a.State != governance.AlertResolved && !alertroute.Protected(a.Key)
	if c.Can("alert:silence") && a.State != governance.AlertResolved && !alertroute.Protected(a.Key) {
		q := url.Values{"key": {a.Key}}
		if a.Tenant != "" {
			q.Set("tenant", string(a.Tenant))
		}
		v.Silence = "/alerts/silences/new?" + q.Encode()
	}
	switch by, id, _ := strings.Cut(a.Muted, ":"); by {
	case "silence":
		v.Muted, v.MutedBy = "silenced", "/alerts/silences"
	case "inhibited":
		v.Muted, v.MutedBy = "not told: a critical alert of the same group covers it", "/alerts/"+id
	}
	for _, l := range a.Alert.Links {
		if href := linkPath(l.Kind, l.ID); href != "" {
			v.Links = append(v.Links, Crumb{l.Title, href})
		}
	}
	return v
}

type alertDetailPage struct {
	A          alertView
	Facts      []Fact
	Deliveries []noticeView
	Reason     Field
}

func alertDetail(c *Ctx) (View, error) {
	id, err := c.UUID("id")
	if err != nil {
		return View{}, err
	}
	a, err := c.Kernel().Alert(c.Context(), id)
	if err != nil {
		return View{}, err
	}
	q := governance.QueuedAlert{Alert: a}
	if a.State != governance.AlertResolved {
		gs, err := c.Kernel().AlertGroups(c.Context(), governance.AlertFilter{Tenant: a.Tenant})
		if err != nil {
			return View{}, err
		}
		for _, g := range gs {
			for _, x := range g.Alerts {
				if x.ID == id {
					q = x
				}
			}
		}
	}
	ds, err := c.Kernel().AlertDeliveries(c.Context(), governance.DeliveryFilter{Alert: id, Limit: 200})
	if err != nil {
		return View{}, err
	}
	return alertDetailView(c, newAlertView(c, q, tenantName(c, a.Tenant)), ds), nil
}

func alertDetailView(c *Ctx, v alertView, ds []governance.AlertDelivery) View {
	page := alertDetailPage{A: v, Reason: c.Field(Field{Name: "reason", Label: "Why it is over", Kind: "textarea", Required: true, MaxLen: 500})}
	page.Facts = []Fact{{Label: "Key", Value: v.Key, Mono: true}, {Label: "Tenant", Value: v.TenantName}, {Label: "First raised", At: v.FirstAt}, {Label: "Last raised", At: v.LastAt},
		{Label: "Times", Value: FormatInt(v.Times)}, {Label: "Routes", Value: strings.Join(v.Routes, ", "), Mono: true}}
	if v.Tenant != "" {
		page.Facts[1].Href = "/tenants/" + string(v.Tenant)
	}
	if v.Steps > 1 {
		page.Facts = append(page.Facts, Fact{Label: "Escalation", Value: fmt.Sprintf("step %d of %d", v.Step+1, v.Steps)})
	}
	if !v.NextAt.IsZero() {
		page.Facts = append(page.Facts, Fact{Label: "Next step", At: v.NextAt, Ago: true})
	}
	if v.AckedBy != "" {
		page.Facts = append(page.Facts, Fact{Label: "In hand since", At: v.AckedAt})
	}
	for _, d := range ds {
		page.Deliveries = append(page.Deliveries, newNoticeView(c, d))
	}
	state := string(v.State)
	if v.State == governance.AlertFiring {
		state = string(v.Severity)
	}
	return View{Title: v.Title, Badge: state, Crumbs: []Crumb{{"Alerts", "/alerts"}, {ShortID(v.ID.String()), ""}}, Template: "alerts_detail", Data: page}
}

func alertClose(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/alerts", Flash: "Closed. If its cause is still there, it is raised again."}, c.Kernel().CloseAlert(c.Context(), c.Identity, id, c.Form("reason"))
}

func alertGroupAck(c *Ctx) (Done, error) {
	n, err := c.Kernel().AckAlertGroup(c.Context(), c.Identity, c.Path("id"))
	return Done{To: "/alerts", Flash: plural(n, "alert", "alerts") + " acknowledged: others see that you have them in hand."}, err
}

// alertTitle puts the name of an action at the head of a title into words:
// "tenant.credit waits" is "Tenant credit waits".
func alertTitle(s string) string {
	name, rest, _ := strings.Cut(s, " ")
	if !strings.Contains(strings.Trim(name, "."), ".") || strings.ToLower(name) != name {
		return s
	}
	return strings.TrimSpace(Humanize(name) + " " + rest)
}

// linkPath is where a thing named by a governance.Link is in this console; empty for
// a kind it does not know.
func linkPath(kind, id string) string {
	at := map[string]string{
		"approval": "/approvals/", "record": "/ledger/", "alert": "/alerts/", "alert_routes": "/alerts/", "tenant": "/tenants/", "session": "/sessions/",
		"playbook_run": "/playbooks/runs/", "runbook": "/runbooks/", "retention_plan": "/retention/plans/", "delivery": "/deliveries/", "policy": "/policies/", "review": "/reviews/", "siem": "/siem#",
	}[kind]
	if at == "" || id == "" {
		return ""
	}
	return at + id
}

// Link is the address of a thing within a console mounted at base, for
// governance.Options.Links: alerts that leave the server then lead back to it.
func Link(base string) func(kind, id string) string {
	return func(kind, id string) string {
		if p := linkPath(kind, id); p != "" {
			return base + p
		}
		return ""
	}
}

func alertAck(c *Ctx) (Done, error) {
	id, err := c.UUID("id")
	if err != nil {
		return Done{}, err
	}
	return Done{To: "/alerts", Flash: "Acknowledged: others see that you have it in hand."}, c.Kernel().AckAlert(c.Context(), c.Identity, id)
}

// alertItems are a tenant's open alerts for its timeline.
func alertItems(k *governance.Kernel) func(ctx context.Context, t governance.TenantID, limit int) ([]TimelineItem, error) {
	return func(ctx context.Context, t governance.TenantID, limit int) ([]TimelineItem, error) {
		as, err := k.Alerts(ctx, governance.AlertFilter{Tenant: t, Limit: limit})
		out := make([]TimelineItem, 0, len(as))
		for _, a := range as {
			tone := ToneWarn
			if a.Severity == governance.Critical {
				tone = ToneDanger
			}
			status := string(a.State)
			if a.State == governance.AlertFiring {
				status = string(a.Severity)
			}
			out = append(out, TimelineItem{At: a.FirstAt, Icon: "bell", Tone: tone, Title: alertTitle(a.Title), Text: a.Body, Status: status, Href: "/alerts/" + a.ID.String()})
		}
		return out, err
	}
}

func alertStories() []Story {
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	a := governance.QueuedAlert{Alert: governance.Alert{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Key: "approval:1", Severity: governance.Critical, Title: "An approval waits: tenant credit", Body: "EUR 1,200.00 over 24h would be more than EUR 1,000.00",
		Tenant: "acme", State: governance.AlertFiring, Times: 3, FirstAt: at, LastAt: at.Add(time.Hour), Links: []governance.Link{{Title: "Approval", Kind: "approval", ID: "x"}, {Title: "Elsewhere", Kind: "unknown", ID: "x"}}},
		Routes: []string{"night", "default"}, Steps: 3, Step: 1, NextAt: at.Add(2 * time.Hour), Failing: 2}
	acked := a
	acked.ID, acked.State, acked.AckedBy, acked.AckedAt, acked.Severity, acked.NextAt, acked.Failing = uuid.New(), governance.AlertAcked, "user:dana", at.Add(2*time.Hour), governance.Warning, time.Time{}, 0
	muted := a
	muted.ID, muted.Severity, muted.Muted, muted.NextAt, muted.Failing = uuid.New(), governance.Warning, "inhibited:"+a.ID.String(), time.Time{}, 0
	silenced := muted
	silenced.ID, silenced.Muted, silenced.Title = uuid.New(), "silence:"+uuid.NewString(), strings.Repeat("A long title ", 20)
	group := func(c *Ctx, as ...governance.QueuedAlert) alertPage {
		g := governance.AlertGroup{ID: "0123456789abcdef", Route: "night", Title: "approval, acme, credit-24h", Labels: alertroute.Labels{"prefix": "approval", "tenant": "acme", "policy": "credit-24h"}, Alerts: as}
		return alertPage{Groups: []alertGroupView{newAlertGroup(c, g, func(governance.TenantID) string { return "Acme GmbH" })}}
	}
	none := alertPage{Empty: Empty{Icon: "check", Title: "All quiet", Text: "No alert is open."}}
	c := storyCtx()
	over := a
	over.State, over.NextAt, over.Failing = governance.AlertResolved, time.Time{}, 0
	ds := []governance.AlertDelivery{
		{ID: uuid.New(), Notifier: "slack", Kind: governance.NoticeRaised, State: governance.NoticeSent, Alerts: []uuid.UUID{a.ID}, At: at, SentAt: at.Add(time.Second), Attempts: []governance.AlertAttempt{{N: 1, At: at, Took: 140 * time.Millisecond}}},
		{ID: uuid.New(), Notifier: "pagerduty", Kind: governance.NoticeEscalated, State: governance.NoticeDead, Alerts: []uuid.UUID{a.ID, muted.ID}, At: at,
			Attempts: []governance.AlertAttempt{{N: 1, At: at, Took: 10 * time.Second, Error: "pagerduty: context deadline exceeded"}, {N: 2, At: at.Add(time.Minute), Took: 80 * time.Millisecond, Error: "pagerduty: answered 503"}}},
		{ID: uuid.New(), Notifier: "smtp", Kind: governance.NoticeRaised, State: governance.NoticeWaiting, Alerts: []uuid.UUID{a.ID}, At: at, NextAt: at.Add(time.Minute), Attempts: []governance.AlertAttempt{}},
	}
	view := newAlertView(c, a, "Acme GmbH")
	back := storyCtx()
	back.errs = []FieldError{{"reason", "is required, at most 500 bytes"}}
	reader := newAlertView(c, a, "")
	reader.CanAck, reader.CanClose, reader.Silence = false, false, ""
	return []Story{
		{Name: "alerts, none", View: alertListView(none, "Open")},
		{Name: "alerts, one", View: alertListView(group(c, a), "Open")},
		{Name: "alerts, a group", View: alertListView(group(c, a, muted, silenced, acked), "Open")},
		{Name: "alerts, resolved", View: alertListView(alertPage{Alerts: []alertView{newAlertView(c, over, "Acme GmbH")}}, "Resolved")},
		{Name: "alerts, may not acknowledge", View: alertListView(alertPage{Alerts: []alertView{reader}}, "Open")},
		{Name: "alert", View: alertDetailView(c, view, ds)},
		{Name: "alert, nothing sent yet", View: alertDetailView(c, newAlertView(c, silenced, ""), nil)},
		{Name: "alert, resolved", View: alertDetailView(c, newAlertView(c, over, "Acme GmbH"), ds[:1])},
		{Name: "alert, close came back", View: alertDetailView(back, view, nil), Errors: back.errs},
	}
}
