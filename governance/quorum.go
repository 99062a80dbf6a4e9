package governance

import (
	"cmp"
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

// missing is how many places each quorum still lacks when the voters fill as many as
// they can: each place takes one person of its group, each person fills one place. It
// is a maximum bipartite matching by augmenting paths (Kuhn), because counting
// would let one person stand for two.
func missing(qs []Quorum, voters map[PersonID][]GroupID) []int {
	type seat struct {
		quorum int
		seats  []GroupID
	}
	var places []seat
	for i, q := range qs {
		for range q.Approvals {
			places = append(places, seat{i, q.seats()})
		}
	}
	people := slices.Sorted(maps.Keys(voters))
	holder := map[int]int{} // place → person
	var sit func(person int, seen map[int]bool) bool
	sit = func(person int, seen map[int]bool) bool {
		for i, pl := range places {
			if seen[i] || !slices.ContainsFunc(voters[people[person]], func(g GroupID) bool { return slices.Contains(pl.seats, g) }) {
				continue
			}
			seen[i] = true
			other, taken := holder[i]
			if !taken || sit(other, seen) {
				holder[i] = person
				return true
			}
		}
		return false
	}
	for i := range people {
		sit(i, map[int]bool{})
	}
	open := make([]int, len(qs))
	for i, pl := range places {
		if _, taken := holder[i]; !taken {
			open[pl.quorum]++
		}
	}
	return open
}

// maxChoices is how many ways the alternatives of the policies that hold one act may be
// combined: each is a matching of its own.
const maxChoices = 256

// choices is in how many ways one alternative of each requirement can be taken, at most
// one more than maxChoices.
func choices(rs []Require) int {
	n := 1
	for _, r := range rs {
		if n *= max(len(r.AnyOf), 1); n > maxChoices {
			return maxChoices + 1
		}
	}
	return n
}

// merged is what all requirements together ask of each group: of the same group, and
// with the same condition, the most that one of them asks, because the strictest wins.
// A place that several ask for is filled by whom each of them accepts.
func merged(take [][]Quorum) []Quorum {
	var order []GroupID
	asked := map[GroupID][]Quorum{} // one of each requirement
	for _, qs := range take {
		mine := map[GroupID]int{}
		for _, q := range qs {
			m := q.mark()
			if at, twice := mine[m]; twice {
				asked[m][at].Approvals += q.Approvals
				continue
			}
			if asked[m] == nil {
				order = append(order, m)
			}
			mine[m] = len(asked[m])
			asked[m] = append(asked[m], q)
		}
	}
	var out []Quorum
	for _, m := range order {
		qs := asked[m]
		slices.SortStableFunc(qs, func(a, b Quorum) int { return cmp.Compare(a.Approvals, b.Approvals) })
		filled := 0
		for i, q := range qs {
			if q.Approvals == filled {
				continue
			}
			q.Or = slices.DeleteFunc(slices.Clone(q.Or), func(g GroupID) bool {
				return slices.ContainsFunc(qs[i+1:], func(o Quorum) bool { return !slices.Contains(o.Or, g) })
			})
			out, filled = append(out, q.of(q.Approvals-filled)), q.Approvals
		}
	}
	return out
}

// lacks is what the voters leave open of everything that holds one act: nothing once
// all of it is met together. One person fills one place over all requirements, and what
// several ask of the same group is asked once: see merged. Of AnyOf it is what each
// alternative lacks at best.
func lacks(rs []Require, voters map[PersonID][]GroupID) []Quorum {
	ways := choices(rs)
	if len(rs) == 0 || ways > maxChoices || slices.ContainsFunc(rs, func(r Require) bool { return len(r.quorums()) == 0 }) {
		return []Quorum{{Approvals: 1}} // nothing asked is nothing met
	}
	best := map[GroupID]int{} // the fewest places that stay open where a quorum is part of the choice
	gaps := map[GroupID]Quorum{}
	for way := range ways {
		take := make([][]Quorum, len(rs))
		for i, r := range rs {
			take[i] = r.AllOf
			if n := len(r.AnyOf); n > 0 {
				take[i] = r.AnyOf[way%n : way%n+1]
				way /= n
			}
		}
		qs := merged(take)
		open, total := missing(qs, voters), 0
		each := map[GroupID]int{}
		for i, n := range open {
			total += n
			each[qs[i].mark()] += n
		}
		if total == 0 {
			return nil
		}
		for _, q := range qs {
			m := q.mark()
			if have, known := best[m]; !known || total < have {
				best[m] = total
				gaps[m] = q.of(each[m])
			}
		}
	}
	var out []Quorum
	for _, r := range rs {
		for _, q := range r.quorums() {
			m := q.mark()
			if g := gaps[m]; g.Approvals > 0 {
				out = append(out, g)
			}
			delete(gaps, m)
		}
	}
	return out
}

func (q Quorum) of(approvals int) Quorum {
	q.Approvals = approvals
	return q
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

// electorate is who could vote now on what holds one act, with the groups that count,
// except some people. Conditions of quorums are taken as met: they depend on the act.
func (k *Kernel) electorate(ctx context.Context, rs []Require, except ...PersonID) (map[PersonID][]GroupID, error) {
	voters := map[PersonID][]GroupID{}
	excluded := func(p Person) bool {
		return slices.ContainsFunc(rs, func(r Require) bool { return slices.ContainsFunc(r.Exclude, p.In) })
	}
	for _, r := range rs {
		for _, q := range r.quorums() {
			for i, g := range append([]GroupID{q.Group}, q.Or...) {
				members, err := k.someTenant(q), error(nil)
				if g != GroupTenant {
					members, err = k.opts.Directory.Members(ctx, g)
				}
				if err != nil {
					return nil, fmt.Errorf("members of %s: %w", g, err)
				}
				for _, m := range members {
					if g != GroupTenant {
						m.Groups = staffGroups(m)
					}
					if !m.Active || slices.Contains(except, m.ID) || excluded(m) {
						continue
					}
					if voters[m.ID] == nil {
						voters[m.ID] = slices.Clone(m.Groups)
					}
					mark := q.mark()
					if i > 0 {
						mark = q.markOf(g)
					}
					voters[m.ID] = append(voters[m.ID], mark)
				}
			}
		}
	}
	if signed(rs) {
		return voters, k.signers(ctx, voters)
	}
	return voters, nil
}

// Electorate is who could fill places of a requirement now, with the groups that count
// for each and a mark for every quorum: see [Quorum.Place]. Excluded and inactive people
// are not in it.
func (k *Kernel) Electorate(ctx context.Context, r Require) (map[PersonID][]GroupID, error) {
	return k.electorate(ctx, []Require{r})
}

// Place marks in an [Kernel.Electorate] who could fill a place of this quorum.
func (q Quorum) Place() GroupID { return q.mark() }
