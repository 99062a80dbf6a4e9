package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mode says whether a policy acts. The zero value is refused.
type Mode string

// The modes of a policy.
const (
	Shadow  Mode = "shadow"  // evaluated and written down, holds nothing
	Enforce Mode = "enforce" // holds and denies
)

// Duration is a time.Duration written as in Go: "24h", "15m".
type Duration struct{ time.Duration }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return Invalid("duration", "%q is not a duration such as 24h", b)
	}
	d.Duration = v
	return nil
}

// Scope says over whose actions a limit sums.
type Scope string

// The scopes of a limit.
const (
	ByActor    Scope = "actor"
	ByTenant   Scope = "tenant"
	ByResource Scope = "resource"
	ByGlobal   Scope = "global"
)

// Policy is one versioned rule about actions. Policies combine: any deny wins,
// requirements of all that match add up. A policy without limits applies to every
// action it matches; with limits, only to those that would pass one.
type Policy struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Actions  []string `json:"actions"`         // names, or "prefix.*"
	Match    string   `json:"match,omitempty"` // CEL over action, actor, tenant; empty matches
	Mode     Mode     `json:"mode"`
	Deny     bool     `json:"deny,omitempty"`
	Limits   []Limit  `json:"limits,omitempty"`
	Require  *Require `json:"require,omitempty"`
	NeedWhy  bool     `json:"need_reason,omitempty"` // an action without a reason is denied
	NeedTick bool     `json:"need_ticket,omitempty"`
}

// Limit is the most of a unit that may be posted or pending in a sliding window.
// The action that would make the sum exceed Max is held, or denied when the policy
// has no Require.
type Limit struct {
	Unit    string   `json:"unit"` // such as "EUR.cent", "rows", or "count" for how often
	Max     int64    `json:"max"`
	Window  Duration `json:"window"`
	By      Scope    `json:"by"`
	Convert bool     `json:"convert,omitempty"` // take any money measure, converted into Unit's currency
}

// Require says who must approve, and by when.
type Require struct {
	AllOf         []Quorum `json:"all_of"`
	DecideWithin  Duration `json:"decide_within"`
	ExecuteWithin Duration `json:"execute_within"`
	Manual        bool     `json:"manual,omitempty"`       // wait for Execute after the last vote
	PersonalKey   bool     `json:"personal_key,omitempty"` // a vote by a personal API key counts
}

// Quorum is a number of distinct people of one group. Over several quorums one
// person fills one place only.
type Quorum struct {
	Group     GroupID `json:"group"`
	Approvals int     `json:"approvals"`
}

func (p Policy) matchesName(action string) bool {
	for _, a := range p.Actions {
		if a == action {
			return true
		}
		if prefix, ok := strings.CutSuffix(a, "*"); ok && strings.HasPrefix(action, prefix) {
			return true
		}
	}
	return false
}

// Validate checks the document alone; every fault is named.
func (p Policy) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) { errs = append(errs, Invalid(field, format, args...)) }
	if !validSlug(p.ID) {
		bad("id", "%q is not a name of lower-case letters, digits and dashes", p.ID)
	}
	if p.Title == "" || len(p.Title) > 200 {
		bad("title", "is required, at most 200 bytes")
	}
	if len(p.Actions) == 0 {
		bad("actions", "name at least one; no action never means every action")
	}
	for i, a := range p.Actions {
		if a == "" || strings.Contains(strings.TrimSuffix(a, "*"), "*") {
			bad(fmt.Sprintf("actions[%d]", i), "%q is neither a name nor a prefix with a star", a)
		}
	}
	if p.Mode != Shadow && p.Mode != Enforce {
		bad("mode", "%q is neither shadow nor enforce", p.Mode)
	}
	if p.Deny && (p.Require != nil || len(p.Limits) > 0) {
		bad("deny", "goes with neither limits nor require")
	}
	if !p.Deny && p.Require == nil && len(p.Limits) == 0 && !p.NeedWhy && !p.NeedTick {
		bad("require", "the policy demands nothing")
	}
	for i, l := range p.Limits {
		at := fmt.Sprintf("limits[%d].", i)
		if l.Unit == "" {
			bad(at+"unit", "is required")
		}
		if l.Max < 0 {
			bad(at+"max", "is negative")
		}
		if l.Window.Duration < time.Second || l.Window.Duration > 366*24*time.Hour {
			bad(at+"window", "%s is not between 1s and 8784h", l.Window)
		}
		if !slices.Contains([]Scope{ByActor, ByTenant, ByResource, ByGlobal}, l.By) {
			bad(at+"by", "%q is not one of actor, tenant, resource, global", l.By)
		}
		if _, ok := unitCurrency(l.Unit); l.Convert && !ok {
			bad(at+"convert", "unit %q is not money", l.Unit)
		}
	}
	if r := p.Require; r != nil {
		if len(r.AllOf) == 0 {
			bad("require.all_of", "an empty list would approve by itself")
		}
		for i, q := range r.AllOf {
			if q.Group == "" || q.Approvals < 1 || q.Approvals > 10 {
				bad(fmt.Sprintf("require.all_of[%d]", i), "want a group and 1 to 10 approvals")
			}
		}
		if r.DecideWithin.Duration <= 0 || r.ExecuteWithin.Duration <= 0 {
			bad("require", "decide_within and execute_within must be positive")
		}
	}
	return errors.Join(errs...)
}

func validSlug(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// PolicyVersion is a stored policy.
type PolicyVersion struct {
	Policy
	Version  int       `json:"version"`
	Hash     Digest    `json:"hash"`
	Active   bool      `json:"active"`
	EditedBy PersonID  `json:"edited_by,omitempty"`
	At       time.Time `json:"at"`
}

// compiled is a policy ready to evaluate.
type compiled struct {
	PolicyVersion
	cond Condition
}

// policySet is an immutable snapshot of the active policies.
type policySet struct {
	revision string
	all      []compiled
}

func (k *Kernel) compile(v PolicyVersion) (compiled, error) {
	c := compiled{PolicyVersion: v}
	if v.Match == "" {
		return c, nil
	}
	if k.opts.Rules == nil {
		return c, Invalid("match", "this kernel has no rule language")
	}
	cond, err := k.opts.Rules.Compile(v.Match)
	if err != nil {
		return c, Invalid("match", "%v", err)
	}
	c.cond = cond
	return c, nil
}

const policyRevision = "policy.revision"

// policies gives the active policies as the transaction sees them. The revision is
// read in the transaction, so that no server decides by a policy that another has
// already replaced.
func (k *Kernel) policies(ctx context.Context, tx *Tx) (*policySet, error) {
	// Where reading it costs a round trip, a cached set is taken and the revision
	// checked by the last statement before the commit.
	if s := k.policySet.Load(); s != nil &&
		tx.Recheck("SELECT 1 WHERE COALESCE((SELECT value FROM gov_setting WHERE key = ?), '') = ?", []any{policyRevision, s.revision}, func() { k.policySet.CompareAndSwap(s, nil) }) {
		return s, nil
	}
	revision, err := tx.Memo(policyRevision, func() (string, error) { return settingTx(ctx, tx, policyRevision) })
	if err != nil {
		return nil, err
	}
	if s := k.policySet.Load(); s != nil && s.revision == revision {
		return s, nil
	}
	var rows []policyRow
	if err := tx.NewSelect().Model(&rows).Where("active").Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	s := &policySet{revision: revision}
	for _, r := range rows {
		v, err := r.version()
		if err != nil {
			return nil, err
		}
		c, err := k.compile(v)
		if err != nil {
			return nil, fmt.Errorf("policy %s version %d: %w", r.ID, r.Version, err)
		}
		s.all = append(s.all, c)
	}
	if !tx.Adopted() && !tx.Forgot() { // what this transaction sees may be rolled back
		k.policySet.Store(s)
	}
	return s, nil
}

// Policies lists the active policies by id.
func (k *Kernel) Policies(ctx context.Context) ([]PolicyVersion, error) {
	var rows []policyRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("active").Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	return versions(rows)
}

// PolicyHistory lists every version of one policy, newest first.
func (k *Kernel) PolicyHistory(ctx context.Context, id string) ([]PolicyVersion, error) {
	var rows []policyRow
	if err := k.db.Read().NewSelect().Model(&rows).Where("id = ?", id).Order("version DESC").Scan(ctx); err != nil {
		return nil, fmt.Errorf("policy %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("policy %s: %w", id, ErrNotFound)
	}
	return versions(rows)
}

func versions(rows []policyRow) ([]PolicyVersion, error) {
	out := make([]PolicyVersion, 0, len(rows))
	for _, r := range rows {
		v, err := r.version()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// putPolicyTx stores the next version and makes it the active one.
func (k *Kernel) putPolicyTx(ctx context.Context, tx *Tx, p Policy, editor PersonID) (PolicyVersion, error) {
	if err := p.Validate(); err != nil {
		return PolicyVersion{}, err
	}
	body, err := Canonical(p)
	if err != nil {
		return PolicyVersion{}, err
	}
	v := PolicyVersion{Policy: p, Hash: digestBytes("reeve/policy/v1", body), Active: true, EditedBy: editor, At: k.Now()}
	if _, err := k.compile(v); err != nil {
		return v, err
	}
	var last int
	if err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM gov_policy WHERE id = ?", p.ID).Scan(ctx, &last); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	v.Version = last + 1
	if _, err := tx.ExecContext(ctx, "UPDATE gov_policy SET active = ? WHERE id = ? AND active", false, p.ID); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	row := &policyRow{ID: p.ID, Version: v.Version, Body: string(body), Hash: string(v.Hash), Active: true, EditedBy: string(editor), CreatedAt: atMicros(v.At)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	tx.Forget(policyRevision)
	return v, putSettingTx(ctx, tx, policyRevision, NewID[Policy]().String(), k.Now())
}

// InstallPolicies stores the policies a product ships with, where no version of
// them exists yet. It is for start-up: it passes no guard and leaves edited
// policies alone. Quorums are not checked, there may be no people yet.
func (k *Kernel) InstallPolicies(ctx context.Context, ps ...Policy) error {
	return k.db.Do(ctx, func(ctx context.Context, tx *Tx) error {
		for _, p := range ps {
			have, err := tx.NewSelect().Model((*policyRow)(nil)).Where("id = ?", p.ID).Exists(ctx)
			if err != nil {
				return fmt.Errorf("policy %s: %w", p.ID, err)
			}
			if have {
				continue
			}
			v, err := k.putPolicyTx(ctx, tx, p, "")
			if err != nil {
				return fmt.Errorf("policy %s: %w", p.ID, err)
			}
			if _, err := k.RecordTx(ctx, tx, System("install"), Record{Action: "policy.install", Resource: Ref{"policy", p.ID}, Outcome: OutcomeDone, Data: v}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r policyRow) version() (PolicyVersion, error) {
	v := PolicyVersion{Version: r.Version, Hash: Digest(r.Hash), Active: r.Active, EditedBy: PersonID(r.EditedBy), At: r.CreatedAt.Time()}
	if err := json.Unmarshal([]byte(r.Body), &v.Policy); err != nil {
		return v, fmt.Errorf("policy %s version %d: %w", r.ID, r.Version, err)
	}
	return v, nil
}
