package retention

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

// Kind says what a rule of law demands.
type Kind string

// The kinds of rule.
const (
	Floor     Kind = "floor"     // must be kept at least so long
	Ceiling   Kind = "ceiling"   // must be gone after
	Principle Kind = "principle" // law without a number: only as long as the purpose needs; the policy sets the period
)

// Status says how far a rule was checked. None we ship is more than a start.
type Status string

// The statuses of a rule.
const (
	VerifyWithCounsel Status = "verify-with-counsel"
	Contested         Status = "contested"
	Verified          Status = "verified"
)

// Jurisdiction is a country, with the zone in which its days begin.
type Jurisdiction struct {
	Code    string   `json:"code" yaml:"code"` // ISO 3166-1 alpha-2
	Name    string   `json:"name" yaml:"name"`
	Zone    string   `json:"zone" yaml:"zone"`
	Regions []string `json:"regions,omitempty" yaml:"regions"` // such as EU: rules of a region hold in its countries
	Aliases []string `json:"aliases,omitempty" yaml:"aliases"` // how hosts write it
}

// Rule is law: what must be kept or must be gone, where, for which class of data.
type Rule struct {
	ID           string    `json:"id" yaml:"id"`
	Jurisdiction string    `json:"jurisdiction" yaml:"jurisdiction"` // a country's code or a region
	Class        string    `json:"class" yaml:"class"`
	Kind         Kind      `json:"kind" yaml:"kind"`
	Period       Period    `json:"period,omitzero" yaml:"period"`
	Clock        Clock     `json:"clock" yaml:"clock"`
	Citation     string    `json:"citation" yaml:"citation"`
	Note         string    `json:"note,omitempty" yaml:"note"`
	From         time.Time `json:"effective_from,omitzero" yaml:"effective_from"`
	To           time.Time `json:"effective_to,omitzero" yaml:"effective_to"` // exclusive
	Status       Status    `json:"status" yaml:"status"`
}

var (
	slugForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}$`)
	areaForm = regexp.MustCompile(`^[A-Z][A-Z0-9-]{1,9}$`)
)

// Validate checks the rule alone; every fault is named.
func (r Rule) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, governance.Invalid(field, format, args...))
	}
	if !slugForm.MatchString(r.ID) {
		bad("id", "%q is not a name of lower-case letters, digits, dots and dashes", r.ID)
	}
	if !areaForm.MatchString(r.Jurisdiction) {
		bad("jurisdiction", "%q is neither a country code nor a region", r.Jurisdiction)
	}
	if !slugForm.MatchString(r.Class) {
		bad("class", "%q is not a data class", r.Class)
	}
	switch r.Kind {
	case Floor, Ceiling:
		if r.Period.IsZero() {
			bad("period", "is required for a %s", r.Kind)
		}
	case Principle:
		if !r.Period.IsZero() {
			bad("period", "a principle has none")
		}
	default:
		bad("kind", "%q is none of floor, ceiling, principle", r.Kind)
	}
	if strings.TrimSpace(r.Citation) == "" || len(r.Citation) > 500 {
		bad("citation", "is required, at most 500 bytes: a rule without a source is an opinion")
	}
	if len(r.Note) > 2000 {
		bad("note", "is longer than 2000 bytes")
	}
	switch r.Status {
	case VerifyWithCounsel, Contested, Verified:
	default:
		bad("status", "%q is none of verify-with-counsel, contested, verified", r.Status)
	}
	if !r.From.IsZero() && !r.To.IsZero() && !r.To.After(r.From) {
		bad("effective_to", "is not after effective_from")
	}
	return errors.Join(append(errs, r.Clock.validate("clock."))...)
}

func (r Rule) inForce(at time.Time) bool {
	return !at.Before(r.From) && (r.To.IsZero() || at.Before(r.To))
}

// Action is what happens to a row that is due.
type Action string

// The actions.
const (
	Delete    Action = "delete"
	Anonymise Action = "anonymise"
)

// Policy is the owner's target for a class of data. The most specific one counts:
// country before region before everywhere, and one source before all sources.
type Policy struct {
	ID      string `json:"id" yaml:"id"`
	Title   string `json:"title" yaml:"title"`
	Class   string `json:"class" yaml:"class"`
	Country string `json:"country,omitempty" yaml:"country"` // a country's code or a region; empty: everywhere
	Source  string `json:"source,omitempty" yaml:"source"`
	Period  Period `json:"period" yaml:"period"`
	Clock   Clock  `json:"clock" yaml:"clock"`
	Action  Action `json:"action" yaml:"action"`
	Off     bool   `json:"off,omitempty" yaml:"off"` // no longer in force
}

// Validate checks the policy alone; every fault is named.
func (p Policy) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, governance.Invalid(field, format, args...))
	}
	if !slugForm.MatchString(p.ID) {
		bad("id", "%q is not a name of lower-case letters, digits, dots and dashes", p.ID)
	}
	if strings.TrimSpace(p.Title) == "" || len(p.Title) > 200 {
		bad("title", "is required, at most 200 bytes")
	}
	if !slugForm.MatchString(p.Class) {
		bad("class", "%q is not a data class", p.Class)
	}
	if p.Country != "" && !areaForm.MatchString(p.Country) {
		bad("country", "%q is neither a country code nor a region", p.Country)
	}
	if p.Source != "" && !slugForm.MatchString(p.Source) {
		bad("source", "%q is not the name of a source", p.Source)
	}
	if p.Period.IsZero() {
		bad("period", "is required: none never means at once")
	}
	if p.Action != Delete && p.Action != Anonymise {
		bad("action", "%q is neither delete nor anonymise", p.Action)
	}
	return errors.Join(append(errs, p.Clock.validate("clock."))...)
}

// RuleVersion is a stored version of a rule.
type RuleVersion struct {
	Rule
	Version  int                 `json:"version"`
	EditedBy governance.PersonID `json:"edited_by,omitempty"`
	At       time.Time           `json:"at"`
}

// PolicyVersion is a stored version of a policy.
type PolicyVersion struct {
	Policy
	Version  int                 `json:"version"`
	EditedBy governance.PersonID `json:"edited_by,omitempty"`
	At       time.Time           `json:"at"`
}
