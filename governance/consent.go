package governance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// GroupTenant stands in a requirement for the tenant that an action is about: its own
// people fill the place, by [Kernel.Decide] with a [TenantActor]. No member of staff
// ever does, whatever a directory or a delegation says.
const GroupTenant GroupID = "tenant"

// ActorTenant is the kind of a tenant's own person. They decide on what is asked of
// their tenant, and hold no permission of staff.
const ActorTenant ActorKind = "tenant"

// Contact is a person of a tenant who may consent on its behalf.
type Contact struct {
	ID    string // the host's own, the same for ever
	Name  string
	Roles []string // in the host's product, for conditions of a quorum
	// Staff is set when one of our own people has this account: they never consent.
	Staff PersonID
	// Since is when they became a contact; required. Whoever became one after an action
	// was asked for has no word on it: else staff would make one.
	Since time.Time
}

// ContactsBy tells the kernel who may consent for a tenant. fn is asked when an action
// is asked for, when a consent is given and again before the act; it gives nobody for a
// tenant without contacts. Call it before Run. Without it, a policy that names
// [GroupTenant] is refused.
func (k *Kernel) ContactsBy(fn func(ctx context.Context, tenant TenantID) ([]Contact, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.contacts = fn
}

// Contacts lists who may consent for a tenant now.
func (k *Kernel) Contacts(ctx context.Context, tenant TenantID) ([]Contact, error) {
	k.mu.Lock()
	fn := k.contacts
	k.mu.Unlock()
	if fn == nil || tenant == "" {
		return []Contact{}, nil
	}
	all, err := fn(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("contacts of tenant %s: %w", tenant, err)
	}
	out := []Contact{}
	for _, c := range all {
		if c.ID != "" && c.Staff == "" && !c.Since.IsZero() {
			out = append(out, c)
		}
	}
	return out, nil
}

func (k *Kernel) knowsContacts() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.contacts != nil
}

// customers is the space of ids of tenants' people: no member of staff has one.
const customers = "customer:"

// TenantActor is a tenant's person as [Kernel.Decide] takes them. A host makes one only
// for whoever it has signed in itself, and never for who works in their name.
func TenantActor(tenant TenantID, c Contact) Actor {
	return Actor{ID: customers + c.ID, Kind: ActorTenant, Person: tenantPerson(tenant, customers+c.ID), Name: c.Name, Tenant: tenant}
}

func tenantPerson(tenant TenantID, actor string) PersonID {
	return PersonID(customers + string(tenant) + "/" + strings.TrimPrefix(actor, customers))
}

// NamesTenant tells whether the approval asks the tenant for its consent.
func (a Approval) NamesTenant() bool { return namesTenant(a.Decision.Require) }

func namesTenant(rs []Require) bool {
	return slices.ContainsFunc(rs, func(r Require) bool {
		return slices.ContainsFunc(r.quorums(), func(q Quorum) bool { return q.Group == GroupTenant })
	})
}

// tenantVoter is a tenant's person as the approval sees them now: active and in the one
// group there is for them while they are a contact of the tenant it is about.
func (k *Kernel) tenantVoter(ctx context.Context, a Approval, person PersonID, actor Actor) (Person, error) {
	p := Person{ID: person, Name: actor.Name}
	if actor.Kind != ActorTenant || a.Tenant == "" || actor.Tenant != a.Tenant || person != tenantPerson(a.Tenant, actor.ID) {
		return p, nil
	}
	all, err := k.Contacts(ctx, a.Tenant)
	if err != nil {
		return p, err
	}
	for _, c := range all {
		if customers+c.ID == actor.ID && !c.Since.After(a.CreatedAt) {
			p.Active, p.Roles, p.Groups = true, c.Roles, []GroupID{GroupTenant}
			return p, k.mark(ctx, a, &p, actor, nil)
		}
	}
	return p, nil
}

// staffGroups takes out of a person's groups what no directory can give.
func staffGroups(p Person) []GroupID {
	return slices.DeleteFunc(slices.Clone(p.Groups), func(g GroupID) bool { return g.Marked() || g == GroupTenant })
}

// fakesTenant tells whether a vote fills the tenant's place without being the tenant's.
func fakesTenant(tenant TenantID, actor Actor, person PersonID, groups []GroupID) bool {
	claims := slices.ContainsFunc(groups, func(g GroupID) bool { return g == GroupTenant || strings.HasPrefix(string(g), string(GroupTenant)+"?") })
	genuine := actor.Kind == ActorTenant && tenant != "" && actor.Tenant == tenant && person == tenantPerson(tenant, actor.ID)
	return claims != genuine || genuine && slices.ContainsFunc(groups, func(g GroupID) bool { return g != GroupTenant && !g.Marked() })
}

// askContacts counts who could consent to a call, before its transaction: the host is
// not called inside one. Where no policy that was in force a moment ago asks the tenant,
// it asks nobody.
func (k *Kernel) askContacts(ctx context.Context, c *call) error {
	s := k.policySet.Load()
	if s != nil && !slices.ContainsFunc(s.all, func(p compiled) bool {
		return p.Require != nil && p.matchesName(c.def.name) && namesTenant([]Require{*p.Require})
	}) {
		return nil
	}
	all, err := k.Contacts(ctx, c.tenant)
	if err != nil {
		return err
	}
	c.contacts = new(len(all))
	if s == nil || slices.ContainsFunc(s.all, func(p compiled) bool { return p.Require != nil && p.Require.Signed && p.matchesName(c.def.name) }) {
		c.signing, err = k.signing(ctx, c.tenant, all)
	}
	return err
}

// signing counts who of a tenant's people could sign what they consent to.
func (k *Kernel) signing(ctx context.Context, tenant TenantID, all []Contact) (int, error) {
	people := map[PersonID][]GroupID{}
	for _, c := range all {
		people[TenantActor(tenant, c).Person] = nil
	}
	err := k.signers(ctx, people)
	return len(people), err
}

// consentReach refuses what a tenant would have to consent to that has too few people
// to do so: held, it would wait for nobody.
func (c *call) consentReach() {
	if c.decision.Effect != Hold || c.contacts == nil || c.opts.BreakGlass { // an emergency waits for nobody
		return
	}
	n := *c.contacts
	if signed(c.decision.Require) {
		n = c.signing
	}
	if beyond(c.decision.Require, n) {
		c.decision.Effect = Deny
		c.decision.denied = &DeniedError{c.def.name, "consent", "the tenant has to consent, and nobody there can"}
	}
}

// beyond tells whether n people of the tenant are too few for all that holds one act.
// What colleagues may do instead asks nothing of them; conditions are taken as met.
func beyond(rs []Require, n int) bool {
	ofTenant := func(q Quorum) bool { return q.Group == GroupTenant }
	var asked []Require
	var marks []GroupID
	for _, r := range rs {
		r.AllOf = slices.DeleteFunc(slices.Clone(r.AllOf), func(q Quorum) bool { return !ofTenant(q) })
		if slices.ContainsFunc(r.AnyOf, func(q Quorum) bool { return !ofTenant(q) }) {
			r.AnyOf = nil
		}
		if len(r.quorums()) == 0 {
			continue
		}
		asked = append(asked, r)
		for _, q := range r.quorums() {
			marks = append(marks, q.seats()...)
		}
	}
	if len(asked) == 0 {
		return false
	}
	people := map[PersonID][]GroupID{}
	for i := range n {
		people[PersonID(fmt.Sprintf("%s%d", customers, i))] = marks
	}
	return len(lacks(asked, people)) > 0
}

// someTenant is who could fill the tenant's places of a policy, which knows no tenant
// yet: as many as asked, others for each condition, once there is a way to ask any.
func (k *Kernel) someTenant(q Quorum) []Person {
	if !k.knowsContacts() {
		return nil
	}
	out := make([]Person, q.Approvals)
	for i := range out {
		out[i] = Person{ID: PersonID(fmt.Sprintf("%s%s/%d", customers, q.Where, i)), Active: true, Groups: []GroupID{GroupTenant}}
	}
	return out
}

// checkConsents raises an alert for each action that waits for a tenant with nobody left
// who could consent, and closes it when there is somebody again or it waits no more.
func (k *Kernel) checkConsents(ctx context.Context) error {
	if !k.knowsContacts() {
		return nil
	}
	const prefix = "consent.unreachable:"
	var open []string
	if err := k.db.Read().NewSelect().Model((*alertRow)(nil)).Column("open_key").Where("open_key LIKE ?", prefix+"%").Scan(ctx, &open); err != nil {
		return fmt.Errorf("alerts of consents: %w", err)
	}
	var rows []actionRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("held AND state = ? AND requirement LIKE ?", StatePending, `%"group":"`+string(GroupTenant)+`"%`).Order("id").Limit(1000).Scan(ctx); err != nil {
		return fmt.Errorf("consents that wait: %w", err)
	}
	var errs []error
	var short []string
	for _, r := range rows {
		a, err := k.approval(ctx, k.db.Read(), r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all, err := k.Contacts(ctx, a.Tenant)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = slices.DeleteFunc(all, func(c Contact) bool { return c.Since.After(a.CreatedAt) })
		n := len(all)
		if a.Signed() {
			if n, err = k.signing(ctx, a.Tenant, all); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		key := prefix + a.ID.String()
		if !beyond(a.Decision.Require, n) {
			continue
		}
		short = append(short, key)
		if slices.Contains(open, key) {
			continue
		}
		errs = append(errs, k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
			_, err := k.AlertTx(ctx, tx, Alert{Key: key, Severity: Warning, Title: a.Action + " waits for a consent that nobody can give", Tenant: a.Tenant,
				Body: "The tenant has no contact who could answer.", Links: []Link{{Title: "Approval", Kind: "approval", ID: a.ID.String()}}})
			return err
		}))
	}
	for _, key := range open {
		if !slices.Contains(short, key) {
			errs = append(errs, k.db.Do(ctx, func(ctx context.Context, tx *Tx) error { return k.ResolveAlertTx(ctx, tx, key) }))
		}
	}
	return errors.Join(errs...)
}
