// Package findings looks for acts that are unlike those before them, and says why it
// thinks so. It also keeps the figures an auditor samples first.
//
// Start with [New], and run [Service.Jobs]. The ledger is read once, in order; each
// detector judges what is new by what was before:
//
//   - rate: more of an act in an hour than the actor's own hours of 30 days, by a robust
//     z-score; see [Score]
//   - pair: an actor with a tenant, or with an act, for the first time
//   - off_hours: an act when this person never works, or outside the hours of Options
//   - structuring: acts that keep landing just under a limit, on one tenant by whomever,
//     or by one actor on whatever tenant
//   - ring: people who approve each other's requests, in a circle of two to five
//   - rubber_stamp: an approver who decides faster than one can read
//
// A [Finding] names its dimension, baseline, value and the acts behind it. People
// dismiss or confirm it, never who it is about. With Options.Raise, sensitive actions of
// or on whom a standing finding is about need approval; no finding makes anything easier
// to do. The same ledger gives the same findings, however often and in whatever portions
// it is read.
//
// Errors: governance.ErrNotFound, governance.ErrConflict, *governance.DeniedError,
// *governance.InvalidError. Tables: finding, finding_act, finding_pair, finding_limit,
// finding_vote, finding_state. A [Service] is safe for concurrent use.
package findings
