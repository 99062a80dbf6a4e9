package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"
)

// Result is what an executor did.
type Result struct {
	Data   any     // returned to the caller, stored, and part of the record; must have a canonical form
	Events []Event // go out in the same commit
}

// Spec describes an action on an input of type I. Permission, Tenant and Resource
// are required.
type Spec[I any] struct {
	Summary    string   // what it does, in a sentence: the catalogue shows it
	Units      []string // of its measures; "*.cent" is every currency
	Unheld     string   // why no shipped policy holds it, where none does
	Permission string   // who may ask for it; approval comes on top
	Sensitive  bool     // refused while the caller is impersonating somebody
	Tenant     func(in I) TenantID
	Resource   func(in I) Ref
	Validate   func(in I) error // input alone; nil accepts every value that decodes
	// Measures, Version and Preview read what they need through tx. An approval is
	// bound to all three: when Version changes before execution, it is superseded.
	Measures func(ctx context.Context, tx *Tx, in I) ([]Measure, error)
	Version  func(ctx context.Context, tx *Tx, in I) (int64, error)
	Preview  func(ctx context.Context, tx *Tx, in I) (any, error)
}

// Remote runs an effect that is not in our database.
type Remote[I any] struct {
	// Call makes the effect. idem stays the same over every try of one action. An
	// error wrapped by NotDone is a failure; any other leaves the outcome unknown.
	Call func(ctx context.Context, idem string, in I) (Result, error)
	// Lookup says whether the effect of idem is there. It settles unknown outcomes.
	Lookup func(ctx context.Context, idem string, in I) (Result, bool, error)
}

// Action is a defined action on inputs of type I; see [Define].
type Action[I any] struct{ def *definition }

// definition is an Action without its type.
type definition struct {
	name, permission string
	remote           bool
	sensitive        bool
	err              error // what Register refuses
	summary, unheld  string
	units            []string
	input            reflect.Type

	// before is asked outside of any transaction before the act is decided on, and again
	// before an approved one is executed; asked is when it was asked for. nil asks nothing.
	before func(ctx context.Context, id Identity, in any, asked time.Time) error

	decode   func(b []byte) (any, error)
	validate func(in any) error
	tenant   func(in any) TenantID
	resource func(in any) Ref
	measures func(ctx context.Context, tx *Tx, in any) ([]Measure, error)
	version  func(ctx context.Context, tx *Tx, in any) (int64, error)
	preview  func(ctx context.Context, tx *Tx, in any) (any, error)

	exec   func(ctx context.Context, tx *Tx, in any) (Result, error)
	call   func(ctx context.Context, idem string, in any) (Result, error)
	lookup func(ctx context.Context, idem string, in any) (Result, bool, error)
}

// Define makes a local action: exec's effect is in our database, or in the host's
// transaction, and commits together with the decision, the record and the events.
// exec touches only tx, calls nothing outside and may run more than once; it
// learns who acts from [ExecutionFrom].
func Define[I any](name string, spec Spec[I], exec func(ctx context.Context, tx *Tx, in I) (Result, error)) *Action[I] {
	d := newDefinition(name, spec)
	if exec == nil {
		d.err = errors.Join(d.err, fmt.Errorf("action %s: an executor is required", name))
	}
	d.exec = func(ctx context.Context, tx *Tx, in any) (Result, error) { return exec(ctx, tx, in.(I)) }
	return &Action[I]{d}
}

// DefineRemote makes an action whose effect is anywhere else: a foreign database, a
// vendor, the host's own service. It is claimed with a fence, called outside any
// transaction, and receipted; an outcome that nobody knows is the state unknown
// until Lookup settles it.
func DefineRemote[I any](name string, spec Spec[I], r Remote[I]) *Action[I] {
	d := newDefinition(name, spec)
	d.remote = true
	if r.Call == nil || r.Lookup == nil {
		d.err = errors.Join(d.err, fmt.Errorf("action %s: Call and Lookup are required", name))
	}
	d.call = func(ctx context.Context, idem string, in any) (Result, error) { return r.Call(ctx, idem, in.(I)) }
	d.lookup = func(ctx context.Context, idem string, in any) (Result, bool, error) {
		return r.Lookup(ctx, idem, in.(I))
	}
	return &Action[I]{d}
}

func newDefinition[I any](name string, spec Spec[I]) *definition {
	d := &definition{name: name, permission: spec.Permission, sensitive: spec.Sensitive,
		summary: spec.Summary, unheld: spec.Unheld, units: spec.Units, input: reflect.TypeFor[I]()}
	if name == "" || spec.Permission == "" || spec.Tenant == nil || spec.Resource == nil {
		d.err = fmt.Errorf("action %q: name, Permission, Tenant and Resource are required", name)
	}
	d.decode = func(b []byte) (any, error) {
		var in I
		if err := decodeStrict(b, &in); err != nil {
			return nil, fmt.Errorf("input of %s: %w", name, err)
		}
		return in, nil
	}
	d.validate = func(in any) error {
		if spec.Validate == nil {
			return nil
		}
		return spec.Validate(in.(I))
	}
	d.tenant = func(in any) TenantID { return spec.Tenant(in.(I)) }
	d.resource = func(in any) Ref { return spec.Resource(in.(I)) }
	d.measures = func(ctx context.Context, tx *Tx, in any) ([]Measure, error) {
		if spec.Measures == nil {
			return nil, nil
		}
		return spec.Measures(ctx, tx, in.(I))
	}
	d.version = func(ctx context.Context, tx *Tx, in any) (int64, error) {
		if spec.Version == nil {
			return 0, nil
		}
		return spec.Version(ctx, tx, in.(I))
	}
	d.preview = func(ctx context.Context, tx *Tx, in any) (any, error) {
		if spec.Preview == nil {
			return nil, nil
		}
		return spec.Preview(ctx, tx, in.(I))
	}
	return d
}

// Name is the action's name.
func (a *Action[I]) Name() string { return a.def.name }

func (a *Action[I]) definition() *definition { return a.def }

// Registrable is an [Action] of any input type.
type Registrable interface {
	Name() string
	definition() *definition
}

// Register makes actions known, so that a held one can be executed after approval.
// An action that is not registered is refused by Do.
func (k *Kernel) Register(actions ...Registrable) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, a := range actions {
		d := a.definition()
		if d.err != nil {
			errs = append(errs, d.err)
			continue
		}
		if have, ok := k.defs[d.name]; ok && have != d {
			errs = append(errs, fmt.Errorf("action %s is defined twice", d.name))
			continue
		}
		k.defs[d.name] = d
	}
	return errors.Join(errs...)
}

func (k *Kernel) defined(name string) (*definition, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.defs[name]
	if !ok {
		return nil, fmt.Errorf("action %s is not registered: %w", name, ErrNotFound)
	}
	return d, nil
}

// DoOptions says more about one call. The zero value is ready to use.
type DoOptions struct {
	// Key makes the call idempotent for this actor: a second call with it returns the
	// first outcome; with another input it is ErrConflict. Empty: every call counts.
	Key    string
	Reason string
	Ticket string
	// Exclude names people who may not vote on it beside the requester: the author of
	// the playbook that asks, for one.
	Exclude []PersonID
	// BreakGlass asks to act at once where a policy would hold it, if the policy lets
	// this person do so in an emergency; see [BreakGlass].
	BreakGlass bool
}

// Outcome is how a call of Do ended well.
type Outcome struct {
	Action    uuid.UUID       `json:"action"`
	State     State           `json:"state"` // executed, or unknown for a remote action without an answer
	Data      json.RawMessage `json:"data,omitempty"`
	Receipt   Receipt         `json:"-"`
	Replayed  bool            `json:"replayed,omitempty"`
	Bootstrap bool            `json:"bootstrap,omitempty"`
}

// Into decodes the executor's Data.
func (o Outcome) Into(v any) error { return json.Unmarshal(o.Data, v) }

// Do asks for the action. Allowed: it is executed and recorded in one commit, and
// the outcome returned. Held: *ApprovalRequiredError with the approval's id; after
// approval the same executor runs on the stored input. Refused: *DeniedError,
// recorded. Safe for concurrent use.
func (a *Action[I]) Do(ctx context.Context, k *Kernel, id Identity, in I, opts *DoOptions) (Outcome, error) {
	return k.do(ctx, a.def, id, in, opts)
}

// InTx is Do inside a transaction that the host commits: decision, effect, record
// and events stand or fall with it. A held or refused action is written there too,
// so the host must commit then as well. When it is rolled back, what was tried is
// written down afterwards, so that refusals stay on record and attempts count: by
// govdb.DB.Do itself, and in an adopted transaction by [govdb.Tx.RolledBack], which
// the host calls after its rollback. Remote actions are refused.
func (a *Action[I]) InTx(ctx context.Context, k *Kernel, tx *Tx, id Identity, in I, opts *DoOptions) (Outcome, error) {
	return k.inTx(ctx, tx, a.def, id, in, opts)
}

// DoFunc guards a closure of the host, for an act that is not worth defining. A
// closure cannot be stored, so a policy that would hold it refuses it instead.
func DoFunc[I any](ctx context.Context, k *Kernel, id Identity, name string, spec Spec[I], in I, opts *DoOptions, fn func(ctx context.Context, tx *Tx) (Result, error)) (Outcome, error) {
	if fn == nil {
		return Outcome{}, errors.New("governance: DoFunc needs a function")
	}
	d := newDefinition(name, spec)
	if d.err != nil {
		return Outcome{}, d.err
	}
	d.exec = func(ctx context.Context, tx *Tx, _ any) (Result, error) { return fn(ctx, tx) }
	return k.doClosure(ctx, d, id, in, opts)
}

// Execution tells an executor for whom and why it runs.
type Execution struct {
	Action   uuid.UUID
	Identity Identity
	Reason   string
	Approved bool // after approval, not at once
	// Obligations are what policies demand of it: an impersonation that must be watched
	// looks here.
	Obligations Obligations
}

type executionKey struct{}

// ExecutionFrom gives the execution that ctx belongs to; ok is false outside one.
func ExecutionFrom(ctx context.Context) (Execution, bool) {
	e, ok := ctx.Value(executionKey{}).(Execution)
	return e, ok
}
