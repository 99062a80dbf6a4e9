// Package explorer shows the ledger to those who look after it: verifications that run
// in the background, exports, witnesses, sinks, keys, and whom personal values are kept
// about.
//
// Start with [New]. Asking for a verification or an export is a record; nothing else
// here changes anything. Erasing is governance.Kernel.Erase, which the guard decides.
//
// Errors: governance.ErrNotFound, *governance.DeniedError, *governance.InvalidError.
// Table: gov_verification. A [Service] is safe for concurrent use.
package explorer
