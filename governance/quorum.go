package governance

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// missing is what quorums still lack when the voters fill as many places as they
// can: each place takes one person of its group, each person fills one place. It
// is a maximum bipartite matching by augmenting paths (Kuhn), because counting
// would let one person stand for two.
func missing(qs []Quorum, voters map[PersonID][]GroupID) []Quorum {
	type place struct {
		quorum int
		group  GroupID
	}
	var places []place
	for i, q := range qs {
		for range q.Approvals {
			places = append(places, place{i, q.Group})
		}
	}
	people := slices.Sorted(maps.Keys(voters))
	holder := map[int]int{} // place → person
	var seat func(person int, seen map[int]bool) bool
	seat = func(person int, seen map[int]bool) bool {
		for i, pl := range places {
			if seen[i] || !slices.Contains(voters[people[person]], pl.group) {
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
			out = append(out, Quorum{qs[i].Group, n})
		}
	}
	return out
}

// reachable checks that a policy's quorums can be filled by people other than the
// editor, whoever of them asks.
func (k *Kernel) reachable(ctx context.Context, p Policy, editor PersonID) error {
	if p.Require == nil {
		return nil
	}
	voters := map[PersonID][]GroupID{}
	for _, q := range p.Require.AllOf {
		members, err := k.opts.Directory.Members(ctx, q.Group)
		if err != nil {
			return fmt.Errorf("members of %s: %w", q.Group, err)
		}
		for _, m := range members {
			if m.Active && m.ID != editor {
				voters[m.ID] = m.Groups
			}
		}
	}
	if gap := missing(p.Require.AllOf, voters); len(gap) > 0 {
		return Invalid("require.all_of", "cannot be reached: %d more needed in %s (the editor does not count)", gap[0].Approvals, gap[0].Group)
	}
	return nil
}
