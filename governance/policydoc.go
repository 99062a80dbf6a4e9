package governance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mode says whether a policy acts. The zero value is refused.
type Mode string

// The modes of a policy.
const (
	Shadow  Mode = "shadow"  // evaluated and written down, holds nothing
	Enforce Mode = "enforce" // holds and denies
)

// Duration is a time.Duration written as in Go: "24h", "15m".
type Duration struct{ time.Duration }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return Invalid("duration", "%q is not a duration such as 24h", b)
	}
	d.Duration = v
	return nil
}

// Scope says over whose actions a limit sums.
type Scope string

// The scopes of a limit.
const (
	ByActor    Scope = "actor"
	ByTenant   Scope = "tenant"
	ByResource Scope = "resource"
	ByGlobal   Scope = "global"
)

// Policy is one versioned rule about actions. Policies combine: any deny wins,
// requirements of all that match add up. A policy without limits applies to every
// action it matches; with limits, only to those that would pass one.
type Policy struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Actions  []string `json:"actions"`         // names, or "prefix.*"
	Match    string   `json:"match,omitempty"` // CEL over action, actor, tenant; empty matches
	Mode     Mode     `json:"mode"`
	Deny     bool     `json:"deny,omitempty"`
	Limits   []Limit  `json:"limits,omitempty"`
	Require  *Require `json:"require,omitempty"`
	NeedWhy  bool     `json:"need_reason,omitempty"` // an action without a reason is denied
	NeedTick bool     `json:"need_ticket,omitempty"`

	// Obligations of an action that went through, with a limit only where it was
	// exceeded. Over several policies the strictest counts.
	Notify      Severity `json:"notify,omitempty"`      // raise an alert of this severity
	ReviewAfter Duration `json:"review_after,omitzero"` // somebody else looks at it within this time
	Record      bool     `json:"record,omitempty"`      // an impersonation is recorded, or not begun
	Observer    bool     `json:"observer,omitempty"`    // an impersonation is watched, or not begun

	// BackTest is the hash of the report that was looked at before the policy came into
	// force; see [Kernel.BackTest].
	BackTest Digest `json:"back_test,omitempty"`
}

// Limit is the most of a unit that may be posted or pending in a sliding window.
// The action that would make the sum exceed Max is held, or denied when the policy
// has no Require.
type Limit struct {
	Unit    string   `json:"unit"` // such as "EUR.cent", "rows", or "count" for how often
	Max     int64    `json:"max"`
	Window  Duration `json:"window"`
	By      Scope    `json:"by"`
	Convert bool     `json:"convert,omitempty"` // take any money measure, converted into Unit's currency
	Count   Count    `json:"count,omitempty"`   // what it counts; default CountPending
}

// Count says which actions a limit sums.
type Count string

// What a limit counts.
const (
	CountPosted   Count = "posted"   // what was executed
	CountPending  Count = "pending"  // what was executed or waits
	CountAttempts Count = "attempts" // every try that reached the policies, refused and failed ones too
)

// Require says who must approve, and by when. One of AllOf and AnyOf is given.
type Require struct {
	AllOf         []Quorum `json:"all_of,omitempty"`
	AnyOf         []Quorum `json:"any_of,omitempty"` // one of them is enough
	DecideWithin  Duration `json:"decide_within"`
	ExecuteWithin Duration `json:"execute_within"`
	Manual        bool     `json:"manual,omitempty"`       // wait for Execute after the last vote
	PersonalKey   bool     `json:"personal_key,omitempty"` // a vote by a personal API key counts
	Signed        bool     `json:"signed,omitempty"`       // a vote for it counts only with the signature of the voter's security key
	// Deny is how many people must vote against it to end it; default one. Over several
	// policies the smallest counts.
	Deny       int         `json:"deny,omitempty"`
	Exclude    []GroupID   `json:"exclude,omitempty"` // whose members may not vote, whatever else they belong to
	Escalate   *Escalation `json:"escalate,omitempty"`
	BreakGlass *BreakGlass `json:"break_glass,omitempty"`
}

// Quorum is a number of distinct people of one group. Over several quorums one
// person fills one place only.
type Quorum struct {
	Group     GroupID `json:"group"`
	Approvals int     `json:"approvals"`
	Where     string  `json:"where,omitempty"` // CEL over actor (the voter), action and tenant: who of the group counts
	// Or is groups that may fill the places as well; escalation puts them here.
	Or []GroupID `json:"or,omitempty"`
}

// Escalation opens the places of a requirement to one more group when nobody decided
// for a while, and raises an alert.
type Escalation struct {
	After Duration `json:"after"`
	To    GroupID  `json:"to"`
}

func (p Policy) matchesName(action string) bool {
	for _, a := range p.Actions {
		if a == action {
			return true
		}
		if prefix, ok := strings.CutSuffix(a, "*"); ok && strings.HasPrefix(action, prefix) {
			return true
		}
	}
	return false
}

// Validate checks the document alone; every fault is named.
func (p Policy) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) { errs = append(errs, Invalid(field, format, args...)) }
	if !validSlug(p.ID) {
		bad("id", "%q is not a name of lower-case letters, digits and dashes", p.ID)
	}
	if p.Title == "" || len(p.Title) > 200 {
		bad("title", "is required, at most 200 bytes")
	}
	if len(p.Actions) == 0 {
		bad("actions", "name at least one; no action never means every action")
	}
	for i, a := range p.Actions {
		if a == "" || strings.Contains(strings.TrimSuffix(a, "*"), "*") {
			bad(fmt.Sprintf("actions[%d]", i), "%q is neither a name nor a prefix with a star", a)
		}
	}
	if p.Mode != Shadow && p.Mode != Enforce {
		bad("mode", "%q is neither shadow nor enforce", p.Mode)
	}
	if p.Deny && (p.Require != nil || len(p.Limits) > 0) {
		bad("deny", "goes with neither limits nor require")
	}
	if !p.Deny && p.Require == nil && len(p.Limits) == 0 && !p.NeedWhy && !p.NeedTick && !p.obliges() {
		bad("require", "the policy demands nothing")
	}
	if p.Notify != "" && rank(p.Notify) == 0 && p.Notify != Info {
		bad("notify", "%q is not one of info, warning, critical", p.Notify)
	}
	if d := p.ReviewAfter.Duration; d < 0 || d > 90*24*time.Hour {
		bad("review_after", "%s is not between 0 and 2160h", p.ReviewAfter)
	}
	for i, l := range p.Limits {
		at := fmt.Sprintf("limits[%d].", i)
		if l.Unit == "" {
			bad(at+"unit", "is required")
		}
		if l.Max < 0 {
			bad(at+"max", "is negative")
		}
		if l.Window.Duration < time.Second || l.Window.Duration > 366*24*time.Hour {
			bad(at+"window", "%s is not between 1s and 8784h", l.Window)
		}
		if !slices.Contains([]Scope{ByActor, ByTenant, ByResource, ByGlobal}, l.By) {
			bad(at+"by", "%q is not one of actor, tenant, resource, global", l.By)
		}
		if _, ok := unitCurrency(l.Unit); l.Convert && !ok {
			bad(at+"convert", "unit %q is not money", l.Unit)
		}
		if !slices.Contains([]Count{"", CountPosted, CountPending, CountAttempts}, l.Count) {
			bad(at+"count", "%q is not one of posted, pending, attempts", l.Count)
		}
	}
	if p.Require != nil {
		p.Require.validate(bad)
	}
	return errors.Join(errs...)
}

func (p Policy) obliges() bool {
	return p.Notify != "" || p.ReviewAfter.Duration > 0 || p.Record || p.Observer
}

func (r Require) validate(bad func(field, format string, args ...any)) {
	if len(r.AllOf) == 0 && len(r.AnyOf) == 0 {
		bad("require.all_of", "an empty list would approve by itself")
	}
	if len(r.AllOf) > 0 && len(r.AnyOf) > 0 {
		bad("require.any_of", "goes not with all_of: write two policies")
	}
	for name, qs := range map[string][]Quorum{"all_of": r.AllOf, "any_of": r.AnyOf} {
		for i, q := range qs {
			at := fmt.Sprintf("require.%s[%d]", name, i)
			if q.Group == "" || q.Group.Marked() || q.Approvals < 1 || q.Approvals > 10 {
				bad(at, "want a group and 1 to 10 approvals")
			}
			if len(q.Or) > 0 {
				bad(at+".or", "is filled by escalation alone")
			}
		}
	}
	if r.DecideWithin.Duration <= 0 || r.ExecuteWithin.Duration <= 0 {
		bad("require", "decide_within and execute_within must be positive")
	}
	if r.Deny < 0 || r.Deny > 10 {
		bad("require.deny", "is not between 0 and 10; 0 stands for 1")
	}
	for i, g := range r.Exclude {
		if g == "" || g.Marked() || g == GroupTenant {
			bad(fmt.Sprintf("require.exclude[%d]", i), "is no group")
		}
	}
	if e := r.Escalate; e != nil && (e.To == "" || e.To.Marked() || e.To == GroupTenant || e.After.Duration <= 0 || e.After.Duration >= r.DecideWithin.Duration) {
		bad("require.escalate", "want a group, and a time that is over before decide_within")
	}
	if r.BreakGlass != nil {
		r.BreakGlass.validate(bad)
	}
}

func validSlug(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
