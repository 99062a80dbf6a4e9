package console

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/outbox"
)

func tenantsSection(con *console) Section {
	s := Section{
		Name: "tenants",
		Nav:  []NavItem{{Group: GroupCustomers, Order: 10, Title: "Tenants", Path: "/tenants", Icon: "tenant", Permission: "tenant:read"}},
		Routes: []Route{
			{Pattern: "GET /tenants", Permission: "tenant:read", Page: tenantList},
			{Pattern: "GET /tenants/{id}", Permission: "tenant:read", Page: con.tenantOverview},
			{Pattern: "GET /tenants/{id}/{tab}", Permission: "tenant:read", Page: con.tenantTab},
		},
		Home:    []HomeCard{{Permission: "tenant:read", Lead: []string{"cs_agent"}, Order: 20, Load: accountsCard}},
		Search:  []SearchSource{{Permission: "tenant:read", Find: findTenant}},
		Stories: con.tenantStories(),
	}
	s.Timeline = []TimelineSource{{Permission: "alert:read", Load: alertItems(con.kernel)}}
	return s
}

// accountsCard answers a customer-success manager: which of my accounts need me?
func accountsCard(c *Ctx) (Card, error) {
	card := Card{Title: "Which accounts need me?", Href: "/tenants", Empty: "None of your accounts is suspended, quiet or close to renewal."}
	mine, err := c.Kernel().TenantsOf(c.Context(), c.Identity.Actor.Person)
	if err != nil {
		return card, err
	}
	if len(mine) == 0 {
		card.Empty, card.Skip = "You look after no account.", true
		return card, nil
	}
	ids := make([]governance.TenantID, len(mine))
	for i, t := range mine {
		ids[i] = t.ID
	}
	suspended, err := c.Kernel().Suspended(c.Context(), ids)
	if err != nil {
		return card, err
	}
	now := c.con.opts.Now()
	type need struct {
		row  CardRow
		rank int
	}
	var needs []need
	for _, t := range mine {
		row := CardRow{Title: t.Name, Href: "/tenants/" + string(t.ID)}
		switch renewal := t.RenewalAt.Sub(now); {
		case suspended[t.ID]:
			row.Status, row.Meta = "suspended", "Suspended; "+t.Plan
			needs = append(needs, need{row, 0})
		case !t.ActiveAt.IsZero() && now.Sub(t.ActiveAt) > 14*24*time.Hour:
			row.Status, row.Meta = "quiet", "Nobody there was active for "+FormatDuration(now.Sub(t.ActiveAt).Round(24*time.Hour))
			needs = append(needs, need{row, 1})
		case !t.RenewalAt.IsZero() && renewal < 45*24*time.Hour:
			row.Meta = "Renewal " + FormatAgo(t.RenewalAt, now) + ", " + t.Plan
			needs = append(needs, need{row, 2})
		}
	}
	slices.SortStableFunc(needs, func(a, b need) int { return a.rank - b.rank })
	for _, n := range needs[:min(len(needs), 7)] {
		card.Rows = append(card.Rows, n.row)
	}
	if len(needs) > 7 {
		card.Note = fmt.Sprintf("%d more need you as well.", len(needs)-7)
	}
	return card, nil
}

type tenantRow struct {
	governance.Tenant
	State string // status, or suspended
	Owner string
}

type tenantListPage struct {
	Rows    []tenantRow
	Filters []Field
	Pager   Pager
	Empty   Empty
}

func tenantList(c *Ctx) (View, error) {
	f := governance.TenantFilter{Search: c.Query("q"), Country: strings.ToUpper(c.Query("country")), Status: governance.TenantStatus(c.Query("status")), Plan: c.Query("plan"),
		After: governance.TenantID(c.Query("cursor")), Limit: 50}
	f.Region = c.Identity.Actor.Region // a regional agent sees that region; empty: all
	ts, err := c.Kernel().Tenants(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	ids := make([]governance.TenantID, len(ts))
	for i, t := range ts {
		ids[i] = t.ID
	}
	suspended, err := c.Kernel().Suspended(c.Context(), ids)
	if err != nil {
		return View{}, err
	}
	page := tenantListPage{Filters: tenantFilters(f)}
	names := people(c)
	for _, t := range ts {
		row := tenantRow{Tenant: t, State: string(t.Status)}
		if suspended[t.ID] {
			row.State = "suspended"
		}
		if t.Owner != "" {
			row.Owner = names(governance.Actor{Person: t.Owner})
		}
		page.Rows = append(page.Rows, row)
	}
	next := ""
	if len(ts) == f.Limit {
		next = string(ts[len(ts)-1].ID)
	}
	page.Pager = c.Pager(next)
	page.Empty = Empty{Icon: "tenant", Title: "No tenant yet", Text: "Tenants come from your own product: it reports each one, and every change, to the kernel."}
	if f.Search+f.Country+string(f.Status)+f.Plan != "" {
		page.Empty = Empty{Icon: "search", Title: "No tenant matches", Text: "Name and id are searched; the other filters match exactly.", Action: &Button{Text: "Clear filters", Href: "/tenants"}}
	}
	return tenantListView(page), nil
}

func tenantListView(page tenantListPage) View {
	return View{Title: "Tenants", Template: "tenants_list", Data: page}
}

func tenantFilters(f governance.TenantFilter) []Field {
	return []Field{
		{Name: "q", Label: "Search", Kind: "search", Value: f.Search, Placeholder: "Name or id"},
		{Name: "status", Label: "Status", Kind: "select", Value: string(f.Status), Options: []Option{{"", "Any"}, {"trial", "Trial"}, {"active", "Active"}, {"closed", "Closed"}}},
		{Name: "plan", Label: "Plan", Value: f.Plan, Placeholder: "Any"},
		{Name: "country", Label: "Country", Value: f.Country, Placeholder: "Any", MaxLen: 2},
	}
}

// tenant reads a tenant and checks that this caller may see this one.
func (con *console) tenant(c *Ctx) (governance.TenantState, error) {
	s, err := c.Kernel().TenantState(c.Context(), governance.TenantID(c.Path("id")))
	if err != nil {
		return s, err
	}
	return s, c.Authorize("tenant:read", governance.Target{Tenant: s.Tenant.ID, Region: s.Tenant.Region, Country: s.Tenant.Country, Resource: governance.Ref{Kind: "tenant", ID: string(s.Tenant.ID)}})
}

// tenantView is the head that every tab of a tenant has.
func (con *console) tenantView(c *Ctx, s governance.TenantState, tab string) View {
	t := s.Tenant
	path := "/tenants/" + string(t.ID)
	v := View{Title: t.Name, Badge: string(t.Status), Crumbs: []Crumb{{"Tenants", "/tenants"}, {string(t.ID), ""}},
		Tabs: []Tab{{Title: "Overview", Href: path, Current: tab == ""}}}
	if s.Suspended {
		v.Badge = "suspended"
	}
	var tabs []TenantTab
	var actions []TenantAction
	for _, sec := range con.sections {
		tabs = append(tabs, sec.Tenant...)
		actions = append(actions, sec.Actions...)
	}
	slices.SortStableFunc(tabs, func(a, b TenantTab) int { return a.Order - b.Order })
	for _, tb := range tabs {
		if c.Can(tb.Permission) {
			v.Tabs = append(v.Tabs, Tab{Title: tb.Title, Href: path + "/" + tb.Slug, Current: tab == tb.Slug})
		}
	}
	if len(v.Tabs) == 1 {
		v.Tabs = nil
	}
	slices.SortStableFunc(actions, func(a, b TenantAction) int { return a.Order - b.Order })
	for _, a := range actions {
		if !c.Can(a.Permission) {
			continue
		}
		if b, ok := a.Button(c, s); ok {
			v.Actions = append(v.Actions, b)
		}
	}
	return v
}

func (con *console) tenantTab(c *Ctx) (View, error) {
	s, err := con.tenant(c)
	if err != nil {
		return View{}, err
	}
	for _, sec := range con.sections {
		for _, tb := range sec.Tenant {
			if tb.Slug != c.Path("tab") {
				continue
			}
			if err := c.Authorize(tb.Permission, governance.Target{Tenant: s.Tenant.ID, Region: s.Tenant.Region, Country: s.Tenant.Country}); err != nil {
				return View{}, err
			}
			v := con.tenantView(c, s, tb.Slug)
			v.Template, v.Data, err = tb.Load(c, s)
			return v, err
		}
	}
	return View{}, governance.ErrNotFound
}

type tenantPage struct {
	State        governance.TenantState
	Facts        []Fact
	Keys         []Fact
	Attributes   []Fact
	Entitlements []entitlementView
	Timeline     []TimelineItem
	Ledger       bool // the caller may look there
}

type entitlementView struct {
	governance.Entitlement
	Expired bool
	Soon    bool
}

const timelineLimit = 40

func (con *console) tenantOverview(c *Ctx) (View, error) {
	s, err := con.tenant(c)
	if err != nil {
		return View{}, err
	}
	owner := ""
	if s.Tenant.Owner != "" {
		owner = people(c)(governance.Actor{Person: s.Tenant.Owner})
	}
	page := newTenantPage(s, owner, con.opts.Now())
	page.Ledger = c.Can("ledger:read")
	if page.Timeline, err = con.timeline(c, s.Tenant.ID); err != nil {
		return View{}, err
	}
	v := con.tenantView(c, s, "")
	v.Template, v.Data = "tenants_detail", page
	return v, nil
}

func newTenantPage(s governance.TenantState, owner string, now time.Time) tenantPage {
	t := s.Tenant
	p := tenantPage{State: s}
	p.Facts = []Fact{
		{Label: "Plan", Value: Humanize(t.Plan)}, {Label: "Seats", Value: FormatInt(t.Seats)}, {Label: "Country", Value: t.Country}, {Label: "Region", Value: t.Region},
		{Label: "Owner", Value: owner}, {Label: "Renewal", At: t.RenewalAt, Day: true}, {Label: "Last active", At: t.ActiveAt, Ago: true}, {Label: "Since", At: t.CreatedAt, Day: true}, {Label: "Version", Value: FormatInt(t.Version)},
	}
	for _, sys := range slices.Sorted(maps.Keys(t.ExternalKeys)) {
		p.Keys = append(p.Keys, Fact{Label: Humanize(sys), Value: strings.Join(t.ExternalKeys[sys], ", "), Mono: true})
	}
	for _, k := range slices.Sorted(maps.Keys(t.Attributes)) {
		p.Attributes = append(p.Attributes, Fact{Label: Humanize(k), Value: t.Attributes[k]})
	}
	for _, e := range s.Entitlements {
		v := entitlementView{Entitlement: e}
		if !e.ExpiresAt.IsZero() {
			v.Expired, v.Soon = !e.ExpiresAt.After(now), e.ExpiresAt.Sub(now) < 30*24*time.Hour
		}
		p.Entitlements = append(p.Entitlements, v)
	}
	return p
}

// timeline merges the ledger, the events and what the sections know into one. An
// event beside the record of the same change is told once.
func (con *console) timeline(c *Ctx, t governance.TenantID) ([]TimelineItem, error) {
	var out []TimelineItem
	names := people(c)
	var views []governance.RecordView
	if c.Can("ledger:read") {
		if err := c.Kernel().LogRead(c.Context(), c.Identity, "timeline"); err != nil {
			return nil, err
		}
		items, vs, err := recordItems(c.Context(), c.Kernel(), t, timelineLimit)
		if err != nil {
			return nil, err
		}
		for i := range items {
			items[i].Actor = names(vs[i].Actor)
			if vs[i].Subject != nil {
				items[i].Actor += " as " + names(*vs[i].Subject)
			}
		}
		out, views = append(out, items...), vs
	}
	evs, err := outbox.Events(c.Context(), c.Kernel().DB(), outbox.Filter{Tenant: string(t), Limit: timelineLimit})
	if err != nil {
		return nil, err
	}
	for _, e := range evs {
		told := slices.ContainsFunc(views, func(v governance.RecordView) bool {
			return v.At.Sub(e.At).Abs() < time.Second && (v.Action == e.Type || v.Resource.String() == e.Resource || "approval/"+v.ActionID == e.Resource)
		})
		if !told {
			out = append(out, TimelineItem{At: e.At, Icon: actionIcon(e.Type), Title: Humanize(e.Type), Actor: names(governance.Actor{ID: e.Actor, Person: personOf(e.Actor)})})
		}
	}
	var errs []error
	for _, sec := range con.sections {
		for _, src := range sec.Timeline {
			if !c.Can(src.Permission) {
				continue
			}
			items, err := src.Load(c.Context(), t, timelineLimit)
			errs = append(errs, err)
			out = append(out, items...)
		}
	}
	slices.SortStableFunc(out, func(a, b TimelineItem) int { return b.At.Compare(a.At) })
	return out[:min(len(out), timelineLimit)], errors.Join(errs...)
}

func findTenant(c *Ctx, q string) ([]Hit, error) {
	ts, err := c.Kernel().Tenants(c.Context(), governance.TenantFilter{Search: q, Region: c.Identity.Actor.Region, Limit: 8})
	if err != nil {
		return nil, err
	}
	out := make([]Hit, 0, len(ts))
	for _, t := range ts {
		out = append(out, Hit{Kind: "Tenant", Title: t.Name, Meta: cmp.Or(Humanize(t.Plan), string(t.Status)), Href: "/tenants/" + string(t.ID), Icon: "tenant"})
	}
	return out, nil
}

func (con *console) tenantStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	t := governance.Tenant{ID: "acme", Name: "Acme GmbH", Country: "DE", Region: "eu", Owner: "dana", Status: governance.TenantActive, Plan: "scale", Seats: 1240, RenewalAt: at.AddDate(0, 1, 3),
		ActiveAt: at.Add(-3 * time.Hour), ExternalKeys: map[string][]string{"crm": {"0015g00000XyZ"}, "domain": {"acme.example", "acme.test"}}, Attributes: map[string]string{"segment": "mid-market"}, Version: 17, CreatedAt: at.AddDate(-2, 0, 0)}
	full := governance.TenantState{Tenant: t, Suspended: true,
		Entitlements: []governance.Entitlement{{Feature: "exports", Quantity: 100, Source: "plan"}, {Feature: "sso", Source: "plan", ExpiresAt: at.AddDate(0, 0, 12)}, {Feature: "beta", Source: "playbook:trial", ExpiresAt: at.AddDate(0, 0, -2)}},
		Restrictions: []governance.Restriction{{Reason: "unpaid", Detail: "Two invoices are overdue", PlacedBy: "playbook:dunning", PlacedAt: at.Add(-time.Hour)}}}
	items := []TimelineItem{
		{At: at, Icon: "tenant", Title: "Tenant suspended", Actor: "playbook:dunning", Text: "Two invoices are overdue", Href: "/ledger/x", Tone: ToneDanger, Status: "suspended"},
		{At: at.Add(-2 * time.Hour), Icon: "eye", Title: "Impersonation ended", Actor: "Dana Weiss as Olga Admin"},
		{At: at.AddDate(0, 0, -1), Icon: "tag", Title: "Entitlement granted", Actor: "System", Text: strings.Repeat("long ", 40)},
	}
	view := func(s governance.TenantState, items []TimelineItem) View {
		p := newTenantPage(s, "Dana Weiss", at)
		p.Timeline = items
		v := View{Title: s.Tenant.Name, Badge: string(s.Tenant.Status), Crumbs: []Crumb{{"Tenants", "/tenants"}, {string(s.Tenant.ID), ""}}, Template: "tenants_detail", Data: p}
		if s.Suspended {
			v.Badge = "suspended"
		}
		return v
	}
	odd := t
	odd.Name, odd.Plan = "شركة أكمي للتجارة "+strings.Repeat("والصناعة ", 8), strings.Repeat("enterprise", 6)
	filters := tenantFilters(governance.TenantFilter{Search: "acm"})
	return []Story{
		{Name: "tenants, first use", View: tenantListView(tenantListPage{Filters: filters, Empty: Empty{Icon: "tenant", Title: "No tenant yet", Text: "Tenants come from your own product."}})},
		{Name: "tenants, none match", View: tenantListView(tenantListPage{Filters: filters, Empty: Empty{Icon: "search", Title: "No tenant matches", Action: &Button{Text: "Clear filters", Href: "/tenants"}}})},
		{Name: "tenants, rows", View: tenantListView(tenantListPage{Filters: filters, Pager: Pager{Next: "/tenants?cursor=x"}, Rows: []tenantRow{{Tenant: t, State: "active", Owner: "Dana Weiss"}, {Tenant: odd, State: "suspended"}}})},
		{Name: "tenant, suspended", View: view(full, items)},
		{Name: "tenant, bare", View: view(governance.TenantState{Tenant: governance.Tenant{ID: "new", Name: "New", Country: "FR", Status: governance.TenantTrial}}, nil)},
		{Name: "tenant, right to left and long", RTL: true, View: view(governance.TenantState{Tenant: odd}, items)},
	}
}
