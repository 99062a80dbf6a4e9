package governance

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// ActorKind says what acts.
type ActorKind string

// The kinds of actor.
const (
	ActorUser     ActorKind = "user"     // a person, signed in
	ActorKey      ActorKind = "key"      // an API key; personal when Person is set, else shared
	ActorPlaybook ActorKind = "playbook" // an automation
	ActorPlugin   ActorKind = "plugin"   // a connector process
	ActorSystem   ActorKind = "system"   // the server itself
)

// Actor is who really acts.
type Actor struct {
	ID       string    `json:"id"`
	Kind     ActorKind `json:"kind"`
	Person   PersonID  `json:"person,omitempty"` // empty: no human being stands behind it
	Name     string    `json:"name,omitempty"`
	Roles    []string  `json:"roles,omitempty"`
	Groups   []GroupID `json:"groups,omitempty"`
	Country  string    `json:"country,omitempty"`
	Region   string    `json:"region,omitempty"` // limits what a regional agent may see
	AuthTime time.Time `json:"auth_time,omitzero"`
	AMR      []string  `json:"amr,omitempty"`    // authentication methods, RFC 8176
	Tenant   TenantID  `json:"tenant,omitempty"` // of an ActorTenant: whose person they are
}

// Origin is where a call came from.
type Origin struct {
	IP        string `json:"ip,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Identity is the answer to "who is calling": Actor acts, for Subject when an
// impersonation session is open (RFC 8693: act and sub). Audit names the Actor.
type Identity struct {
	Actor     Actor
	Subject   *Actor
	SessionID string // the impersonation session, when there is one
	Origin    Origin
	Causation uuid.UUID // the event or run that made this act, for loop detection
	Depth     int       // length of the causation chain
}

// System is the server acting by itself; name says which part of it.
func System(name string) Identity {
	return Identity{Actor: Actor{ID: "system:" + name, Kind: ActorSystem, Name: name}}
}

// persons lists every human being in the identity.
func (id Identity) persons() []PersonID {
	var out []PersonID
	for _, a := range []*Actor{&id.Actor, id.Subject} {
		if a != nil && a.Person != "" {
			out = append(out, a.Person)
		}
	}
	return out
}

// Person is what a Directory knows of a human being now.
type Person struct {
	ID     PersonID
	Name   string
	Active bool
	Roles  []string
	Groups []GroupID
	Region string

	// Version counts the changes of this person's access, from 1, when the ledger has a
	// record of each one, in its commit: done, on "person/ID", by an action user.add,
	// user.roles, user.activate or user.deactivate, whose data, or the result in it, says
	// roles (these are the groups), state and version. A vote then says which of them it
	// relies on, and evidence proves it. 0: the Directory's word is all there is.
	Version int64

	barred    bool                  // as a voter: in a group that the policy excludes
	access    map[PersonID]int64    // as a voter: the Version of everybody whose membership they vote by
	delegated map[GroupID]uuid.UUID // as a voter: by which delegation they are in a group
}

// In tells whether the person belongs to the group.
func (p Person) In(g GroupID) bool {
	for _, have := range p.Groups {
		if have == g {
			return true
		}
	}
	return false
}

// Directory is the host's answer to who belongs where. It is asked when a vote is
// cast and again when the action is executed, so leaving a group voids a vote.
// Resolve returns ErrNotFound for a person it does not know.
type Directory interface {
	Resolve(ctx context.Context, p PersonID) (Person, error)
	Members(ctx context.Context, g GroupID) ([]Person, error)
}

// Target is what an act is on, as far as authorization needs to know.
type Target struct {
	Tenant   TenantID
	Region   string
	Country  string
	Resource Ref
}

// Authorizer decides whether an identity holds a permission on a target. A nil
// error is yes, *DeniedError is no; any other error counts as no as well.
type Authorizer interface {
	Authorize(ctx context.Context, id Identity, permission string, on Target) error
}

// Condition is a compiled rule. An evaluation error never means false: the caller
// fails closed.
type Condition interface {
	Eval(ctx context.Context, vars map[string]any) (bool, error)
}

// Rules compiles the conditions of policies. Package govrules gives the CEL one.
type Rules interface {
	Compile(expr string) (Condition, error)
}

// Rates gives the rate to use for a decision made at a time.
type Rates interface {
	Rate(ctx context.Context, from, to string, at time.Time) (Rate, error)
}

// Notifier carries an alert outside. It is called with a deadline and may be
// called again for the same alert: Alert.ID is its idempotency key.
type Notifier interface {
	Name() string
	Notify(ctx context.Context, a Alert) error
}
