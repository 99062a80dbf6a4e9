package alertroute

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Duration is a time.Duration written as in Go: "5m", "4h".
type Duration struct{ time.Duration }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 5m", b)
	}
	d.Duration = v
	return nil
}

// The figures of a route that names none: those of Alertmanager.
const (
	GroupWait      = 30 * time.Second
	GroupInterval  = 5 * time.Minute
	RepeatInterval = 4 * time.Hour
)

// The names that stand for what is there without a document: the route that takes
// whatever no other took, and the receiver of every notifier.
const (
	DefaultRoute = "default"
	Everyone     = "everyone"
)

// everyWait is the wait of the default route: long enough for what one cause raises
// together, short enough that nobody notices.
const everyWait = 2 * time.Second

const (
	maxRoutes = 50
	maxSteps  = 5 // of an escalation: it ends
)

// Document says who is told what. The zero value tells every notifier everything.
type Document struct {
	Receivers []Receiver `json:"receivers,omitempty"`
	Routes    []Route    `json:"routes,omitempty"`
}

// Receiver names notifiers that are told together; "*" is all there are.
type Receiver struct {
	Name      string   `json:"name"`
	Notifiers []string `json:"notifiers"`
}

// Route takes the alerts that match it. The first that matches takes an alert, and
// the search goes on after it only with Continue.
type Route struct {
	Name           string    `json:"name"`
	Match          Match     `json:"match,omitzero"`
	Steps          []Step    `json:"steps"`
	GroupBy        []string  `json:"group_by,omitempty"`   // of tenant, prefix, policy, key; default the first three
	GroupWait      *Duration `json:"group_wait,omitempty"` // before a group is first told; critical alerts do not wait
	GroupInterval  Duration  `json:"group_interval,omitzero"`
	RepeatInterval Duration  `json:"repeat_interval,omitzero"` // rounded up to whole group intervals
	Continue       bool      `json:"continue,omitempty"`
}

// Step is who is told, and for a step after the first, how long nobody may have
// acknowledged the alert since the step before.
type Step struct {
	Receiver string   `json:"receiver"`
	After    Duration `json:"after,omitzero"`
}

// Match selects alerts; an empty list takes every value.
type Match struct {
	Severities []string `json:"severities,omitempty"`
	Keys       []string `json:"keys,omitempty"` // beginnings of the alert's key
	Tenants    []string `json:"tenants,omitempty"`
}

// Facts are what routing knows of an alert.
type Facts struct {
	Key      string
	Severity string
	Tenant   string
	Policy   string // the policy that raised it, if one did
}

// Takes tells whether the match takes an alert.
func (m Match) Takes(f Facts) bool {
	if len(m.Severities) > 0 && !slices.Contains(m.Severities, f.Severity) || len(m.Tenants) > 0 && !slices.Contains(m.Tenants, f.Tenant) {
		return false
	}
	return len(m.Keys) == 0 || slices.ContainsFunc(m.Keys, func(p string) bool { return strings.HasPrefix(f.Key, p) })
}

func (m Match) empty() bool { return len(m.Severities)+len(m.Keys)+len(m.Tenants) == 0 }

// Protected tells whether an alert is one that nobody may keep from anybody: that
// alerts do not arrive, and that somebody broke the glass. It is never muted, and it
// goes to everyone whatever the routes say.
func Protected(key string) bool {
	return strings.HasPrefix(key, "alert.undelivered:") || strings.HasPrefix(key, "break-glass") || strings.HasPrefix(key, "break_glass") || strings.HasPrefix(key, "breakglass")
}

// everyRoute is the route of what no other takes.
func everyRoute() Route {
	return Route{Name: DefaultRoute, Steps: []Step{{Receiver: Everyone}}, GroupWait: &Duration{everyWait}}
}

// For lists the routes that take an alert; there is always one.
func (d Document) For(f Facts) []Route {
	var out []Route
	for _, r := range d.Routes {
		if r.Match.Takes(f) {
			out = append(out, r)
			if !r.Continue {
				break
			}
		}
	}
	if len(out) == 0 || Protected(f.Key) {
		out = append(out, everyRoute())
	}
	return out
}

// Route gives a route by its name.
func (d Document) Route(name string) (Route, bool) {
	if name == DefaultRoute {
		return everyRoute(), true
	}
	for _, r := range d.Routes {
		if r.Name == name {
			return r, true
		}
	}
	return Route{}, false
}

// Notifiers lists the notifiers of a receiver, of those there are. A receiver none of
// whose notifiers is there stands for all of them, rather than for silence; one that
// is missing beside others is listed, so that its alerts are seen not to arrive.
func (d Document) Notifiers(receiver string, have []string) []string {
	var out []string
	known := false
	for _, r := range d.Receivers {
		if r.Name != receiver {
			continue
		}
		for _, n := range r.Notifiers {
			if n == "*" {
				return slices.Clone(have)
			}
			out = append(out, n)
			known = known || slices.Contains(have, n)
		}
	}
	if !known {
		return slices.Clone(have)
	}
	return out
}

// Wait is how long an alert of a new group waits for others.
func (r Route) Wait(severity string) time.Duration {
	switch {
	case severity == "critical":
		return 0
	case r.GroupWait != nil:
		return r.GroupWait.Duration
	}
	return GroupWait
}

// Interval is the least time between two messages about one group.
func (r Route) Interval() time.Duration {
	if r.GroupInterval.Duration > 0 {
		return r.GroupInterval.Duration
	}
	return GroupInterval
}

// Repeat is after how long an alert that nobody acknowledged is told again: whole
// group intervals.
func (r Route) Repeat() time.Duration {
	every, unit := r.RepeatInterval.Duration, r.Interval()
	if every <= 0 {
		every = RepeatInterval
	}
	return max((every+unit-1)/unit, 1) * unit
}

// Fault names a place of a document and what is wrong there.
type Fault struct{ Field, Reason string }

type faults []Fault

func (f *faults) add(field, format string, args ...any) {
	*f = append(*f, Fault{field, fmt.Sprintf(format, args...)})
}

var severities = []string{"info", "warning", "critical"}

var labelNames = []string{"tenant", "prefix", "policy", "key"}

// Faults lists what is wrong with the match.
func (m Match) Faults(at string) []Fault {
	var f faults
	for i, s := range m.Severities {
		if !slices.Contains(severities, s) {
			f.add(fmt.Sprintf("%sseverities[%d]", at, i), "%q is not one of info, warning, critical", s)
		}
	}
	for _, l := range []struct {
		name string
		have []string
	}{{"keys", m.Keys}, {"tenants", m.Tenants}} {
		if len(l.have) > 100 {
			f.add(at+l.name, "has %d entries, at most 100", len(l.have))
		}
		for i, s := range l.have {
			if s == "" || len(s) > 200 {
				f.add(fmt.Sprintf("%s%s[%d]", at, l.name, i), "want 1 to 200 bytes")
			}
		}
	}
	return f
}

// Faults lists what is wrong with the document on a server that has these notifiers.
func (d Document) Faults(have []string) []Fault {
	var f faults
	names := map[string]bool{Everyone: true}
	if len(d.Receivers) > maxRoutes {
		f.add("receivers", "has %d entries, at most %d", len(d.Receivers), maxRoutes)
	}
	for i, r := range d.Receivers {
		at := fmt.Sprintf("receivers[%d].", i)
		f.name(at+"name", r.Name, names)
		if len(r.Notifiers) == 0 {
			f.add(at+"notifiers", "name at least one, or \"*\": a receiver of nothing would be silence")
		}
		for j, n := range r.Notifiers {
			if n != "*" && !slices.Contains(have, n) {
				f.add(fmt.Sprintf("%snotifiers[%d]", at, j), "%q is not configured here; there are %s", n, strings.Join(append([]string{"*"}, have...), ", "))
			}
		}
	}
	if len(d.Routes) > maxRoutes {
		f.add("routes", "has %d entries, at most %d", len(d.Routes), maxRoutes)
	}
	taken := map[string]bool{DefaultRoute: true}
	for i, r := range d.Routes {
		at := fmt.Sprintf("routes[%d].", i)
		f.name(at+"name", r.Name, taken)
		f = append(f, r.Match.Faults(at+"match.")...)
		if r.Match.empty() && !r.Continue && i < len(d.Routes)-1 {
			f.add(at+"match", "takes everything, so the routes after it would never be asked")
		}
		r.steps(&f, at, names)
		r.timing(&f, at)
	}
	return f
}

func (f *faults) name(at, name string, taken map[string]bool) {
	ok := name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	})
	switch {
	case !ok:
		f.add(at, "%q is not a name of lower-case letters, digits and dashes", name)
	case taken[name]:
		f.add(at, "%q is taken", name)
	}
	taken[name] = true
}

func (r Route) steps(f *faults, at string, receivers map[string]bool) {
	if len(r.Steps) == 0 || len(r.Steps) > maxSteps {
		f.add(at+"steps", "want 1 to %d", maxSteps)
	}
	for i, s := range r.Steps {
		here := fmt.Sprintf("%ssteps[%d].", at, i)
		if !receivers[s.Receiver] {
			f.add(here+"receiver", "%q is not a receiver of this document", s.Receiver)
		}
		switch {
		case i == 0 && s.After.Duration != 0:
			f.add(here+"after", "the first step does not wait; see group_wait")
		case i > 0 && (s.After.Duration < time.Minute || s.After.Duration > 24*time.Hour):
			f.add(here+"after", "%s is not between 1m and 24h", s.After)
		}
	}
}

func (r Route) timing(f *faults, at string) {
	seen := map[string]bool{}
	for i, l := range r.GroupBy {
		if !slices.Contains(labelNames, l) || seen[l] {
			f.add(fmt.Sprintf("%sgroup_by[%d]", at, i), "%q is not one of %s, or stands twice", l, strings.Join(labelNames, ", "))
		}
		seen[l] = true
	}
	if w := r.GroupWait; w != nil && (w.Duration < 0 || w.Duration > time.Hour) {
		f.add(at+"group_wait", "%s is not between 0s and 1h", w)
	}
	if v := r.GroupInterval.Duration; v != 0 && (v < 10*time.Second || v > 24*time.Hour) {
		f.add(at+"group_interval", "%s is not between 10s and 24h", v)
	}
	if v := r.RepeatInterval.Duration; v != 0 && (v < r.Interval() || v > 7*24*time.Hour) {
		f.add(at+"repeat_interval", "%s is not between group_interval and 168h", v)
	}
}
