// Package analytics turns what billing and usage systems tell into revenue figures
// that can be walked back to what was told.
//
// Start with [New]. [Service.Ingest] takes facts, which are only ever added, with
// the time they took effect and the time they were learned. [Service.Refresh]
// builds from them segments (a subscription at one MRR), movements (what changed
// the MRR, per tenant and day) and marts, tests them, and publishes a generation of
// them in one commit; a generation that fails a test is refused and the one before
// stays. Every reading names the day up to which it is complete ("data through").
// [Service.Drill] walks a number down to the facts behind it, and sums to it.
//
// Rules of the figures (see [Definitions]): money is integer minor units; a
// subscription's MRR is converted by itself, half to even, at the rate of the month
// (the last one known on its first day), and every other figure is a sum of such
// amounts, so nothing is left over anywhere. A change is classified per tenant and
// day in native currency; what a new month's rate does to what was there already is
// the movement fx.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [*governance.InvalidError] with the row or field, [*governance.DeniedError].
// Tables: analytics_batch, analytics_fact, analytics_source, analytics_refresh; the marts are those
// of a [Warehouse], see package sqlwarehouse. A [Service] is safe for concurrent use.
package analytics
