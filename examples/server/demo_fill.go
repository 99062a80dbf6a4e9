package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/examples/server/product"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb/opendb"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/internal/demodata/billing"
	"github.com/reevehq/reeve/internal/hostdata"
	"github.com/reevehq/reeve/oversight"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/retention"
)

func (d *demonstration) targetInputs() map[string]integrations.TargetInput {
	conn := func(kind integrations.Kind, name string) integrations.TargetInput {
		return integrations.TargetInput{Name: name, Kind: kind, Connector: "sandbox-" + string(kind), Events: []string{"tenant.*", "entitlement.*"}, Config: map[string]string{"url": d.vendors[string(kind)]}, Secrets: map[string]string{"token": d.token}}
	}
	return map[string]integrations.TargetInput{
		"crm": conn(integrations.CRM, "crm"), "billing": conn(integrations.Billing, "billing"), "ticketing": conn(integrations.Ticketing, "helpdesk"),
		"webhook": {Name: "data-platform", Kind: integrations.Webhook, Config: map[string]string{"url": d.hook}, Events: []string{"tenant.*", "entitlement.*", "approval.*"}},
	}
}

// targets connects the outside through the same door as an administrator; what is
// held for approval is approved by somebody else.
func (d *demonstration) targets(ctx context.Context) error {
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	have, err := d.app.reeve.Integrations.Targets(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []string{"crm", "billing", "ticketing", "webhook"} {
		in := d.targetInputs()[kind]
		if slices.ContainsFunc(have, func(t integrations.Target) bool { return t.Name == in.Name }) {
			continue
		}
		created, _, err := d.app.reeve.Integrations.CreateTarget(ctx, admin, in, &governance.DoOptions{Reason: "Demo"})
		if _, err = d.approved(ctx, err); err != nil {
			return err
		}
		if kind != "webhook" {
			continue
		}
		secret := created.Secret
		if secret == "" { // it was held: whoever may rotates and sees one
			targets, err := d.app.reeve.Integrations.Targets(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(targets, func(t integrations.Target) bool { return t.Name == in.Name })
			if i < 0 {
				return errors.New("the webhook was not created")
			}
			r, err := d.app.reeve.Integrations.RotateSecret(ctx, admin, targets[i].ID)
			if err != nil {
				return err
			}
			secret = r.Secret
		}
		if err := d.secret.put(secret); err != nil {
			return err
		}
	}
	return nil
}

// readdress tells the targets where the outside listens this time.
func (d *demonstration) readdress(ctx context.Context) error {
	have, err := d.app.reeve.Integrations.Targets(ctx)
	if err != nil || len(have) == 0 {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	for _, in := range d.targetInputs() {
		i := slices.IndexFunc(have, func(t integrations.Target) bool { return t.Name == in.Name })
		if i < 0 || have[i].Config["url"] == in.Config["url"] {
			continue
		}
		_, err := d.app.reeve.Integrations.EditTarget(ctx, admin, have[i].ID, have[i].Version, in, &governance.DoOptions{Reason: "The demo's ports changed"})
		if _, err = d.approved(ctx, err); err != nil {
			return fmt.Errorf("target %s: %w", in.Name, err)
		}
	}
	return nil
}

// approved decides on what was held, as the demo's two approvers, so that the rest
// of the demo can be built on it. It says which approval there was.
func (d *demonstration) approved(ctx context.Context, err error) (string, error) {
	var held *governance.ApprovalRequiredError
	if !errors.As(err, &held) {
		return "", err
	}
	for _, who := range []string{"noor", "tomas"} {
		ap, err := d.app.reeve.Kernel.Approval(ctx, held.Approval)
		if err != nil {
			return "", err
		}
		if ap.State != governance.StatePending {
			break
		}
		voter, err := d.as(ctx, who)
		if err != nil {
			return "", err
		}
		if _, err := d.app.reeve.Kernel.Decide(ctx, voter, held.Approval, governance.Vote{Decision: governance.Approve, Digest: ap.Digest, Comment: "Part of setting up"}); err != nil {
			return "", err
		}
	}
	ap, err := d.app.reeve.Kernel.Approval(ctx, held.Approval)
	if err == nil && ap.State != governance.StateExecuted {
		err = fmt.Errorf("approval %s of %s is %s: %s", ap.ID, ap.Action, ap.State, ap.Error)
	}
	return held.Approval.String(), err
}

// held is fine: it is what is to be shown.
func held(err error) error {
	var h *governance.ApprovalRequiredError
	if errors.As(err, &h) {
		return nil
	}
	if err == nil {
		return errors.New("it was to be held and was not")
	}
	return err
}

func (d *demonstration) tenants(ctx context.Context, data *billing.Data) error {
	people := demoPeople()
	for part := range slices.Chunk(data.Tenants, 40) {
		err := d.app.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			for _, t := range part {
				if err := d.tenantTx(ctx, tx, t, governance.PersonID(people[t.Owner].id)); err != nil {
					return fmt.Errorf("tenant %s: %w", t.ID, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demonstration) tenantTx(ctx context.Context, tx *governance.Tx, t billing.Tenant, owner governance.PersonID) error {
	by := governance.System("signup")
	id := governance.TenantID(t.ID)
	_, err := d.app.reeve.Kernel.UpsertTenantTx(ctx, tx, by, governance.Tenant{ID: id, Name: t.Name, Country: t.Country, Region: t.Region, Owner: owner, Status: t.Status,
		Plan: t.Plan, Seats: t.Seats, RenewalAt: t.RenewalAt, ActiveAt: t.LastActivity, CreatedAt: t.CreatedAt,
		ExternalKeys: map[string][]string{"domain": {t.Domain}, "email": {"office@" + t.Domain}}})
	if err != nil {
		return err
	}
	if t.Status == governance.TenantClosed {
		return nil
	}
	if err := d.app.product.SubscribeTx(ctx, tx, by, id, t.Plan, t.Currency, max(t.Seats, 1)); err != nil {
		return err
	}
	if err := d.app.product.PriceTx(ctx, tx, id, governance.Money{Minor: t.MRR, Currency: t.Currency}); err != nil {
		return err
	}
	if err := d.app.product.AddInvoicesTx(ctx, tx, invoicesOf(t, d.today)...); err != nil {
		return err
	}
	return d.usersTx(ctx, tx, t)
}

// invoicesOf are a tenant's bills of the last half year, at what it pays now.
func invoicesOf(t billing.Tenant, today time.Time) []product.Invoice {
	var out []product.Invoice
	first := time.Date(today.Year(), today.Month(), 1, 0, 0, 0, 0, time.UTC)
	for i := range 6 {
		at := first.AddDate(0, -i, 0)
		if at.Before(t.CreatedAt) || t.MRR == 0 {
			break
		}
		out = append(out, product.Invoice{Number: fmt.Sprintf("%s-%s", strings.ToUpper(t.ID), at.Format("2006-01")), Tenant: governance.TenantID(t.ID),
			Money: governance.Money{Minor: t.MRR, Currency: t.Currency}, Paid: i > 0, IssuedAt: at})
	}
	return out
}

func (d *demonstration) facts(ctx context.Context, data *billing.Data) error {
	by := governance.System("billing-export")
	for part := range slices.Chunk(data.Facts, analytics.MaxBatch/2) {
		if _, err := d.app.reeve.Analytics.Ingest(ctx, by, part, nil); err != nil {
			return err
		}
	}
	_, err := d.app.reeve.Analytics.Refresh(ctx, by, "First figures")
	return err
}

// hostDSN is a database that is not ours.
func (d *demonstration) hostDSN() (dsn, schema string) {
	if db := d.app.cfg.text("database"); opendb.IsPostgres(db) {
		if s := d.app.cfg.text("database_schema"); s != "" { // one host for each demo, as each has its own schema
			return db, s + "_host"
		}
		return db, "demo_host"
	}
	return filepath.Join(d.app.cfg.text("data"), "host.db"), ""
}

func (d *demonstration) hostDatabase(ctx context.Context) error {
	dsn, schema := d.hostDSN()
	if schema == "" { // half of one, from a start that was interrupted
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(dsn + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	db, err := openHost(ctx, dsn, schema)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if schema != "" {
		for _, t := range slices.Backward(hostdata.Tables()) {
			if _, err := db.ExecContext(ctx, "DROP TABLE IF EXISTS "+t+" CASCADE"); err != nil {
				return err
			}
		}
	}
	return hostdata.Generate(ctx, db, schema != "", d.seed, hostCustomers, d.today)
}

func (d *demonstration) hostSources(ctx context.Context) error {
	dsn, schema := d.hostDSN()
	db, err := openHost(ctx, dsn, schema)
	if err != nil {
		return err
	}
	d.app.onClose(db.Close)
	ms, err := hostdata.Mapping()
	if err != nil {
		return err
	}
	return d.app.addSources(ctx, db, ms)
}

func (d *demonstration) retention(ctx context.Context) error {
	svc := d.app.reeve.Retention
	if err := svc.Install(ctx, nil, hostdata.Policies()); err != nil {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	if _, err := svc.PlaceHold(ctx, admin, retention.NewHold{Matter: "2026-014 tax audit, France", Reason: "The invoices of French customers are evidence in a pending tax audit",
		Selector: retention.Selector{Class: "invoice", Country: "FR"}, Key: "demo-hold"}); err != nil {
		return err
	}
	if err := svc.PlanAll(ctx); err != nil {
		return err
	}
	plans, err := svc.Plans(ctx, retention.PlanFilter{Limit: 20})
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.Rows > 0 { // one waits for people, the others are there to be looked at
			_, err := svc.Purge(ctx, admin, retention.PurgeInput{Plan: p.ID, Digest: p.Digest}, &governance.DoOptions{Reason: "First run on this source", Key: "demo-purge"})
			return held(err)
		}
	}
	return errors.New("no plan has a row that is due")
}

func (d *demonstration) playbooks(ctx context.Context) error {
	svc := d.app.reeve.Playbook
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	all, err := svc.Playbooks(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.LiveVersion == 0 {
			if _, err := svc.ScanAs(ctx, admin, p.Name); err != nil { // in shadow
				return err
			}
			_, err := svc.Activate(ctx, admin, playbook.ActivateInput{Name: p.Name, Version: p.ShadowVersion}, &governance.DoOptions{Reason: "Its shadow run named the right tenants"})
			if _, err = d.approved(ctx, err); err != nil {
				return err
			}
		}
		if _, err := svc.ScanAs(ctx, admin, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// work leaves something to decide on.
func (d *demonstration) work(ctx context.Context, data *billing.Data) error {
	agent, err := d.as(ctx, "cleo")
	if err != nil {
		return err
	}
	// Somebody else asks for the downgrade: what waits counts against who asked, and
	// whoever tries the agent's key is to find its allowance whole.
	colleague, err := d.as(ctx, "mika")
	if err != nil {
		return err
	}
	admin, err := d.as(ctx, "dana")
	if err != nil {
		return err
	}
	pick := func(ok func(t billing.Tenant) bool, skip int) (billing.Tenant, error) {
		for _, t := range data.Tenants {
			if t.Status == governance.TenantActive && t.Note == "" && ok(t) {
				if skip == 0 {
					return t, nil
				}
				skip--
			}
		}
		return billing.Tenant{}, errors.New("no tenant fits")
	}
	small, err := pick(func(t billing.Tenant) bool { return t.Currency == "EUR" }, 2)
	if err != nil {
		return err
	}
	big, err := pick(func(t billing.Tenant) bool { return t.Plan == "enterprise" && t.MRR > 300000 }, 0)
	if err != nil {
		return err
	}
	other, err := pick(func(t billing.Tenant) bool { return t.Currency == "USD" && t.Plan == "business" }, 1)
	if err != nil {
		return err
	}
	money := func(minor int64, t billing.Tenant) governance.Money {
		return governance.Money{Minor: minor, Currency: t.Currency}
	}
	why := func(s string) *governance.DoOptions { return &governance.DoOptions{Reason: s} }
	// Two small credits go through at once; the third would exceed the limit.
	for _, c := range []int64{12000, 34000} {
		if _, err := d.app.product.Credit(ctx, agent, governance.TenantID(small.ID), money(c, small), why("Outage on Monday")); err != nil {
			return err
		}
	}
	_, err = d.app.product.Credit(ctx, agent, governance.TenantID(small.ID), money(88000, small), why("Second half of the outage, as agreed with their CFO"))
	if err := held(err); err != nil {
		return err
	}
	_, err = d.app.product.ChangePlan(ctx, colleague, governance.TenantID(big.ID), "business", why("They gave up two of their sites"))
	if err := held(err); err != nil {
		return err
	}
	if err := d.moreWork(ctx, small, big); err != nil {
		return err
	}
	_, err = d.app.product.Export(ctx, admin, governance.TenantID(other.ID), "all", why("Their data protection officer asks for a copy"))
	return held(err)
}

func (d *demonstration) walk(ctx context.Context, data *billing.Data) error {
	agent, err := d.as(ctx, "cleo")
	if err != nil {
		return err
	}
	for _, t := range data.Tenants {
		if t.Owner != 0 || t.Status != governance.TenantActive || t.Note != "" {
			continue
		}
		users, err := d.app.product.Users(ctx, governance.TenantID(t.ID), 1)
		if err != nil {
			return err
		}
		h := d.app.reeve.Oversight.Middleware(d.app.reeve.Recorder.Middleware(d.app.tenantApp))
		_, err = d.app.product.Walk(ctx, h, appBase, d.app.reeve.Oversight, agent, oversight.Request{Tenant: governance.TenantID(t.ID), User: users[0].ID, Reason: "Customer cannot find a document", Ticket: "SUP-2041"})
		if _, err := d.approved(ctx, err); err != nil {
			return err
		}
		return nil
	}
	return errors.New("no tenant to visit")
}

// demoPlans are the plans that the billing data was made with, at list price.
func demoPlans() []product.Plan {
	price := func(cents int64) map[string]governance.Money {
		out := map[string]governance.Money{}
		for _, c := range []string{"EUR", "USD", "GBP"} {
			out[c] = governance.Money{Minor: cents, Currency: c}
		}
		return out
	}
	return []product.Plan{
		{ID: "free", Name: "Free", Rank: 0, Prices: price(0), Features: map[string]int64{"documents": 100}},
		{ID: "starter", Name: "Starter", Rank: 1, Prices: price(2052), Features: map[string]int64{"documents": 1000, "exports": 0}},
		{ID: "team", Name: "Team", Rank: 2, Prices: price(4212), Features: map[string]int64{"documents": 0, "exports": 0}},
		{ID: "business", Name: "Business", Rank: 3, Prices: price(7452), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0}},
		{ID: "enterprise", Name: "Enterprise", Rank: 4, Prices: price(10692), Features: map[string]int64{"documents": 0, "exports": 0, "api": 0, "sso": 0, "audit": 0}},
	}
}

// usersTx gives a tenant users and documents of its own.
func (d *demonstration) usersTx(ctx context.Context, tx *governance.Tx, t billing.Tenant) error {
	first := []string{"Ada", "Bruno", "Carla", "Dmitri", "Elif", "Fynn", "Greta", "Hugo", "Ivy", "Jamal", "Kira", "Leon"}
	last := []string{"Albers", "Bianchi", "Costa", "Dufour", "Eriksen", "Fontaine", "Grau", "Hanley", "Ivarsson", "Janssen"}
	titles := []string{"Service agreement", "Price list", "Delivery plan", "Meeting notes", "Quarterly review", "Security questionnaire", "Onboarding checklist"}
	n := int(min(max(t.Seats, 3), 12))
	sum := 0
	for _, c := range []byte(t.ID) {
		sum += int(c)
	}
	var users []product.User
	var docs []product.Document
	for i := range n {
		name := first[(sum+i*5)%len(first)] + " " + last[(sum/3+i*7)%len(last)]
		role := "member"
		if i == 0 {
			role = product.RoleAdmin
		}
		id := fmt.Sprintf("%s-u%02d", t.ID, i)
		users = append(users, product.User{ID: id, Tenant: governance.TenantID(t.ID), Email: fmt.Sprintf("user%02d@%s", i, t.Domain), Name: name, Role: role, Active: true, CreatedAt: t.CreatedAt})
		if i%2 == 0 {
			title := titles[(sum+i)%len(titles)]
			docs = append(docs, product.Document{ID: fmt.Sprintf("%s-d%02d", t.ID, i), Tenant: governance.TenantID(t.ID), Title: title, Body: title + " of " + t.Name + ".", Author: id, Version: 1,
				CreatedAt: t.CreatedAt.AddDate(0, 0, i), UpdatedAt: t.CreatedAt.AddDate(0, 0, i)})
		}
	}
	if err := d.app.product.AddUsersTx(ctx, tx, users...); err != nil {
		return err
	}
	return d.app.product.AddDocumentsTx(ctx, tx, docs...)
}
