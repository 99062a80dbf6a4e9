// Package ledger is an append-only log that an outsider can check: records commit
// with what they are about, and are sealed afterwards into an RFC 6962 tree whose
// checkpoints are signed in the C2SP form.
//
// Start with [Log.Append] inside a transaction and a [Log] that seals. It takes bytes
// and knows nothing of what they say. Signing is asynchronous and done by one
// server at a time; so is growing the tree on PostgreSQL, where a tree inside the
// writers' transactions would make each wait for the one before.
//
// Personal values are put into a record as salted digests ([Disclosure]); the text
// stays in a table beside it, under a key of whom it is about. Destroying the key erases
// every copy without breaking a proof: [Log.ShredTx].
//
// Every checkpoint also signs how far each tenant's own sequence has come, so that a
// tenant can be shown that its records are all there are: [Log.ProveTenant].
//
// Errors: [ErrNotFound], [ErrForked], [ErrSucceeded], [ErrBadProof]. Tables: gov_record,
// gov_disclosure, gov_hash_run, gov_checkpoint, gov_log_key, whose changes triggers
// refuse; gov_tenant_head, gov_cosignature, gov_publication, gov_subject_key,
// gov_erasure. Safe for concurrent use.
package ledger
