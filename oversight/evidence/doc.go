// Package evidence builds packs of evidence about one impersonation session or one
// guarded action, which an outsider checks with the ledger's key and nothing else; it
// also counts, over a period, which facts an auditor asks for the records really carry.
//
// Start with [New] and [Service.Build]. What a pack holds is what its builder may
// read. Personal values are in it only with [PermissionDisclose] and when asked for;
// otherwise their salted digests stand for them. Building a pack is a ledger record
// that carries the pack's digest, and so is each download. The form of a pack and its
// check are in package pack.
//
// A pack is kept for [Options.Keep], one with personal values no longer than they
// themselves: what was erased since cannot be downloaded any more.
//
// Errors: governance.ErrNotFound, *governance.DeniedError, *governance.InvalidError,
// [ErrUnsealed], [ErrDoesNotHold]. Table: evidence_pack. A [Service] is safe for
// concurrent use.
package evidence
