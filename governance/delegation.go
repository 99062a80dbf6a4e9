package governance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

// delegationMax is the longest delegation.
const delegationMax = 31 * 24 * time.Hour

// Delegation hands a person's membership of a deciding group to another person for a
// while. It moves the membership and adds none: while it lasts the delegator does not
// vote for the group, and the delegate does only as long as the delegator could. What
// was delegated to somebody they cannot delegate on.
type Delegation struct {
	ID        uuid.UUID `json:"id"`
	Delegator PersonID  `json:"delegator"`
	Delegate  PersonID  `json:"delegate"`
	Group     GroupID   `json:"group"`
	Reason    string    `json:"reason"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

func (r delegationRow) delegation() Delegation {
	return Delegation{r.ID, PersonID(r.Delegator), PersonID(r.Delegate), GroupID(r.MemberOf), r.Reason, r.FromAt.Time(), r.UntilAt.Time(), r.RevokedAt.Time()}
}

// Delegate hands the caller's own membership of a group to somebody else, at most for
// 31 days.
func (k *Kernel) Delegate(ctx context.Context, id Identity, d Delegation) (Delegation, error) {
	if err := k.Authorize(ctx, id, "approval:vote", Target{}); err != nil {
		return Delegation{}, err
	}
	me := id.Actor.Person
	refuse := func(why string) (Delegation, error) {
		return Delegation{}, &DeniedError{"approval.delegate", "delegation", why}
	}
	if id.Subject != nil || id.Actor.Kind != ActorUser || me == "" {
		return refuse("only a person who is signed in may delegate, and nobody while impersonating")
	}
	d.ID, d.Delegator, d.RevokedAt = uuid.Must(uuid.NewV7()), me, time.Time{}
	now := k.Now()
	if d.From.IsZero() {
		d.From = now
	}
	d.Reason = strings.TrimSpace(d.Reason)
	switch {
	case d.Delegate == "" || d.Delegate == me:
		return Delegation{}, Invalid("delegate", "name somebody else")
	case d.Group == "":
		return Delegation{}, Invalid("group", "is required")
	case d.Reason == "" || len(d.Reason) > 2000 || strings.ContainsRune(d.Reason, 0):
		return Delegation{}, Invalid("reason", "is required, at most 2000 bytes")
	case !d.Until.After(d.From) || !d.Until.After(now) || d.Until.Sub(d.From) > delegationMax:
		return Delegation{}, Invalid("until", "is in the future, after from, and at most 31 days later")
	}
	from, err := k.resolve(ctx, me)
	if err != nil {
		return Delegation{}, fmt.Errorf("resolve the delegator: %w", err)
	}
	to, err := k.resolve(ctx, d.Delegate)
	if err != nil {
		return Delegation{}, fmt.Errorf("resolve the delegate: %w", err)
	}
	switch {
	case !from.Active || !from.In(d.Group):
		return refuse("you are not in " + string(d.Group))
	case !to.Active:
		return Delegation{}, Invalid("delegate", "%s is nobody who is active here", d.Delegate)
	}
	row := &delegationRow{ID: d.ID, Delegator: string(me), Delegate: string(d.Delegate), MemberOf: string(d.Group), Reason: d.Reason,
		FromAt: atMicros(d.From), UntilAt: atMicros(d.Until), CreatedAt: atMicros(now)}
	err = k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return fmt.Errorf("delegate: %w", err)
		}
		_, err := k.RecordTx(ctx, tx, id, Record{Action: "approval.delegate", Resource: RefTo("delegation", d.ID), Reason: d.Reason, Data: row.delegation()})
		return err
	})
	return row.delegation(), err
}

// RevokeDelegation ends one; its delegator and its delegate may.
func (k *Kernel) RevokeDelegation(ctx context.Context, id Identity, delegation uuid.UUID) error {
	if err := k.Authorize(ctx, id, "approval:vote", Target{}); err != nil {
		return err
	}
	if id.Subject != nil || id.Actor.Person == "" {
		return &DeniedError{"approval.delegate", "delegation", "only one of the two people may end it"}
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		res, err := tx.NewUpdate().Model((*delegationRow)(nil)).Set("revoked_at = ?", atMicros(k.Now())).
			Where("id = ? AND revoked_at = 0 AND (delegator = ?1 OR delegate = ?1)", delegation, string(id.Actor.Person)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delegation %s: %w", delegation, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			return fmt.Errorf("delegation %s: %w", delegation, ErrNotFound)
		}
		_, err = k.RecordTx(ctx, tx, id, Record{Action: "approval.undelegate", Resource: RefTo("delegation", delegation)})
		return err
	})
}

// Delegations lists those that count now or will, the first to end first.
func (k *Kernel) Delegations(ctx context.Context) ([]Delegation, error) {
	var rows []delegationRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("revoked_at = 0 AND until_at > ?", atMicros(k.Now())).Order("until_at", "id").Limit(200).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list delegations: %w", err)
	}
	out := make([]Delegation, len(rows))
	for i, r := range rows {
		out[i] = r.delegation()
	}
	return out, nil
}

// voter is a person as the approval sees them now: with the groups delegated to and
// away from them, and the marks of the quorums whose condition holds for them. actor
// is as whom they vote.
func (k *Kernel) voter(ctx context.Context, a Approval, person PersonID, actor Actor) (Person, error) {
	if actor.Kind == ActorTenant {
		return k.tenantVoter(ctx, a, person, actor)
	}
	p, err := k.resolve(ctx, person)
	if err != nil || person == "" || !p.Active {
		return p, err
	}
	excluded := func(p Person) bool {
		return slices.ContainsFunc(a.Decision.Require, func(r Require) bool { return slices.ContainsFunc(r.Exclude, p.In) })
	}
	p.barred = excluded(p) // by what they are, whatever was delegated
	p.access, p.delegated = map[PersonID]int64{}, map[GroupID]uuid.UUID{}
	if p.Version > 0 {
		p.access[person] = p.Version
	}
	now := atMicros(k.Now())
	var rows []delegationRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("revoked_at = 0 AND from_at <= ?0 AND until_at > ?0 AND (delegator = ?1 OR delegate = ?1)", now, string(person)).Order("created_at", "id").Scan(ctx); err != nil {
		return p, fmt.Errorf("delegations of %s: %w", person, err)
	}
	groups := slices.Clone(p.Groups)
	var taken []GroupID // of others
	for _, d := range rows {
		if d.Delegator == string(person) {
			groups = slices.DeleteFunc(groups, func(g GroupID) bool { return string(g) == d.MemberOf })
		}
	}
	for _, d := range rows {
		if d.Delegate != string(person) || slices.Contains(a.excluded, PersonID(d.Delegator)) {
			continue // a place of somebody who may not decide is no place
		}
		from, err := k.resolve(ctx, PersonID(d.Delegator))
		if err != nil {
			return p, fmt.Errorf("resolve delegator %s: %w", d.Delegator, err)
		}
		first, err := k.firstDelegation(ctx, d, now)
		if err != nil {
			return p, err
		}
		if first && from.Active && !excluded(from) && from.In(GroupID(d.MemberOf)) && !slices.Contains(groups, GroupID(d.MemberOf)) {
			groups = append(groups, GroupID(d.MemberOf))
			taken = append(taken, GroupID(d.MemberOf))
			p.delegated[GroupID(d.MemberOf)] = d.ID
			if from.Version > 0 {
				p.access[PersonID(d.Delegator)] = from.Version
			}
		}
	}
	p.Groups = groups
	return p, k.mark(ctx, a, &p, actor, taken)
}

// firstDelegation tells whether a delegation is the oldest that counts of its membership:
// what was handed to two people is one place.
func (k *Kernel) firstDelegation(ctx context.Context, d delegationRow, now govdb.Micros) (bool, error) {
	older, err := k.db.Read().NewSelect().Model((*delegationRow)(nil)).Where("revoked_at = 0 AND from_at <= ?0 AND until_at > ?0 AND delegator = ?1 AND member_of = ?2", now, d.Delegator, d.MemberOf).
		Where("created_at < ?0 OR created_at = ?0 AND id < ?1", d.CreatedAt, d.ID).Exists(ctx)
	if err != nil {
		return false, fmt.Errorf("delegations of %s: %w", d.Delegator, err)
	}
	return !older, nil
}

// mark adds the marks of the quorums whose condition holds for the voter. One that
// cannot be answered holds for nobody.
// What was delegated meets no condition: it would have to hold for the delegator.
func (k *Kernel) mark(ctx context.Context, a Approval, p *Person, actor Actor, taken []GroupID) error {
	var vars map[string]any
	for _, r := range a.Decision.Require {
		for _, q := range r.quorums() {
			own := func(g GroupID) bool { return p.In(g) && !slices.Contains(taken, g) }
			if q.Where == "" || !slices.ContainsFunc(append([]GroupID{q.Group}, q.Or...), own) {
				continue
			}
			cond, err := k.condition("require.where", q.Where)
			if err != nil {
				return fmt.Errorf("approval %s: %w", a.ID, err)
			}
			if vars == nil {
				actor.Roles = p.Roles
				sensitive := false
				if d, err := k.defined(a.Action); err == nil {
					sensitive = d.sensitive
				}
				if vars, err = varsOf(ctx, k.db.Read(), act{a.Action, a.Resource, sensitive, a.Measures, a.Input, a.Reason, a.Tenant}, actor); err != nil {
					return err
				}
			}
			if yes, err := cond.Eval(ctx, vars); err != nil || !yes {
				continue
			}
			var marks []GroupID
			if own(q.Group) {
				marks = append(marks, q.mark())
			}
			for _, g := range q.Or {
				if own(g) {
					marks = append(marks, q.markOf(g))
				}
			}
			p.Groups = append(p.Groups, marks...)
		}
	}
	return nil
}

// escalate opens the places of an approval to the groups that its policies name for
// the case that nobody decides.
func (k *Kernel) escalate(ctx context.Context, r actionRow, a Approval) error {
	now := k.Now()
	require := slices.Clone(a.Decision.Require)
	var to []string
	for i, req := range require {
		e := req.Escalate
		if e == nil || now.Sub(a.CreatedAt) < e.After.Duration {
			continue
		}
		open := func(qs []Quorum) []Quorum {
			qs = slices.Clone(qs)
			for j := range qs {
				if qs[j].Group != e.To && qs[j].Group != GroupTenant && !slices.Contains(qs[j].Or, e.To) {
					qs[j].Or = append(slices.Clone(qs[j].Or), e.To)
				}
			}
			return qs
		}
		require[i].AllOf, require[i].AnyOf, require[i].Escalate = open(req.AllOf), open(req.AnyOf), nil
		to = append(to, string(e.To))
	}
	if len(to) == 0 {
		return nil
	}
	requirement, err := marshalRequire(require)
	if err != nil {
		return err
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		if err := k.moveTx(ctx, tx, a, StatePending, StatePending, map[string]any{"requirement": requirement, "escalate_at": escalateAt(require, a.CreatedAt)}); err != nil {
			return err
		}
		_, err := k.AlertTx(ctx, tx, Alert{Key: approvalAlert(r.ID), Severity: Critical, Title: a.Action + " waits for approval, escalated", Tenant: a.Tenant,
			Body: "Nobody decided in time; now " + strings.Join(to, ", ") + " may as well.", Links: []Link{{Title: "Approval", Kind: "approval", ID: r.ID.String()}}})
		if err != nil {
			return err
		}
		return k.recordApprovalTx(ctx, tx, System("approvals"), a, "approval.escalate", "approval.escalated", StatePending, map[string]any{"to": to})
	})
}

// escalateAt is when the first of the requirements escalates, 0 for never.
func escalateAt(require []Require, created time.Time) govdb.Micros {
	var first time.Duration
	for _, r := range require {
		if r.Escalate != nil && (first == 0 || r.Escalate.After.Duration < first) {
			first = r.Escalate.After.Duration
		}
	}
	if first == 0 {
		return 0
	}
	return atMicros(created.Add(first))
}
