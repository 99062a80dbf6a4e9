package product

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/console"
	"github.com/reevehq/reeve/governance"
)

//go:embed templates
var templateFiles embed.FS

// Section adds a tab to the console's tenant page: subscription, credits and exports,
// with the forms of the guarded operations that the caller may ask for.
func Section(svc *Service) console.Section {
	p := pages{svc}
	sub, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		sub = templateFiles
	}
	return console.Section{
		Name: "product",
		Routes: []console.Route{
			{Pattern: "POST /tenants/{id}/plan", Permission: "tenant:plan", Post: p.plan, Back: p.back},
			{Pattern: "POST /tenants/{id}/credits", Permission: "tenant:credit", Post: p.credit, Back: p.back},
			{Pattern: "POST /tenants/{id}/refunds", Permission: "tenant:credit", Post: p.refund, Back: p.back},
			{Pattern: "POST /tenants/{id}/grants", Permission: "tenant:plan", Post: p.grant, Back: p.back},
			{Pattern: "POST /tenants/{id}/revocations", Permission: "tenant:plan", Post: p.revoke, Back: p.back},
			{Pattern: "POST /tenants/{id}/exports", Permission: "tenant:export", Post: p.export, Back: p.back},
			{Pattern: "GET /exports/{id}/download", Permission: "tenant:export", Serve: p.download},
		},
		Tenant: []console.TenantTab{{Slug: "billing", Title: "Billing and data", Permission: "tenant:read", Order: 10,
			Load: func(c *console.Ctx, t governance.TenantState) (string, any, error) {
				page, err := p.tab(c, t)
				return "product_tab", page, err
			}}},
		Stories:   stories(),
		Templates: sub,
	}
}

// Choices lists a tenant's users for the dialog that starts an impersonation; staff
// are left out.
func (s *Service) Choices(ctx context.Context, tenant governance.TenantID) ([]console.Option, error) {
	users, err := s.Users(ctx, tenant, 200)
	if err != nil {
		return nil, err
	}
	out := []console.Option{}
	for _, u := range users {
		if u.Staff == "" {
			out = append(out, console.Option{Value: u.ID, Text: u.Name + " (" + u.Role + ")"})
		}
	}
	return out, nil
}

type pages struct{ svc *Service }

type tabPage struct {
	Tenant      governance.TenantID
	Facts       []console.Fact
	Credits     []CreditEntry
	Refunds     []RefundEntry
	Given       []governance.Entitlement // by hand
	Exports     []exportLine
	ShowExports bool
	Forms       []form
}

type exportLine struct {
	ExportFile
	Href string
}

type form struct {
	Title, Path, Button, Note string
	Fields                    []console.Field
}

func (p pages) tab(c *console.Ctx, t governance.TenantState) (tabPage, error) {
	ctx, id := c.Context(), t.Tenant.ID
	page := tabPage{Tenant: id, ShowExports: c.Can("tenant:export")}
	sub, err := p.svc.Subscription(ctx, id)
	if err != nil && !errors.Is(err, governance.ErrNotFound) {
		return page, err
	}
	users, documents, err := p.svc.Counts(ctx, id)
	if err != nil {
		return page, err
	}
	if sub.Tenant != "" {
		page.Facts = subscriptionFacts(sub, users, documents)
	}
	if page.Credits, err = p.svc.Credits(ctx, id, uuid.Nil, 20); err != nil {
		return page, err
	}
	if page.Refunds, err = p.svc.Refunds(ctx, id, uuid.Nil, 20); err != nil {
		return page, err
	}
	page.Given = byHand(t)
	if page.ShowExports {
		files, err := p.svc.Exports(ctx, id, 20)
		if err != nil {
			return page, err
		}
		for _, f := range files {
			page.Exports = append(page.Exports, exportLine{f, p.svc.Link(c.Identity, f)})
		}
	}
	if t.Tenant.Status == governance.TenantClosed {
		return page, nil
	}
	plans, err := p.svc.Plans(ctx)
	if err != nil {
		return page, err
	}
	invoices, err := p.svc.Invoices(ctx, id, 50)
	if err != nil {
		return page, err
	}
	all := append(forms(plans, sub, p.svc.Currencies(), users, documents), moreForms(invoices, p.svc.Features(), t)...)
	for _, f := range all {
		if !c.Can(map[string]string{"plan": "tenant:plan", "credits": "tenant:credit", "exports": "tenant:export",
			"refunds": "tenant:credit", "grants": "tenant:plan", "revocations": "tenant:plan"}[f.Path]) || f.Path == "plan" && sub.Tenant == "" {
			continue
		}
		for i := range f.Fields {
			f.Fields[i] = c.Field(f.Fields[i])
		}
		page.Forms = append(page.Forms, f)
	}
	return page, nil
}

func subscriptionFacts(sub Subscription, users, documents int64) []console.Fact {
	return []console.Fact{{Label: "Plan", Value: console.Humanize(sub.Plan)}, {Label: "Seats", Value: console.FormatInt(sub.Seats)}, {Label: "Per month", Value: console.FormatMoney(sub.MRR)},
		{Label: "Changed", At: sub.ChangedAt}, {Label: "Users", Value: console.FormatInt(users)}, {Label: "Documents", Value: console.FormatInt(documents)}}
}

func forms(plans []Plan, sub Subscription, currencies []string, users, documents int64) []form {
	why := func(name string) console.Field {
		return console.Field{Name: name, Label: "Reason", Required: true, MaxLen: 500}
	}
	change := console.Field{Name: "plan", Label: "New plan", Kind: "select", Required: true}
	for _, pl := range plans {
		price, ok := pl.Prices[sub.MRR.Currency]
		if !ok || pl.ID == sub.Plan {
			continue
		}
		after := governance.Money{Minor: price.Minor * sub.Seats, Currency: price.Currency}
		change.Options = append(change.Options, console.Option{Value: pl.ID, Text: pl.Name + ", " + console.FormatMoney(after) + " per month"})
	}
	currency := console.Field{Name: "currency", Label: "Currency", Kind: "select", Required: true, Value: sub.MRR.Currency}
	for _, cur := range currencies {
		currency.Options = append(currency.Options, console.Option{Value: cur, Text: cur})
	}
	rows := func(name, text string, n int64) console.Option {
		return console.Option{Value: name, Text: text + ", " + console.FormatInt(n) + " rows"}
	}
	return []form{
		{Title: "Change plan", Path: "plan", Button: "Change plan", Note: "Held for approval when too much monthly revenue would be given up.", Fields: []console.Field{change, why("plan_reason")}},
		{Title: "Give credit", Path: "credits", Button: "Give credit", Note: "Held for approval when this tenant's credits over 24 hours would pass the limit.",
			Fields: []console.Field{{Name: "amount", Label: "Amount", Required: true, MaxLen: 20, Placeholder: "5.00"}, currency, why("credit_reason")}},
		{Title: "Export data", Path: "exports", Button: "Export", Note: "The rows are counted first. The file is for you alone, and every download is recorded.",
			Fields: []console.Field{{Name: "dataset", Label: "What", Kind: "select", Required: true, Options: []console.Option{rows("users", "Users", users), rows("documents", "Documents", documents), rows("all", "Everything", users+documents)}}, why("export_reason")}},
	}
}

// back is the tab again, with what was typed and what is wrong with it.
func (p pages) back(c *console.Ctx) (console.View, error) {
	t, err := c.Kernel().TenantState(c.Context(), governance.TenantID(c.Path("id")))
	if err != nil {
		return console.View{}, err
	}
	page, err := p.tab(c, t)
	return tabView(t.Tenant, page), err
}

func tabView(t governance.Tenant, page tabPage) console.View {
	return console.View{Title: t.Name, Crumbs: []console.Crumb{{Title: "Tenants", Href: "/tenants"}, {Title: string(t.ID), Href: "/tenants/" + string(t.ID)}, {Title: "Billing and data"}}, Template: "product_tab", Data: page}
}

func reason(c *console.Ctx, field string) (*governance.DoOptions, error) {
	why := c.Form(field)
	if why == "" {
		return nil, governance.Invalid(field, "is required")
	}
	return &governance.DoOptions{Key: c.Key(), Reason: why}, nil
}

func done(c *console.Ctx, flash string, err error) (console.Done, error) {
	return console.Done{To: "/tenants/" + c.Path("id") + "/billing", Flash: flash}, err
}

func (p pages) plan(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "plan_reason")
	if err == nil {
		_, err = p.svc.ChangePlan(c.Context(), c.Identity, governance.TenantID(c.Path("id")), c.Form("plan"), opts)
	}
	return done(c, "The plan was changed.", err)
}

func (p pages) credit(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "credit_reason")
	m, merr := governance.ParseMoney(c.Form("amount"), c.Form("currency"))
	if err = errors.Join(err, merr); err == nil {
		_, err = p.svc.Credit(c.Context(), c.Identity, governance.TenantID(c.Path("id")), m, opts)
	}
	return done(c, "The credit was given.", err)
}

func (p pages) export(c *console.Ctx) (console.Done, error) {
	opts, err := reason(c, "export_reason")
	if err == nil {
		_, err = p.svc.Export(c.Context(), c.Identity, governance.TenantID(c.Path("id")), c.Form("dataset"), opts)
	}
	return done(c, "The file is ready below.", err)
}

func (p pages) download(c *console.Ctx, w http.ResponseWriter) error {
	id, err := c.UUID("id")
	if err != nil {
		return err
	}
	expires, err := strconv.ParseInt(c.Query("expires"), 10, 64)
	if err != nil {
		return governance.ErrNotFound
	}
	f, data, err := p.svc.Download(c.Context(), c.Identity, id, expires, c.Query("signature"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", f.FileName()))
	_, err = w.Write(data)
	return err
}

func stories() []console.Story {
	at := time.Date(2026, 11, 23, 9, 12, 0, 0, time.UTC)
	t := governance.Tenant{ID: "acme", Name: "Acme GmbH"}
	sub := Subscription{Tenant: "acme", Plan: "growth", Seats: 40, MRR: governance.Money{Minor: 116_000, Currency: "EUR"}, ChangedAt: at}
	full := tabPage{Tenant: "acme", Facts: subscriptionFacts(sub, 40, 1200), ShowExports: true, Forms: forms(DefaultPlans(), sub, []string{"EUR", "GBP", "USD"}, 40, 1200),
		Refunds: []RefundEntry{{Invoice: "ACME-2026-10", Money: governance.Money{Minor: 4_000, Currency: "EUR"}, Reason: "charged twice", Actor: "user:dana", At: at}},
		Given:   []governance.Entitlement{{Feature: "sso", ExpiresAt: at.AddDate(0, 1, 0), Source: "hand"}},
		Credits: []CreditEntry{{Money: governance.Money{Minor: 12_550, Currency: "EUR"}, Reason: strings.Repeat("goodwill ", 40), Actor: "user:dana", At: at}},
		Exports: []exportLine{{ExportFile{Dataset: "all", Rows: 1240, Bytes: 88_000, Person: "dana", Reason: "asked by their counsel", MadeAt: at, ExpiresAt: at.Add(24 * time.Hour)}, "/exports/x/download?expires=1"},
			{ExportFile{Dataset: "users", Rows: 40, Bytes: 900, Person: "kim", Gone: true, MadeAt: at.AddDate(0, 0, -3)}, ""}}}
	full.Forms = append(full.Forms, moreForms([]Invoice{{Number: "ACME-2026-10", Money: governance.Money{Minor: 116_000, Currency: "EUR"}, Paid: true}}, []string{"sso", "audit"},
		governance.TenantState{Entitlements: full.Given})...)
	return []console.Story{
		{Name: "billing, full", View: tabView(t, full)},
		{Name: "billing, nothing yet", View: tabView(t, tabPage{Tenant: "acme", ShowExports: true})},
		{Name: "billing, reader", View: tabView(t, tabPage{Tenant: "acme", Facts: full.Facts, Credits: full.Credits})},
		{Name: "billing, right to left", RTL: true, View: tabView(t, full)},
	}
}
