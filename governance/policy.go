package governance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

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
	cond  Condition
	where map[string]Condition // of quorums, by their text
}

// policySet is an immutable snapshot of the active policies.
type policySet struct {
	revision string
	all      []compiled
}

func (k *Kernel) compile(v PolicyVersion) (compiled, error) {
	c := compiled{PolicyVersion: v, where: map[string]Condition{}}
	var err error
	if v.Match != "" {
		if c.cond, err = k.condition("match", v.Match); err != nil {
			return c, err
		}
	}
	if v.Require == nil {
		return c, nil
	}
	for i, q := range slices.Concat(v.Require.AllOf, v.Require.AnyOf) {
		if q.Where == "" {
			continue
		}
		if c.where[q.Where], err = k.condition(fmt.Sprintf("require.quorum[%d].where", i), q.Where); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (k *Kernel) condition(field, text string) (Condition, error) {
	if k.opts.Rules == nil {
		return nil, Invalid(field, "this kernel has no rule language")
	}
	cond, err := k.opts.Rules.Compile(text)
	if err != nil {
		return nil, Invalid(field, "%v", err)
	}
	return cond, nil
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
	if err := errors.Join(p.Validate(), k.signable(p)); err != nil {
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
	var rows []policyRow
	if err := tx.NewSelect().Model(&rows).Where("active").Order("id").Scan(ctx); err != nil {
		return v, fmt.Errorf("read policies: %w", err)
	}
	others, err := versions(rows)
	if err == nil {
		err = decidable(p, others)
	}
	if err != nil {
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
