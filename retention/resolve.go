package retention

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
)

// State is what the resolver says of a row.
type State string

// The states of a row. Only due rows are ever touched; every other state but kept
// is an exception that people see.
const (
	Due            State = "due"
	Kept           State = "kept"
	Held           State = "held"
	Conflict       State = "conflict"        // the ceiling has passed and a floor still stands: kept, for people to decide
	NoRule         State = "no_rule"         // no rule of law is known for the country and class
	NoPolicy       State = "no_policy"       // the owner has set no target
	UnknownCountry State = "unknown_country" // none, or not one we know
	NoStart        State = "no_start"        // the clock's column is empty or unreadable
	Implausible    State = "implausible_start"
	Unsupported    State = "unsupported" // due, but the source cannot do what the policy asks
)

// Facts are what is known of one row.
type Facts struct {
	Source, Class string
	Key           string // the row's key in its canonical text form
	Country       string // as the host writes it
	Tenant        string
	Subject       string // the data subject's key
	Start         time.Time
	StartIsDay    bool // Start is a civil day at midnight UTC, not an instant
	HasStart      bool
	NotBegun      bool     // no start, and that means the period has not begun
	Implausible   bool     // the start is a default such as 1970-01-01
	Classes       []string // classes of the rows that go with it
	ChildHolds    []string // holds on rows that go with it
}

// Bound is one rule or policy in a decision.
type Bound struct {
	Kind     string    `json:"kind"` // floor, ceiling, principle or policy
	ID       string    `json:"id"`
	Version  int       `json:"version"`
	Period   Period    `json:"period,omitzero"`
	Due      string    `json:"due,omitempty"` // civil day
	Citation string    `json:"citation,omitempty"`
	Status   Status    `json:"status,omitempty"`
	day      time.Time `json:"-"`
}

// Decision is the resolver's answer about one row, with what it rests on.
type Decision struct {
	State   State     `json:"state"`
	Action  Action    `json:"action,omitempty"`
	Country string    `json:"country,omitempty"` // code
	Zone    string    `json:"zone,omitempty"`
	Due     string    `json:"due,omitempty"` // civil day in Zone
	DueAt   time.Time `json:"due_at,omitzero"`
	HeldBy  []string  `json:"held_by,omitempty"`
	Trace   []Bound   `json:"trace"`
	Why     string    `json:"why"`
}

// Resolver decides over rows. It is pure: the same facts and instant always give
// the same answer. Safe for concurrent use.
type Resolver struct {
	places   map[string]place
	names    map[string]string
	rules    []RuleVersion
	policies []PolicyVersion
	holds    []Hold

	mu    sync.Mutex
	bases map[baseKey]*basis
}

type place struct {
	Jurisdiction
	zone *time.Location
}

// NewResolver makes a Resolver over the given law, policies and holds.
func NewResolver(js []Jurisdiction, rules []RuleVersion, policies []PolicyVersion, holds []Hold) (*Resolver, error) {
	r := &Resolver{places: map[string]place{}, names: map[string]string{}, bases: map[baseKey]*basis{}, rules: rules, policies: policies}
	for _, j := range js {
		zone, err := time.LoadLocation(j.Zone)
		if err != nil || j.Zone == "" {
			return nil, governance.Invalid("jurisdictions."+j.Code, "zone %q is not known", j.Zone)
		}
		r.places[j.Code] = place{j, zone}
		for _, name := range append([]string{j.Code, j.Name}, j.Aliases...) {
			key := strings.ToLower(strings.TrimSpace(name))
			if have, ok := r.names[key]; ok && have != j.Code {
				return nil, governance.Invalid("jurisdictions."+j.Code, "%q is also a name of %s", name, have)
			}
			r.names[key] = j.Code
		}
	}
	for _, h := range holds {
		if h.ReleasedAt.IsZero() {
			r.holds = append(r.holds, h)
		}
	}
	return r, nil
}

// Country gives the code for what a host wrote.
func (r *Resolver) Country(written string) (string, bool) {
	code, ok := r.names[strings.ToLower(strings.TrimSpace(written))]
	return code, ok && strings.TrimSpace(written) != ""
}

// Holds lists the holds in force.
func (r *Resolver) Holds() []Hold { return r.holds }

type baseKey struct {
	source, class, country string
	asOf                   int64
}

// basis is what applies to every row of one source and class in one country.
type basis struct {
	place  place
	today  time.Time // civil day of asOf there
	law    []RuleVersion
	policy *PolicyVersion
	state  State // why nothing can be due, or empty
}

func (r *Resolver) basis(source, class, country string, asOf time.Time) *basis {
	key := baseKey{source, class, country, asOf.UnixNano()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.bases[key]; ok {
		return b
	}
	b := &basis{}
	r.bases[key] = b
	code, ok := r.Country(country)
	if !ok {
		b.state = UnknownCountry
		return b
	}
	b.place = r.places[code]
	b.today = dayIn(asOf, b.place.zone)
	holds := func(area string) bool { return area == code || slices.Contains(b.place.Regions, area) }
	for _, rule := range r.rules {
		if rule.Class == class && holds(rule.Jurisdiction) && rule.inForce(asOf) {
			b.law = append(b.law, rule)
		}
	}
	best := -1
	for i, p := range r.policies {
		if p.Class != class || p.Off || p.Source != "" && p.Source != source || p.Country != "" && !holds(p.Country) {
			continue
		}
		score := 0
		switch {
		case p.Country == code:
			score = 4
		case p.Country != "":
			score = 2
		}
		if p.Source != "" {
			score++
		}
		// Two regions may both have a policy: the shorter one counts, floors hold anyway.
		if score > best || score == best && dueDay(b.today, p.Period, p.Clock).Before(dueDay(b.today, b.policy.Period, b.policy.Clock)) {
			best, b.policy = score, &r.policies[i]
		}
	}
	switch {
	case len(b.law) == 0:
		b.state = NoRule
	case b.policy == nil:
		b.state = NoPolicy
	}
	return b
}

// bounds are the days of a row that starts on day. A zero ceiling means none.
func (b *basis) bounds(day time.Time) (due, floor, ceiling time.Time) {
	due = dueDay(day, b.policy.Period, b.policy.Clock)
	for _, r := range b.law {
		switch r.Kind {
		case Floor:
			if d := dueDay(day, r.Period, r.Clock); d.After(floor) {
				floor = d
			}
		case Ceiling:
			if d := dueDay(day, r.Period, r.Clock); ceiling.IsZero() || d.Before(ceiling) {
				ceiling = d
			}
		}
	}
	if !ceiling.IsZero() && due.After(ceiling) {
		due = ceiling
	}
	if due.Before(floor) { // a floor wins over ceiling and target
		due = floor
	}
	return due, floor, ceiling
}

func (b *basis) startDay(f Facts) time.Time {
	if f.StartIsDay {
		return f.Start
	}
	return dayIn(f.Start, b.place.zone)
}

// Decide is [Resolver.Resolve] without the trace, for many rows.
func (r *Resolver) Decide(f Facts, asOf time.Time) (State, Action) {
	if len(r.heldBy(f)) > 0 {
		return Held, ""
	}
	b := r.basis(f.Source, f.Class, f.Country, asOf)
	switch {
	case b.state != "":
		return b.state, ""
	case f.NotBegun:
		return Kept, ""
	case !f.HasStart:
		return NoStart, ""
	case f.Implausible:
		return Implausible, ""
	}
	due, floor, ceiling := b.bounds(b.startDay(f))
	switch {
	case !due.After(b.today):
		return Due, b.policy.Action
	case !ceiling.IsZero() && !ceiling.After(b.today) && floor.After(b.today):
		return Conflict, ""
	}
	return Kept, ""
}

func (r *Resolver) heldBy(f Facts) []string {
	held := append([]string(nil), f.ChildHolds...)
	for _, h := range r.holds {
		if h.Selector.matches(f, r) {
			held = append(held, h.ID.String())
		}
	}
	return held
}

// Resolve decides over one row and says why.
func (r *Resolver) Resolve(f Facts, asOf time.Time) Decision {
	d := Decision{Trace: []Bound{}, HeldBy: r.heldBy(f)}
	d.State, d.Action = r.Decide(f, asOf)
	b := r.basis(f.Source, f.Class, f.Country, asOf)
	if b.place.zone != nil {
		d.Country, d.Zone = b.place.Code, b.place.Zone
	}
	dated := f.HasStart && !f.Implausible
	for _, rule := range b.law {
		bound := Bound{Kind: string(rule.Kind), ID: rule.ID, Version: rule.Version, Period: rule.Period, Citation: rule.Citation, Status: rule.Status}
		if dated && rule.Kind != Principle {
			bound.day = dueDay(b.startDay(f), rule.Period, rule.Clock)
		}
		d.Trace = append(d.Trace, bound)
	}
	if b.policy != nil {
		bound := Bound{Kind: "policy", ID: b.policy.ID, Version: b.policy.Version, Period: b.policy.Period}
		if dated && b.place.zone != nil {
			bound.day = dueDay(b.startDay(f), b.policy.Period, b.policy.Clock)
		}
		d.Trace = append(d.Trace, bound)
	}
	for i, t := range d.Trace {
		if !t.day.IsZero() {
			d.Trace[i].Due = t.day.Format(time.DateOnly)
		}
	}
	if dated && b.state == "" {
		due, _, _ := b.bounds(b.startDay(f))
		d.Due, d.DueAt = due.Format(time.DateOnly), dayStart(due, b.place.zone).UTC()
	}
	d.Why = d.explain()
	return d
}

func (d Decision) explain() string {
	switch d.State {
	case Held:
		return fmt.Sprintf("kept: %d legal hold(s) select it", len(d.HeldBy))
	case Due:
		return fmt.Sprintf("due since %s: %s", d.Due, d.Action)
	case Kept:
		if d.Due == "" {
			return "kept: its period has not begun"
		}
		return "kept until " + d.Due
	case Conflict:
		return "kept: a ceiling has passed while a floor stands until " + d.Due + "; people must decide"
	case NoRule:
		return "kept: no rule of law is known for its country and class"
	case NoPolicy:
		return "kept: no policy sets a period for its class"
	case UnknownCountry:
		return "kept: its country is not known"
	case NoStart:
		return "kept: the day its period begins is not known"
	case Implausible:
		return "kept: the day its period begins looks like a default"
	}
	return string(d.State)
}

// Cutoff is a decision about all rows of one source and class in one country: a row
// is due when it starts before Due. Days are civil, in Zone; a zero day means no
// row.
type Cutoff struct {
	Country  string // code; empty when unknown
	Zone     *time.Location
	State    State // why nothing can be due: unknown_country, no_rule, no_policy; else empty
	Action   Action
	Due      time.Time
	Conflict time.Time // rows that start on or after Due and before Conflict are in conflict
}

// Instant is the cut as an instant, for columns that hold instants.
func (c Cutoff) Instant(day time.Time) time.Time { return dayStart(day, c.Zone) }

// Cutoff inverts the resolver, so that a database can select what is due. It agrees
// with [Resolver.Decide] on every row, because a row that starts later is never due
// earlier.
func (r *Resolver) Cutoff(source, class, country string, asOf time.Time) Cutoff {
	b := r.basis(source, class, country, asOf)
	c := Cutoff{Country: b.place.Code, Zone: b.place.zone, State: b.state}
	if b.state != "" {
		return c
	}
	c.Action = b.policy.Action
	c.Due = firstDay(b.today, func(day time.Time) bool {
		due, _, _ := b.bounds(day)
		return due.After(b.today)
	})
	c.Conflict = firstDay(b.today, func(day time.Time) bool {
		_, _, ceiling := b.bounds(day)
		return ceiling.IsZero() || ceiling.After(b.today)
	})
	return c
}

// firstDay finds the first civil day for which over holds, given that it holds for
// every later one; at most the day after today.
func firstDay(today time.Time, over func(day time.Time) bool) time.Time {
	low := civil(1899, 1, 1) // earlier starts are implausible
	days := int(today.Sub(low).Hours()/24) + 2
	return low.AddDate(0, 0, sort.Search(days, func(i int) bool { return over(low.AddDate(0, 0, i)) }))
}

// Countries lists the jurisdictions by code.
func (r *Resolver) Countries() []Jurisdiction {
	out := make([]Jurisdiction, 0, len(r.places))
	for _, p := range r.places {
		out = append(out, p.Jurisdiction)
	}
	slices.SortFunc(out, func(a, b Jurisdiction) int { return cmp.Compare(a.Code, b.Code) })
	return out
}
