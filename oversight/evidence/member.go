package evidence

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
	"github.com/reevehq/reeve/oversight/evidence/pack"
)

// membership adds the records that gave a voter the groups they voted by: the last
// change of their access before the vote, the one that came next, if any, and the last
// before the act; and the same of whoever delegated a group to them, with the delegation.
func (g *gathering) membership(ctx context.Context, vote pack.Vote) error {
	id, err := uuid.Parse(vote.Record)
	if err != nil || vote.Person == "" || g.records[id].Actor.Kind == governance.ActorTenant {
		return nil //nolint:nilerr // a vote without a record is found by the check of the pack
	}
	var says struct {
		Access    map[string]int64     `json:"access"`
		Delegated map[string]uuid.UUID `json:"delegated"`
	}
	if err := json.Unmarshal(g.records[id].Data, &says); err != nil {
		return nil //nolint:nilerr // the same
	}
	if len(says.Access) == 0 { // from before votes said so, or the directory counts nothing
		if err := g.access(ctx, vote.Person, 0, id); err != nil {
			return err
		}
		return g.delegations(ctx, vote, id)
	}
	for _, person := range slices.Sorted(maps.Keys(says.Access)) {
		if err := g.access(ctx, person, says.Access[person], id); err != nil {
			return err
		}
	}
	for _, d := range says.Delegated {
		if err := g.delegation(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// access adds the records of one change of a person's access, and of the next; with
// the number 0 of the last one before a vote.
func (g *gathering) access(ctx context.Context, person string, number int64, vote uuid.UUID) error {
	of := map[uuid.UUID]int64{}
	all, err := g.saying(ctx, "resource", governance.Ref{Kind: "person", ID: person}.String())
	if err != nil {
		return err
	}
	next, last := int64(0), int64(0)
	for _, r := range all {
		if who, n, ok := pack.AccessChange(r.Body); ok && who == person {
			of[r.ID] = n
		}
	}
	if number == 0 {
		for id, n := range of {
			if compareIDs(id, vote) < 0 {
				number = max(number, n)
			}
		}
	}
	for _, n := range of {
		if n > number && (next == 0 || n < next) {
			next = n
		}
	}
	for id, n := range of {
		if done := g.executed(vote); done != uuid.Nil && compareIDs(id, done) < 0 {
			last = max(last, n)
		}
	}
	for _, r := range all {
		if n := of[r.ID]; n > 0 && (n == number || n == next || n > number && n == last) {
			if err := g.add(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// executed is the record that what a vote was about was carried out.
func (g *gathering) executed(vote uuid.UUID) uuid.UUID {
	about := g.records[vote].ActionID
	for _, a := range g.actions {
		if a.ID.String() != about {
			continue
		}
		for id, r := range g.records {
			if r.ActionID == about && r.Action == a.Action && r.Outcome == governance.OutcomeDone {
				return id
			}
		}
	}
	return uuid.Nil
}

// delegations adds those that a vote may rely on that does not name them.
func (g *gathering) delegations(ctx context.Context, vote pack.Vote, id uuid.UUID) error {
	all, err := g.saying(ctx, "delegate", vote.Person)
	if err != nil {
		return err
	}
	for _, r := range all {
		v, err := governance.ReadRecord(r.Body)
		if err != nil {
			return err
		}
		var d governance.Delegation
		if v.Action != "approval.delegate" || json.Unmarshal(v.Data, &d) != nil || string(d.Delegate) != vote.Person || !slices.Contains(vote.Groups, string(d.Group)) ||
			vote.At.Before(d.From) || vote.At.After(d.Until) {
			continue
		}
		if err := g.delegation(ctx, d.ID); err != nil {
			return err
		}
		if err := g.access(ctx, string(d.Delegator), 0, id); err != nil {
			return err
		}
	}
	return nil
}

// delegation adds what is recorded of one.
func (g *gathering) delegation(ctx context.Context, id uuid.UUID) error {
	all, err := g.saying(ctx, "resource", governance.RefTo("delegation", id).String())
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := g.add(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) add(r ledger.Record) error {
	v, err := governance.ReadRecord(r.Body)
	if err != nil {
		return err
	}
	if v.Tenant == "" || v.Tenant == g.tenant {
		g.records[r.ID], g.bodies[r.ID] = v, r
	}
	return nil
}

// saying lists the records in which a field has a value.
func (g *gathering) saying(ctx context.Context, field, value string) (out []ledger.Record, err error) {
	text, err := governance.Canonical(value)
	if err != nil {
		return nil, fmt.Errorf("records on %s: %w", value, err)
	}
	f := ledger.Filter{AllTenants: true, Search: fmt.Sprintf("%q:%s", field, text), Limit: 200}
	for {
		page, err := g.s.k.Ledger().Records(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if r.Kind == governance.RecordKind {
				out = append(out, r)
			}
		}
		if len(page) < int(f.Limit) {
			return out, nil
		}
		f.Before = page[len(page)-1].ID
	}
}
