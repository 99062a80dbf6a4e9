// Package oversight watches privileged work: impersonation sessions and the acts
// that move money, plans and data.
//
// Start with [New]. [Service.Start] asks for a session through the guard,
// [Service.Open] begins it and gives the token of its cookie, [Service.Middleware]
// checks the session on every request and puts both identities into the request,
// and [Service.End] ends it. The actor of every record stays the real person; the
// one represented is its subject. [PlanSpec], [CreditSpec] and [ExportSpec] describe
// the sensitive actions that a host completes with its own executors, and
// [Policies] limits them. Package recorder keeps what the actor was shown.
//
// Errors: [governance.ErrNotFound], [governance.ErrConflict],
// [*governance.InvalidError], [*governance.DeniedError],
// [*governance.ApprovalRequiredError]. Tables: oversight_session, oversight_chunk.
// A [Service] is safe for concurrent use.
package oversight
