// Package playbook runs automations over tenants: a YAML document says when, on
// whom and what, a guard of safeguards stands before every effect, and what was
// done can be taken back in reverse order. Runbooks guide people through what no
// automation should do.
//
// Start with [New]. A document is stored by [Service.Put] and begins in shadow,
// where it writes down what it would do; [Service.Activate] makes it live, through
// the guard. [Service.Scan] judges every tenant, [Service.Advance] drives the runs.
// Both happen by themselves under governance.Kernel.Run and the jobs of
// [Service.Jobs].
//
// Safeguards that no document can leave out: a cap on targets that stops the whole
// batch, a freshness gate (a signal that is missing or older than the document
// allows never acts), a fresh look at the condition before each consequential step,
// exemptions, one run per tenant and window, a limit on chains of causation, and a
// pause. An automation never places a restriction without a person's approval.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [*governance.InvalidError], and those of governance.Action. Tables: playbook_*.
// A [Service] is safe for concurrent use; several servers share the runs by fenced
// leases.
package playbook
