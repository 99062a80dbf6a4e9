package findings

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance"
)

// Approver is how one person decided in a period.
type Approver struct {
	Person   governance.PersonID
	Approved int
	Denied   int
	Median   time.Duration // from the request to the decision
	Slowest  time.Duration
	Fast     int // decided in less than Options.Fast after the request
}

// Decided is how often they decided.
func (a Approver) Decided() int { return a.Approved + a.Denied }

// Quorum is who can fill one place of a policy now.
type Quorum struct {
	Policy string
	Title  string
	Mode   governance.Mode
	Group  governance.GroupID
	Needed int
	People []governance.PersonID // active members
	// Spare is how many people of all the policy's groups may be missing at once, at
	// worst, before nobody can approve any more; below zero it cannot be reached now. The
	// requester never counts: with one of them asking, it is one less.
	Spare int
}

// Health is how approving works: who decides how fast, and who is missed first.
type Health struct {
	From, To  time.Time
	Approvers []Approver
	Quorums   []Quorum
	Waiting   int // held actions of the period that nobody has decided yet
}

// Health reads the held actions of a period and the groups as they are now.
func (s *Service) Health(ctx context.Context, from, to time.Time) (Health, error) {
	out := Health{From: from, To: to, Approvers: []Approver{}, Quorums: []Quorum{}}
	took := map[governance.PersonID][]time.Duration{}
	who := map[governance.PersonID]*Approver{}
	err := s.k.Entries(ctx, governance.EntryFilter{From: from, To: to, Held: true}, func(e governance.Entry) error {
		if e.State == governance.StatePending {
			out.Waiting++
		}
		for _, v := range e.Votes {
			a := who[v.Person]
			if a == nil {
				a = &Approver{Person: v.Person}
				who[v.Person] = a
			}
			if v.Decision == governance.Approve {
				a.Approved++
			} else {
				a.Denied++
			}
			d := v.At.Sub(e.CreatedAt)
			if d < s.opts.Fast {
				a.Fast++
			}
			took[v.Person] = append(took[v.Person], d)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	for p, a := range who {
		ds := took[p]
		slices.Sort(ds)
		a.Slowest, a.Median = ds[len(ds)-1], ds[len(ds)/2]
		if len(ds)%2 == 0 {
			a.Median = (ds[len(ds)/2-1] + ds[len(ds)/2]) / 2
		}
		out.Approvers = append(out.Approvers, *a)
	}
	slices.SortFunc(out.Approvers, func(a, b Approver) int {
		return cmp.Or(cmp.Compare(b.Decided(), a.Decided()), cmp.Compare(a.Person, b.Person))
	})
	out.Quorums, err = s.quorums(ctx)
	return out, err
}

func (s *Service) quorums(ctx context.Context) ([]Quorum, error) {
	ps, err := s.k.Policies(ctx)
	if err != nil {
		return nil, err
	}
	out := []Quorum{}
	for _, p := range ps {
		if p.Require == nil {
			continue
		}
		voters, err := s.k.Electorate(ctx, *p.Require)
		if err != nil {
			return nil, err
		}
		members := make([][]governance.PersonID, len(p.Require.AllOf))
		for i := range members {
			members[i] = []governance.PersonID{}
		}
		for person, places := range voters {
			for i, q := range p.Require.AllOf {
				if slices.Contains(places, q.Place()) {
					members[i] = append(members[i], person)
				}
			}
		}
		spare := spareOf(p.Require.AllOf, members)
		for i, q := range p.Require.AllOf {
			slices.Sort(members[i])
			out = append(out, Quorum{Policy: p.ID, Title: p.Title, Mode: p.Mode, Group: q.Group, Needed: q.Approvals, People: members[i], Spare: spare})
		}
	}
	return out, nil
}

// spareOf is, by Hall's theorem, the least number by which the people of some of the
// quorums together exceed the places these have: one person fills one place only.
func spareOf(qs []governance.Quorum, members [][]governance.PersonID) int {
	least := 1 << 30
	for set := 1; set < 1<<min(len(qs), 12); set++ {
		people, places := map[governance.PersonID]bool{}, 0
		for i, q := range qs {
			if set&(1<<i) == 0 {
				continue
			}
			places += q.Approvals
			for _, m := range members[i] {
				people[m] = true
			}
		}
		least = min(least, len(people)-places)
	}
	return least
}
