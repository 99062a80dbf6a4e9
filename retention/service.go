package retention

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/schedule"
)

//go:embed migrations
var files embed.FS

// Schema is the tables this package needs.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "retention", FS: files} // names no migrations: Migrate says so
	}
	return govdb.Schema{Name: "retention", FS: sub}
}

// Options tunes a Service. Jurisdictions is required.
type Options struct {
	Jurisdictions []Jurisdiction // see package rulepack
	BatchSize     int            // rows in one transaction of the host; default 500, at most 5000
	CallFor       time.Duration  // how long a purge runs before its caller gets an answer; the rest runs in the background; default 5s
	PlanTTL       time.Duration  // how old a plan may be when it is executed; default 168h
	Daily         schedule.Spec  // when every source is planned; default 02:30 UTC
	Unattended    bool           // the daily job also asks for the purge of what it planned; the guard decides
}

// Service plans and runs retention. Use [New]. Safe for concurrent use.
type Service struct {
	gov  *governance.Kernel
	db   *govdb.DB
	log  *slog.Logger
	opts Options

	purge     *governance.Action[PurgeInput]
	release   *governance.Action[releaseHold]
	putRule   *governance.Action[Rule]
	putPolicy *governance.Action[Policy]

	mu      sync.Mutex
	sources map[string]Source
	busy    map[string]bool // runs that this process is at work on
}

// New makes a Service on the kernel, whose database has [Schema].
func New(k *governance.Kernel, opts *Options) (*Service, error) {
	if k == nil || opts == nil || len(opts.Jurisdictions) == 0 {
		return nil, errors.New("retention: a kernel and Options.Jurisdictions are required")
	}
	o := *opts
	if o.BatchSize == 0 {
		o.BatchSize = 500
	}
	if o.CallFor == 0 {
		o.CallFor = 5 * time.Second
	}
	if o.PlanTTL == 0 {
		o.PlanTTL = 7 * 24 * time.Hour
	}
	if o.Daily == (schedule.Spec{}) {
		o.Daily = schedule.Spec{Cron: "30 2 * * *"}
	}
	if o.BatchSize < 1 || o.BatchSize > 5000 || o.CallFor < 0 || o.PlanTTL < 0 {
		return nil, errors.New("retention: BatchSize is not between 1 and 5000, or CallFor or PlanTTL is negative")
	}
	if _, err := NewResolver(o.Jurisdictions, nil, nil, nil); err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	s := &Service{gov: k, db: k.DB(), log: k.Logger(), opts: o, sources: map[string]Source{}, busy: map[string]bool{}}
	s.purge, s.release, s.putRule, s.putPolicy = s.definePurge(), s.defineRelease(), s.definePutRule(), s.definePutPolicy()
	if err := k.Register(s.purge, s.release, s.putRule, s.putPolicy); err != nil {
		return nil, fmt.Errorf("retention: %w", err)
	}
	k.Background("retention.runs", 2*time.Second, s.Turn)
	return s, nil
}

// Kernel is the kernel the service works on.
func (s *Service) Kernel() *governance.Kernel { return s.gov }

// Policies are the policies of the guard that the product ships with: a first purge
// of a source and a large one wait for one governance approver, and so do changes of
// rules and policies and the release of a hold.
func Policies() []governance.Policy {
	one := func() *governance.Require {
		return &governance.Require{
			AllOf:        []governance.Quorum{{Group: "gov_approver", Approvals: 1}},
			DecideWithin: governance.Duration{Duration: 72 * time.Hour}, ExecuteWithin: governance.Duration{Duration: 24 * time.Hour},
		}
	}
	return []governance.Policy{
		{ID: "retention-purge", Title: "A first or large purge waits for a governance approver", Actions: []string{ActionPurge}, Mode: governance.Enforce,
			Limits: []governance.Limit{
				{Unit: unitFirst, Max: 0, Window: governance.Duration{Duration: time.Hour}, By: governance.ByResource},
				{Unit: unitRows, Max: 1000, Window: governance.Duration{Duration: 24 * time.Hour}, By: governance.ByGlobal},
			}, Require: one()},
		{ID: "retention-change", Title: "Rules, policies and releases of holds wait for a governance approver", Mode: governance.Enforce,
			Actions: []string{ActionPutRule, ActionPutPolicy, ActionReleaseHold}, Require: one()},
	}
}

// AddSource makes a source known. Its name must be new.
func (s *Service) AddSource(ctx context.Context, src Source) error {
	d, err := src.Describe(ctx)
	if err != nil {
		return fmt.Errorf("add source: %w", err)
	}
	if !slugForm.MatchString(d.Name) || !slugForm.MatchString(d.Class) {
		return fmt.Errorf("add source: name %q or class %q is not valid", d.Name, d.Class)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sources[d.Name]; ok {
		return fmt.Errorf("add source %s: %w", d.Name, governance.ErrConflict)
	}
	s.sources[d.Name] = src
	return nil
}

func (s *Service) source(name string) (Source, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src, ok := s.sources[name]
	return src, ok
}

func (s *Service) sourceNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.sources))
	for name := range s.sources {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// SourceStatus is a source, or why it cannot be used now.
type SourceStatus struct {
	Descriptor
	Error string `json:"error,omitempty"`
}

// Sources lists the sources by name.
func (s *Service) Sources(ctx context.Context) []SourceStatus {
	out := []SourceStatus{}
	for _, name := range s.sourceNames() {
		src, _ := s.source(name)
		d, err := src.Describe(ctx)
		st := SourceStatus{Descriptor: d}
		if err != nil {
			s.log.WarnContext(ctx, "describe source", "source", name, "error", err)
			st.Name, st.Error = name, "the host database does not answer, or its schema has changed"
			var invalid *governance.InvalidError
			if errors.As(err, &invalid) {
				st.Error = invalid.Error()
			}
		}
		out = append(out, st)
	}
	return out
}

// Resolver is the resolver over the rules, policies and holds of now.
func (s *Service) Resolver(ctx context.Context) (*Resolver, error) {
	r, _, _, err := s.load(ctx)
	return r, err
}

// load reads rules, policies and holds with the revision and epoch they belong to.
// The numbers are read first: what is newer than its number is caught later by the
// check of the number, what is older never passes for newer.
func (s *Service) load(ctx context.Context) (r *Resolver, revision, epoch int64, err error) {
	db := s.db.Read()
	if revision, err = settingOf(ctx, db, settingRevision); err != nil {
		return nil, 0, 0, err
	}
	if epoch, err = settingOf(ctx, db, settingEpoch); err != nil {
		return nil, 0, 0, err
	}
	rules, err := s.Rules(ctx, RuleFilter{})
	if err != nil {
		return nil, 0, 0, err
	}
	policies, err := s.RetentionPolicies(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	var rows []holdRow
	if err := db.NewSelect().Model(&rows).Where("released_at = 0").Order("id").Scan(ctx); err != nil {
		return nil, 0, 0, fmt.Errorf("load holds: %w", err)
	}
	holds, err := holdsOf(rows)
	if err != nil {
		return nil, 0, 0, err
	}
	r, err = NewResolver(s.opts.Jurisdictions, rules, policies, holds)
	return r, revision, epoch, err
}

// The names of the guarded edits.
const (
	ActionPutRule   = "retention.rule.put"
	ActionPutPolicy = "retention.policy.put"
)

// RuleFilter selects rules in force; the zero value lists all.
type RuleFilter struct {
	Jurisdiction string
	Class        string
}

// Rules lists the newest version of every rule.
func (s *Service) Rules(ctx context.Context, f RuleFilter) ([]RuleVersion, error) {
	var rows []ruleRow
	q := s.db.Read().NewSelect().Model(&rows).Where("active").Order("jurisdiction", "class", "id")
	if f.Jurisdiction != "" {
		q = q.Where("jurisdiction = ?", f.Jurisdiction)
	}
	if f.Class != "" {
		q = q.Where("class = ?", f.Class)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	out := make([]RuleVersion, 0, len(rows))
	for _, r := range rows {
		v, err := r.version()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// RetentionPolicies lists the newest version of every policy.
func (s *Service) RetentionPolicies(ctx context.Context) ([]PolicyVersion, error) {
	var rows []policyRow
	if err := s.db.Read().NewSelect().Model(&rows).Where("active").Order("class", "scope", "id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
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

// area checks that a code is a known country or region.
func (s *Service) area(field, code string) error {
	for _, j := range s.opts.Jurisdictions {
		if j.Code == code || slices.Contains(j.Regions, code) {
			return nil
		}
	}
	return governance.Invalid(field, "%q is neither a known country nor a known region", code)
}

func (s *Service) definePutRule() *governance.Action[Rule] {
	return governance.Define(ActionPutRule, governance.Spec[Rule]{
		Summary:    "Stores a rule of retention.",
		Permission: "retention:write",
		Sensitive:  true,
		Tenant:     func(Rule) governance.TenantID { return "" },
		Resource:   func(r Rule) governance.Ref { return governance.Ref{Kind: "retention_rule", ID: r.ID} },
		Validate:   func(r Rule) error { return errors.Join(r.Validate(), s.area("jurisdiction", r.Jurisdiction)) },
		Version: func(ctx context.Context, tx *governance.Tx, r Rule) (int64, error) {
			v, err := lastVersion(ctx, tx, "retention_rule", r.ID)
			return int64(v), err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, r Rule) (any, error) {
			return preview(ctx, tx, "retention_rule", r.ID, r)
		},
	}, func(ctx context.Context, tx *governance.Tx, r Rule) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		v, err := s.putRuleTx(ctx, tx, r, e.Identity.Actor.Person)
		if err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("retention.rule_changed", "", 0, governance.Ref{Kind: "retention_rule", ID: r.ID}, v)
		return governance.Result{Data: v, Events: []governance.Event{ev}}, err
	})
}

func (s *Service) definePutPolicy() *governance.Action[Policy] {
	return governance.Define(ActionPutPolicy, governance.Spec[Policy]{
		Summary:    "Stores a policy of retention.",
		Permission: "retention:write",
		Sensitive:  true,
		Tenant:     func(Policy) governance.TenantID { return "" },
		Resource:   func(p Policy) governance.Ref { return governance.Ref{Kind: "retention_policy", ID: p.ID} },
		Validate: func(p Policy) error {
			err := p.Validate()
			if p.Country != "" {
				err = errors.Join(err, s.area("country", p.Country))
			}
			return err
		},
		Version: func(ctx context.Context, tx *governance.Tx, p Policy) (int64, error) {
			v, err := lastVersion(ctx, tx, "retention_policy", p.ID)
			return int64(v), err
		},
		Preview: func(ctx context.Context, tx *governance.Tx, p Policy) (any, error) {
			return preview(ctx, tx, "retention_policy", p.ID, p)
		},
	}, func(ctx context.Context, tx *governance.Tx, p Policy) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		v, err := s.putPolicyTx(ctx, tx, p, e.Identity.Actor.Person)
		if err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("retention.policy_changed", "", 0, governance.Ref{Kind: "retention_policy", ID: p.ID}, v)
		return governance.Result{Data: v, Events: []governance.Event{ev}}, err
	})
}

// PutRule stores the next version of a rule, through the guard. Every plan made
// before is void.
func (s *Service) PutRule(ctx context.Context, id governance.Identity, r Rule, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.putRule.Do(ctx, s.gov, id, r, opts)
}

// PutPolicy stores the next version of a policy, through the guard. Every plan made
// before is void.
func (s *Service) PutPolicy(ctx context.Context, id governance.Identity, p Policy, opts *governance.DoOptions) (governance.Outcome, error) {
	return s.putPolicy.Do(ctx, s.gov, id, p, opts)
}

// Install stores the rules and policies a product ships with, where no version of
// them exists yet. It is for start-up: it passes no guard and leaves edited ones
// alone.
func (s *Service) Install(ctx context.Context, rules []Rule, policies []Policy) error {
	for _, r := range rules {
		if err := errors.Join(r.Validate(), s.area("jurisdiction", r.Jurisdiction)); err != nil {
			return fmt.Errorf("install rule %s: %w", r.ID, err)
		}
	}
	for _, p := range policies {
		if err := p.Validate(); err != nil {
			return fmt.Errorf("install policy %s: %w", p.ID, err)
		}
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		var newRules, newPolicies []string
		for _, r := range rules {
			if v, err := lastVersion(ctx, tx, "retention_rule", r.ID); err != nil || v > 0 {
				if err != nil {
					return err
				}
				continue
			}
			if _, err := s.putRuleTx(ctx, tx, r, ""); err != nil {
				return err
			}
			newRules = append(newRules, r.ID)
		}
		for _, p := range policies {
			if v, err := lastVersion(ctx, tx, "retention_policy", p.ID); err != nil || v > 0 {
				if err != nil {
					return err
				}
				continue
			}
			if _, err := s.putPolicyTx(ctx, tx, p, ""); err != nil {
				return err
			}
			newPolicies = append(newPolicies, p.ID)
		}
		if len(newRules)+len(newPolicies) == 0 {
			return nil
		}
		_, err := s.gov.RecordTx(ctx, tx, governance.System("install"), governance.Record{Action: "retention.install",
			Data: map[string]any{"rules": newRules, "policies": newPolicies}})
		return err
	})
}

func lastVersion(ctx context.Context, tx *governance.Tx, table, id string) (int, error) {
	var v int
	if err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM "+table+" WHERE id = ?", id).Scan(ctx, &v); err != nil {
		return 0, fmt.Errorf("%s %s: %w", table, id, err)
	}
	return v, nil
}

func preview(ctx context.Context, tx *governance.Tx, table, id string, after any) (any, error) {
	var old []string
	if err := tx.NewRaw("SELECT body FROM "+table+" WHERE id = ? AND active", id).Scan(ctx, &old); err != nil {
		return nil, fmt.Errorf("%s %s: %w", table, id, err)
	}
	before := json.RawMessage("null")
	if len(old) == 1 {
		before = json.RawMessage(old[0])
	}
	return map[string]any{"before": before, "after": after}, nil
}

func (s *Service) putRuleTx(ctx context.Context, tx *governance.Tx, r Rule, editor governance.PersonID) (RuleVersion, error) {
	v := RuleVersion{Rule: r, EditedBy: editor, At: s.gov.Now()}
	last, err := lastVersion(ctx, tx, "retention_rule", r.ID)
	if err != nil {
		return v, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return v, fmt.Errorf("rule %s: %w", r.ID, err)
	}
	v.Version = last + 1
	if _, err := tx.ExecContext(ctx, "UPDATE retention_rule SET active = ? WHERE id = ? AND active", false, r.ID); err != nil {
		return v, fmt.Errorf("rule %s: %w", r.ID, err)
	}
	row := &ruleRow{ID: r.ID, Version: v.Version, Jurisdiction: r.Jurisdiction, Class: r.Class, Body: string(body), Active: true,
		EditedBy: string(editor), CreatedAt: govdb.At(v.At)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return v, fmt.Errorf("rule %s: %w", r.ID, err)
	}
	_, err = bumpTx(ctx, tx, settingRevision)
	return v, err
}

func (s *Service) putPolicyTx(ctx context.Context, tx *governance.Tx, p Policy, editor governance.PersonID) (PolicyVersion, error) {
	v := PolicyVersion{Policy: p, EditedBy: editor, At: s.gov.Now()}
	last, err := lastVersion(ctx, tx, "retention_policy", p.ID)
	if err != nil {
		return v, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	v.Version = last + 1
	if _, err := tx.ExecContext(ctx, "UPDATE retention_policy SET active = ? WHERE id = ? AND active", false, p.ID); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	scope := strings.Join([]string{p.Class, p.Country, p.Source}, "|")
	if p.Off {
		scope = ""
	}
	var other []string
	if err := tx.NewRaw("SELECT id FROM retention_policy WHERE scope = ? AND scope <> '' AND active", scope).Scan(ctx, &other); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	if len(other) > 0 {
		return v, fmt.Errorf("policy %s already sets the period of this class, country and source: %w", other[0], governance.ErrConflict)
	}
	row := &policyRow{ID: p.ID, Version: v.Version, Class: p.Class, Scope: scope, Body: string(body), Active: true,
		EditedBy: string(editor), CreatedAt: govdb.At(v.At)}
	if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
		return v, fmt.Errorf("policy %s: %w", p.ID, err)
	}
	_, err = bumpTx(ctx, tx, settingRevision)
	return v, err
}

// SetPaused stops every run between two batches, or lets them go on: the kill
// switch.
func (s *Service) SetPaused(ctx context.Context, id governance.Identity, paused bool, reason string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > 2000 || strings.ContainsRune(reason, 0) {
		return governance.Invalid("reason", "is required, at most 2000 bytes")
	}
	if err := s.gov.Authorize(ctx, id, "retention:run", governance.Target{}); err != nil {
		return err
	}
	value, action := 0, "retention.resume"
	if paused {
		value, action = 1, "retention.pause"
	}
	return s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO retention_setting (key, value) VALUES (?, ?)
			ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value`, settingPaused, value)
		if err != nil {
			return fmt.Errorf("pause retention: %w", err)
		}
		_, err = s.gov.RecordTx(ctx, tx, id, governance.Record{Action: action, Reason: reason})
		return err
	})
}

// Paused tells whether the kill switch is on.
func (s *Service) Paused(ctx context.Context) (bool, error) {
	v, err := settingOf(ctx, s.db.Read(), settingPaused)
	return v != 0, err
}

// Jobs are the daily planning of every source.
func (s *Service) Jobs() []schedule.Job {
	return []schedule.Job{{Name: "retention.plan", Spec: s.opts.Daily, Max: time.Hour, Run: func(ctx context.Context, _ time.Time) error {
		return s.PlanAll(ctx)
	}}}
}

// PlanAll plans every source, and asks for the purges when the service is
// unattended.
func (s *Service) PlanAll(ctx context.Context) error {
	id := governance.System("retention")
	var errs []error
	for _, name := range s.sourceNames() {
		p, err := s.CreatePlan(ctx, id, NewPlan{Source: name})
		if err != nil {
			errs = append(errs, fmt.Errorf("plan %s: %w", name, err))
			continue
		}
		if !s.opts.Unattended || p.Rows == 0 {
			continue
		}
		_, err = s.Purge(ctx, id, PurgeInput{Plan: p.ID, Digest: p.Digest}, &governance.DoOptions{Key: "retention:" + p.ID.String(), Reason: "daily retention"})
		var held *governance.ApprovalRequiredError
		if err != nil && !errors.As(err, &held) {
			errs = append(errs, fmt.Errorf("purge %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
