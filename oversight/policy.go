package oversight

import (
	"time"

	"github.com/reevehq/reeve/governance"
)

// PolicyOptions tunes the default policies. The zero value is ready to use.
type PolicyOptions struct {
	Group      governance.GroupID // who approves; default gov_approver
	Credit     governance.Money   // a tenant's credits in 24 h that need nobody; default EUR 1,000.00
	Downgrade  governance.Money   // MRR one actor may give up in 24 h; default EUR 500.00
	ExportRows int64              // rows one actor may take out in 24 h; default 1,000
	// PersonalKey lets a vote by a personal API key count: for demonstrations.
	PersonalKey bool
}

// Policies are the limits a product starts with; governance.Kernel.InstallPolicies
// stores them where nobody has stored others.
func Policies(opts *PolicyOptions) []governance.Policy {
	var o PolicyOptions
	if opts != nil {
		o = *opts
	}
	if o.Group == "" {
		o.Group = "gov_approver"
	}
	if o.Credit.Currency == "" {
		o.Credit = governance.Money{Minor: 100_000, Currency: "EUR"}
	}
	if o.Downgrade.Currency == "" {
		o.Downgrade = governance.Money{Minor: 50_000, Currency: "EUR"}
	}
	if o.ExportRows == 0 {
		o.ExportRows = 1000
	}
	day := governance.Duration{Duration: 24 * time.Hour}
	one := func() *governance.Require {
		return &governance.Require{AllOf: []governance.Quorum{{Group: o.Group, Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: day, PersonalKey: o.PersonalKey}
	}
	return []governance.Policy{
		{ID: "impersonation-reason", Title: "An impersonation needs a reason", Actions: []string{ActionStart}, Mode: governance.Enforce, NeedWhy: true},
		{ID: "credit-24h", Title: "Credits and refunds of a tenant over 24 hours", Actions: []string{ActionCredit, ActionRefund}, Mode: governance.Enforce, NeedWhy: true, Require: one(),
			Limits: []governance.Limit{{Unit: o.Credit.Unit(), Max: o.Credit.Minor, Window: day, By: governance.ByTenant, Convert: true}}},
		// Beside credit-24h, which a server that was there before refunds keeps as it was.
		{ID: "refund-24h", Title: "Refunds of a tenant over 24 hours", Actions: []string{ActionRefund}, Mode: governance.Enforce, NeedWhy: true, Require: one(),
			Limits: []governance.Limit{{Unit: o.Credit.Unit(), Max: o.Credit.Minor, Window: day, By: governance.ByTenant, Convert: true}}},
		{ID: "grant-30d", Title: "Days of features given to a tenant by hand over 30 days", Actions: []string{ActionGrant}, Mode: governance.Enforce, NeedWhy: true, Require: one(),
			Limits: []governance.Limit{{Unit: UnitEntitlementDays, Max: 31, Window: governance.Duration{Duration: 30 * 24 * time.Hour}, By: governance.ByTenant}}},
		{ID: "revoke-reason", Title: "Taking back a feature needs a reason", Actions: []string{ActionRevoke}, Mode: governance.Enforce, NeedWhy: true},
		{ID: "downgrade-24h", Title: "Monthly revenue given up by one actor over 24 hours", Actions: []string{ActionPlan}, Mode: governance.Enforce, NeedWhy: true, Require: one(),
			Limits: []governance.Limit{{Unit: o.Downgrade.Unit(), Max: o.Downgrade.Minor, Window: day, By: governance.ByActor, Convert: true}}},
		{ID: "export-24h", Title: "Rows exported by one actor over 24 hours", Actions: []string{ActionExport}, Mode: governance.Enforce, NeedWhy: true, Require: one(),
			Limits: []governance.Limit{{Unit: UnitRows, Max: o.ExportRows, Window: day, By: governance.ByActor}}},
		{ID: "policy-change", Title: "A policy changes only with a second person", Actions: []string{governance.ActionPutPolicy}, Mode: governance.Enforce, Require: one()},
	}
}
