// Package retention keeps data as long as the law demands and no longer than the
// owner decided, and can show for every row why.
//
// Start with [New], give it sources with [Service.AddSource], make a plan with
// [Service.CreatePlan] and ask for its execution with [Service.Purge]. A [Rule] is
// law: a floor or a ceiling, with its citation. A [Policy] is the owner's target. A
// [Hold] stops everything it selects. [Resolver] combines them without touching
// anything; [Source] is where the rows live. A plan cannot execute: it names the
// exact rows, and its digest is what people approve.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [governance.InvalidError], [governance.DeniedError],
// [governance.ApprovalRequiredError], [ErrStaleHolds], [ErrBrake]. Tables:
// retention_*; and in each host database the one table that package sqlsource
// documents. The API is stable from v1; the tables are not an API.
package retention
