package playbook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Kind is a kind of step. It is either local, with DoTx, or remote, with Do and
// Lookup; one that is neither or both is refused.
type Kind struct {
	Name    string
	Title   string
	Params  map[string]Param
	Outputs []string // keys of its Output, which later steps may use
	// Consequential asks for a fresh look at the condition, on fresh signals, right
	// before the step. A kind that changes what a customer has or sees is.
	Consequential bool
	// Guarded says that DoTx asks a governance.Action, which may be held.
	Guarded bool

	// DoTx makes the effect in the transaction that also stores the step's state, so
	// it happens exactly once. *governance.ApprovalRequiredError lets the step wait.
	DoTx func(ctx context.Context, tx *governance.Tx, c Call) (Output, error)
	// UndoTx takes it back. governance.ErrConflict: somebody changed it meanwhile, and
	// it stays. governance.ErrNotFound: it is gone already.
	UndoTx func(ctx context.Context, tx *governance.Tx, c Call, out Output) error

	// Do makes an effect elsewhere; Call.Idem is the same over every try. An error
	// marked by governance.NotDone may be tried again, after any other nobody knows.
	Do func(ctx context.Context, c Call) (Output, error)
	// Lookup says whether the effect of Call.Idem is there.
	Lookup func(ctx context.Context, c Call) (Output, bool, error)
	// Undo takes it back, with the same errors as UndoTx. It may be called again for
	// the same Call.Idem and must then do nothing more.
	Undo func(ctx context.Context, c Call, out Output) error
}

// Param is one parameter of a kind.
type Param struct {
	Type     string `json:"type"` // text, number (integer), duration, bool
	Required bool   `json:"required"`
	Doc      string `json:"doc"`
}

// Call is one step on one tenant.
type Call struct {
	Run      uuid.UUID
	Playbook string
	Version  int
	Step     string
	Index    int
	Tenant   governance.TenantID
	Idem     string
	Params   Params
	Identity governance.Identity   // the playbook as an actor
	Exclude  []governance.PersonID // who may not vote on what it asks for
	Reason   string
}

// Do are the options with which a guarded action is asked for.
func (c Call) Do() *governance.DoOptions {
	return &governance.DoOptions{Reason: c.Reason, Exclude: c.Exclude}
}

// Output is what a step gives to later ones and to its undo.
type Output map[string]string

// Params are a step's resolved parameters.
type Params map[string]any

// Text is a text parameter; empty when it was not given.
func (p Params) Text(name string) string {
	s, _ := p[name].(string)
	return s
}

// Int is a number parameter; 0 when it was not given.
func (p Params) Int(name string) int64 {
	switch v := p[name].(type) {
	case int64:
		return v
	case float64: // from stored JSON
		return int64(v)
	}
	return 0
}

// Bool is a bool parameter; false when it was not given.
func (p Params) Bool(name string) bool {
	b, _ := p[name].(bool)
	return b
}

func (p Param) check(v any) error {
	if s, ok := v.(string); ok && p.Type != "text" && len(templateRefs(s)) > 0 && p.Type != "duration" {
		return nil // typed when it is resolved
	}
	_, err := p.value(v)
	return err
}

// value is v as the parameter's type.
func (p Param) value(v any) (any, error) {
	switch p.Type {
	case "text":
		if s, ok := v.(string); ok && len(s) <= 4000 {
			return s, nil
		}
		return nil, errors.New("want text of at most 4000 bytes")
	case "duration":
		s, _ := v.(string)
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err != nil || d.Duration <= 0 || d.Duration > 366*day {
			return nil, errors.New("want a duration such as 36h or 5d")
		}
		return d.String(), nil
	case "number":
		switch n := v.(type) {
		case int64:
			return n, nil
		case uint64:
			if n < 1<<53 {
				return int64(n), nil
			}
		case float64:
			if i := int64(n); float64(i) == n {
				return i, nil
			}
		case string:
			if i, err := strconv.ParseInt(n, 10, 53); err == nil {
				return i, nil
			}
		}
		return nil, errors.New("want a whole number")
	case "bool":
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, errors.New("want true or false")
	}
	return nil, fmt.Errorf("parameter type %q is not known", p.Type)
}

func (k Kind) validate() error {
	local, remote := k.DoTx != nil, k.Do != nil
	switch {
	case k.Name == "" || k.Title == "":
		return fmt.Errorf("playbook: kind %q needs a name and a title", k.Name)
	case local == remote:
		return fmt.Errorf("playbook: kind %s is local or remote: give DoTx or Do", k.Name)
	case remote && k.Lookup == nil:
		return fmt.Errorf("playbook: kind %s is remote and needs Lookup", k.Name)
	case local && (k.Undo != nil || k.Lookup != nil) || remote && (k.UndoTx != nil || k.Guarded):
		return fmt.Errorf("playbook: kind %s mixes local and remote", k.Name)
	}
	for name, p := range k.Params {
		if !slices.Contains([]string{"text", "number", "duration", "bool"}, p.Type) {
			return fmt.Errorf("playbook: kind %s: parameter %s has type %q", k.Name, name, p.Type)
		}
	}
	return nil
}

func (k Kind) undoable() bool { return k.UndoTx != nil || k.Undo != nil }

// KindNames lists the kinds of step there are.
func (s *Service) KindNames() []string { return slices.Sorted(maps.Keys(s.kinds)) }

// The kinds that the engine itself runs.
const (
	KindWait     = "wait"
	KindApproval = "approval"
	KindRunbook  = "runbook.open"
)

var idemNamespace = uuid.MustParse("b4b5a3f5-58f7-5d1b-8a43-0d3df6a2a1c9")

// idem is the idempotency id of a step: the same over every try, another for every
// run and step.
func idem(run uuid.UUID, step int) string {
	return uuid.NewSHA1(idemNamespace, fmt.Appendf(nil, "%s/%d", run, step)).String()
}
