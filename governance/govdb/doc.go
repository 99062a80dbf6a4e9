// Package govdb is where every write of Reeve goes through: it opens no
// database, it takes the host's, and gives it one write path, one migration
// runner and the only dialect switches of the module.
//
// Start with [Attach], or with package opendb when there is no host handle.
// [DB.Do] is the write path: on SQLite callers share one commit, a savepoint
// each, so that a failing caller rolls back alone; on PostgreSQL each call is
// its own transaction. [DB.Adopt] joins a transaction that the host opened.
//
// Errors: [ErrNested], [ErrRetry], [ErrClosed]; everything else is wrapped with
// the step it was about. Tables: gov_migration. No driver is imported here.
//
// All methods are safe for concurrent use. A [Tx] belongs to one goroutine.
package govdb
