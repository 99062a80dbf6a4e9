// Package authapi puts package govauth on a huma API: who am I, people, invitations,
// keys and sign-in links.
//
// Start with [Register]. Operations that change somebody's rights are guarded: 200
// when done, 202 when an approver must agree first. None of them answers with a
// secret; those are shown once, by the operations whose path ends in /show or /link.
package authapi
