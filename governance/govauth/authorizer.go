package govauth

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/reevehq/reeve/governance"
)

//go:embed roles.cedar
var roleText string

// AuthorizerOptions tunes an Authorizer. The zero value is ready to use.
type AuthorizerOptions struct {
	// Extra is more Cedar policies, beside those of roles.cedar: a forbid narrows what
	// is built in, a permit adds to it.
	Extra string
	// OnError learns of policies that could not be evaluated. The answer was no.
	OnError func(permission string, faults []string)
}

// Authorizer answers from Cedar policies that an auditor can read; see [PolicyText].
// Safe for concurrent use.
type Authorizer struct {
	set     *cedar.PolicySet
	actions cedar.EntityMap
	onError func(permission string, faults []string)
}

var _ governance.Authorizer = (*Authorizer)(nil)

// PolicyText is the built-in policies, as they are written.
func PolicyText() string { return roleText }

// NewAuthorizer makes an Authorizer.
func NewAuthorizer(opts *AuthorizerOptions) (*Authorizer, error) {
	var o AuthorizerOptions
	if opts != nil {
		o = *opts
	}
	set := cedar.NewPolicySet()
	for _, file := range []struct{ name, text string }{{"roles.cedar", roleText}, {"extra.cedar", o.Extra}} {
		list, err := cedar.NewPolicyListFromBytes(file.name, []byte(file.text))
		if err != nil {
			return nil, fmt.Errorf("govauth: %s: %w", file.name, err)
		}
		for i, p := range list {
			id := cedar.PolicyID(fmt.Sprintf("%s#%d", file.name, i+1))
			if name, ok := p.Annotations()["id"]; ok {
				id = cedar.PolicyID(name)
			}
			if !set.Add(id, p) {
				return nil, fmt.Errorf("govauth: %s: two policies are called %s", file.name, id)
			}
		}
	}
	a := &Authorizer{set: set, actions: cedar.EntityMap{}, onError: o.OnError}
	for _, p := range Permissions() {
		e := cedar.Entity{UID: actionUID(p)}
		if isRead(p) {
			e.Parents = cedar.NewEntityUIDSet(actionUID("Read"))
		}
		a.actions[e.UID] = e
	}
	return a, nil
}

func actionUID(name string) cedar.EntityUID { return cedar.NewEntityUID("Action", cedar.String(name)) }

// circumstances is what a policy may ask about beside the role. Cedar skips a forbid
// that asks for an attribute which is not there, so record sets every one of them.
type circumstances struct {
	kind          governance.ActorKind
	person        governance.PersonID
	impersonating bool
	method        string
	actorRegion   string
	target        governance.Target
}

func (c circumstances) record() cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"kind":           cedar.String(c.kind),
		"person":         cedar.String(c.person),
		"impersonating":  cedar.Boolean(c.impersonating),
		"method":         cedar.String(c.method),
		"actor_region":   cedar.String(c.actorRegion),
		"target_tenant":  cedar.String(c.target.Tenant),
		"target_region":  cedar.String(c.target.Region),
		"target_country": cedar.String(c.target.Country),
	})
}

// entities are the actions and the one who asks.
type entities struct {
	actions   cedar.EntityMap
	principal cedar.Entity
}

// Get implements cedar.EntityGetter.
func (e entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	if uid == e.principal.UID {
		return e.principal, true
	}
	return e.actions.Get(uid)
}

// Authorize implements governance.Authorizer.
func (a *Authorizer) Authorize(_ context.Context, id governance.Identity, permission string, on governance.Target) error {
	denied := &governance.DeniedError{Action: permission, Rule: "role", Reason: "no role of yours allows it"}
	action := actionUID(permission)
	if _, ok := a.actions[action]; !ok {
		a.report(permission, "there is no such permission")
		denied.Rule, denied.Reason = "permission", "there is no such permission"
		return denied
	}
	roles := make([]cedar.EntityUID, len(id.Actor.Roles))
	for i, r := range id.Actor.Roles {
		roles[i] = cedar.NewEntityUID("Role", cedar.String(r))
	}
	principal := cedar.Entity{UID: cedar.NewEntityUID("Actor", cedar.String(id.Actor.ID)), Parents: cedar.NewEntityUIDSet(roles...)}
	c := circumstances{kind: id.Actor.Kind, person: id.Actor.Person, impersonating: id.Subject != nil, method: strings.Join(id.Actor.AMR, " "),
		actorRegion: id.Actor.Region, target: on}
	decision, why := cedar.Authorize(a.set, entities{a.actions, principal}, cedar.Request{
		Principal: principal.UID, Action: action, Resource: cedar.NewEntityUID("Resource", cedar.String(on.Resource.String())), Context: c.record(),
	})
	if len(why.Errors) > 0 { // a forbid that could not be read must not count as absent
		faults := make([]string, len(why.Errors))
		for i, e := range why.Errors {
			faults[i] = e.String()
		}
		a.report(permission, faults...)
		denied.Rule, denied.Reason = "authorizer", "a rule about it could not be evaluated"
		return denied
	}
	if decision == cedar.Allow {
		return nil
	}
	if len(why.Reasons) > 0 {
		denied.Rule, denied.Reason = string(why.Reasons[0].PolicyID), "a rule forbids it"
	}
	return denied
}

func (a *Authorizer) report(permission string, faults ...string) {
	if a.onError != nil {
		a.onError(permission, faults)
	}
}
