package govapi

import (
	"strconv"
	"time"

	"github.com/reevehq/reeve/governance"
)

// GovPolicy is a policy document.
type GovPolicy struct {
	ID          string      `json:"id" pattern:"^[a-z0-9._-]{1,64}$"`
	Title       string      `json:"title" minLength:"1" maxLength:"200"`
	Actions     []string    `json:"actions" minItems:"1" maxItems:"100" doc:"Names, or prefix.*"`
	Match       string      `json:"match,omitempty" maxLength:"4000" doc:"CEL over action, actor and tenant"`
	Mode        string      `json:"mode" enum:"shadow,enforce"`
	Deny        bool        `json:"deny,omitempty"`
	Limits      []GovLimit  `json:"limits,omitempty" maxItems:"20"`
	Require     *GovRequire `json:"require,omitempty"`
	NeedReason  bool        `json:"need_reason,omitempty"`
	NeedTicket  bool        `json:"need_ticket,omitempty"`
	Notify      string      `json:"notify,omitempty" enum:"info,warning,critical" doc:"Raise an alert of this severity when it is done"`
	ReviewAfter string      `json:"review_after,omitempty" example:"72h" doc:"Somebody else looks at it within this time"`
	Record      bool        `json:"record,omitempty" doc:"An impersonation is recorded, or not begun"`
	Observer    bool        `json:"observer,omitempty" doc:"An impersonation is watched, or not begun"`
	BackTest    string      `json:"back_test,omitempty" maxLength:"100" doc:"Hash of the report that was looked at before it came into force"`
}

// GovLimit is the most of a unit in a sliding window.
type GovLimit struct {
	Unit    string `json:"unit" example:"EUR.cent"`
	Max     string `json:"max" pattern:"^[0-9]{1,18}$"`
	Window  string `json:"window" example:"24h"`
	By      string `json:"by" enum:"actor,tenant,resource,global"`
	Convert bool   `json:"convert,omitempty"`
	Count   string `json:"count,omitempty" enum:"posted,pending,attempts" doc:"What it counts; default pending: what was executed or waits"`
}

// GovRequire says who must approve, and by when. One of all_of and any_of is given.
type GovRequire struct {
	AllOf         []GovQuorum    `json:"all_of,omitempty" maxItems:"10"`
	AnyOf         []GovQuorum    `json:"any_of,omitempty" maxItems:"10" doc:"One of them is enough"`
	DecideWithin  string         `json:"decide_within" example:"72h"`
	ExecuteWithin string         `json:"execute_within" example:"24h"`
	Manual        bool           `json:"manual,omitempty"`
	PersonalKey   bool           `json:"personal_key,omitempty"`
	Signed        bool           `json:"signed,omitempty" doc:"A vote for it counts only with the signature of the voter's security key"`
	Deny          int            `json:"deny,omitempty" minimum:"1" maximum:"10" doc:"How many people must vote against it to end it; default 1"`
	Exclude       []string       `json:"exclude,omitempty" maxItems:"20" doc:"Groups whose members may not vote"`
	Escalate      *GovEscalation `json:"escalate,omitempty"`
	BreakGlass    *GovBreakGlass `json:"break_glass,omitempty"`
}

// GovEscalation opens a requirement to one more group when nobody decided.
type GovEscalation struct {
	After string `json:"after" example:"4h"`
	To    string `json:"to" minLength:"1" maxLength:"128"`
}

// GovBreakGlass lets people of a group act at once in an emergency.
type GovBreakGlass struct {
	Group        string `json:"group" minLength:"1" maxLength:"128"`
	Max          string `json:"max" pattern:"^[0-9]{1,3}$" doc:"Uses by one person in the window, at most 100"`
	Window       string `json:"window" example:"168h"`
	SignIn       string `json:"sign_in,omitempty" example:"5m" doc:"How old the sign-in may be"`
	ReviewWithin string `json:"review_within" example:"24h"`
}

// GovPolicyVersion is a stored policy.
type GovPolicyVersion struct {
	Policy   GovPolicy `json:"policy"`
	Version  int       `json:"version"`
	Hash     string    `json:"hash"`
	Active   bool      `json:"active"`
	EditedBy string    `json:"edited_by,omitempty"`
	At       time.Time `json:"at"`
}

func wirePolicy(v governance.PolicyVersion) GovPolicyVersion {
	p := GovPolicy{ID: v.ID, Title: v.Title, Actions: v.Actions, Match: v.Match, Mode: string(v.Mode), Deny: v.Deny, NeedReason: v.NeedWhy, NeedTicket: v.NeedTick,
		Notify: string(v.Notify), ReviewAfter: durationText(v.ReviewAfter), Record: v.Record, Observer: v.Observer, BackTest: string(v.BackTest)}
	for _, l := range v.Limits {
		p.Limits = append(p.Limits, GovLimit{l.Unit, itoa(l.Max), l.Window.String(), string(l.By), l.Convert, string(l.Count)})
	}
	if r := v.Require; r != nil {
		p.Require = wireRequire(*r)
	}
	return GovPolicyVersion{p, v.Version, string(v.Hash), v.Active, string(v.EditedBy), v.At}
}

func wireRequire(r governance.Require) *GovRequire {
	out := &GovRequire{DecideWithin: r.DecideWithin.String(), ExecuteWithin: r.ExecuteWithin.String(), Manual: r.Manual, PersonalKey: r.PersonalKey, Signed: r.Signed, Deny: r.Deny}
	if len(r.AllOf) > 0 {
		out.AllOf = wireQuorums(r.AllOf)
	}
	if len(r.AnyOf) > 0 {
		out.AnyOf = wireQuorums(r.AnyOf)
	}
	for _, g := range r.Exclude {
		out.Exclude = append(out.Exclude, string(g))
	}
	if e := r.Escalate; e != nil {
		out.Escalate = &GovEscalation{e.After.String(), string(e.To)}
	}
	if b := r.BreakGlass; b != nil {
		out.BreakGlass = &GovBreakGlass{string(b.Group), itoa(b.Max), b.Window.String(), durationText(b.SignIn), b.ReviewWithin.String()}
	}
	return out
}

func durationText(d governance.Duration) string {
	if d.Duration == 0 {
		return ""
	}
	return d.String()
}

// durations reads wire durations and keeps the first that is none.
type durations struct{ err error }

func (d *durations) read(field, s string) governance.Duration {
	var out governance.Duration
	if err := out.UnmarshalText([]byte(s)); err != nil && d.err == nil {
		d.err = governance.Invalid(field, "is not a duration such as 24h")
	}
	return out
}

func (d *durations) optional(field, s string) governance.Duration {
	if s == "" {
		return governance.Duration{}
	}
	return d.read(field, s)
}

// policy reads the wire form; what it cannot read is named.
func (p GovPolicy) policy() (governance.Policy, error) {
	d := &durations{}
	out := governance.Policy{ID: p.ID, Title: p.Title, Actions: p.Actions, Match: p.Match, Mode: governance.Mode(p.Mode), Deny: p.Deny, NeedWhy: p.NeedReason, NeedTick: p.NeedTicket,
		Notify: governance.Severity(p.Notify), ReviewAfter: d.optional("body.review_after", p.ReviewAfter), Record: p.Record, Observer: p.Observer, BackTest: governance.Digest(p.BackTest)}
	for i, l := range p.Limits {
		at := "body.limits[" + strconv.Itoa(i) + "]."
		largest, err := strconv.ParseInt(l.Max, 10, 64)
		if err != nil {
			return out, governance.Invalid(at+"max", "is not an integer")
		}
		out.Limits = append(out.Limits, governance.Limit{Unit: l.Unit, Max: largest, By: governance.Scope(l.By), Convert: l.Convert,
			Window: d.read(at+"window", l.Window), Count: governance.Count(l.Count)})
	}
	if r := p.Require; r != nil {
		out.Require = r.require(d)
	}
	return out, d.err
}

func (r GovRequire) require(d *durations) *governance.Require {
	out := &governance.Require{Manual: r.Manual, PersonalKey: r.PersonalKey, Signed: r.Signed, Deny: r.Deny, AllOf: quorums(r.AllOf), AnyOf: quorums(r.AnyOf),
		DecideWithin: d.read("body.require.decide_within", r.DecideWithin), ExecuteWithin: d.read("body.require.execute_within", r.ExecuteWithin)}
	for _, g := range r.Exclude {
		out.Exclude = append(out.Exclude, governance.GroupID(g))
	}
	if e := r.Escalate; e != nil {
		out.Escalate = &governance.Escalation{After: d.read("body.require.escalate.after", e.After), To: governance.GroupID(e.To)}
	}
	if b := r.BreakGlass; b != nil {
		at := "body.require.break_glass."
		most, err := strconv.ParseInt(b.Max, 10, 64)
		if err != nil && d.err == nil {
			d.err = governance.Invalid(at+"max", "is not an integer")
		}
		out.BreakGlass = &governance.BreakGlass{Group: governance.GroupID(b.Group), Max: most, Window: d.read(at+"window", b.Window),
			SignIn: d.optional(at+"sign_in", b.SignIn), ReviewWithin: d.read(at+"review_within", b.ReviewWithin)}
	}
	return out
}

func quorums(qs []GovQuorum) []governance.Quorum {
	var out []governance.Quorum
	for _, q := range qs {
		w := governance.Quorum{Group: governance.GroupID(q.Group), Approvals: q.Approvals, Where: q.Where}
		for _, g := range q.Or {
			w.Or = append(w.Or, governance.GroupID(g))
		}
		out = append(out, w)
	}
	return out
}
