// Package govauth is the reference server's answer to who is calling and what they
// may do: people, invitations, roles, API keys, sign-in, and an Authorizer.
//
// Start with [NewStore] and [NewAuthorizer], which the kernel's options need, then
// with [New], which needs the kernel. [Service.Middleware] puts the caller of each
// request into its context.
//
// People come by invitation: a link that is shown once to the inviter, opened by a
// page whose button uses it up, and valid for one acceptance. They sign in by a code
// that only they were shown, or by a link that a super admin asked for. What changes
// somebody's rights is a governance.Action: user.invite, user.roles, user.activate,
// user.deactivate, user.signin_link and key.create; [Policies] holds the dangerous
// ones for an approver. No action returns a secret: an action creates the thing, and
// a second call shows its secret once, to the one person it is for.
//
// Secrets are 256 random bits; stored is their SHA-256. Roles are read again with
// every request, so a change or a deactivation works at once. On an empty database
// [Service.Setup] makes the first super admin and opens bootstrap mode, which ends
// for good in the commit that brings the third active person.
//
// Errors: [ErrNoCredentials], [ErrUnauthenticated], governance.ErrNotFound,
// governance.ErrConflict, *governance.DeniedError, *governance.InvalidError.
// Tables: auth_user, auth_invitation, auth_link, auth_key, auth_session, auth_state.
// No metrics. A Service is safe for concurrent use.
package govauth
