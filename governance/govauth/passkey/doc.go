// Package passkey lets people sign their votes with a security key or passkey
// (WebAuthn), so that a vote can be checked later by anybody, without this server.
//
// Start with [NewStore], which the kernel's options need as Votes, then with [New],
// which needs the kernel. [Service.BeginEnrol] and [Service.FinishEnrol] register a key
// of one's own, [Service.BeginVote] gives the challenge of one vote, and the
// authenticator's answer goes into governance.Vote.
//
// A challenge is the SHA-256 of what is voted on, by whom and how, with a nonce; it
// works once, for five minutes. The authenticator must verify who uses it. A counter that
// goes backwards refuses the vote and raises an alert. A key that was revoked as
// compromised takes the votes along that were not yet carried out; a retired one leaves
// them.
//
// Errors: *governance.SignatureError, governance.ErrNotFound, governance.ErrConflict,
// *governance.DeniedError, *governance.InvalidError. Tables: passkey_key,
// passkey_challenge. No metrics. A Service is safe for concurrent use.
package passkey
