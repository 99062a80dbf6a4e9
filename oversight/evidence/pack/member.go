package pack

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// access is what a record says of a person's roles, which are their groups.
type access struct {
	*record
	person  string
	version int64 // the person's changes are counted from 1
	roles   []string
	active  bool
}

// AccessChange reads out of a record's body whose access it sets, and the number of the
// change among all changes of that person's access.
func AccessChange(body []byte) (person string, version int64, ok bool) {
	var r record
	if json.Unmarshal(body, &r) != nil {
		return "", 0, false
	}
	a, ok := r.access()
	return a.person, a.version, ok
}

// accessActions are those whose records set or take away somebody's access.
var accessActions = map[string]bool{"user.add": true, "user.roles": true, "user.activate": true, "user.deactivate": true}

// access reads a change of somebody's access out of a record.
func (r *record) access() (access, bool) {
	person, is := strings.CutPrefix(r.Res, "person/")
	if !is || r.Outcome != "done" || !accessActions[r.Action] {
		return access{}, false
	}
	type state struct {
		Roles   []string `json:"roles"`
		State   string   `json:"state"`
		Version int64    `json:"version"`
	}
	var s state
	var data struct {
		Result *state `json:"result"`
	}
	if json.Unmarshal(r.Data, &s) != nil || json.Unmarshal(r.Data, &data) != nil {
		return access{}, false
	}
	switch {
	case data.Result != nil:
		s = *data.Result
	case r.Action == "user.add" && s.Version == 0: // written before records of it said more
		s.State, s.Version = "active", 1
	}
	return access{r, person, s.Version, s.Roles, s.State == "active"}, s.Version > 0
}

// changes are the records of a person's access in the pack, by their number.
func (v *verification) changes(person string) []access {
	var out []access
	for _, id := range slices.Sorted(maps.Keys(v.records)) {
		if a, ok := v.records[id].access(); ok && a.person == person {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b access) int { return int(a.version - b.version) })
	return out
}

// precedes tells whether a was written before b: the order of the log says so, and the
// clocks do not say otherwise; what was sealed together may stand in either order.
func precedes(a, b *record) bool {
	if a.n < b.n {
		return !a.at.After(b.at.Add(slack))
	}
	return near(a.at, b.at, slack) && !a.at.After(b.at)
}

// The ways in which the membership of a voter is shown.
const (
	byWord    = iota // no record says anything of it
	byLast           // the last record before the vote that is in the pack
	byNumber         // the record whose number the vote names
	byBracket        // that one, and the next change, which came after the vote
)

// relied is what the record of a vote says of the membership it relies on.
type relied struct {
	Access    map[string]int64  `json:"access"`    // number of the last change, by person
	Delegated map[string]string `json:"delegated"` // delegation, by group
}

// member says why records do not support that the voter was in the groups that their
// vote counts for, or is empty.
func (c *actionCheck) member(vote Vote, r *record) string {
	if r.Actor.Kind == actorTenant {
		c.contacts++
		return ""
	}
	var says relied
	if json.Unmarshal(r.Data, &says) != nil {
		return "what it relies on does not parse"
	}
	own, how, why := c.accessAt(vote.Person, r, says)
	if why != "" {
		return why
	}
	defer func() { c.shown[how]++ }()
	if how == byWord {
		return ""
	}
	if c.access == nil {
		c.access = map[string]access{}
	}
	c.access[vote.Person] = own
	if g := c.barred(own.roles); g != "" {
		return "record " + own.ID + " says that they are in " + g + ", which the policy excludes"
	}
	for _, g := range vote.Groups {
		if strings.Contains(g, "?") || slices.Contains(own.roles, g) {
			continue
		}
		other, why := c.delegation(vote, r, says, g)
		if why != "" {
			return "record " + own.ID + " gives them " + text(own.roles) + ", not " + g + ": " + why
		}
		how = min(how, other)
	}
	return c.marks(vote, own)
}

// marks checks that a voter is by themself in the group that each mark of theirs is of.
func (c *actionCheck) marks(vote Vote, own access) string {
	for _, r := range c.require {
		for _, q := range append(slices.Clone(r.AllOf), r.AnyOf...) {
			if q.Where == "" {
				continue
			}
			for i, seat := range q.seats() {
				if g := append([]string{q.Group}, q.Or...)[i]; slices.Contains(vote.Groups, seat) && !slices.Contains(own.roles, g) {
					return "record " + own.ID + " gives them " + text(own.roles) + ", not " + g + ", whose condition they are said to meet"
				}
			}
		}
	}
	return ""
}

func (c *actionCheck) barred(roles []string) string {
	for _, r := range c.require {
		for _, g := range r.Exclude {
			if slices.Contains(roles, g) {
				return g
			}
		}
	}
	return ""
}

// accessAt finds the record of a person's access that held when a vote was cast.
func (c *actionCheck) accessAt(person string, r *record, says relied) (access, int, string) {
	all := c.changes(person)
	n, numbered := says.Access[person]
	if !numbered && len(says.Access) > 0 {
		return access{}, byWord, "its record names no change of the access of " + person + " that it relies on"
	}
	if !numbered {
		for _, a := range all {
			if precedes(a.record, r) {
				n = a.version
			}
		}
		if n == 0 {
			if len(all) > 0 && all[0].version == 1 { // else it is older than the records
				return access{}, byWord, "the access of " + person + " begins after it, with record " + all[0].ID
			}
			return access{}, byWord, ""
		}
	}
	var at access
	for _, a := range all {
		switch {
		case a.version != n:
		case at.record != nil:
			return at, byWord, "records " + at.ID + " and " + a.ID + " are both the change of the access of " + person + " that it relies on"
		default:
			at = a
		}
	}
	switch {
	case at.record == nil:
		return at, byWord, "the record of the change of the access of " + person + " that it relies on is missing"
	case !precedes(at.record, r):
		return at, byWord, "record " + at.ID + " gave " + person + " their groups after the vote"
	case !at.active:
		return at, byWord, "record " + at.ID + " had ended the access of " + person
	}
	how := byLast
	if numbered {
		how = byNumber
	}
	next := int64(0)
	for _, a := range all {
		switch {
		case a.version < n && before(at.record, a.record):
			return at, byWord, "record " + a.ID + " counts as an earlier change of the access of " + person + ", and came later"
		case a.version <= n:
			continue
		case precedes(a.record, r) && !near(a.at, r.at, slack):
			return at, byWord, "record " + a.ID + " had changed the access of " + person + " before the vote"
		case precedes(a.record, r):
			c.note("record %s: the access of %s changed within a minute before the vote, by record %s", r.ID, person, a.ID)
		}
		if next == 0 {
			if next = a.version; next != n+1 {
				return at, byWord, "record " + a.ID + " is not the change of the access of " + person + " that followed: one is left out"
			}
			if numbered && !precedes(a.record, r) {
				how = byBracket
			}
		}
	}
	return at, how, ""
}

// delegation says why no delegation put the voter into a group, or is empty.
func (c *actionCheck) delegation(vote Vote, r *record, says relied, group string) (int, string) {
	why := "no record says that it was delegated to them"
	for _, id := range slices.Sorted(maps.Keys(c.records)) {
		d := c.records[id]
		if d.Action != "approval.delegate" || d.Outcome != "done" || len(says.Access) > 0 && d.Res != "delegation/"+says.Delegated[group] {
			continue
		}
		var data struct {
			ID        string    `json:"id"`
			Delegator string    `json:"delegator"`
			Delegate  string    `json:"delegate"`
			Group     string    `json:"group"`
			From      time.Time `json:"from"`
			Until     time.Time `json:"until"`
		}
		if json.Unmarshal(d.Data, &data) != nil || data.Delegate != vote.Person || data.Group != group || d.Res != "delegation/"+data.ID {
			continue
		}
		switch {
		case data.Delegator != d.Actor.Person:
			why = "record " + id + " delegates what is somebody else's"
		case !precedes(d, r) || r.at.Before(data.From.Add(-slack)) || r.at.After(data.Until.Add(slack)):
			why = "the delegation of record " + id + " was not in force"
		case c.revoked(data.ID, r):
			why = "the delegation of record " + id + " had ended"
		case c.excluded(data.Delegator, nil) != "":
			why = data.Delegator + ", who delegated it, may not vote: " + c.excluded(data.Delegator, nil)
		default:
			from, how, bad := c.accessAt(data.Delegator, r, says)
			switch {
			case bad != "":
				why = bad
			case how == byWord:
				c.lent = append(c.lent, loan{vote.Person, data.Delegator, group, data.ID, from, data.Until})
				return how, ""
			case c.barred(from.roles) != "" || !slices.Contains(from.roles, group):
				why = "record " + from.ID + " gives " + data.Delegator + ", who delegated it, " + text(from.roles)
			default:
				c.lent = append(c.lent, loan{vote.Person, data.Delegator, group, data.ID, from, data.Until})
				return how, ""
			}
		}
	}
	return byWord, why
}

// standing leaves out of those who approved what they had lost when the act was carried
// out: leaving a group takes the vote with it.
func (c *actionCheck) standing(approvers map[string][]string) map[string][]string {
	out := maps.Clone(approvers)
	c.places(out)
	for _, person := range slices.Sorted(maps.Keys(approvers)) {
		then, ok := c.access[person]
		if !ok {
			continue
		}
		may, lost := c.lately(then), ""
		for _, g := range then.roles {
			if slices.ContainsFunc(may, func(a access) bool { return a.active && slices.Contains(a.roles, g) }) {
				continue
			}
			for _, seat := range c.seatsOf(g) {
				if take(out, person, seat) {
					lost = g
				}
			}
		}
		if !slices.ContainsFunc(may, func(a access) bool { return a.active }) {
			delete(out, person)
			lost = "all groups"
		}
		if lost != "" && len(may) > 0 {
			c.note("the vote of %s did not count in the end: record %s took %s from them before action %s was carried out", person, may[0].ID, lost, c.id)
		}
	}
	return out
}

// lately is how somebody's access may have been when the act was carried out, by the
// last minute's changes.
func (c *actionCheck) lately(then access) (may []access) {
	for _, a := range c.changes(then.person) {
		switch {
		case a.version < then.version || !precedes(a.record, c.done):
		case near(a.at, c.done.at, slack):
			may = append(may, a)
		default:
			may = []access{a}
		}
	}
	return may
}

// loan is a place that somebody voted in by a delegation.
type loan struct {
	voter, delegator, group, id string
	from                        access // of the delegator; none when no record says it
	until                       time.Time
}

// places takes from the voters what was delegated and had ended when the act was carried
// out, and lets what was handed on be one place: neither two delegates nor the delegator
// beside one fill another.
func (c *actionCheck) places(out map[string][]string) {
	held := map[[2]string]bool{}
	for _, l := range c.lent {
		why, place := "", [2]string{l.delegator, l.group}
		switch {
		case l.until.Before(c.done.at.Add(-slack)) || c.revoked(l.id, c.done):
			why = "the delegation of " + l.delegator + " had ended"
		case l.from.record != nil && !slices.ContainsFunc(c.lately(l.from), func(a access) bool { return a.active && slices.Contains(a.roles, l.group) }):
			why = l.delegator + ", who delegated it, had lost it"
		case held[place]:
			why = "the place of " + l.delegator + " was filled"
		}
		if why != "" {
			if take(out, l.voter, l.group) {
				c.note("the vote of %s did not count for %s in the end: %s before action %s was carried out", l.voter, l.group, why, c.id)
			}
			continue
		}
		held[place] = true
		for _, seat := range c.seatsOf(l.group) {
			if take(out, l.delegator, seat) {
				c.note("the vote of %s did not count for %s in the end: they had delegated it to %s", l.delegator, l.group, l.voter)
			}
		}
	}
}

// take takes a membership from a voter.
func take(voters map[string][]string, person, seat string) bool {
	had := voters[person]
	if !slices.Contains(had, seat) {
		return false
	}
	voters[person] = slices.DeleteFunc(slices.Clone(had), func(g string) bool { return g == seat })
	return true
}

// seatsOf are the memberships that somebody has by being in a group.
func (c *actionCheck) seatsOf(group string) []string {
	out := []string{group}
	for _, r := range c.require {
		for _, q := range append(slices.Clone(r.AllOf), r.AnyOf...) {
			if q.Where == "" {
				continue
			}
			for i, seat := range q.seats() {
				if append([]string{q.Group}, q.Or...)[i] == group {
					out = append(out, seat)
				}
			}
		}
	}
	return out
}

// revoked tells whether a delegation had ended well before a vote.
func (c *actionCheck) revoked(delegation string, r *record) bool {
	for _, d := range c.records {
		if d.Action == "approval.undelegate" && d.Outcome == "done" && d.Res == "delegation/"+delegation && precedes(d, r) && !near(d.at, r.at, slack) {
			return true
		}
	}
	return false
}

// memberships says how the memberships of those who voted are shown.
func (c *actionCheck) memberships() {
	if n := c.shown[byBracket]; n > 0 {
		c.note("%d votes on action %s: records prove the voters' groups, and the next change of their access came after the vote", n, c.id)
	}
	if n := c.shown[byNumber]; n > 0 {
		c.note("%d votes on action %s: records prove the voters' groups; no later change is in the pack, so that none came before the vote is what the vote's own record says", n, c.id)
	}
	if n := c.shown[byLast]; n > 0 {
		c.note("%d votes on action %s: records gave the voters their groups; that none took them away before the vote is not shown, because the votes do not say on which change they rely", n, c.id)
	}
	if n := c.shown[byWord]; n > 0 {
		c.note("%d votes on action %s: that the voters were in their groups is what the votes' records say; the directory kept no record of it", n, c.id)
	}
	if c.contacts > 0 {
		c.note("%d votes on action %s are of the tenant's own people: who they were is the host's word", c.contacts, c.id)
	}
}

func text(roles []string) string {
	if len(roles) == 0 {
		return "no role"
	}
	return strings.Join(roles, ", ")
}
