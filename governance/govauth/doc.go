// Package govauth is the reference server's answer to who is calling and what they
// may do: users, invitations, roles, API keys, sign-in, and an Authorizer.
package govauth
