// Package tiles shows a ledger to the world in the form of C2SP tlog-tiles, which any
// client of that form can read and check: over HTTP with [Handler], as a folder with
// [Export].
//
// Entries are the records' bodies, of every tenant: give the log only to those who
// may read it all. A tenant's own proof is ledger.TenantProof.
//
// Errors: ledger.ErrNotFound. Safe for concurrent use.
package tiles
