package console

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

func catalogueSection() Section {
	return Section{
		Name:    "catalogue",
		Nav:     []NavItem{{Group: GroupAdmin, Order: 21, Title: "Actions", Path: "/catalogue", Icon: "policy", Permission: "policy:read"}},
		Routes:  []Route{{Pattern: "GET /catalogue", Permission: "policy:read", Page: catalogueList}},
		Stories: catalogueStories(),
	}
}

type catalogueRow struct {
	governance.CatalogueEntry
	UnitText string
	Document json.RawMessage
}

type cataloguePage struct {
	Rows  []catalogueRow
	Empty Empty
}

func catalogueList(c *Ctx) (View, error) {
	all, err := c.Kernel().Catalogue(c.Context())
	if err != nil {
		return View{}, err
	}
	return catalogueView(all), nil
}

func catalogueView(all []governance.CatalogueEntry) View {
	page := cataloguePage{Empty: Empty{Icon: "policy", Title: "No action", Text: "This server guards nothing yet."}}
	for _, e := range all {
		units := strings.ReplaceAll(strings.Join(e.Units, ", "), "*.cent", "money")
		page.Rows = append(page.Rows, catalogueRow{e, units, e.Schema})
	}
	return View{Title: "Actions", Lead: "Everything that passes the guard, as the server knows it: what it takes, what it is measured by, and which policies hold it.", Template: "catalogue", Data: page}
}

func catalogueStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	rows := []governance.CatalogueEntry{
		{Name: "tenant.refund", Summary: "Gives a tenant a part of a payment back.", Permission: "tenant:credit", Sensitive: true, Units: []string{"*.cent"}, Schema: json.RawMessage(`{"type":"object"}`), LastUsed: at,
			Policies: []governance.CataloguePolicy{{ID: "credit-24h", Title: "Credits and refunds over 24 hours", Mode: governance.Enforce, Holds: true}, {ID: "reason", Title: "A reason", Mode: governance.Shadow}}},
		{Name: strings.Repeat("long.", 12) + "action", Summary: strings.Repeat("It does a lot. ", 20), Permission: "x:y", Remote: true, Schema: json.RawMessage(`{}`)},
		{Name: "tenant.entitlement.revoke", Summary: "Takes back what was given.", Permission: "tenant:plan", Sensitive: true, Unheld: "It gives nobody anything.", Schema: json.RawMessage(`{}`)},
	}
	return []Story{
		{Name: "catalogue, none", View: catalogueView(nil)},
		{Name: "catalogue, rows", View: catalogueView(rows)},
		{Name: "catalogue, right to left", RTL: true, View: catalogueView(rows)},
	}
}
