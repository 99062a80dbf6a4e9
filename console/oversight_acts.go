package console

import (
	"cmp"
	"slices"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight"
)

type actRow struct {
	oversight.Act
	Title, Who, For, TenantName, Href string
	Gauges                            []Meter
}

type actListPage struct {
	Now     []Meter // limits of the tenant and person filtered by
	Rows    []actRow
	Filters []Field
	Pager   Pager
	Empty   Empty
}

// actNames are the actions that the feed can be narrowed to.
func actNames() []string {
	return []string{oversight.ActionCredit, oversight.ActionRefund, oversight.ActionPlan, oversight.ActionGrant, oversight.ActionRevoke, oversight.ActionExport, oversight.ActionStart, governance.ActionPutPolicy}
}

func (p oversightPages) acts(c *Ctx) (View, error) {
	action, person, state := c.Query("action"), c.Query("person"), c.Query("state")
	f := governance.ActionFilter{Tenant: governance.TenantID(c.Query("tenant")), Person: governance.PersonID(person), Limit: 50}
	if action != "" {
		f.Names = []string{action}
	}
	if state != "" {
		f.States = []governance.State{governance.State(state)}
	}
	var err error
	if cur := c.Query("cursor"); cur != "" {
		if f.Before, err = uuid.Parse(cur); err != nil {
			return View{}, governance.ErrNotFound
		}
	}
	all, err := p.svc.Acts(c.Context(), f)
	if err != nil {
		return View{}, err
	}
	page := actListPage{Filters: actFilters(action, string(f.Tenant), person, state)}
	page.Empty = Empty{Icon: "shield", Title: "Nothing sensitive was done yet", Text: "Credits, plan changes, exports and every other guarded action stand here, allowed or held, with the limit they were counted against."}
	if action+person+state+string(f.Tenant) != "" {
		page.Empty = Empty{Icon: "search", Title: "No action matches", Action: &Button{Text: "Clear filters", Href: "/acts"}}
	}
	for _, a := range all {
		row := newActRow(a)
		row.TenantName = tenantName(c, a.Tenant)
		page.Rows = append(page.Rows, row)
	}
	next := ""
	if len(all) == f.Limit {
		next = all[len(all)-1].ID.String()
	}
	page.Pager = c.Pager(next)
	page.Now, err = windowMeters(c, f.Tenant, f.Person)
	return actListView(page), err
}

// windowMeters shows how full the limits of the tenant and the person filtered by are
// now.
func windowMeters(c *Ctx, tenant governance.TenantID, person governance.PersonID) ([]Meter, error) {
	out := []Meter{}
	for by, of := range map[governance.Scope]string{governance.ByTenant: string(tenant), governance.ByActor: string(person)} {
		if of == "" {
			continue
		}
		ws, err := c.Kernel().Windows(c.Context(), by, of)
		if err != nil {
			return nil, err
		}
		for _, w := range ws {
			out = append(out, Meter{Label: w.Policy, Used: w.Used, Max: w.Max, Text: w.Title + ": " + unitText(w.Unit, w.Used) + " of " + unitText(w.Unit, w.Max) + " in " + FormatDuration(w.Span.Duration)})
		}
	}
	slices.SortFunc(out, func(a, b Meter) int { return cmp.Compare(a.Text, b.Text) })
	return out, nil
}

func newActRow(a oversight.Act) actRow {
	row := actRow{Act: a, Title: Humanize(a.Action), Who: actorName(a.Actor), TenantName: string(a.Tenant)}
	if m := measuresText(a.Measures); m != "" {
		row.Title += ": " + m
	}
	if a.Subject != nil {
		row.For = actorName(*a.Subject)
	}
	if a.Effect == governance.Hold {
		row.Href = "/approvals/" + a.ID.String()
	}
	for _, m := range a.Meters {
		row.Gauges = append(row.Gauges, Meter{Label: m.Policy, Used: m.Before, Add: m.Amount, Max: m.Max,
			Text: unitText(m.Unit, m.Before+m.Amount) + " of " + unitText(m.Unit, m.Max) + " in " + FormatDuration(m.Window.Duration)})
	}
	return row
}

func actFilters(action, tenant, person, state string) []Field {
	actions := []Option{{"", "Every action"}}
	for _, n := range actNames() {
		actions = append(actions, Option{n, Humanize(n)})
	}
	states := []Option{{"", "Any"}}
	for _, s := range []governance.State{governance.StateExecuted, governance.StatePending, governance.StateDenied, governance.StateFailed, governance.StateUnknown} {
		states = append(states, Option{string(s), Humanize(string(s))})
	}
	return []Field{
		{Name: "action", Label: "Action", Kind: "select", Value: action, Options: actions},
		{Name: "state", Label: "State", Kind: "select", Value: state, Options: states},
		{Name: "tenant", Label: "Tenant", Value: tenant, Placeholder: "Any"},
		{Name: "person", Label: "Person", Value: person, Placeholder: "Anybody"},
	}
}

func actListView(page actListPage) View {
	return View{Title: "Sensitive actions", Lead: "Every guarded action, whoever asked for it: why, how much, and how near its limit.", Template: "oversight_acts", Data: page}
}
