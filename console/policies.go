package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
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
		out = append(out, fmt.Sprintf("%s what would exceed %s within %s %s.", verb, unitText(l.Unit, l.Max), FormatWindow(l.Window.Duration), scope))
	}
	if p.Require != nil {
		var who []string
		for _, q := range p.Require.AllOf {
			who = append(who, fmt.Sprintf("%d of %s", q.Approvals, q.Group))
		}
		need := "Needs " + strings.Join(who, " and ")
		if len(p.Limits) == 0 {
			need = "Always needs " + strings.Join(who, " and ")
		}
		out = append(out, need+", within "+FormatDuration(p.Require.DecideWithin.Duration)+".")
	}
	if p.NeedWhy {
		out = append(out, "A reason is required.")
	}
	if p.NeedTick {
		out = append(out, "A ticket is required.")
	}
	return strings.Join(out, " ")
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
	return policyEditView(c, vs[0]), nil
}

func policyEditView(c *Ctx, v governance.PolicyVersion) View {
	return View{Title: "Edit " + v.Title, Lead: "The version in force stays until this edit is approved and executed.", Narrow: true,
		Crumbs: []Crumb{{"Policies", "/policies"}, {v.ID, "/policies/" + v.ID}, {"Edit", ""}}, Template: "policies_edit",
		Data: policyEditPage{ID: v.ID,
			Document: c.Field(Field{Name: "document", Label: "Document", Kind: "textarea", Mono: true, Rows: 22, Required: true, Value: prettyJSON(v.Policy)}),
			Reason:   c.Field(Field{Name: "reason", Label: "Why it changes", Kind: "textarea", Required: true, MaxLen: 2000})}}
}

func policyPut(c *Ctx) (Done, error) {
	var p governance.Policy
	d := json.NewDecoder(bytes.NewReader([]byte(c.Form("document"))))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Done{}, governance.Invalid("document", "is not a policy: %v", err)
	}
	if d.More() {
		return Done{}, governance.Invalid("document", "has something after the policy")
	}
	if p.ID != c.Path("id") {
		return Done{}, governance.Invalid("document", "id is %q, and this is the policy %q", p.ID, c.Path("id"))
	}
	if c.Form("reason") == "" {
		return Done{}, governance.Invalid("reason", "is required")
	}
	out, err := c.Kernel().PutPolicy(c.Context(), c.Identity, p, &governance.DoOptions{Key: c.Key(), Reason: c.Form("reason")})
	if faults := fieldErrors(err); len(faults) > 0 { // named by their place in the document, which is one field here
		var errs []error
		for _, f := range faults {
			errs = append(errs, governance.Invalid("document", "at %s: %s", f.Field, f.Reason))
		}
		return Done{}, errors.Join(errs...)
	}
	d0 := Done{To: "/policies/" + p.ID, Flash: "The new version is in force."}
	if out.Bootstrap {
		d0.Flash = "The new version is in force. It was not held: bootstrap mode."
	}
	return d0, err
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
	c := storyCtx()
	c.errs = []FieldError{{"document", "at limits[0].max: is negative"}}
	return []Story{
		{Name: "policies, none", View: policyListView(policyListPage{Empty: Empty{Icon: "policy", Title: "No policy", Text: "Without one, whoever holds a permission may use it alone and without limit."}})},
		{Name: "policies, rows", View: policyListView(policyListPage{Rows: []policyRow{{vs[0], policySays(p)}, {governance.PolicyVersion{Policy: shadow, Version: 1, At: at}, policySays(shadow)}}})},
		{Name: "policy", View: policyView(page)},
		{Name: "policy, edit", View: policyEditView(storyCtx(), vs[0])},
		{Name: "policy, edit came back", View: policyEditView(c, vs[0]), Errors: c.errs},
	}
}
