package findings

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

const hour = int64(time.Hour / time.Microsecond)

// judge runs the detectors over what was read and not judged. What they look at is what
// stood in the ledger up to there, so that the portions make no difference.
func (s *Service) judge(ctx context.Context) error {
	for {
		read, judged, err := s.cursors(ctx)
		if err != nil {
			return err
		}
		if judged >= read {
			return nil
		}
		upto := min(read, judged+judgeBatch)
		found, err := s.detect(ctx, judged, upto)
		if err != nil {
			return err
		}
		err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
			if err := moveTx(ctx, tx, "judged", judged, upto); err != nil {
				return err
			}
			for _, f := range found {
				if err := s.putTx(ctx, tx, f); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// portion is the part of the ledger that is judged: leaves [from, to).
type portion struct {
	from, to int64
	acts     []actRow
}

func (s *Service) detect(ctx context.Context, from, to int64) ([]Finding, error) {
	p := portion{from: from, to: to}
	if err := s.db.Handle().NewSelect().Model(&p.acts).Where("n >= ? AND n < ?", from, to).Order("n").Scan(ctx); err != nil {
		return nil, fmt.Errorf("findings: acts: %w", err)
	}
	var out []Finding
	for _, d := range []struct {
		kind Kind
		run  func(context.Context, portion) ([]Finding, error)
	}{{Rate, s.rates}, {Pair, s.pairs}, {OffHours, s.offHours}, {Structuring, s.structuring}, {Ring, s.rings}, {RubberStamp, s.rubberStamps}} {
		fs, err := d.run(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("findings: %s: %w", d.kind, err)
		}
		for i := range fs {
			fs[i].Kind = d.kind
			fs[i].key = string(d.kind) + "|" + fs[i].key
		}
		out = append(out, fs...)
	}
	return out, nil
}

func (r actRow) act() Act {
	return Act{Record: r.Record, At: r.At.Time(), Who: r.Who, Action: r.Action, Tenant: r.Tenant, ActionID: r.ActionID}
}

func actsOf(rows []actRow) []Act {
	out := make([]Act, len(rows))
	for i, r := range rows {
		out[i] = r.act()
	}
	return out
}

// minHours is how many hours with an act make a baseline.
const minHours = 8

// rates compares each touched hour of an actor's act with the hours before it in which
// the actor did it at all: hours of silence would make the median of everybody's hours 0.
// An actor with fewer than eight such hours is compared with everybody else's.
func (s *Service) rates(ctx context.Context, p portion) ([]Finding, error) {
	type slot struct {
		who, action string
		hour        int64
	}
	var order []slot
	known := map[slot]bool{}
	for _, a := range p.acts {
		k := slot{a.Who, a.Action, int64(a.At) / hour}
		if !known[k] {
			known[k] = true
			order = append(order, k)
		}
	}
	var out []Finding
	for _, k := range order {
		start := k.hour * hour
		var acts []actRow
		if err := s.db.Handle().NewSelect().Model(&acts).Where("who = ? AND action = ? AND at >= ? AND at < ? AND n < ?", k.who, k.action, start, start+hour, p.to).Order("at", "n").Scan(ctx); err != nil {
			return nil, err
		}
		n := int64(len(acts))
		if n < s.opts.MinCount {
			continue
		}
		since := start - lookBack.Microseconds()
		var counts []int64
		if err := s.db.Handle().NewRaw("SELECT COUNT(*) FROM finding_act WHERE who = ? AND action = ? AND at >= ? AND at < ? AND n < ? GROUP BY at / ?", k.who, k.action, since, start, p.to, hour).Scan(ctx, &counts); err != nil {
			return nil, err
		}
		whose := "their own"
		if len(counts) < minHours {
			counts, whose = nil, "other people's"
			if err := s.db.Handle().NewRaw("SELECT COUNT(*) FROM finding_act WHERE who <> ? AND action = ? AND at >= ? AND at < ? AND n < ? GROUP BY who, at / ?", k.who, k.action, since, start, p.to, hour).Scan(ctx, &counts); err != nil {
				return nil, err
			}
		}
		if len(counts) < minHours {
			continue
		}
		b := NewBaseline(counts)
		score := b.Score(n)
		if score < s.opts.MinScore {
			continue
		}
		f := Finding{key: fmt.Sprintf("%s|%s|%d", k.who, k.action, k.hour), Severity: governance.Warning, Who: k.who, At: acts[n-1].At.Time(), Acts: actsOf(acts), ActCount: n,
			Title: "Unusually many " + k.action, Dimension: k.action + " by one actor in an hour",
			Baseline: fmt.Sprintf("median %s, median deviation %s over %d of %s hours with this act in the 30 days before", short(b.Median), short(b.MAD), b.N, whose),
			Value:    fmt.Sprintf("%d in the hour from %s; robust z-score %s, a finding from %s on", n, govdb.Micros(start).Time().In(s.opts.Zone).Format("2006-01-02 15:04 MST"), short(score), short(s.opts.MinScore))}
		if score >= 4*s.opts.MinScore && n >= 4*s.opts.MinCount {
			f.Severity = governance.Critical
		}
		out = append(out, f)
	}
	return out, nil
}

func short(v float64) string {
	s := fmt.Sprintf("%.2f", v)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// What a person must have done for a first time to mean something.
const (
	knownFor   = 14 * 24 * time.Hour
	knownActs  = 30
	rareFirsts = 1 // more firsts of the kind in 30 days, and firsts are this person's daily work
)

// pairs finds the first time that a person who is known and rarely does new things
// meets a tenant or does an act.
func (s *Service) pairs(ctx context.Context, p portion) ([]Finding, error) {
	var rows []pairRow
	if err := s.db.Handle().NewSelect().Model(&rows).Where("n >= ? AND n < ?", p.from, p.to).Order("n", "dimension").Scan(ctx); err != nil {
		return nil, err
	}
	acts := map[int64]actRow{}
	for _, a := range p.acts {
		acts[a.N] = a
	}
	var out []Finding
	for _, r := range rows {
		since := govdb.At(r.At.Time().Add(-lookBack))
		var first govdb.Micros
		var did, firsts int64
		err := s.db.Handle().NewRaw("SELECT COALESCE(MIN(at), 0), COALESCE(SUM(CASE WHEN at >= ? THEN 1 ELSE 0 END), 0) FROM finding_act WHERE who = ? AND n < ?", since, r.Who, r.N).Scan(ctx, &first, &did)
		if err != nil {
			return nil, err
		}
		if did < knownActs || r.At.Time().Sub(first.Time()) < knownFor {
			continue
		}
		if err := s.db.Handle().NewRaw("SELECT COUNT(*) FROM finding_pair WHERE who = ? AND dimension = ? AND at >= ? AND n < ?", r.Who, r.Dimension, max(since, govdb.At(first.Time().Add(7*24*time.Hour))), r.N).Scan(ctx, &firsts); err != nil {
			return nil, err
		}
		if firsts > rareFirsts {
			continue
		}
		f := Finding{key: r.Who + "|" + r.Dimension + "|" + r.Value, Severity: governance.Info, Who: r.Who, At: r.At.Time(), Acts: []Act{acts[r.N].act()},
			Title: "The first " + r.Value, Dimension: "first act of this kind by this person", Value: r.Value + " at " + r.At.Time().In(s.opts.Zone).Format("2006-01-02 15:04 MST"),
			Baseline: fmt.Sprintf("%d acts in the 30 days before, none of them this; new ones in that time: %d", did, firsts)}
		if r.Dimension == "tenant" {
			f.Tenant, f.Title, f.Dimension = governance.TenantID(r.Value), "The first act on tenant "+r.Value, "first act of this person on this tenant"
			f.Baseline = fmt.Sprintf("%d acts in the 30 days before, none on it; new tenants in that time: %d", did, firsts)
		}
		out = append(out, f)
	}
	return out, nil
}

const (
	patternActs = 40
	patternDays = 10
)

func weekend(t time.Time) bool {
	return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday
}

// offHours finds acts outside the configured hours, or, without them, where a person
// with at least 40 acts on ten of the 30 days before never did anything within an hour
// of the clock, on the same kind of day: weekday or weekend. One finding a person and day.
func (s *Service) offHours(ctx context.Context, p portion) ([]Finding, error) {
	type day struct{ who, date string }
	var out []Finding
	known := map[day]bool{}
	for _, a := range p.acts {
		t := a.At.Time().In(s.opts.Zone)
		k := day{a.Who, t.Format(time.DateOnly)}
		if !a.Person || known[k] {
			continue
		}
		known[k] = true
		start := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, s.opts.Zone)
		usual, baseline, err := s.usualHours(ctx, a.Who, start, p.to)
		if err != nil {
			return nil, err
		}
		if usual == nil {
			continue
		}
		var acts, off []actRow
		if err := s.db.Handle().NewSelect().Model(&acts).Where("who = ? AND at >= ? AND at < ? AND n < ?", a.Who, govdb.At(start), govdb.At(start.AddDate(0, 0, 1)), p.to).Order("at", "n").Scan(ctx); err != nil {
			return nil, err
		}
		for _, x := range acts {
			if !usual(x.At.Time().In(s.opts.Zone)) {
				off = append(off, x)
			}
		}
		if len(off) == 0 {
			continue
		}
		f := Finding{key: k.who + "|" + k.date, Severity: governance.Info, Who: k.who, At: off[0].At.Time(), Acts: actsOf(off), ActCount: int64(len(off)), Title: "Work at an unusual hour",
			Dimension: "hour of the day, on " + map[bool]string{true: "weekends", false: "weekdays"}[weekend(start)], Baseline: baseline,
			Value: fmt.Sprintf("%d acts, the first on %s", len(off), off[0].At.Time().In(s.opts.Zone).Format("Monday 2006-01-02 at 15:04 MST"))}
		if s.opts.Hours != nil {
			f.Severity = governance.Warning
		}
		out = append(out, f)
	}
	return out, nil
}

// usualHours tells when a person's work is no surprise, on the day that begins at start;
// nil where too little is known.
func (s *Service) usualHours(ctx context.Context, who string, start time.Time, to int64) (usual func(time.Time) bool, baseline string, err error) {
	if h := s.opts.Hours; h != nil {
		return func(t time.Time) bool {
				return t.Hour() >= h.From && t.Hour() < h.To && slices.Contains(h.Days, t.Weekday())
			},
			fmt.Sprintf("work is from %02d:00 to %02d:00 on %d days of the week", h.From, h.To, len(h.Days)), nil
	}
	var slots []struct{ Slot, N int64 }
	// Quarter hours, because some zones are not whole hours from UTC.
	err = s.db.Handle().NewRaw("SELECT at / ? AS slot, COUNT(*) AS n FROM finding_act WHERE who = ? AND at >= ? AND at < ? AND n < ? GROUP BY at / ?",
		hour/4, who, govdb.At(start.Add(-lookBack)), govdb.At(start), to, hour/4).Scan(ctx, &slots)
	if err != nil {
		return nil, "", err
	}
	var acts int64
	var worked [24]bool
	days := map[string]bool{}
	for _, sl := range slots {
		was := govdb.Micros(sl.Slot * hour / 4).Time().In(s.opts.Zone)
		acts += sl.N
		days[was.Format(time.DateOnly)] = true
		if weekend(was) == weekend(start) {
			worked[was.Hour()] = true
		}
	}
	if acts < patternActs || len(days) < patternDays {
		return nil, "", nil
	}
	return func(t time.Time) bool {
		return worked[(t.Hour()+23)%24] || worked[t.Hour()] || worked[(t.Hour()+1)%24]
	}, fmt.Sprintf("%d acts on %d of the 30 days before, none within an hour of this time on such a day", acts, len(days)), nil
}

const (
	nearDays = 7 * 24 * time.Hour
	nearMin  = 3
)

// structuring finds limits that are approached from below again and again: within seven
// days at least three windows filled to NearLimit percent or more without passing, on one
// tenant by whomever, or by one actor on whatever tenant. The amounts are those the limit
// counted, in its own unit, so that currencies and small pieces add up as it adds them.
func (s *Service) structuring(ctx context.Context, p portion) ([]Finding, error) {
	var touched []limitRow
	if err := s.db.Handle().NewSelect().Model(&touched).Where("n >= ? AND n < ? AND total * 100 >= most * ?", p.from, p.to, s.opts.NearLimit).Order("n", "i").Scan(ctx); err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range touched {
		for _, by := range []struct{ column, of string }{{"tenant", t.Tenant}, {"who", t.Who}} {
			if by.of == "" {
				continue
			}
			var rows []limitRow
			err := s.db.Handle().NewSelect().Model(&rows).Where("rule = ? AND at > ? AND n <= ? AND "+by.column+" = ?", t.Rule, govdb.At(t.At.Time().Add(-nearDays)), t.N, by.of).
				Order("at", "n", "i").Scan(ctx)
			if err != nil {
				return nil, err
			}
			f, budgets, ok := s.landings(rows)
			// An actor who fills one tenant's limit alone stands in the tenant's finding.
			if !ok || by.column == "who" && budgets == 1 && !strings.HasSuffix(t.Budget, "|"+string(governance.ByActor)+"|"+t.Who) {
				continue
			}
			var acts []actRow
			ns := make([]int64, len(rows))
			for i, r := range rows {
				ns[i] = r.N
			}
			if err := s.db.Handle().NewSelect().Model(&acts).Where("n IN (?)", bun.List(ns)).Order("at", "n").Scan(ctx); err != nil {
				return nil, err
			}
			policy, _, _ := strings.Cut(t.Rule, "|")
			year, week := t.At.Time().UTC().ISOWeek()
			f.key = fmt.Sprintf("%s|%s|%s|%d-%02d", t.Rule, by.column, by.of, year, week)
			f.Severity, f.At, f.Acts = governance.Critical, t.At.Time(), actsOf(acts)
			f.Title, f.Dimension = "Acts that land just under the limit "+policy, "windows of the limit filled to "+fmt.Sprint(s.opts.NearLimit)+" % or more and not passed, in 7 days"
			actors := map[string]bool{}
			for _, a := range acts {
				actors[a.Who] = true
			}
			if by.column == "tenant" {
				f.Tenant = governance.TenantID(by.of)
				for w := range actors {
					f.Others = append(f.Others, w)
				}
				slices.Sort(f.Others)
				if len(f.Others) == 1 {
					f.Who, f.Others = f.Others[0], nil
				}
			} else {
				f.Who = by.of
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// landings counts the windows that were filled nearly to their limit, each window once,
// and how many budgets they are of.
func (s *Service) landings(rows []limitRow) (f Finding, budgets int, ok bool) {
	last := map[string]govdb.Micros{}
	n, sum := 0, int64(0)
	for _, r := range rows {
		sum += r.Amount
		if r.Total*100 < r.Most*int64(s.opts.NearLimit) {
			continue
		}
		if before, ok := last[r.Budget]; ok && int64(r.At-before) < r.Span {
			continue
		}
		last[r.Budget] = r.At
		n++
	}
	if n < nearMin {
		return Finding{}, len(last), false
	}
	l := rows[len(rows)-1]
	return Finding{Value: fmt.Sprintf("%d windows filled nearly to the limit by %d acts, together %s", n, len(rows), governance.Measure{Unit: l.Unit, Value: sum}),
		Baseline: fmt.Sprintf("fewer than %d; the limit is %s in %s", nearMin, governance.Measure{Unit: l.Unit, Value: l.Most}, time.Duration(l.Span)*time.Microsecond)}, len(last), true
}

const (
	ringMin   = 3  // approvals along each step
	ringShare = 60 // percent of what the requester was granted in that time
	ringMost  = 5
)

// rings finds circles of people each of whom gets most approvals from the next: A
// approves B's and B approves A's, and longer ones. A step counts with three approvals
// in 30 days and at least 60 percent of all the requester got; among people who take
// turns evenly no circle has that.
func (s *Service) rings(ctx context.Context, p portion) ([]Finding, error) {
	var touched []voteRow
	if err := s.db.Handle().NewSelect().Model(&touched).Where("n >= ? AND n < ? AND decision = ?", p.from, p.to, governance.Approve).Order("n").Scan(ctx); err != nil {
		return nil, err
	}
	var out []Finding
	for _, v := range touched { // after each vote, so that the portions make no difference
		var votes []voteRow
		if err := s.db.Handle().NewSelect().Model(&votes).Where("at > ? AND n <= ? AND decision = ?", govdb.At(v.At.Time().Add(-lookBack)), v.N, governance.Approve).Order("n").Scan(ctx); err != nil {
			return nil, err
		}
		for _, ring := range circles(votes) {
			f := Finding{key: strings.Join(ring, "|") + "|" + v.At.Time().UTC().Format("2006-01"), Severity: governance.Warning, Who: ring[0], Others: ring[1:], At: v.At.Time(),
				Title: fmt.Sprintf("%d people approve each other", len(ring)), Dimension: "share of a requester's approvals that come from one person, in 30 days",
				Baseline: fmt.Sprintf("below %d %%, or fewer than %d approvals", ringShare, ringMin)}
			var ns []int64
			var steps []string
			for i, from := range ring {
				to := ring[(i+1)%len(ring)]
				step, all := 0, 0
				for _, x := range votes {
					if x.Requester != to {
						continue
					}
					if all++; x.Voter == from {
						step++
						ns = append(ns, x.N)
					}
				}
				steps = append(steps, fmt.Sprintf("%s approved %d of %d of %s", from, step, all, to))
			}
			f.Value = strings.Join(steps, "; ")
			var acts []actRow
			if err := s.db.Handle().NewSelect().Model(&acts).Where("n IN (?)", bun.List(ns)).Order("at", "n").Scan(ctx); err != nil {
				return nil, err
			}
			f.Acts = actsOf(acts)
			out = append(out, f)
		}
	}
	return out, nil
}

// circles are the rings in a set of approvals, each once, beginning with the least name.
func circles(votes []voteRow) [][]string {
	step, all := map[string]map[string]int{}, map[string]int{}
	for _, v := range votes {
		if v.Voter == v.Requester {
			continue
		}
		if step[v.Voter] == nil {
			step[v.Voter] = map[string]int{}
		}
		step[v.Voter][v.Requester]++
		all[v.Requester]++
	}
	next := map[string][]string{}
	for from, tos := range step {
		for to, n := range tos {
			if n >= ringMin && n*100 >= all[to]*ringShare {
				next[from] = append(next[from], to)
			}
		}
	}
	names := make([]string, 0, len(next))
	for n := range next {
		slices.Sort(next[n])
		names = append(names, n)
	}
	slices.Sort(names)
	var out [][]string
	for _, first := range names {
		var walk func(path []string)
		walk = func(path []string) {
			for _, to := range next[path[len(path)-1]] {
				switch {
				case to == first && len(path) > 1:
					out = append(out, slices.Clone(path))
				case to > first && len(path) < ringMost && !slices.Contains(path, to):
					walk(append(slices.Clone(path), to))
				}
			}
		}
		walk([]string{first})
	}
	slices.SortFunc(out, func(a, b []string) int { return cmp.Compare(strings.Join(a, "|"), strings.Join(b, "|")) })
	return out
}

const stampMin = 5

// rubberStamps finds approvers who, in 30 days, decided at least five times and at least
// half of the time with less than Options.Fast to look at it.
func (s *Service) rubberStamps(ctx context.Context, p portion) ([]Finding, error) {
	var touched []voteRow
	if err := s.db.Handle().NewSelect().Model(&touched).Where("n >= ? AND n < ? AND spare < ?", p.from, p.to, s.opts.Fast.Microseconds()).Order("n").Scan(ctx); err != nil {
		return nil, err
	}
	var out []Finding
	for _, v := range touched {
		var votes []voteRow
		if err := s.db.Handle().NewSelect().Model(&votes).Where("voter = ? AND at > ? AND n <= ?", v.Voter, govdb.At(v.At.Time().Add(-lookBack)), v.N).Order("n").Scan(ctx); err != nil {
			return nil, err
		}
		var fast []int64
		for _, x := range votes {
			if x.Spare < s.opts.Fast.Microseconds() {
				fast = append(fast, x.N)
			}
		}
		if len(votes) < stampMin || 2*len(fast) < len(votes) {
			continue
		}
		var acts []actRow
		if err := s.db.Handle().NewSelect().Model(&acts).Where("n IN (?)", bun.List(fast)).Order("at", "n").Scan(ctx); err != nil {
			return nil, err
		}
		out = append(out, Finding{key: v.Voter + "|" + v.At.Time().UTC().Format("2006-01"), Severity: governance.Warning, Who: v.Voter, At: v.At.Time(), Acts: actsOf(acts), ActCount: int64(len(fast)),
			Title: "Decisions too fast to have been read", Dimension: fmt.Sprintf("decisions with less than %s to look, of those in 30 days", s.opts.Fast),
			Baseline: "below half of them", Value: fmt.Sprintf("%d of %d decisions", len(fast), len(votes))})
	}
	return out, nil
}
