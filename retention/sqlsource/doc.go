// Package sqlsource lets retention work on the tables of a host's own database,
// SQLite or PostgreSQL, by a mapping.
//
// Start with [Load] or a [Mapping] of your own, and [New], one Source for each
// mapped table. Names in a mapping are checked against the host's catalogue and
// quoted; a key must be covered by a unique index; a foreign key that cascades into
// a table which is not mapped is refused, because its rows would go uncounted.
//
// The host's database gets one table of ours, reeve_retention_checkpoint
// (run_id, seq, source, epoch, body, at; key run_id, seq). A batch writes its row
// there in the same transaction as its work, so a crash between two batches or
// inside one loses and repeats nothing. The row with run_id 'fence' holds the epoch
// of legal holds: placing a hold raises it, and a batch that knows only older holds
// does not commit. The handle needs the right to create that table once, to select
// on the mapped tables, and to delete or update where the mapping says so.
//
// Errors: *governance.InvalidError with the path in the mapping,
// [retention.ErrStaleHolds], [retention.ErrBrake]. Safe for concurrent use.
package sqlsource
