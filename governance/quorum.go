package governance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// seats are the memberships that fill a place of the quorum. One with a condition is
// filled by those alone for whom it held when they voted: they carry the quorum's own
// mark among their groups.
func (q Quorum) seats() []GroupID {
	if q.Where == "" {
		return append([]GroupID{q.Group}, q.Or...)
	}
	out := []GroupID{q.mark()}
	for _, g := range q.Or {
		out = append(out, q.markOf(g))
	}
	return out
}

func (q Quorum) mark() GroupID { return q.Group + "?" + GroupID(q.Where) }

// markOf is the mark of those who fill a place by a group that it was escalated to:
// it opens no quorum that was not.
func (q Quorum) markOf(g GroupID) GroupID { return q.mark() + "?" + g }

// Marked tells a quorum's mark from a group: a vote stores it among its groups when
// the quorum's condition held for the voter.
func (g GroupID) Marked() bool { return strings.Contains(string(g), "?") }

// missing is what quorums still lack when the voters fill as many places as they
// can: each place takes one person of its group, each person fills one place. It
// is a maximum bipartite matching by augmenting paths (Kuhn), because counting
// would let one person stand for two.
func missing(qs []Quorum, voters map[PersonID][]GroupID) []Quorum {
	type place struct {
		quorum int
		seats  []GroupID
	}
	var places []place
	for i, q := range qs {
		for range q.Approvals {
			places = append(places, place{i, q.seats()})
		}
	}
	people := slices.Sorted(maps.Keys(voters))
	holder := map[int]int{} // place → person
	var seat func(person int, seen map[int]bool) bool
	seat = func(person int, seen map[int]bool) bool {
		for i, pl := range places {
			if seen[i] || !slices.ContainsFunc(voters[people[person]], func(g GroupID) bool { return slices.Contains(pl.seats, g) }) {
				continue
			}
			seen[i] = true
			other, taken := holder[i]
			if !taken || seat(other, seen) {
				holder[i] = person
				return true
			}
		}
		return false
	}
	for i := range people {
		seat(i, map[int]bool{})
	}
	open := make([]int, len(qs))
	for i, pl := range places {
		if _, taken := holder[i]; !taken {
			open[pl.quorum]++
		}
	}
	var out []Quorum
	for i, n := range open {
		if n > 0 {
			q := qs[i]
			q.Approvals = n
			out = append(out, q)
		}
	}
	return out
}

// lacks is what the voters leave open of a requirement: nothing once it is met. Of
// AnyOf it is what each alternative lacks.
func (r Require) lacks(voters map[PersonID][]GroupID) []Quorum {
	if len(r.AnyOf) == 0 {
		if len(r.AllOf) == 0 { // nothing asked is nothing met
			return []Quorum{{Approvals: 1}}
		}
		return missing(r.AllOf, voters)
	}
	var out []Quorum
	for _, q := range r.AnyOf {
		gap := missing([]Quorum{q}, voters)
		if len(gap) == 0 {
			return nil
		}
		out = append(out, gap...)
	}
	return out
}

func (r Require) quorums() []Quorum { return slices.Concat(r.AllOf, r.AnyOf) }

// rejections is how many people must vote against an action to end it.
func rejections(rs []Require) int {
	n := 0
	for i, r := range rs {
		if d := max(r.Deny, 1); i == 0 || d < n {
			n = d
		}
	}
	return max(n, 1)
}

// electorate is who could vote on a requirement now, with the groups that count, except
// some people. Conditions of quorums are taken as met: they depend on the act.
func (k *Kernel) electorate(ctx context.Context, r Require, except ...PersonID) (map[PersonID][]GroupID, error) {
	voters := map[PersonID][]GroupID{}
	for _, q := range r.quorums() {
		members, err := k.opts.Directory.Members(ctx, q.Group)
		if err != nil {
			return nil, fmt.Errorf("members of %s: %w", q.Group, err)
		}
		for _, m := range members {
			if !m.Active || slices.Contains(except, m.ID) || slices.ContainsFunc(r.Exclude, m.In) {
				continue
			}
			if voters[m.ID] == nil {
				voters[m.ID] = slices.Clone(m.Groups)
			}
			voters[m.ID] = append(voters[m.ID], q.mark())
		}
	}
	return voters, nil
}

// Electorate is who could fill places of a requirement now, with the groups that count
// for each and a mark for every quorum: see [Quorum.Place]. Excluded and inactive people
// are not in it.
func (k *Kernel) Electorate(ctx context.Context, r Require) (map[PersonID][]GroupID, error) {
	return k.electorate(ctx, r)
}

// Place marks in an [Kernel.Electorate] who could fill a place of this quorum.
func (q Quorum) Place() GroupID { return q.mark() }

// reachable checks that a policy's quorums can be filled by people other than the
// editor.
func (k *Kernel) reachable(ctx context.Context, p Policy, editor PersonID) error {
	if p.Require == nil {
		return nil
	}
	voters, err := k.electorate(ctx, *p.Require, editor)
	if err != nil {
		return err
	}
	if gap := p.Require.lacks(voters); len(gap) > 0 {
		return Invalid("require", "cannot be reached: %d more needed in %s (the editor does not count)", gap[0].Approvals, gap[0].Group)
	}
	return nil
}
