package main

import (
	"context"
	"errors"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/internal/demodata/billing"
	"github.com/reevehq/reeve/oversight"
)

// consentPolicy lets nobody change anything in an enterprise's account as one of its
// users before its own administrator agreed.
func consentPolicy() governance.Policy {
	return governance.Policy{ID: "impersonation-consent", Title: "An enterprise agrees before somebody changes things as one of its users", Actions: []string{oversight.ActionStart}, Mode: governance.Enforce,
		Match: `tenant.plan == "enterprise" && action.input.scope == "write"`,
		Require: &governance.Require{AllOf: []governance.Quorum{{Group: governance.GroupTenant, Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 24 * time.Hour}, ExecuteWithin: governance.Duration{Duration: time.Hour}}}
}

// moreWork leaves a refund and an impersonation to decide on, and a feature given by hand.
func (d *demonstration) moreWork(ctx context.Context, small, big billing.Tenant) error {
	colleague, err := d.as(ctx, "mika")
	if err != nil {
		return err
	}
	why := func(s string) *governance.DoOptions { return &governance.DoOptions{Reason: s} }
	// What the tenant was credited counts: together it is more than the limit.
	invoices, err := d.app.product.Invoices(ctx, governance.TenantID(small.ID), 50)
	if err != nil {
		return err
	}
	for _, i := range invoices {
		if i.Paid && i.Money.Minor > 1 {
			_, err := d.app.product.Refund(ctx, colleague, i.Tenant, i.Number, governance.Money{Minor: i.Money.Minor / 2, Currency: i.Money.Currency}, why("Half of the month they could not work"))
			if err := held(err); err != nil {
				return err
			}
			break
		}
	}
	for _, f := range d.app.product.Features() {
		_, err := d.app.product.Grant(ctx, colleague, governance.TenantID(small.ID), f, 0, d.app.db.Now().Add(14*24*time.Hour), why("Trial agreed with their team lead"))
		if errors.Is(err, governance.ErrConflict) { // their plan has it
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	if err := d.app.reeve.Kernel.InstallPolicies(ctx, consentPolicy()); err != nil {
		return err
	}
	contacts, err := d.app.product.Contacts(ctx, governance.TenantID(big.ID))
	if err != nil || len(contacts) == 0 {
		return err
	}
	_, err = d.app.reeve.Oversight.Start(ctx, colleague, oversight.Request{Tenant: governance.TenantID(big.ID), User: contacts[0].ID, Scope: oversight.ReadWrite,
		Reason: "Set up the approval of documents with them on the phone", Ticket: "SUP-2107"})
	return held(err)
}
