// Package governance is the kernel of Reeve: who acts, on which tenant, under
// which policy, with whose approval, and what is written down about it.
//
// Start with [New]. Define each dangerous act once with [Define] (its effect is
// in our database or in a transaction the host hands us) or [DefineRemote] (its
// effect is anywhere else), register it with [Kernel.Register], and call its Do.
// One path serves a console button, an API call, a playbook step and a purge run:
// decided by policy, counted against limits, held for approval when a threshold
// is passed, executed at most once, and recorded in the ledger in the same commit.
//
// Errors: [ErrNotFound], [ErrConflict], [ErrRetry], [*InvalidError],
// [*DeniedError], [*ApprovalRequiredError].
// Tables: gov_action, gov_vote, gov_policy, gov_budget, gov_reservation,
// gov_tenant, gov_tenant_key, gov_entitlement, gov_restriction, gov_alert,
// gov_setting; and those of packages ledger, outbox, lease, schedule and
// alertroute. gov_alert_delivery is of before there were routes. Money is integer minor units, time is UTC.
//
// A [Kernel] is safe for concurrent use.
package governance
