// Package publish takes a log's checkpoints out of the database that made them:
// witnesses cosign them (C2SP tlog-witness), sinks keep them. A root that stands only
// beside the records it signs proves nothing to anybody but its owner.
//
// [Receipts] takes the receipts of records out as they are committed: a record that is
// removed before it is signed is missed by nobody else.
//
// Start with [New] and call [Publisher.Restore] once and [Publisher.Turn] every so often.
//
// Errors: ledger.ErrForked when a witness or a sink knows a later head than the log
// has. Tables: those of ledger. Safe for concurrent use, though one turn at a time.
package publish
