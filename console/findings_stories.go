package console

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/oversight/findings"
)

func findingStories() []Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	id := uuid.MustParse("0192d0a1-7e1c-7a33-9d1e-5b8a1c2d3e4f")
	names := func(a governance.Actor) string { return string(a.Person) }
	f := findings.Finding{ID: id, Kind: findings.Rate, Severity: governance.Critical, Who: "dana", Title: "Unusually many tenant.credit", Dimension: "tenant.credit by one actor in an hour",
		Baseline: "median 2, median deviation 1 over 157 of their own hours with this act in the 30 days before", Value: "60 in the hour from 2026-11-23 09:00 UTC; robust z-score 39.12, a finding from 6 on",
		Acts: []findings.Act{{Record: id, At: at, Who: "dana", Action: "tenant.credit", Tenant: "acme"}, {Record: id, At: at, Who: strings.Repeat("long", 30), Action: "approval.vote"}}, ActCount: 60, At: at, State: findings.Open}
	ring := f
	ring.Kind, ring.Severity, ring.Who, ring.Others, ring.State, ring.Reason, ring.DecidedBy, ring.DecidedAt, ring.Tenant = findings.Ring, governance.Warning, "rae", []string{"roy"}, findings.Confirmed, "they cover for each other", "user:kim", at, "acme"
	long := f
	long.Title, long.Value, long.Who = "شركة أكمي للتجارة", strings.Repeat("12 of 14 approvals; ", 30), strings.Repeat("x", 120)
	page := func(f findings.Finding, change func(*findingPage)) View {
		p := newFindingPage(f, names)
		p.Reason = Field{Name: "reason", Label: "Why", Kind: "textarea", Required: true}
		if change != nil {
			change(&p)
		}
		return findingView(p)
	}
	per := periodOf(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	eur := func(n int64) governance.Money { return governance.Money{Minor: n, Currency: "EUR"} }
	cr := findings.Credits{Currency: "EUR", ByPerson: []findings.CreditLine{{Key: "dana", UnderCount: 3, OverCount: 1, Under: eur(49_001), Over: eur(150_000)}}, ByReason: []findings.CreditLine{{Key: "", UnderCount: 3, Under: eur(49_001), Over: eur(0)}, {Key: strings.Repeat("outage ", 40), OverCount: 1, Under: eur(0), Over: eur(150_000)}},
		Total: findings.CreditLine{UnderCount: 3, OverCount: 1, Under: eur(49_001), Over: eur(150_000)}, Unpriced: 1, Unlimited: 2}
	none := findings.Credits{Currency: "EUR", Total: findings.CreditLine{Under: eur(0), Over: eur(0)}}
	name := func(id string) string { return id }
	sample := findings.Sample{ID: id, At: at, Action: "tenant.credit", Who: "dana", Tenant: "acme", Reason: "goodwill", Enforced: true, Limit: findings.UnderLimit, Money: governance.Money{Minor: 10_001, Currency: "USD"}, In: eur(9_001)}
	over := sample
	over.Limit, over.Held, over.Money, over.In, over.Enforced, over.Tenant = findings.OverLimit, true, eur(150_000), eur(150_000), false, ""
	health := findings.Health{Waiting: 2, Approvers: []findings.Approver{{Person: "kim", Approved: 9, Denied: 1, Median: 3 * time.Minute, Slowest: 5 * time.Hour, Fast: 4}},
		Quorums: []findings.Quorum{{Policy: "credit-24h", Title: "Credits of a tenant", Mode: governance.Enforce, Group: "gov_approver", Needed: 1, People: []governance.PersonID{"kim", "omar", "vera"}, Spare: 2},
			{Policy: "policy-change", Title: "A policy changes only with a second person", Mode: governance.Enforce, Group: "gov_approver", Needed: 2, People: []governance.PersonID{"kim", "omar", "vera"}, Spare: 1},
			{Policy: "export", Title: "Exports", Mode: governance.Shadow, Group: "security", Needed: 1, People: []governance.PersonID{"kim"}, Spare: 0}, {Policy: "purge", Title: "Purges", Mode: governance.Enforce, Group: "nobody", Needed: 2, Spare: -2}}}
	return []Story{
		{Name: "findings, first use", View: findingListView(findingListPage{Filters: findingFilters("", "", ""), Empty: Empty{Icon: "check", Title: "Nothing is unlike before"}})},
		{Name: "findings, none match", View: findingListView(findingListPage{Filters: findingFilters("open", "ring", "x"), Empty: Empty{Icon: "search", Title: "No finding matches", Action: &Button{Text: "Clear filters", Href: "/findings"}}})},
		{Name: "findings, rows", View: findingListView(findingListPage{Filters: findingFilters("", "", ""), Rows: []findingRow{{f, "Dana Weiss", ""}, {ring, "rae, roy", "Acme GmbH"}, {long, strings.Repeat("x", 120), ""}}, Pager: Pager{Next: "/findings?cursor=x"}})},
		{Name: "finding, open", View: page(f, func(p *findingPage) { p.Decide = true })},
		{Name: "finding, about oneself", View: page(f, func(p *findingPage) { p.Decide, p.WhyNot = true, "It is about you: somebody else judges it." })},
		{Name: "finding, no reason given", View: page(f, func(p *findingPage) { p.Decide, p.Reason.Error = true, "say why" }), Errors: []FieldError{{"reason", "say why"}}},
		{Name: "finding, confirmed", View: page(ring, nil)},
		{Name: "finding, right to left", RTL: true, View: page(long, func(p *findingPage) { p.Decide = true })},
		{Name: "audit, nothing ran", View: auditView(newAuditPage(per, findings.Share{}, none, name))},
		{Name: "audit, figures", View: auditView(newAuditPage(per, findings.Share{Enforced: 3, Total: 5, Actions: []findings.ShareLine{{Action: "tenant.credit", Enforced: 3, Total: 4}, {Action: "tenant.export", Total: 1}, {Action: "never"}}}, cr, name))},
		{Name: "samples, none match", View: sampleView(per, samplePage{Note: "0 actions.", Empty: Empty{Icon: "search", Title: "No action matches"}})},
		{Name: "samples, rows", View: sampleView(per, samplePage{Note: "2 actions.", Rows: []sampleRow{newSampleRow(sample, "Dana", "Acme GmbH"), newSampleRow(over, "Dana", "")}, CSV: Button{Text: "Download as CSV", Href: "/audit/samples.csv"}})},
		{Name: "approvers, nobody decided", View: approverView(newApproverPage(per, findings.Health{}, func(id governance.PersonID) string { return string(id) }))},
		{Name: "approvers, rows", View: approverView(newApproverPage(per, health, func(id governance.PersonID) string { return string(id) }))},
	}
}
