// Package access answers who held which role on a given date, and has people confirm
// it again from time to time.
//
// Start with [NewHistory], whose [History.Keep] goes into govauth.Options.OnChange, then
// [New]. Every change of a person's roles or state is a row that nothing changes any
// more, written in the commit of the change itself. On an older installation
// [Service.Install] fills in what the ledger tells, and says from when the history is
// complete. [Service.At] is the access list at any instant, with the API keys that
// worked then.
//
// A campaign asks a reviewer about each person: confirm the roles, or say which may
// stay. Taking roles away is asked for by the actions user.roles and user.deactivate,
// through the guard like any other; an item is settled when the roles are gone. A
// campaign past its day raises an alert until it is finished.
//
// Errors: governance.ErrNotFound, governance.ErrConflict, *governance.DeniedError,
// *governance.InvalidError. Tables: access_change, access_state, access_campaign,
// access_review. A [Service] is safe for concurrent use.
package access
