package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

// Effect is what the policies say about an action.
type Effect string

// The effects, from mild to strict.
const (
	Allow Effect = "allow"
	Hold  Effect = "hold"
	Deny  Effect = "deny"
)

// Decision is the whole answer of the policies, stored with the action.
type Decision struct {
	Effect   Effect      `json:"effect"`
	Policies []PolicyHit `json:"policies"` // every policy that matched, with what it found
	Exclude  []PersonID  `json:"exclude,omitempty"`
	Hash     Digest      `json:"hash"` // of the enforcing policies that matched
	Require  []Require   `json:"require,omitempty"`
	Editors  []PersonID  `json:"editors,omitempty"`
	// Obligations are what the enforcing policies demand of the action once it is done.
	Obligations Obligations  `json:"obligations,omitzero"`
	Reserved    []reserve    `json:"-"`
	denied      *DeniedError `json:"-"`
}

// Obligations are what is owed for an action, the strictest of all policies.
type Obligations struct {
	Notify      Severity `json:"notify,omitempty"`
	ReviewAfter Duration `json:"review_after,omitzero"`
	Record      bool     `json:"record,omitempty"`
	Observer    bool     `json:"observer,omitempty"`
}

func (o *Obligations) add(p Policy) {
	if p.Notify != "" && (o.Notify == "" || rank(p.Notify) > rank(o.Notify)) {
		o.Notify = p.Notify
	}
	if d := p.ReviewAfter.Duration; d > 0 && (o.ReviewAfter.Duration == 0 || d < o.ReviewAfter.Duration) {
		o.ReviewAfter = p.ReviewAfter
	}
	o.Record, o.Observer = o.Record || p.Record, o.Observer || p.Observer
}

// PolicyHit is one policy's part in a decision.
type PolicyHit struct {
	Policy  string     `json:"policy"`
	Version int        `json:"version"`
	Mode    Mode       `json:"mode"`
	Effect  Effect     `json:"effect"`
	Why     string     `json:"why,omitempty"`
	Limits  []LimitHit `json:"limits,omitempty"`
}

// LimitHit is one window at the time of the decision: Sum before the action, of
// what is posted and pending.
type LimitHit struct {
	Key     string   `json:"key"`
	Unit    string   `json:"unit"`
	Sum     int64    `json:"sum,string"`
	Amount  int64    `json:"amount,string"`
	Max     int64    `json:"max,string"`
	Window  Duration `json:"window"`
	Rate    *Rate    `json:"rate,omitempty"`
	Exceeds bool     `json:"exceeds,omitempty"`
	Count   Count    `json:"count,omitempty"`
}

type reserve struct {
	key      string
	amount   int64
	attempts bool
}

// call is one attempt at an action.
type call struct {
	def      *definition
	id       uuid.UUID
	given    bool // the caller chose the id by its idempotency key
	closure  bool
	identity Identity
	opts     DoOptions

	in          any
	input       []byte
	inputDigest Digest
	tenant      TenantID
	resource    Ref

	version  int64
	measures []Measure
	preview  []byte
	digest   Digest
	decision Decision
	now      time.Time
	breaker  Person // with DoOptions.BreakGlass: who breaks it
	broken   *broken
	replaces *Approval // with BreakGlassOn: what waited for approval until now
	contacts *int      // how many of the tenant could consent, where that was asked
	signing  int       // and have a key to sign it with
}

var actionNamespace = uuid.MustParse("6f1d0f86-3f0b-5c41-9d2c-3f3e0a1c7f11")

func (k *Kernel) newCall(d *definition, id Identity, in any, opts *DoOptions) (*call, error) {
	c := &call{def: d, identity: id, in: in, now: k.Now()}
	if opts != nil {
		c.opts = *opts
	}
	if len(c.opts.Key) > 200 || len(c.opts.Reason) > 2000 || len(c.opts.Ticket) > 200 {
		return nil, Invalid("options", "key and ticket have at most 200 bytes, reason 2000")
	}
	if strings.ContainsRune(c.opts.Reason+c.opts.Ticket+c.opts.Key, 0) {
		return nil, Invalid("options", "contain U+0000")
	}
	if err := d.validate(in); err != nil {
		return nil, err
	}
	var err error
	if c.input, err = Canonical(in); err != nil {
		return nil, fmt.Errorf("input of %s: %w", d.name, err)
	}
	c.tenant, c.resource = d.tenant(in), d.resource(in)
	c.inputDigest = digestBytes("reeve/input/v1 "+d.name, c.input)
	c.id = uuid.Must(uuid.NewV7())
	if c.opts.Key != "" {
		c.given = true
		c.id = uuid.NewSHA1(actionNamespace, []byte(id.Actor.ID+"\x00"+c.opts.Key))
	}
	return c, nil
}

// hardRules are what no policy can allow.
func (c *call) hardRules() error {
	if c.def.sensitive && c.identity.Subject != nil {
		return &DeniedError{c.def.name, "impersonation", "a sensitive action is refused while impersonating somebody"}
	}
	return nil
}

func (k *Kernel) do(ctx context.Context, d *definition, id Identity, in any, opts *DoOptions) (Outcome, error) {
	if known, err := k.defined(d.name); err != nil || known != d {
		return Outcome{}, errors.Join(err, fmt.Errorf("action %s: register it before use", d.name))
	}
	c, err := k.newCall(d, id, in, opts)
	if err != nil {
		return Outcome{}, err
	}
	return k.run(ctx, c)
}

func (k *Kernel) doClosure(ctx context.Context, d *definition, id Identity, in any, opts *DoOptions) (Outcome, error) {
	c, err := k.newCall(d, id, in, opts)
	if err != nil {
		return Outcome{}, err
	}
	c.closure = true
	return k.run(ctx, c)
}

func (k *Kernel) run(ctx context.Context, c *call) (Outcome, error) {
	if err := k.permitted(ctx, c); err != nil {
		return Outcome{}, err
	}
	if c.opts.BreakGlass = c.opts.BreakGlass || breaksGlass(ctx); c.opts.BreakGlass { // asked before the transaction: the directory is the host's
		p, err := k.resolve(ctx, c.identity.Actor.Person)
		if err != nil {
			return Outcome{}, fmt.Errorf("%s: %w", c.def.name, err)
		}
		c.breaker = p
	}
	if c.def.before != nil {
		if err := c.def.before(ctx, c.identity, c.in, c.now); err != nil {
			return Outcome{}, err
		}
	}
	if err := k.askContacts(ctx, c); err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", c.def.name, err)
	}
	var out Outcome
	var verdict error
	err := k.db.Do(ctx, func(ctx context.Context, tx *Tx) (err error) {
		out, verdict, err = k.admit(ctx, tx, c)
		return err
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("%s: %w", c.def.name, errors.Join(err, k.recordFailure(ctx, c, err)))
	}
	if verdict != nil {
		return out, verdict
	}
	if c.def.remote && out.State == StateExecuting {
		return k.callRemote(ctx, c.id)
	}
	return out, nil
}

// recordFailure writes down that an action was tried and failed; the failed work
// itself, reservations included, was rolled back.
func (k *Kernel) recordFailure(ctx context.Context, c *call, failure error) error {
	if c.digest == "" || ctx.Err() != nil || errors.Is(failure, govdb.ErrNested) || errors.Is(failure, govdb.ErrClosed) {
		return nil
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		failed := *c
		failed.id = uuid.Must(uuid.NewV7())                                // the next try of the same key is another attempt
		if err := failed.reserve(ctx, tx, reservationVoided); err != nil { // the attempt counts
			return err
		}
		_, err := k.RecordTx(ctx, tx, c.identity, c.record(OutcomeFailed, map[string]any{"why": errorKind(failure)}))
		return err
	})
}

// recordUndone writes down what was tried inside a transaction that was rolled back: a
// refusal stays one, anything else has failed, and both count as attempts.
func (k *Kernel) recordUndone(ctx context.Context, c call, failure error) error {
	if c.digest == "" { // nothing was decided
		return nil
	}
	c.id, c.given = uuid.Must(uuid.NewV7()), false
	why := "the transaction that it was part of was rolled back"
	if failure != nil {
		why = errorKind(failure)
	}
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		if c.decision.denied != nil && failure == nil {
			return k.refuse(ctx, tx, &c)
		}
		if err := c.reserve(ctx, tx, reservationVoided); err != nil {
			return err
		}
		_, err := k.RecordTx(ctx, tx, c.identity, c.record(OutcomeFailed, map[string]any{"why": why}))
		return err
	})
}

func (k *Kernel) inTx(ctx context.Context, tx *Tx, d *definition, id Identity, in any, opts *DoOptions) (Outcome, error) {
	if d.remote {
		return Outcome{}, fmt.Errorf("action %s is remote: it cannot run inside a transaction", d.name)
	}
	if known, err := k.defined(d.name); err != nil || known != d {
		return Outcome{}, errors.Join(err, fmt.Errorf("action %s: register it before use", d.name))
	}
	c, err := k.newCall(d, id, in, opts)
	if err != nil {
		return Outcome{}, err
	}
	if err := k.permittedTx(ctx, tx, c); err != nil {
		return Outcome{}, err
	}
	out, verdict, err := k.admit(ctx, tx, c)
	try := *c
	tx.OnRollback(func(ctx context.Context) error { return k.recordUndone(ctx, try, err) })
	if err != nil {
		return Outcome{}, govdb.Classify(fmt.Errorf("%s: %w", d.name, err))
	}
	return out, verdict
}

// admit decides, reserves, and executes or holds. verdict is a refusal or a hold,
// which is written down; err is a failure, after which nothing is.
func (k *Kernel) admit(ctx context.Context, tx *Tx, c *call) (out Outcome, verdict, err error) {
	if c.given {
		replayed, out, verdict, err := k.replay(ctx, tx, c)
		if replayed || err != nil {
			return out, verdict, err
		}
	}
	c.broken = nil // of a try before this one
	start := time.Now()
	if err := k.weigh(ctx, tx, c); err != nil {
		return out, nil, err
	}
	if err := k.decide(ctx, tx, c); err != nil {
		return out, nil, err
	}
	if h := k.opts.Hooks.Decided; h != nil {
		h(c.def.name, c.decision.Effect, time.Since(start))
	}
	bootstrap := false
	if c.decision.Effect == Hold {
		if bootstrap, err = k.bootstrapTx(ctx, tx); err != nil {
			return out, nil, err
		}
		bootstrap = bootstrap && !namesTenant(c.decision.Require) // which spares colleagues, and no customer's word
	}
	switch {
	case c.decision.Effect == Deny:
		return out, c.decision.denied, k.refuse(ctx, tx, c)
	case c.decision.Effect == Hold && c.closure && !bootstrap:
		c.decision.denied = &DeniedError{c.def.name, "closure", "it needs approval, and a closure cannot wait for one"}
		return out, c.decision.denied, k.refuse(ctx, tx, c)
	case c.replaces != nil && (c.decision.Effect != Hold || bootstrap):
		return out, nil, fmt.Errorf("approval %s: no policy holds it any more, so there is no glass to break: %w", c.replaces.ID, ErrConflict)
	case c.decision.Effect == Hold && !bootstrap && c.opts.BreakGlass:
		if refused, err := k.breakGlass(ctx, tx, c); err != nil || refused != nil {
			if err != nil {
				return out, nil, err
			}
			c.decision.denied = refused
			return out, refused, k.refuse(ctx, tx, c)
		}
		if c.replaces != nil {
			if err := k.closeTx(ctx, tx, c.identity, *c.replaces, StateSuperseded, "done at once in an emergency"); err != nil {
				return out, nil, err
			}
		}
	case c.decision.Effect == Hold && !bootstrap:
		return k.hold(ctx, tx, c)
	}
	out.Bootstrap = bootstrap
	if c.def.remote {
		return k.claimNow(ctx, tx, c, bootstrap)
	}
	return k.executeNow(ctx, tx, c, bootstrap)
}

// replay answers a call whose id was used before.
func (k *Kernel) replay(ctx context.Context, tx *Tx, c *call) (bool, Outcome, error, error) {
	var row actionRow
	err := tx.NewSelect().Model(&row).Where("id = ?", c.id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return false, Outcome{}, nil, nil
	}
	if err != nil {
		return false, Outcome{}, nil, fmt.Errorf("action %s: %w", c.id, err)
	}
	if row.Name != c.def.name || row.InputDigest != string(c.inputDigest) {
		return true, Outcome{}, nil, fmt.Errorf("the idempotency key was used for another input: %w", ErrConflict)
	}
	out := Outcome{Action: row.ID, State: State(row.State), Data: json.RawMessage(row.Result), Replayed: true, Bootstrap: row.Bootstrap}
	switch {
	case out.State == StateExecuted:
		return true, out, nil, nil
	case out.State == StateDenied && !row.Held:
		d := &DeniedError{Action: row.Name}
		if err := json.Unmarshal([]byte(row.Error), d); err != nil {
			return true, out, nil, fmt.Errorf("action %s: stored refusal: %w", row.ID, err)
		}
		return true, out, d, nil
	case row.Held:
		return true, out, &ApprovalRequiredError{Action: row.Name, Approval: row.ID}, nil
	case out.State == StateFailed:
		return true, out, nil, fmt.Errorf("action %s failed before: %s", row.ID, row.Error)
	}
	return true, out, nil, fmt.Errorf("action %s is %s: %w", row.ID, row.State, ErrConflict)
}

// weigh reads what the decision and the approval are bound to.
func (k *Kernel) weigh(ctx context.Context, tx *Tx, c *call) error {
	var err error
	if c.version, err = c.def.version(ctx, tx, c.in); err != nil {
		return fmt.Errorf("resource version: %w", err)
	}
	if c.measures, err = c.def.measures(ctx, tx, c.in); err != nil {
		return fmt.Errorf("measures: %w", err)
	}
	if err := validateMeasures(c.measures); err != nil {
		return err
	}
	preview, err := c.def.preview(ctx, tx, c.in)
	if err != nil {
		return fmt.Errorf("preview: %w", err)
	}
	if c.preview, err = Canonical(preview); err != nil {
		return fmt.Errorf("preview: %w", err)
	}
	c.digest, err = DigestOf("reeve/action/v1", map[string]any{
		"action": c.def.name, "tenant": c.tenant, "resource": c.resource.String(), "resource_version": fmt.Sprint(c.version),
		"measures": c.measures, "input": json.RawMessage(c.input),
	})
	return err
}

// row is the call as it is stored.
func (c *call) row(state State) (*actionRow, error) {
	decision, err := json.Marshal(c.decision)
	if err != nil {
		return nil, fmt.Errorf("decision: %w", err)
	}
	requester, err := json.Marshal(c.identity)
	if err != nil {
		return nil, fmt.Errorf("requester: %w", err)
	}
	measures, err := json.Marshal(append([]Measure{}, c.measures...))
	if err != nil {
		return nil, fmt.Errorf("measures: %w", err)
	}
	requirement, err := marshalRequire(c.decision.Require)
	if err != nil {
		return nil, err
	}
	r := &actionRow{
		ID: c.id, Name: c.def.name, Remote: c.def.remote, Tenant: string(c.tenant), Resource: c.resource.String(), ResourceVersion: c.version,
		Digest: string(c.digest), Input: string(c.input), InputDigest: string(c.inputDigest), Measures: string(measures), Preview: string(c.preview),
		Decision: string(decision), PolicyHash: string(c.decision.Hash), Requirement: requirement, State: string(state),
		Requester: string(requester), RequesterPerson: string(c.identity.Actor.Person), Reason: c.opts.Reason, Ticket: c.opts.Ticket,
		Result: "null", CreatedAt: atMicros(c.now), BreakGlass: c.broken != nil,
	}
	if c.identity.Subject != nil {
		r.SubjectPerson = string(c.identity.Subject.Person)
	}
	return r, nil
}

func marshalRequire(rs []Require) (string, error) {
	b, err := json.Marshal(append([]Require{}, rs...))
	if err != nil {
		return "", fmt.Errorf("requirement: %w", err)
	}
	return string(b), nil
}

// insert stores the row: at once when something will refer to it, with the whole
// commit's other actions when nothing can.
func (c *call) insert(ctx context.Context, tx *Tx, row *actionRow) error {
	if !c.given && !row.Held && !row.Remote {
		return tx.Defer(ctx, "gov_action", flushActions, row)
	}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		if IsUnique(err) { // the same key at the same time on another server: the second try replays it
			return fmt.Errorf("action %s: %w: %w", row.ID, ErrRetry, err)
		}
		return fmt.Errorf("action %s: %w", row.ID, err)
	}
	return nil
}

func flushActions(ctx context.Context, tx *Tx, items []any) error {
	rows := make([]*actionRow, len(items))
	for i, it := range items {
		rows[i] = it.(*actionRow)
	}
	return govdb.InsertAll(ctx, tx, rows)
}

// record is the ledger's word on the call.
func (c *call) record(outcome RecordOutcome, data map[string]any) Record {
	if data == nil {
		data = map[string]any{}
	}
	if len(c.decision.Policies) > 0 {
		data["decision"] = c.decision
	}
	if len(c.measures) > 0 {
		data["measures"] = c.measures
	}
	return Record{Action: c.def.name, Outcome: outcome, Tenant: c.tenant, Resource: c.resource, Reason: c.opts.Reason, Ticket: c.opts.Ticket,
		ActionID: c.id, Digest: c.digest, Data: data}
}

func (k *Kernel) refuse(ctx context.Context, tx *Tx, c *call) error {
	row, err := c.row(StateDenied)
	if err != nil {
		return err
	}
	stored, err := json.Marshal(c.decision.denied)
	if err != nil {
		return fmt.Errorf("refusal: %w", err)
	}
	row.Error, row.DecidedAt = string(stored), row.CreatedAt
	if err := c.insert(ctx, tx, row); err != nil {
		return err
	}
	if err := c.reserve(ctx, tx, reservationVoided); err != nil { // the attempt counts
		return err
	}
	_, err = k.RecordTx(ctx, tx, c.identity, c.record(OutcomeDenied, map[string]any{"rule": c.decision.denied.Rule, "why": c.decision.denied.Reason}))
	return err
}

// executeNow runs an allowed local action.
func (k *Kernel) executeNow(ctx context.Context, tx *Tx, c *call, bootstrap bool) (Outcome, error, error) {
	out := Outcome{Action: c.id, State: StateExecuted, Bootstrap: bootstrap}
	res, err := k.execute(ctx, tx, c.def, c.in, Execution{Action: c.id, Identity: c.identity, Reason: c.opts.Reason, Obligations: c.decision.Obligations})
	if err != nil {
		return out, nil, err
	}
	if out.Data, err = Canonical(res.Data); err != nil {
		return out, nil, fmt.Errorf("result: %w", err)
	}
	if err := c.reserve(ctx, tx, reservationPosted); err != nil {
		return out, nil, err
	}
	row, err := c.row(StateExecuted)
	if err != nil {
		return out, nil, err
	}
	row.Result, row.Bootstrap, row.DecidedAt, row.ExecutedAt = string(out.Data), bootstrap, row.CreatedAt, row.CreatedAt
	if err := c.insert(ctx, tx, row); err != nil {
		return out, nil, err
	}
	r := c.record(OutcomeDone, map[string]any{"result": out.Data})
	r.Bootstrap = bootstrap
	if out.Receipt, err = k.RecordTx(ctx, tx, c.identity, r, res.Events...); err != nil {
		return out, nil, err
	}
	return out, nil, k.obligeTx(ctx, tx, c.done())
}

// done is the call as its obligations see it.
func (c *call) done() done {
	return done{action: c.id, name: c.def.name, tenant: c.tenant, by: c.identity, reason: c.opts.Reason, owed: c.decision.Obligations, broken: c.broken}
}

// execute runs a local executor with what it may know.
func (k *Kernel) execute(ctx context.Context, tx *Tx, d *definition, in any, e Execution) (Result, error) {
	ctx = context.WithValue(ctx, executionKey{}, e)
	res, err := d.exec(ctx, tx, in)
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

// claimNow stores an allowed remote action as executing; the call follows the commit.
func (k *Kernel) claimNow(ctx context.Context, tx *Tx, c *call, bootstrap bool) (Outcome, error, error) {
	out := Outcome{Action: c.id, State: StateExecuting, Bootstrap: bootstrap}
	if err := c.reserve(ctx, tx, reservationPending); err != nil {
		return out, nil, err
	}
	row, err := c.row(StateExecuting)
	if err != nil {
		return out, nil, err
	}
	row.Bootstrap, row.DecidedAt, row.Fence, row.Attempts = bootstrap, row.CreatedAt, 1, 1
	row.LeaseUntil = atMicros(c.now.Add(k.opts.CallLimit + leaseSlack))
	row.ExecuteBy = atMicros(c.now.Add(24 * time.Hour))
	if err := c.insert(ctx, tx, row); err != nil {
		return out, nil, err
	}
	if c.broken == nil { // what else is owed is owed once it is done
		return out, nil, nil
	}
	broken := c.done()
	broken.owed = Obligations{} // what the policies want is owed once it is done
	return out, nil, k.obligeTx(ctx, tx, broken)
}

// hold stores the action as an approval that waits.
func (k *Kernel) hold(ctx context.Context, tx *Tx, c *call) (Outcome, error, error) {
	out := Outcome{Action: c.id, State: StatePending}
	if err := c.reserve(ctx, tx, reservationPending); err != nil {
		return out, nil, err
	}
	row, err := c.row(StatePending)
	if err != nil {
		return out, nil, err
	}
	decideWithin := c.decision.Require[0].DecideWithin.Duration
	for _, r := range c.decision.Require[1:] {
		decideWithin = min(decideWithin, r.DecideWithin.Duration)
	}
	row.Held, row.DecideBy, row.EscalateAt = true, atMicros(c.now.Add(decideWithin)), escalateAt(c.decision.Require, c.now)
	if err := c.insert(ctx, tx, row); err != nil {
		return out, nil, err
	}
	var why []string
	for _, h := range c.decision.Policies {
		if h.Effect == Hold && h.Mode == Enforce {
			why = append(why, h.Policy+": "+h.Why)
		}
	}
	ev, err := NewEvent("approval.requested", c.tenant, 0, Ref{"approval", c.id.String()}, map[string]any{
		"approval": c.id, "action": c.def.name, "resource": c.resource.String(), "digest": c.digest, "requester": c.identity.Actor.ID, "why": why})
	if err != nil {
		return out, nil, err
	}
	out.Receipt, err = k.RecordTx(ctx, tx, c.identity, c.record(OutcomeHeld, map[string]any{"why": why}), ev)
	if err != nil {
		return out, nil, err
	}
	links := []Link{{Title: "Approval", Kind: "approval", ID: c.id.String()}, {Title: "Ledger record", Kind: "record", ID: out.Receipt.ID.String()}}
	if c.identity.SessionID != "" {
		links = append(links, Link{Title: "Session", Kind: "session", ID: c.identity.SessionID})
	}
	for _, h := range c.decision.Policies {
		if h.Effect == Hold && h.Mode == Enforce {
			links = append(links, Link{Title: "Policy", Kind: "policy", ID: h.Policy})
		}
	}
	_, err = k.AlertTx(ctx, tx, Alert{
		Key: approvalAlert(c.id), Severity: Warning, Title: c.def.name + " waits for approval", Body: strings.Join(why, "\n"), Tenant: c.tenant, Links: links,
	})
	return out, &ApprovalRequiredError{c.def.name, c.id, why}, err
}

func approvalAlert(id uuid.UUID) string { return "approval:" + id.String() }
