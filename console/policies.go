package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/policyfile"
)

func policiesSection() Section {
	return Section{
		Name: "policies",
		Nav:  []NavItem{{Group: GroupAdmin, Order: 20, Title: "Policies", Path: "/policies", Icon: "policy", Permission: "policy:read"}},
		Routes: []Route{
			{Pattern: "GET /policies", Permission: "policy:read", Page: policyList},
			{Pattern: "GET /policies/{id}", Permission: "policy:read", Page: policyDetail},
			{Pattern: "GET /policies/{id}/edit", Permission: "policy:write", Page: policyEdit},
			{Pattern: "POST /policies/{id}/edit", Permission: "policy:write", Post: policyPut, Back: policyEdit},
			{Pattern: "GET /policies/{id}/back-tests/{hash}", Permission: "policy:read", Page: policyBackTest},
		},
		Search:  []SearchSource{{Permission: "policy:read", Find: findPolicy}},
		Stories: policyStories(),
	}
}

type policyRow struct {
	governance.PolicyVersion
	Says string
}

type policyListPage struct {
	Rows  []policyRow
	Empty Empty
}

func policyList(c *Ctx) (View, error) {
	ps, err := c.Kernel().Policies(c.Context())
	if err != nil {
		return View{}, err
	}
	page := policyListPage{Empty: Empty{Icon: "policy", Title: "No policy", Text: "Without one, whoever holds a permission may use it alone and without limit."}}
	for _, p := range ps {
		page.Rows = append(page.Rows, policyRow{p, policySays(p.Policy)})
	}
	return policyListView(page), nil
}

func policyListView(page policyListPage) View {
	return View{Title: "Policies", Lead: "What needs a second person, and what is refused. The strictest one that matches wins.", Template: "policies_list", Data: page}
}

// policySays puts a policy into a sentence.
func policySays(p governance.Policy) string {
	var out []string
	if p.Deny {
		out = append(out, "Refuses "+strings.Join(p.Actions, ", ")+".")
	}
	for _, l := range p.Limits {
		verb := "Refuses"
		if p.Require != nil {
			verb = "Holds"
		}
		scope := map[governance.Scope]string{governance.ByActor: "per person", governance.ByTenant: "per tenant", governance.ByResource: "per thing", governance.ByGlobal: "overall"}[l.By]
		counted := map[governance.Count]string{governance.CountPosted: ", counting what was done", governance.CountAttempts: ", counting every try"}[l.Count]
		out = append(out, fmt.Sprintf("%s what would exceed %s within %s %s%s.", verb, unitText(l.Unit, l.Max), FormatWindow(l.Window.Duration), scope, counted))
	}
	if p.Require != nil {
		out = append(out, requireSays(*p.Require, len(p.Limits) == 0)...)
	}
	if p.NeedWhy {
		out = append(out, "A reason is required.")
	}
	if p.NeedTick {
		out = append(out, "A ticket is required.")
	}
	if p.Notify != "" {
		out = append(out, "Raises an alert ("+string(p.Notify)+") when it is done.")
	}
	if p.ReviewAfter.Duration > 0 {
		out = append(out, "Somebody else reviews it within "+FormatDuration(p.ReviewAfter.Duration)+".")
	}
	return strings.Join(out, " ")
}

func requireSays(r governance.Require, always bool) []string {
	need, between, qs := "Needs ", " and ", r.AllOf
	if always {
		need = "Always needs "
	}
	if len(r.AnyOf) > 0 {
		between, qs = " or ", r.AnyOf
	}
	var who []string
	for _, q := range qs {
		text := fmt.Sprintf("%d of %s", q.Approvals, q.Group)
		if q.Group == governance.GroupTenant {
			text = fmt.Sprintf("%d of the tenant's own administrators", q.Approvals)
		}
		if q.Where != "" {
			text += " for whom " + q.Where
		}
		who = append(who, text)
	}
	out := []string{need + strings.Join(who, between) + ", within " + FormatDuration(r.DecideWithin.Duration) + "."}
	if len(r.Exclude) > 0 {
		var not []string
		for _, g := range r.Exclude {
			not = append(not, string(g))
		}
		out = append(out, "Nobody of "+strings.Join(not, ", ")+" may vote.")
	}
	if r.Deny > 1 {
		out = append(out, fmt.Sprintf("%d votes against it end it.", r.Deny))
	}
	if r.Signed {
		out = append(out, "Each vote for it is signed by the voter's security key.")
	}
	if e := r.Escalate; e != nil {
		out = append(out, "After "+FormatDuration(e.After.Duration)+" "+string(e.To)+" may decide as well.")
	}
	if b := r.BreakGlass; b != nil {
		out = append(out, fmt.Sprintf("%s may break the glass %d times within %s; somebody else reviews it within %s.", b.Group, b.Max, FormatWindow(b.Window.Duration), FormatDuration(b.ReviewWithin.Duration)))
	}
	return out
}

type policyPage struct {
	Now      governance.PolicyVersion
	Says     string
	Facts    []Fact
	Document json.RawMessage
	History  []policyChange
}

type policyChange struct {
	governance.PolicyVersion
	Editor string
	Before json.RawMessage
	After  json.RawMessage
	First  bool
}

func policyDetail(c *Ctx) (View, error) {
	vs, err := c.Kernel().PolicyHistory(c.Context(), c.Path("id"))
	if err != nil {
		return View{}, err
	}
	names := people(c)
	page, err := newPolicyPage(vs, func(p governance.PersonID) string { return names(governance.Actor{Person: p}) })
	if err != nil {
		return View{}, err
	}
	v := policyView(page)
	if c.Can("policy:write") {
		v.Actions = []Button{{Text: "Edit", Href: "/policies/" + page.Now.ID + "/edit"}}
	}
	return v, nil
}

func policyView(page policyPage) View {
	return View{Title: page.Now.Title, Badge: string(page.Now.Mode), Crumbs: []Crumb{{"Policies", "/policies"}, {page.Now.ID, ""}}, Template: "policies_detail", Data: page}
}

func newPolicyPage(vs []governance.PolicyVersion, name func(governance.PersonID) string) (policyPage, error) {
	page := policyPage{Now: vs[0]}
	for _, v := range vs {
		if v.Active {
			page.Now = v
		}
	}
	page.Says = policySays(page.Now.Policy)
	doc, err := json.Marshal(page.Now.Policy)
	if err != nil {
		return page, err
	}
	page.Document = doc
	page.Facts = []Fact{{Label: "Actions", Value: strings.Join(page.Now.Actions, ", "), Mono: true}, {Label: "Condition", Value: page.Now.Match, Mono: true},
		{Label: "Version", Value: FormatInt(int64(page.Now.Version))}, {Label: "In force since", At: page.Now.At}, {Label: "Hash", Value: string(page.Now.Hash), Mono: true}}
	for i, v := range vs {
		ch := policyChange{PolicyVersion: v, Editor: "the product, at installation", First: i == len(vs)-1}
		if v.EditedBy != "" {
			ch.Editor = name(v.EditedBy)
		}
		if ch.After, err = json.Marshal(v.Policy); err != nil {
			return page, err
		}
		if !ch.First {
			if ch.Before, err = json.Marshal(vs[i+1].Policy); err != nil {
				return page, err
			}
		}
		page.History = append(page.History, ch)
	}
	return page, nil
}

type policyEditPage struct {
	ID       string
	Document Field
	Reason   Field
}

func policyEdit(c *Ctx) (View, error) {
	vs, err := c.Kernel().PolicyHistory(c.Context(), c.Path("id"))
	if err != nil {
		return View{}, err
	}
	v := vs[0]
	if hash := c.Query("back_test"); hash != "" { // from a report back to its draft
		_, draft, err := c.Kernel().BackTestReport(c.Context(), c.Identity, governance.Digest("sha256:"+hash))
		if err != nil {
			return View{}, err
		}
		if draft.ID != v.ID {
			return View{}, governance.ErrNotFound
		}
		v.Policy = draft
	}
	return policyEditView(c, v), nil
}

func policyEditView(c *Ctx, v governance.PolicyVersion) View {
	return View{Title: "Edit " + v.Title, Lead: "The version in force stays until this edit is approved and executed.", Narrow: true,
		Crumbs: []Crumb{{"Policies", "/policies"}, {v.ID, "/policies/" + v.ID}, {"Edit", ""}}, Template: "policies_edit",
		Data: policyEditPage{ID: v.ID,
			Document: c.Field(Field{Name: "document", Label: "Document", Hint: "JSON or YAML.", Kind: "textarea", Mono: true, Rows: 22, Required: true, Value: prettyJSON(v.Policy)}),
			Reason:   c.Field(Field{Name: "reason", Label: "Why it changes", Kind: "textarea", Required: true, MaxLen: 2000})}}
}

func policyPut(c *Ctx) (Done, error) {
	p, err := policyfile.ParseOne([]byte(c.Form("document")))
	if err := inDocument(err); err != nil {
		return Done{}, err
	}
	if p.ID != c.Path("id") {
		return Done{}, governance.Invalid("document", "id is %q, and this is the policy %q", p.ID, c.Path("id"))
	}
	if c.Form("reason") == "" && c.Form("do") != "test" {
		return Done{}, governance.Invalid("reason", "is required")
	}
	needs, err := c.Kernel().NeedsBackTest(c.Context(), p)
	if err != nil {
		return Done{}, err
	}
	if c.Form("do") == "test" || needs && p.BackTest == "" {
		now := c.Kernel().Now()
		r, err := c.Kernel().BackTest(c.Context(), c.Identity, p, now.AddDate(0, 0, -backTestDays), now)
		if err := inDocument(err); err != nil {
			return Done{}, err
		}
		return Done{To: "/policies/" + p.ID + "/back-tests/" + strings.TrimPrefix(string(r.Hash), "sha256:"), Flash: "Replayed. Nothing was changed. Propose the edit with this report."}, nil
	}
	out, err := c.Kernel().PutPolicy(c.Context(), c.Identity, p, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	if err := inDocument(err); len(fieldErrors(err)) > 0 {
		return Done{}, err
	}
	d0 := Done{To: "/policies/" + p.ID, Flash: "The new version is in force."}
	if out.Bootstrap {
		d0.Flash = "The new version is in force. It was not held: bootstrap mode."
	}
	return d0, err
}

// inDocument names faults by their place in the document, which is one field here.
func inDocument(err error) error {
	faults := fieldErrors(err)
	if len(faults) == 0 {
		return err
	}
	var errs []error
	for _, f := range faults {
		errs = append(errs, governance.Invalid("document", "at %s: %s", f.Field, f.Reason))
	}
	return errors.Join(errs...)
}

// backTestDays is how far back the console replays.
const backTestDays = 90

type backTestRow struct {
	governance.BackTestItem
	Title  string
	Tenant string
	Href   string
}

type backTestPage struct {
	Report   governance.BackTestReport
	Stats    []Stat
	Rows     []backTestRow
	Says     string
	Document string
	Back     string
	Reason   Field
	May      bool
}

func policyBackTest(c *Ctx) (View, error) {
	r, p, err := c.Kernel().BackTestReport(c.Context(), c.Identity, governance.Digest("sha256:"+c.Path("hash")))
	if err != nil {
		return View{}, err
	}
	if p.ID != c.Path("id") {
		return View{}, governance.ErrNotFound
	}
	p.BackTest = r.Hash
	page := backTestPage{Report: r, Stats: backTestStats(r), Says: policySays(p), Document: prettyJSON(p), May: c.Can("policy:write"), Back: "/policies/" + p.ID + "/edit?back_test=" + c.Path("hash"),
		Reason: c.Field(Field{Name: "reason", Label: "Why it changes", Kind: "textarea", Required: true, MaxLen: 2000})}
	for _, i := range r.Items {
		row := backTestRow{BackTestItem: i, Title: Humanize(i.Name), Tenant: tenantName(c, i.Tenant)}
		if i.WasHeld {
			row.Href = "/approvals/" + i.Action.String()
		} else if c.Can("ledger:read") {
			row.Href = "/ledger?q=" + i.Action.String()
		}
		page.Rows = append(page.Rows, row)
	}
	return backTestView(p, page), nil
}

func backTestStats(r governance.BackTestReport) []Stat {
	stat := func(label string, n int) Stat { return Stat{Label: label, Value: FormatInt(int64(n))} }
	return []Stat{stat("Actions it names", r.Actions), stat("Would be held", r.Held), stat("Would be refused", r.Denied+r.Failed), stat("New against what happened", r.Fresh), stat("Held with nobody to approve", r.Deadlocks)}
}

func backTestView(p governance.Policy, page backTestPage) View {
	return View{Title: "Back-test of " + p.Title, Lead: "What the draft would have done to the last " + FormatInt(backTestDays) + " days. Tenants and people are those of now.", Template: "policies_back_test", Data: page,
		Crumbs: []Crumb{{"Policies", "/policies"}, {p.ID, "/policies/" + p.ID}, {"Back-test", ""}}}
}

func findPolicy(c *Ctx, q string) ([]Hit, error) {
	ps, err := c.Kernel().Policies(c.Context())
	if err != nil {
		return nil, err
	}
	var out []Hit
	for _, p := range ps {
		if strings.Contains(strings.ToLower(p.Title+" "+p.ID), strings.ToLower(q)) {
			out = append(out, Hit{Kind: "Policy", Title: p.Title, Meta: p.ID, Href: "/policies/" + p.ID, Icon: "policy"})
		}
	}
	return out, nil
}

func policyStories() []Story {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	hours := func(n int) governance.Duration { return governance.Duration{Duration: time.Duration(n) * time.Hour} }
	p := governance.Policy{ID: "credit-daily", Title: "Credits over a day", Actions: []string{"tenant.credit"}, Match: `tenant.country == "DE"`, Mode: governance.Enforce,
		Limits:  []governance.Limit{{Unit: "EUR.cent", Max: 100000, Window: hours(24), By: governance.ByTenant, Convert: true}},
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: "gov_approver", Approvals: 1}}, DecideWithin: hours(72), ExecuteWithin: hours(24)}, NeedWhy: true}
	old := p
	old.Limits = []governance.Limit{{Unit: "EUR.cent", Max: 50000, Window: hours(24), By: governance.ByTenant}}
	vs := []governance.PolicyVersion{{Policy: p, Version: 2, Active: true, Hash: "sha256:9f2c4f6b1c0d8a7e", EditedBy: "dana", At: at}, {Policy: old, Version: 1, Hash: "sha256:11", At: at.AddDate(0, -3, 0)}}
	page, err := newPolicyPage(vs, func(p governance.PersonID) string { return string(p) })
	if err != nil {
		return nil
	}
	shadow := p
	shadow.Mode, shadow.Deny, shadow.Limits, shadow.Require, shadow.Title = governance.Shadow, true, nil, nil, strings.Repeat("A long title ", 12)
	report := governance.BackTestReport{Policy: p.ID, Actions: 40, Held: 3, Fresh: 2, Deadlocks: 1, Items: []governance.BackTestItem{{Name: "tenant.credit", At: at, Was: governance.StateExecuted,
		Effect: governance.Hold, Why: "EUR 600.00 in 24h would be more than EUR 500.00", Deadlock: true}}}
	c := storyCtx()
	c.errs = []FieldError{{"document", "at limits[0].max: is negative"}}
	return []Story{
		{Name: "policies, none", View: policyListView(policyListPage{Empty: Empty{Icon: "policy", Title: "No policy", Text: "Without one, whoever holds a permission may use it alone and without limit."}})},
		{Name: "policies, rows", View: policyListView(policyListPage{Rows: []policyRow{{vs[0], policySays(p)}, {governance.PolicyVersion{Policy: shadow, Version: 1, At: at}, policySays(shadow)}}})},
		{Name: "policy", View: policyView(page)},
		{Name: "policy, back-test", View: backTestView(p, backTestPage{Report: report, Stats: backTestStats(report), Says: policySays(p), Document: "{}", May: true, Back: "/policies/credit-daily/edit",
			Reason: Field{Name: "reason", Label: "Why it changes", Kind: "textarea"}, Rows: []backTestRow{{BackTestItem: report.Items[0], Title: "Tenant credit", Tenant: "Acme"}}})},
		{Name: "policy, edit", View: policyEditView(storyCtx(), vs[0])},
		{Name: "policy, edit came back", View: policyEditView(c, vs[0]), Errors: c.errs},
	}
}
