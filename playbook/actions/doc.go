// Package actions has the kinds of playbook step whose effect is in Reeve's own
// database, and the guarded actions behind them.
//
// Start with [New], and give what it returns to playbook.Options.Kinds. The actions
// are for people too: [Actions.Restrict] suspends a tenant from a console button
// through the same guard.
//
// An automation never restricts a tenant on its own, whatever the policies say: the
// executor refuses a playbook that brings no person's approval, and one whose run
// did not look at its condition a moment before. Errors: those of governance.
// No tables. Safe for concurrent use.
package actions
