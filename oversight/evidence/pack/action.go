package pack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// decision is what the ledger keeps of a decision; what else stands in it does not
// bear on who may decide.
type decision struct {
	Effect   string `json:"effect"`
	Policies []struct {
		Policy  string `json:"policy"`
		Version int    `json:"version"`
		Mode    string `json:"mode"`
		Effect  string `json:"effect"`
		Why     string `json:"why"`
	} `json:"policies"`
	Exclude []string          `json:"exclude"`
	Editors []string          `json:"editors"`
	Hash    string            `json:"hash"`
	Require []json.RawMessage `json:"require"`
}

// requirement is read strictly: a rule that this program does not know is not
// fulfilled.
type requirement struct {
	AllOf         []quorum    `json:"all_of,omitempty"`
	AnyOf         []quorum    `json:"any_of,omitempty"` // one of them is enough
	DecideWithin  duration    `json:"decide_within"`
	ExecuteWithin duration    `json:"execute_within"`
	Manual        bool        `json:"manual,omitempty"`
	PersonalKey   bool        `json:"personal_key,omitempty"`
	Signed        bool        `json:"signed,omitempty"`
	Deny          int         `json:"deny,omitempty"` // votes against that end it; 0 is 1
	Exclude       []string    `json:"exclude,omitempty"`
	Escalate      *escalation `json:"escalate,omitempty"`
	BreakGlass    *breakGlass `json:"break_glass,omitempty"`
}

type quorum struct {
	Group     string   `json:"group"`
	Approvals int      `json:"approvals"`
	Where     string   `json:"where,omitempty"` // the vote carries a mark when it held for the voter
	Or        []string `json:"or,omitempty"`
}

// seats are the memberships that fill a place of the quorum.
func (q quorum) seats() []string {
	if q.Where == "" {
		return append([]string{q.Group}, q.Or...)
	}
	mark := q.Group + "?" + q.Where
	out := []string{mark}
	for _, g := range q.Or {
		out = append(out, mark+"?"+g)
	}
	return out
}

type escalation struct {
	After duration `json:"after"`
	To    string   `json:"to"`
}

type breakGlass struct {
	Group        string   `json:"group"`
	Max          int64    `json:"max"`
	Window       duration `json:"window"`
	SignIn       duration `json:"sign_in,omitzero"`
	ReviewWithin duration `json:"review_within"`
}

// maxChoices is how many ways to take one alternative of each requirement are tried;
// what would need more is never held.
const maxChoices = 256

// merged is what all requirements together ask of each group: of the same group, and
// with the same condition, the most that one of them asks. A place that several ask for
// is filled by whom each of them accepts.
func merged(take [][]quorum) []quorum {
	type key struct{ group, where string }
	var order []key
	asked := map[key][]quorum{} // one of each requirement
	for _, qs := range take {
		mine := map[key]int{}
		for _, q := range qs {
			k := key{q.Group, q.Where}
			if at, twice := mine[k]; twice {
				asked[k][at].Approvals += q.Approvals
				continue
			}
			if asked[k] == nil {
				order = append(order, k)
			}
			mine[k] = len(asked[k])
			asked[k] = append(asked[k], q)
		}
	}
	var out []quorum
	for _, k := range order {
		qs := asked[k]
		slices.SortStableFunc(qs, func(a, b quorum) int { return cmp.Compare(a.Approvals, b.Approvals) })
		filled := 0
		for i, q := range qs {
			if q.Approvals == filled {
				continue
			}
			q.Or = slices.DeleteFunc(slices.Clone(q.Or), func(g string) bool {
				return slices.ContainsFunc(qs[i+1:], func(o quorum) bool { return !slices.Contains(o.Or, g) })
			})
			q.Approvals, filled = q.Approvals-filled, q.Approvals
			out = append(out, q)
		}
	}
	return out
}

// unmet says what the voters leave open of all that holds one act, or is empty. A person
// fills one place over all requirements together.
func unmet(rs []requirement, voters map[string][]string) string {
	ways := 1
	for _, r := range rs {
		if ways *= max(len(r.AnyOf), 1); ways > maxChoices {
			return "its requirements have too many alternatives together"
		}
	}
	gap := ""
	for _, r := range rs {
		for _, q := range slices.Concat(r.AllOf, r.AnyOf) {
			if q.Group == "" || q.Approvals < 1 || q.Approvals > 100 {
				return fmt.Sprintf("%d of %q is no quorum", q.Approvals, q.Group)
			}
		}
	}
	for way := range ways {
		take := make([][]quorum, len(rs))
		for i, r := range rs {
			take[i] = r.AllOf
			if n := len(r.AnyOf); n > 0 {
				take[i] = r.AnyOf[way%n : way%n+1]
				way /= n
			}
		}
		if gap = unfilled(merged(take), voters); gap == "" {
			return ""
		}
	}
	return gap
}

type duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(b []byte) (err error) {
	d.Duration, err = time.ParseDuration(string(b))
	return err
}

// raised begins the name of a demand that no policy made, a finding's for one.
const raised = "raised:"

// unevaluated begins the reason of a policy that denied because its condition could
// not be evaluated. It is not among those that the decision's hash covers.
const unevaluated = "its condition could not be evaluated"

func (v *verification) actions() {
	ids := map[string]bool{}
	for _, f := range v.m.Files {
		if rest, ok := strings.CutPrefix(f.Name, "actions/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			ids[id] = true
		}
	}
	if !ids[v.m.Subject.ID] {
		v.bad("actions/"+v.m.Subject.ID+"/action.json", "is missing: the pack is about it")
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		c := &actionCheck{verification: v, id: id}
		c.run()
	}
}

// actionCheck checks one action against the records about it.
type actionCheck struct {
	*verification
	id       string
	place    string
	a        Action
	held     *record // or the one that decided without holding
	done     *record
	votes    map[string]*record
	no       int                  // votes against
	signed   map[string]Assertion // by the record of the vote
	verified int                  // signatures that hold
	shown    [byBracket + 1]int   // votes, by how the voter's membership is shown
	contacts int                  // votes of the tenant's own people
	access   map[string]access    // of those who voted, as it was then
	lent     []loan               // places that somebody voted in by a delegation
	aside    []string             // who voted for it with a key that did not count any more when it was done
	decision decision
	require  []requirement
}

func (c *actionCheck) run() {
	dir := "actions/" + c.id + "/"
	c.place = dir + "action.json"
	if !c.file(c.place, &c.a) {
		return
	}
	if c.a.ID != c.id || c.a.ID == c.m.Subject.ID && c.m.Subject.Kind == KindAction && c.a.Name != c.m.Subject.Name {
		c.bad(c.place, "is about another action")
	}
	payload := dir + "payload.json"
	b, ok := c.files[payload]
	if !ok {
		c.bad(payload, "is missing")
	}
	c.seen[payload] = true
	if digest("reeve/action/v1", b) != c.a.Digest {
		c.bad(payload, "does not have the digest that was decided on, %s", c.a.Digest)
	}
	c.sort()
	if c.held == nil {
		c.bad(c.place, "no record says how action %s was decided", c.id)
		return
	}
	c.payload(payload, b)
	c.decided()
	c.signatures()
	approvers := c.cast(dir + "votes.json")
	if c.verified > 0 {
		c.note("%d votes on action %s are signed by keys of the voters", c.verified, c.id)
	}
	c.memberships()
	c.outcome(approvers)
}

// sort finds the records that speak of the action.
func (c *actionCheck) sort() {
	c.votes = map[string]*record{}
	var failed *record
	for _, id := range slices.Sorted(maps.Keys(c.records)) { // version 7: in the order in which they were written
		r := c.records[id]
		if r.ActionID != c.id || r.Digest == "" {
			continue
		}
		if r.Digest != c.a.Digest {
			c.bad(r.place, "record %s is about another payload than %s", id, c.place)
		}
		switch {
		case r.Action == "approval.vote" && r.Outcome == "done":
			c.votes[id] = r
		case r.Action != c.a.Name:
		case r.Outcome == "held":
			if c.held != nil {
				c.bad(r.place, "record %s holds the action a second time", id)
			}
			c.held = r
		case r.Outcome == "done":
			if c.done != nil {
				c.bad(r.place, "record %s executes the action a second time", id)
			}
			c.done = r
		case failed == nil && (r.Outcome == "denied" || r.Outcome == "failed" || r.Outcome == "unknown"):
			failed = r
		}
	}
	switch {
	case c.held != nil:
	case c.done != nil:
		c.held = c.done
	default:
		c.held = failed
	}
}

func (c *actionCheck) payload(place string, b []byte) {
	var p struct {
		Action          string          `json:"action"`
		Tenant          string          `json:"tenant"`
		Resource        string          `json:"resource"`
		ResourceVersion string          `json:"resource_version"`
		Measures        json.RawMessage `json:"measures"`
		Input           json.RawMessage `json:"input"`
	}
	if err := strict(b, &p); err != nil {
		c.bad(place, "does not parse: %v", err)
		return
	}
	if p.Action != c.a.Name || p.Tenant != c.held.Tenant || p.Resource != c.held.Res {
		c.bad(place, "is about %s of %s, record %s about %s of %s", p.Action, p.Resource, c.held.ID, c.held.Action, c.held.Res)
	}
	if c.a.Requester != c.held.Actor.ID || c.a.Person != c.held.Actor.Person || !near(c.a.CreatedAt, c.held.at, slack) && !c.a.Remote {
		c.bad(c.place, "names another requester or time than record %s", c.held.ID)
	}
}

// decided checks that the policies in the pack are the ones that decided.
func (c *actionCheck) decided() {
	var data struct {
		Decision decision `json:"decision"`
	}
	if err := json.Unmarshal(c.held.Data, &data); err != nil {
		c.bad(c.held.place, "the decision of record %s does not parse", c.held.ID)
	}
	c.decision = data.Decision
	if len(c.decision.Policies) == 0 {
		if c.a.Held {
			c.bad(c.held.place, "record %s holds the action for no policy", c.held.ID)
		}
		return
	}
	hashes := map[string]string{}
	for _, p := range c.decision.Policies {
		if strings.HasPrefix(p.Policy, raised) && p.Version == 0 {
			c.note("%s asked for more than the policies: %s", strings.TrimPrefix(p.Policy, raised), p.Why)
			continue
		}
		name := policyName(p.Policy, p.Version)
		b, ok := c.files[name]
		if !ok {
			c.bad(name, "is missing: record %s was decided by it", c.held.ID)
			continue
		}
		c.seen[name] = true
		var body struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(b, &body) != nil || body.ID != p.Policy {
			c.bad(name, "is another policy")
		}
		if p.Mode == "enforce" && !strings.HasPrefix(p.Why, unevaluated) {
			hashes[p.Policy] = digest("reeve/policy/v1", b)
		}
	}
	b, err := encode(hashes)
	if err != nil || digest("reeve/policies/v1", b) != c.decision.Hash {
		c.bad(c.held.place, "the policies in the pack are not those that record %s was decided by", c.held.ID)
	}
	for i, raw := range c.decision.Require {
		var r requirement
		if err := strict(raw, &r); err != nil || (len(r.AllOf) == 0) == (len(r.AnyOf) == 0) || r.DecideWithin.Duration <= 0 || r.ExecuteWithin.Duration <= 0 {
			c.bad(c.held.place, "requirement %d of record %s is one that this program cannot check", i, c.held.ID)
			continue
		}
		c.require = append(c.require, c.escalated(r))
	}
}

// groupTenant is the place that the tenant's own people fill, and actorTenant their kind.
const (
	groupTenant = "tenant"
	actorTenant = "tenant"
)

// escalated opens the places of a requirement to the group that it escalates to, when a
// record says that this was done and the time for it had come.
func (c *actionCheck) escalated(r requirement) requirement {
	if r.Escalate == nil {
		return r
	}
	for _, rec := range c.records {
		var data struct {
			To []string `json:"to"`
		}
		if rec.ActionID != c.id || rec.Action != "approval.escalate" || json.Unmarshal(rec.Data, &data) != nil || !slices.Contains(data.To, r.Escalate.To) ||
			rec.at.Add(slack).Before(c.held.at.Add(r.Escalate.After.Duration)) {
			continue
		}
		for _, qs := range [][]quorum{r.AllOf, r.AnyOf} {
			for i := range qs {
				if qs[i].Group != groupTenant { // whose place nobody else fills
					qs[i].Or = append(qs[i].Or, r.Escalate.To)
				}
			}
		}
		return r
	}
	return r
}

// cast checks the votes and gives those that count, person by person.
func (c *actionCheck) cast(place string) map[string][]string {
	var votes []Vote
	approvers := map[string][]string{}
	if !c.file(place, &votes) {
		return approvers
	}
	c.rep.Votes += len(votes)
	last := c.held
	for _, vote := range votes {
		r := c.votes[vote.Record]
		delete(c.votes, vote.Record)
		if r == nil {
			c.bad(place, "the vote of %s has no record", vote.Person)
			continue
		}
		var data struct {
			Decision string   `json:"decision"`
			Comment  string   `json:"comment"`
			Groups   []string `json:"groups"`
		}
		_ = json.Unmarshal(r.Data, &data)
		if vote.Person != r.Actor.Person || vote.Actor != r.Actor.ID || vote.Decision != data.Decision || vote.Comment != data.Comment ||
			!slices.Equal(vote.Groups, data.Groups) || !near(vote.At, r.at, slack) {
			c.bad(place, "the vote of %s is not the one of record %s", vote.Person, r.ID)
			continue
		}
		ofTenant := r.Actor.Kind == actorTenant && r.Actor.Tenant != "" && r.Actor.Tenant == c.held.Tenant && r.Subject == nil
		if ofTenant != slices.ContainsFunc(vote.Groups, func(g string) bool { return g == groupTenant || strings.HasPrefix(g, groupTenant+"?") }) {
			c.bad(r.place, "record %s: %s is not of the tenant in whose place they voted", r.ID, vote.Person)
			continue
		}
		if vote.Digest != c.a.Digest {
			c.bad(place, "the vote of %s is on another payload", vote.Person)
			continue
		}
		if before(r, last) || !c.a.DecideBy.IsZero() && vote.At.After(c.a.DecideBy) {
			c.bad(r.place, "record %s: the vote of %s is before what it is about, or after the time to decide", r.ID, vote.Person)
		}
		last = r
		if why := c.excluded(vote.Person, vote.Groups); why != "" {
			c.bad(r.place, "record %s: %s may not vote: %s", r.ID, vote.Person, why)
			continue
		}
		if why := c.signature(vote, r); why != "" {
			c.bad(signaturesName(c.id), "the vote of %s, record %s: %s", vote.Person, r.ID, why)
			continue
		}
		if why := c.member(vote, r); why != "" {
			c.bad(r.place, "record %s: the groups of %s do not count: %s", r.ID, vote.Person, why)
			continue
		}
		if _, twice := approvers[vote.Person]; twice {
			c.bad(r.place, "record %s is a second vote of %s", r.ID, vote.Person)
		}
		if slices.Contains(c.aside, vote.Person) {
			continue
		}
		if vote.Decision == "approve" {
			approvers[vote.Person] = vote.Groups
		} else {
			c.no++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.votes)) {
		c.bad(place, "leaves out the vote of record %s", id)
	}
	return approvers
}

func (c *actionCheck) excluded(person string, groups []string) string {
	barred := slices.ContainsFunc(c.require, func(r requirement) bool {
		return slices.ContainsFunc(r.Exclude, func(g string) bool { return slices.Contains(groups, g) })
	})
	switch {
	case barred:
		return "they are in a group that the policy excludes"
	case person == "":
		return "no person stands behind it"
	case person == c.held.Actor.Person:
		return "they asked for it"
	case c.held.Subject != nil && person == c.held.Subject.Person:
		return "they were represented by who asked"
	case slices.Contains(c.decision.Editors, person):
		return "they edited the policy"
	case slices.Contains(c.decision.Exclude, person):
		return "they are excluded by the decision"
	}
	return ""
}

// outcome checks that what happened is what the decision and the votes allow.
func (c *actionCheck) outcome(approvers map[string][]string) {
	if (c.a.State == "executed") != (c.done != nil) {
		c.bad(c.place, "is %s, which the records about action %s do not say", c.a.State, c.id)
	}
	if (c.held.Outcome == "held") != c.a.Held {
		c.bad(c.place, "does not say of itself what record %s says: whether it was held", c.held.ID)
	}
	c.closed()
	c.clocks()
	if c.done == nil {
		return
	}
	if c.done == c.held {
		switch {
		case c.done.Bootstrap:
			c.note("action %s needed approval and ran without: there were not yet enough people (bootstrap, record %s)", c.id, c.done.ID)
		case c.decision.Effect == "hold" && c.broke():
			c.note("action %s needed approval and ran without: the glass was broken (record %s); a review is due", c.id, c.done.ID)
		case c.decision.Effect != "allow" && len(c.decision.Policies) > 0:
			c.bad(c.done.place, "record %s executes what the policies did not allow", c.done.ID)
		}
		return
	}
	var data struct {
		ApprovedBy []string `json:"approved_by"`
		PolicyHash string   `json:"policy_hash"`
	}
	_ = json.Unmarshal(c.done.Data, &data)
	slices.Sort(data.ApprovedBy)
	if have := slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(c.aside), maps.Keys(approvers)))); !slices.Equal(have, data.ApprovedBy) {
		c.bad(c.done.place, "record %s was approved by %s, the votes in the pack are of %s", c.done.ID, strings.Join(data.ApprovedBy, ", "), strings.Join(have, ", "))
	}
	if data.PolicyHash != c.decision.Hash {
		c.bad(c.done.place, "record %s was executed under other policies than record %s was held by", c.done.ID, c.held.ID)
	}
	if len(c.require) == 0 || len(c.require) != len(c.decision.Require) {
		c.bad(c.held.place, "record %s says of no approval that could be checked", c.held.ID)
	}
	c.against(c.no)
	if gap := unmet(c.require, c.standing(approvers)); gap != "" {
		c.bad(c.done.place, "record %s executes without its quorum: %s", c.done.ID, gap)
	}
}

// broke tells whether a record says that the glass was broken for the action, by who did
// it, and every requirement has one to break.
func (c *actionCheck) broke() bool {
	if len(c.require) == 0 || len(c.require) != len(c.decision.Require) || slices.ContainsFunc(c.require, func(r requirement) bool { return r.BreakGlass == nil }) {
		return false
	}
	for _, r := range c.records {
		if r.ActionID == c.id && r.Action == "break_glass" && r.Outcome == "done" && r.Actor.Person != "" && r.Actor.Person == c.done.Actor.Person {
			return true
		}
	}
	return false
}

// against checks that votes against an action that went on were too few to end it.
func (c *actionCheck) against(n int) {
	for i, r := range c.require {
		if n >= max(r.Deny, 1) {
			c.bad(c.done.place, "record %s executes what %d people voted against, and requirement %d ends by %d", c.done.ID, n, i, max(r.Deny, 1))
		}
	}
}

// closed checks that an approval that was not executed ended as a record says.
func (c *actionCheck) closed() {
	if !c.a.Held {
		return
	}
	want, outcome := "approval."+c.a.State, "done"
	switch c.a.State {
	case "denied":
		want = "approval.vote"
	case "expired", "cancelled", "lapsed", "superseded":
	default:
		return
	}
	for _, r := range c.records {
		var data struct {
			State string `json:"state"`
		}
		if r.ActionID == c.id && r.Action == want && r.Outcome == outcome && json.Unmarshal(r.Data, &data) == nil && data.State == c.a.State {
			return
		}
	}
	c.bad(c.place, "is %s, and no record says so", c.a.State)
}

// clocks checks the two times by which an approval must be decided and executed.
func (c *actionCheck) clocks() {
	if len(c.require) == 0 || !c.a.Held {
		return
	}
	decide, execute := c.require[0].DecideWithin.Duration, c.require[0].ExecuteWithin.Duration
	for _, r := range c.require[1:] {
		decide, execute = min(decide, r.DecideWithin.Duration), min(execute, r.ExecuteWithin.Duration)
	}
	if c.a.DecideBy.IsZero() || c.a.DecideBy.After(c.held.at.Add(decide)) {
		c.bad(c.place, "gives more time to decide than record %s, which says %s", c.held.ID, decide)
	}
	if c.done == nil {
		return
	}
	last := c.held
	for _, r := range c.records {
		if r.ActionID == c.id && r.Action == "approval.vote" && r.Outcome == "done" && r.at.After(last.at) {
			last = r
		}
	}
	switch {
	case before(c.done, last):
		c.bad(c.done.place, "record %s executes before the last vote", c.done.ID)
	case c.a.ExecuteBy.IsZero() || c.a.ExecuteBy.After(last.at.Add(execute)):
		c.bad(c.place, "gives more time to execute than record %s, which says %s", c.held.ID, execute)
	case c.done.at.After(c.a.ExecuteBy.Add(slack)) && !c.a.Remote: // a remote outcome may be learnt later
		c.bad(c.done.place, "record %s executes after the time to execute", c.done.ID)
	case !near(c.a.ExecutedAt, c.done.at, slack):
		c.bad(c.place, "was executed at another time than record %s says", c.done.ID)
	}
}

// unfilled says what the voters leave open when each fills at most one place: a
// maximum matching by augmenting paths, since counting would let one person stand
// for two.
func unfilled(qs []quorum, voters map[string][]string) string {
	var places []quorum
	for _, q := range qs {
		if q.Group == "" || q.Approvals < 1 || q.Approvals > 100 {
			return fmt.Sprintf("%d of %q is no quorum", q.Approvals, q.Group)
		}
		for range q.Approvals {
			places = append(places, q)
		}
	}
	people := slices.Sorted(maps.Keys(voters))
	holder := map[int]int{} // place → person
	var seat func(person int, tried map[int]bool) bool
	seat = func(person int, tried map[int]bool) bool {
		for i, pl := range places {
			if tried[i] || !slices.ContainsFunc(pl.seats(), func(g string) bool { return slices.Contains(voters[people[person]], g) }) {
				continue
			}
			tried[i] = true
			other, taken := holder[i]
			if !taken || seat(other, tried) {
				holder[i] = person
				return true
			}
		}
		return false
	}
	for i := range people {
		seat(i, map[int]bool{})
	}
	for i, pl := range places {
		if _, taken := holder[i]; !taken {
			return "nobody is left for a place of " + pl.Group
		}
	}
	return ""
}
