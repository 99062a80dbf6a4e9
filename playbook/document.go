package playbook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/celrules"
)

const maxSource = 64 << 10

// Document is a playbook as people write it.
type Document struct {
	Name        string                 `yaml:"name" json:"name"`
	Title       string                 `yaml:"title" json:"title"`
	Description string                 `yaml:"description" json:"description,omitempty"`
	Trigger     Trigger                `yaml:"trigger" json:"trigger"`
	Signals     map[string]Declaration `yaml:"signals" json:"signals"`
	When        string                 `yaml:"when" json:"when"` // CEL over tenant, signals, event, now
	Safeguards  Safeguards             `yaml:"safeguards" json:"safeguards"`
	OnStop      string                 `yaml:"on_stop" json:"on_stop"` // what a run that stops on the way does: rollback (default) or keep
	Rollback    *RollbackRule          `yaml:"rollback" json:"rollback,omitempty"`
	Steps       []Step                 `yaml:"steps" json:"steps"`
}

// Trigger says what makes a playbook look at tenants.
type Trigger struct {
	Daily  string   `yaml:"daily" json:"daily,omitempty"`   // time of day in UTC, "06:30": looks at every tenant
	Events []string `yaml:"events" json:"events,omitempty"` // types of event: looks at the event's tenant
}

// Declaration is a signal that a playbook reads, its type and how old it may be.
type Declaration struct {
	Type   string   `yaml:"type" json:"type"` // number, text, bool, time
	MaxAge Duration `yaml:"max_age" json:"max_age"`
}

// Safeguards bound a playbook. The caps, the share of unusable tenants and the
// window have no default that acts more: a document without them is refused.
type Safeguards struct {
	MaxTargets  int      `yaml:"max_targets" json:"max_targets"`   // in one batch and in 24 hours
	MaxPercent  int      `yaml:"max_percent" json:"max_percent"`   // of all tenants, at least one tenant
	RepeatAfter Duration `yaml:"repeat_after" json:"repeat_after"` // a tenant is not taken again before
	MaxUnusable int      `yaml:"max_unusable" json:"max_unusable"` // percent of tenants whose signals are missing, stale or in error; more stops the batch
	MaxDepth    int      `yaml:"max_depth" json:"max_depth"`       // longest chain of causation that may start a run; default 2
}

// RollbackRule takes finished runs back when the reason for them is gone.
type RollbackRule struct {
	Events []string `yaml:"events" json:"events"`
	When   string   `yaml:"when" json:"when"` // CEL; looked at after such an event and with every daily scan
}

// Step is one thing a playbook does.
type Step struct {
	ID     string         `yaml:"id" json:"id"`
	Title  string         `yaml:"title" json:"title,omitempty"`
	Kind   string         `yaml:"kind" json:"kind"`
	Params map[string]any `yaml:"params" json:"params,omitempty"`
	Undo   string         `yaml:"undo" json:"undo,omitempty"` // "" the kind's own, "none": it stays
}

// The words of OnStop and Undo.
const (
	OnStopRollback = "rollback"
	OnStopKeep     = "keep"
	UndoNone       = "none"
)

// compiled is a document that was checked.
type compiled struct {
	Document
	source  string
	hash    string
	when    *celrules.Program
	reverse *celrules.Program
	daily   time.Duration // since midnight
}

// located adds line and column to faults of a YAML source.
type located struct {
	file *ast.File
	errs []error
}

func (l *located) bad(field, format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	for p := field; p != ""; { // the nearest ancestor that is there
		if path, err := yaml.PathString("$." + p); err == nil {
			if n, err := path.FilterFile(l.file); err == nil && n.GetToken() != nil {
				pos := n.GetToken().Position
				reason = fmt.Sprintf("line %d column %d: %s", pos.Line, pos.Column, reason)
				break
			}
		}
		cut := strings.LastIndexAny(p, ".[")
		p = p[:max(cut, 0)]
	}
	l.errs = append(l.errs, &governance.InvalidError{Field: field, Reason: reason})
}

// decodeYAML reads one strict document; a fault names its line and column.
func decodeYAML(source string, into any) (*located, error) {
	if len(source) > maxSource {
		return nil, governance.Invalid("source", "has %d bytes, at most %d are allowed", len(source), maxSource)
	}
	if !utf8.ValidString(source) || strings.ContainsRune(source, 0) {
		return nil, governance.Invalid("source", "is not UTF-8 text")
	}
	if line := tooDeep(source); line > 0 {
		return nil, governance.Invalid("source", "line %d: is nested more than %d deep", line, maxDepth)
	}
	file, err := parser.ParseBytes([]byte(source), 0)
	if err != nil {
		return nil, yamlFault(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, governance.Invalid("source", "want exactly one YAML document")
	}
	for n := range anchors(file) {
		return nil, governance.Invalid("source", "line %d column %d: anchors and aliases are not allowed", n.GetToken().Position.Line, n.GetToken().Position.Column)
	}
	d := yaml.NewDecoder(bytes.NewReader([]byte(source)), yaml.Strict())
	if err := d.Decode(into); err != nil {
		return nil, yamlFault(err)
	}
	return &located{file: file}, nil
}

const maxDepth = 50

// tooDeep gives the line at which a document is nested too deeply, or 0: the parser's
// time grows with the square of the depth.
func tooDeep(source string) int {
	depth := 0
	for i, line := range strings.Split(source, "\n") {
		rest, lists := strings.TrimLeft(line, " "), 0
		for strings.HasPrefix(rest, "- ") || strings.HasPrefix(rest, "? ") {
			rest = strings.TrimLeft(rest[2:], " ")
			lists++
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if max(depth, lists) > maxDepth {
				return i + 1
			}
		}
	}
	return 0
}

type anchorFinder struct{ found map[ast.Node]bool }

func (a anchorFinder) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		a.found[n] = true
	}
	return a
}

// anchors are refused: a small document could grow without bounds through them.
func anchors(file *ast.File) map[ast.Node]bool {
	a := anchorFinder{map[ast.Node]bool{}}
	for _, d := range file.Docs {
		ast.Walk(a, d)
	}
	return a.found
}

func yamlFault(err error) error {
	var invalid *governance.InvalidError
	var at yaml.Error
	reason := "is not a document of this kind"
	switch {
	case errors.As(err, &at):
		reason = at.GetMessage()
		if strings.HasPrefix(reason, "cannot unmarshal") { // the rest speaks of Go
			reason = "the value is of another type"
		}
		if t := at.GetToken(); t != nil {
			reason = fmt.Sprintf("line %d column %d: %s", t.Position.Line, t.Position.Column, reason)
		}
	case errors.As(err, &invalid):
		reason = invalid.Reason
	}
	return governance.Invalid("source", "%s", reason)
}

// Parse checks a document against the kinds this service has.
func (s *Service) Parse(source string) (Document, error) {
	c, err := s.compile(source)
	if err != nil {
		return Document{}, err
	}
	return c.Document, nil
}

func (s *Service) compile(source string) (*compiled, error) {
	c := &compiled{source: source}
	l, err := decodeYAML(source, &c.Document)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(source))
	c.hash = "sha256:" + hex.EncodeToString(sum[:])
	c.defaults()
	c.check(l)
	c.checkSteps(l, s)
	if err := c.conditions(l); err != nil {
		return nil, err
	}
	return c, errors.Join(l.errs...)
}

func (c *compiled) defaults() {
	if c.OnStop == "" {
		c.OnStop = OnStopRollback
	}
	if c.Safeguards.MaxDepth == 0 {
		c.Safeguards.MaxDepth = 2
	}
}

func slug(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i, r := range []byte(s) {
		letter, other := r >= 'a' && r <= 'z', r >= '0' && r <= '9' || r == '-' || r == '_'
		if !letter && (!other || i == 0) {
			return false
		}
	}
	return true
}

func (c *compiled) check(l *located) {
	if !slug(c.Name) {
		l.bad("name", "%q is not a name of lower-case letters, digits and dashes", c.Name)
	}
	if slices.Contains([]string{"new", "runs", "batches", "exemptions", "pause", "resume", "all"}, c.Name) { // parts of addresses
		l.bad("name", "%q is reserved", c.Name)
	}
	if c.Title == "" || len(c.Title) > 200 {
		l.bad("title", "is required, at most 200 bytes")
	}
	if c.Trigger.Daily == "" && len(c.Trigger.Events) == 0 {
		l.bad("trigger", "name a daily time or an event")
	}
	if c.Trigger.Daily != "" {
		t, err := time.Parse("15:04", c.Trigger.Daily)
		if err != nil {
			l.bad("trigger.daily", "%q is not a time of day such as 06:30", c.Trigger.Daily)
		}
		c.daily = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	if len(c.Signals) == 0 {
		l.bad("signals", "declare at least one signal: a condition without data cannot be stale")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Signals)) {
		d := c.Signals[name]
		if !slug(name) || strings.Contains(name, "-") {
			l.bad("signals", "%q is not a name of lower-case letters, digits and underscores", name)
		}
		if _, ok := signalTypes[d.Type]; !ok {
			l.bad("signals."+name, "type %q is not one of number, text, bool, time", d.Type)
		}
		if d.MaxAge.Duration <= 0 {
			l.bad("signals."+name, "max_age is required: how old may the value be")
		}
	}
	g := c.Safeguards
	if g.MaxTargets < 1 || g.MaxTargets > 5000 {
		l.bad("safeguards.max_targets", "want 1 to 5000")
	}
	if g.MaxPercent < 1 || g.MaxPercent > 100 {
		l.bad("safeguards.max_percent", "want 1 to 100")
	}
	if g.MaxUnusable < 1 || g.MaxUnusable > 100 {
		l.bad("safeguards.max_unusable", "want 1 to 100")
	}
	if g.RepeatAfter.Duration < time.Hour {
		l.bad("safeguards.repeat_after", "want at least 1h")
	}
	if g.MaxDepth < 1 || g.MaxDepth > 5 {
		l.bad("safeguards.max_depth", "want 1 to 5")
	}
	if c.OnStop != OnStopRollback && c.OnStop != OnStopKeep {
		l.bad("on_stop", "%q is neither rollback nor keep", c.OnStop)
	}
	if c.Rollback != nil && len(c.Rollback.Events) == 0 && c.Trigger.Daily == "" {
		l.bad("rollback.events", "is required without a daily trigger")
	}
}

func (c *compiled) checkSteps(l *located, s *Service) {
	if len(c.Steps) == 0 || len(c.Steps) > 30 {
		l.bad("steps", "want 1 to 30")
	}
	seen := map[string]int{}
	for i, st := range c.Steps {
		at := fmt.Sprintf("steps[%d]", i)
		if !slug(st.ID) {
			l.bad(at+".id", "%q is not a name of lower-case letters, digits and dashes", st.ID)
		}
		if _, twice := seen[st.ID]; twice {
			l.bad(at+".id", "%q is given twice", st.ID)
		}
		if st.Undo != "" && st.Undo != UndoNone {
			l.bad(at+".undo", "%q is not none", st.Undo)
		}
		k, ok := s.kinds[st.Kind]
		if !ok {
			l.bad(at+".kind", "%q is not a kind of step here; there are %s", st.Kind, strings.Join(s.KindNames(), ", "))
		} else {
			c.checkParams(l, at, st, k, seen, s)
		}
		seen[st.ID] = i
	}
}

func (c *compiled) checkParams(l *located, at string, st Step, k Kind, before map[string]int, s *Service) {
	for _, name := range slices.Sorted(maps.Keys(st.Params)) {
		p, ok := k.Params[name]
		if !ok {
			l.bad(at+".params."+name, "%s has no such parameter", st.Kind)
			continue
		}
		if err := p.check(st.Params[name]); err != nil {
			l.bad(at+".params."+name, "%v", err)
		}
		text, _ := st.Params[name].(string)
		for _, ref := range templateRefs(text) {
			if why := c.checkRef(ref, before, s); why != "" {
				l.bad(at+".params."+name, "%s", why)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.Params)) {
		if _, given := st.Params[name]; k.Params[name].Required && !given {
			l.bad(at, "parameter %s is required", name)
		}
	}
	if target, ok := st.Params["step"].(string); ok && st.Kind == KindApproval {
		i := slices.IndexFunc(c.Steps, func(o Step) bool { return o.ID == target })
		if _, past := before[target]; i < 0 || past || target == st.ID {
			l.bad(at+".params.step", "%q is not a later step", target)
		} else if !s.kinds[c.Steps[i].Kind].Guarded {
			l.bad(at+".params.step", "%q does nothing that is decided by a policy", target)
		} else if strings.Contains(fmt.Sprint(c.Steps[i].Params), "${steps.") {
			l.bad(at+".params.step", "%q takes what another step gives, so it cannot be shown before", target)
		}
	}
}

// checkRef says what is wrong with a template's path, or is empty.
func (c *compiled) checkRef(ref string, before map[string]int, s *Service) string {
	parts := strings.Split(ref, ".")
	switch {
	case len(parts) == 2 && parts[0] == "tenant" && slices.Contains(tenantFields, parts[1]):
	case len(parts) == 2 && parts[0] == "run" && slices.Contains(runFields, parts[1]):
	case len(parts) == 2 && parts[0] == "signals":
		if _, ok := c.Signals[parts[1]]; !ok {
			return fmt.Sprintf("${%s}: the signal is not declared", ref)
		}
	case len(parts) == 3 && parts[0] == "steps":
		i, ok := before[parts[1]]
		if !ok {
			return fmt.Sprintf("${%s}: there is no step %q before this one", ref, parts[1])
		}
		if !slices.Contains(s.kinds[c.Steps[i].Kind].Outputs, parts[2]) {
			return fmt.Sprintf("${%s}: a step of kind %s gives no %q", ref, c.Steps[i].Kind, parts[2])
		}
	default:
		return fmt.Sprintf("${%s} is not known", ref)
	}
	return ""
}

func (c *compiled) conditions(l *located) error {
	fields := map[string]celrules.Type{}
	for name, d := range c.Signals {
		if t, ok := signalTypes[d.Type]; ok {
			fields[name] = t
		}
	}
	text := celrules.String()
	env, err := celrules.NewEnv(map[string]celrules.Type{
		"tenant":  celrules.Object(map[string]celrules.Type{"id": text, "name": text, "country": text, "region": text, "owner": text, "status": text, "plan": text, "seats": celrules.Int()}),
		"signals": celrules.Object(fields), "event": celrules.Object(map[string]celrules.Type{"type": text}), "now": celrules.Timestamp(),
	}, nil)
	if err != nil {
		return err
	}
	if c.when, err = env.Compile(c.When); err != nil {
		l.bad("when", "%v", err)
	}
	if c.Rollback != nil {
		if c.reverse, err = env.Compile(c.Rollback.When); err != nil {
			l.bad("rollback.when", "%v", err)
		}
	}
	return nil
}

// nextDaily is the first daily time after t; zero without one.
func (c *compiled) nextDaily(t time.Time) time.Time {
	if c.Trigger.Daily == "" {
		return time.Time{}
	}
	at := t.UTC().Truncate(day).Add(c.daily)
	if !at.After(t) {
		at = at.Add(day)
	}
	return at
}

// cap is the most targets for a number of tenants.
func (g Safeguards) cap(tenants int) int {
	return min(g.MaxTargets, max(1, tenants*g.MaxPercent/100))
}

func (c *compiled) eventTypes() []string {
	out := slices.Clone(c.Trigger.Events)
	if c.Rollback != nil {
		out = append(out, c.Rollback.Events...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
