package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

func alertsSection() Section {
	return Section{
		Name: "alerts",
		Nav:  []NavItem{{Group: GroupOversight, Order: 30, Title: "Alerts", Path: "/alerts", Icon: "bell", Permission: "alert:read", Count: firingCount}},
		Routes: []Route{
			{Pattern: "GET /alerts", Permission: "alert:read", Page: alertList},
			{Pattern: "POST /alerts/{id}/ack", Permission: "alert:ack", Post: alertAck},
		},
		Home:    []HomeCard{{Permission: "alert:read", Lead: []string{"super_admin", "gov_auditor"}, Order: 5, Load: alertCard}},
		Stories: alertStories(),
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
		row := CardRow{Title: alertTitle(a.Title), Meta: tenantName(c, a.Tenant), Href: "/alerts#" + a.ID.String(), Status: string(a.Severity), At: a.LastAt}
		if a.State == governance.AlertAcked {
			row.Status = "acked"
		}
		card.Rows = append(card.Rows, row)
	}
	return card, err
}

type alertView struct {
	governance.Alert
	TenantName string
	Links      []Crumb
	CanAck     bool
}

type alertPage struct {
	Alerts []alertView
	Empty  Empty
}

func alertList(c *Ctx) (View, error) {
	f := governance.AlertFilter{Limit: 200}
	page := alertPage{Empty: Empty{Icon: "check", Title: "All quiet", Text: "No alert is open. New ones also go to the notifiers that are configured."}}
	show := c.Query("show")
	if show == "resolved" {
		f.State = governance.AlertResolved
		page.Empty = Empty{Icon: "bell", Title: "Nothing was resolved yet"}
	}
	as, err := c.Kernel().Alerts(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	if f.State == "" {
		bySeverity(as)
	}
	for _, a := range as {
		page.Alerts = append(page.Alerts, newAlertView(a, tenantName(c, a.Tenant), c.Can("alert:ack")))
	}
	return View{Title: "Alerts", Lead: "Repeats of one cause are one alert. It closes by itself when its cause is gone.", Template: "alerts", Data: page,
		Tabs: []Tab{{Title: "Open", Href: "/alerts", Current: show != "resolved"}, {Title: "Resolved", Href: "/alerts?show=resolved", Current: show == "resolved"}}}, nil
}

func newAlertView(a governance.Alert, tenant string, canAck bool) alertView {
	a.Title = alertTitle(a.Title)
	v := alertView{Alert: a, TenantName: tenant, CanAck: canAck && a.State == governance.AlertFiring}
	for _, l := range a.Links {
		if href := linkPath(l.Kind, l.ID); href != "" {
			v.Links = append(v.Links, Crumb{l.Title, href})
		}
	}
	return v
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
		"approval": "/approvals/", "record": "/ledger/", "alert": "/alerts#", "tenant": "/tenants/", "session": "/sessions/",
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
			out = append(out, TimelineItem{At: a.FirstAt, Icon: "bell", Tone: tone, Title: alertTitle(a.Title), Text: a.Body, Status: status, Href: "/alerts#" + a.ID.String()})
		}
		return out, err
	}
}

func alertStories() []Story {
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	a := governance.Alert{ID: uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f"), Severity: governance.Critical, Title: "An approval waits: tenant credit", Body: "EUR 1,200.00 over 24h would be more than EUR 1,000.00",
		State: governance.AlertFiring, Times: 3, FirstAt: at, LastAt: at.Add(time.Hour), Links: []governance.Link{{Title: "Approval", Kind: "approval", ID: "x"}, {Title: "Elsewhere", Kind: "unknown", ID: "x"}}}
	acked := a
	acked.ID, acked.State, acked.AckedBy, acked.AckedAt, acked.Severity = uuid.New(), governance.AlertAcked, "user:dana", at.Add(2*time.Hour), governance.Warning
	view := func(as ...alertView) View {
		return View{Title: "Alerts", Template: "alerts", Data: alertPage{Alerts: as, Empty: Empty{Icon: "check", Title: "All quiet", Text: "No alert is open."}}}
	}
	return []Story{
		{Name: "alerts, none", View: view()},
		{Name: "alerts, open", View: view(newAlertView(a, "Acme GmbH", true), newAlertView(acked, "", true))},
		{Name: "alerts, may not acknowledge", View: view(newAlertView(a, "", false))},
	}
}
