package governance

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance/govdb"
)

const (
	backTestMax   = 100_000 // actions of one back-test
	backTestItems = 200     // told one by one

	backTestLeast = 30 * 24 * time.Hour // the shortest period that a policy comes into force with, unless it is all there is
	backTestFresh = 7 * 24 * time.Hour  // how long ago it may have ended
)

// BackTestReport is what a draft policy would have done to the actions of a period.
// Sums of limits are of what was really executed then. A tenant's plan, country and so
// on are those of now: the past ones are not kept. Whether a quorum could be filled is
// asked of the people of now.
type BackTestReport struct {
	Policy    string         `json:"policy"`
	Document  Digest         `json:"document"` // of the draft
	From      time.Time      `json:"from"`
	To        time.Time      `json:"to"`
	Whole     bool           `json:"whole"`     // no act is older than the period
	Catalogue Digest         `json:"catalogue"` // of the actions that the draft names, as they were defined
	Actions   int            `json:"actions"`   // that the draft names
	Matched   int            `json:"matched"`   // and whose condition holds
	Held      int            `json:"held"`
	Denied    int            `json:"denied"`
	Deadlocks int            `json:"deadlocks"` // held, with nobody to approve
	Failed    int            `json:"failed"`    // could not be counted or answered: refused
	Fresh     int            `json:"fresh"`     // held or denied, and were neither then
	Truncated bool           `json:"truncated"` // there were more actions than one back-test reads
	Items     []BackTestItem `json:"items"`     // the first that would not have been let through
	Hash      Digest         `json:"hash"`      // of all of this
}

// BackTestItem is one action that would not have been let through.
type BackTestItem struct {
	Action   uuid.UUID `json:"action"`
	Name     string    `json:"name"`
	Tenant   TenantID  `json:"tenant,omitempty"`
	At       time.Time `json:"at"`
	Was      State     `json:"was"`
	WasHeld  bool      `json:"was_held,omitempty"`
	Effect   Effect    `json:"effect"`
	Why      string    `json:"why"`
	Deadlock bool      `json:"deadlock,omitempty"`
}

// seesActs refuses who may not read every act: a draft's condition asks about values, and
// the counts of its report answer.
func (k *Kernel) seesActs(ctx context.Context, id Identity) error {
	for _, permission := range []string{"policy:read", "approval:read", "ledger:read"} {
		if err := k.Authorize(ctx, id, permission, Target{}); err != nil {
			return err
		}
	}
	if id.Subject != nil {
		return &DeniedError{"policy:read", "impersonation", "refused while impersonating somebody"}
	}
	return nil
}

// BackTest replays the actions of a period against a draft and stores the report, so
// that the draft can carry its hash into force. It changes nothing else. Besides
// policies the caller must be allowed to read approvals and the ledger. What of the
// period is in the future is left out.
func (k *Kernel) BackTest(ctx context.Context, id Identity, p Policy, from, to time.Time) (BackTestReport, error) {
	if err := k.seesActs(ctx, id); err != nil {
		return BackTestReport{}, err
	}
	if now := k.Now(); to.After(now) {
		to = now
	}
	if !from.Before(to) || to.Sub(from) > 366*24*time.Hour {
		return BackTestReport{}, Invalid("from", "is before to, and at most 366 days")
	}
	if err := p.Validate(); err != nil {
		return BackTestReport{}, err
	}
	doc, err := p.document()
	if err != nil {
		return BackTestReport{}, err
	}
	draft, err := k.compile(PolicyVersion{Policy: p})
	if err != nil {
		return BackTestReport{}, err
	}
	r := &replay{k: k, p: draft, editor: id.Actor.Person, windows: map[string][]spent{}, reach: map[string]bool{},
		out: BackTestReport{Policy: p.ID, Document: doc, From: from.UTC(), To: to.UTC(), Items: []BackTestItem{}}}
	if r.others, err = k.Policies(ctx); err != nil {
		return r.out, err
	}
	if r.out.Catalogue, err = k.catalogue(p); err != nil {
		return r.out, err
	}
	var first int64
	if err := k.db.Read().NewRaw("SELECT COALESCE(MIN(created_at), ?) FROM gov_action", govdb.At(to)).Scan(ctx, &first); err != nil {
		return r.out, fmt.Errorf("back-test of %s: %w", p.ID, err)
	}
	r.out.Whole = govdb.Micros(first) >= govdb.At(from)
	if err := r.run(ctx); err != nil {
		return r.out, fmt.Errorf("back-test of %s: %w", p.ID, err)
	}
	if r.out.Hash, err = DigestOf("reeve/back-test/v1", r.out); err != nil {
		return r.out, fmt.Errorf("back-test of %s: %w", p.ID, err)
	}
	body, err := json.Marshal(r.out)
	if err != nil {
		return r.out, fmt.Errorf("back-test of %s: %w", p.ID, err)
	}
	p.BackTest = ""
	document, err := json.Marshal(p)
	if err != nil {
		return r.out, fmt.Errorf("back-test of %s: %w", p.ID, err)
	}
	return r.out, k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO gov_back_test (hash, policy, document, body, person, created_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
			r.out.Hash, p.ID, string(document), string(body), id.Actor.Person, atMicros(k.Now())); err != nil {
			return fmt.Errorf("back-test of %s: %w", p.ID, err)
		}
		_, err := k.RecordTx(ctx, tx, id, Record{Action: "policy.backtest", Resource: Ref{"policy", p.ID},
			Data: map[string]any{"hash": r.out.Hash, "document": doc, "actions": r.out.Actions, "held": r.out.Held, "denied": r.out.Denied, "deadlocks": r.out.Deadlocks}})
		return err
	})
}

// document is the digest of the policy without the report that it carries.
func (p Policy) document() (Digest, error) {
	p.BackTest = ""
	return DigestOf("reeve/policy/v1", p)
}

// catalogue is the digest of the defined actions that a policy names.
func (k *Kernel) catalogue(p Policy) (Digest, error) {
	type entry struct {
		Name       string `json:"name"`
		Permission string `json:"permission"`
		Sensitive  bool   `json:"sensitive"`
		Remote     bool   `json:"remote"`
	}
	entries := []entry{}
	for _, name := range k.names(p) {
		if d, err := k.defined(name); err == nil {
			entries = append(entries, entry{d.name, d.permission, d.sensitive, d.remote})
		}
	}
	return DigestOf("reeve/catalogue/v1", entries)
}

// BackTestReport reads a stored report and the draft that it is of, for who may make one.
func (k *Kernel) BackTestReport(ctx context.Context, id Identity, hash Digest) (BackTestReport, Policy, error) {
	if err := k.seesActs(ctx, id); err != nil {
		return BackTestReport{}, Policy{}, err
	}
	return k.backTestReport(ctx, hash)
}

func (k *Kernel) backTestReport(ctx context.Context, hash Digest) (BackTestReport, Policy, error) {
	var out BackTestReport
	var p Policy
	var document, body string
	err := k.db.Read().QueryRowContext(ctx, "SELECT document, body FROM gov_back_test WHERE hash = ?", hash).Scan(&document, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return out, p, fmt.Errorf("back-test %s: %w", hash, ErrNotFound)
	}
	if err == nil {
		err = errors.Join(json.Unmarshal([]byte(body), &out), json.Unmarshal([]byte(document), &p))
	}
	if err != nil {
		return out, p, fmt.Errorf("back-test %s: %w", hash, err)
	}
	return out, p, nil
}

// NeedsBackTest tells whether a policy comes into force only with the hash of a
// back-test: with Options.BackTested every enforcing one does, except while there is one
// person only.
func (k *Kernel) NeedsBackTest(ctx context.Context, p Policy) (bool, error) {
	if !k.opts.BackTested || p.Mode != Enforce {
		return false, nil
	}
	bootstrap, err := k.Bootstrap(ctx)
	return !bootstrap, err
}

// checkBackTest refuses an enforcing policy that needs a report and has none, and any
// whose report is of another document or catalogue, too short or too old: asked is when
// the policy was asked for.
func (k *Kernel) checkBackTest(ctx context.Context, p Policy, asked time.Time) error {
	if p.BackTest == "" {
		needs, err := k.NeedsBackTest(ctx, p)
		if needs && err == nil {
			return Invalid("back_test", "a policy comes into force with the hash of its back-test's report")
		}
		return err
	}
	r, _, err := k.backTestReport(ctx, p.BackTest)
	if errors.Is(err, ErrNotFound) {
		return Invalid("back_test", "there is no such report")
	}
	if err != nil {
		return err
	}
	doc, err := p.document()
	if err != nil {
		return err
	}
	catalogue, err := k.catalogue(p)
	if err != nil {
		return err
	}
	switch {
	case r.Document != doc:
		return Invalid("back_test", "the report is of another document")
	case p.Mode != Enforce:
	case r.Catalogue != catalogue:
		return Invalid("back_test", "the actions that the policy names have changed since the report: run it again")
	case !r.Whole && r.To.Sub(r.From) < backTestLeast:
		return Invalid("back_test", "the report covers less than 30 days, and there are older acts")
	case asked.Sub(r.To) > backTestFresh:
		return Invalid("back_test", "the report's period ended more than 7 days ago: run it again")
	}
	return nil
}

// spent is what an action took from a window.
type spent struct {
	at     time.Time
	amount int64
	posted bool
	taken  bool // executed or waiting
}

// replay walks the actions of the past through one draft.
type replay struct {
	k       *Kernel
	p       compiled
	editor  PersonID
	windows map[string][]spent
	others  []PolicyVersion // in force now
	reach   map[string]bool // of a requester: whether others can fill the quorums
	out     BackTestReport
}

func (r *replay) run(ctx context.Context) error {
	longest := time.Duration(0)
	for _, l := range r.p.Limits {
		longest = max(longest, l.Window.Duration)
	}
	at, last := govdb.At(r.out.From.Add(-longest)), uuid.Nil // what the first windows hold already
	for {
		var rows []actionRow
		q := r.k.db.Read().NewSelect().Model(&rows).Where("(created_at > ?0 OR created_at = ?0 AND id > ?1) AND created_at < ?2", at, last, govdb.At(r.out.To)).
			Order("created_at", "id").Limit(1000)
		if err := r.named(q).Scan(ctx); err != nil {
			return err
		}
		for _, row := range rows {
			if r.out.Actions == backTestMax {
				r.out.Truncated = true
				return nil
			}
			if err := r.action(ctx, row); err != nil {
				return err
			}
		}
		if len(rows) < 1000 {
			return nil
		}
		at, last = rows[len(rows)-1].CreatedAt, rows[len(rows)-1].ID
	}
}

func (r *replay) named(q *bun.SelectQuery) *bun.SelectQuery {
	return q.WhereGroup(" AND ", func(q *bun.SelectQuery) *bun.SelectQuery {
		for _, a := range r.p.Actions {
			if prefix, ok := strings.CutSuffix(a, "*"); ok {
				q = q.WhereOr("SUBSTR(name, 1, ?) = ?", len(prefix), prefix)
			} else {
				q = q.WhereOr("name = ?", a)
			}
		}
		return q
	})
}

func (r *replay) action(ctx context.Context, row actionRow) error {
	c := &call{def: &definition{name: row.Name}, tenant: TenantID(row.Tenant), resource: ParseRef(row.Resource), input: []byte(row.Input), now: row.CreatedAt.Time(),
		opts: DoOptions{Reason: row.Reason, Ticket: row.Ticket}}
	if err := errors.Join(json.Unmarshal([]byte(row.Measures), &c.measures), json.Unmarshal([]byte(row.Requester), &c.identity)); err != nil {
		return fmt.Errorf("action %s: %w", row.ID, err)
	}
	if d, err := r.k.defined(row.Name); err == nil {
		c.def = d
	}
	counted := !c.now.Before(r.out.From)
	if counted {
		r.out.Actions++
	}
	yes, broken := true, ""
	if r.p.cond != nil {
		vars, err := varsOf(ctx, r.k.db.Read(), act{row.Name, row.Resource, c.def.sensitive, c.measures, c.input, row.Reason, c.tenant}, c.identity.Actor)
		if err != nil {
			return err
		}
		if yes, err = r.p.cond.Eval(ctx, vars); err != nil {
			yes, broken = true, "its condition could not be evaluated" // the error may quote values
		}
	}
	if !yes {
		return nil
	}
	limits, failure := r.spend(ctx, c, State(row.State))
	if !counted {
		return nil
	}
	r.out.Matched++
	if failure != "" {
		broken = failure
	}
	if broken != "" {
		r.out.Failed++
		r.tell(row, Deny, broken, false)
		return nil
	}
	c.decision = Decision{Effect: Allow}
	enforced := r.p
	enforced.Mode = Enforce // a draft in shadow is asked what it would do
	c.apply(enforced, limits)
	switch c.decision.Effect {
	case Deny:
		r.out.Denied++
		r.tell(row, Deny, c.decision.denied.Reason, false)
	case Hold:
		stuck, err := r.stuck(ctx, row.Name, c.identity)
		if err != nil {
			return err
		}
		r.out.Held++
		if stuck {
			r.out.Deadlocks++
		}
		r.tell(row, Hold, c.decision.Policies[0].Why, stuck)
	}
	return nil
}

// spend reads the windows before the action and adds it to them.
func (r *replay) spend(ctx context.Context, c *call, state State) ([]LimitHit, string) {
	hits := make([]LimitHit, 0, len(r.p.Limits))
	for i, l := range r.p.Limits {
		amount, rate, err := r.k.amount(ctx, c, l)
		if err != nil {
			return nil, err.Error()
		}
		key, err := c.budgetKey(r.p.ID, i, l)
		if err != nil {
			return nil, err.Error()
		}
		h := LimitHit{Key: key, Unit: l.Unit, Amount: amount, Max: l.Max, Window: l.Window, Rate: rate, Count: l.Count}
		since := c.now.Add(-l.Window.Duration)
		kept := slices.DeleteFunc(r.windows[key], func(s spent) bool { return !s.at.After(since) })
		for _, s := range kept {
			if s.posted || l.Count == CountAttempts || s.taken && l.Count != CountPosted {
				h.Sum += s.amount
			}
		}
		h.Exceeds = h.Amount > 0 && h.Sum > h.Max-h.Amount
		waiting := slices.Contains([]State{StatePending, StateApproved, StateExecuting, StateUnknown}, state)
		r.windows[key] = append(kept, spent{c.now, amount, state == StateExecuted, state == StateExecuted || waiting})
		hits = append(hits, h)
	}
	return hits, ""
}

// stuck tells whether nobody could approve what this identity asks for.
func (r *replay) stuck(ctx context.Context, action string, id Identity) (bool, error) {
	key := fmt.Sprint(action, id.persons())
	if stuck, known := r.reach[key]; known {
		return stuck, nil
	}
	rs, editors := together(r.p.Policy, r.others, action)
	gap, err := r.k.gap(ctx, rs, slices.Concat(id.persons(), editors, []PersonID{r.editor})...)
	if err != nil {
		return false, err
	}
	r.reach[key] = len(gap) > 0
	return r.reach[key], nil
}

func (r *replay) tell(row actionRow, effect Effect, why string, deadlock bool) {
	if !row.Held && State(row.State) != StateDenied {
		r.out.Fresh++
	}
	if len(r.out.Items) < backTestItems {
		r.out.Items = append(r.out.Items, BackTestItem{row.ID, row.Name, TenantID(row.Tenant), row.CreatedAt.Time(), State(row.State), row.Held, effect, why, deadlock})
	}
}
