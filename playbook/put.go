package playbook

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// The names of this capability's own actions.
const (
	ActionPut      = "playbook.put"
	ActionActivate = "playbook.activate"
	ActionApproval = "playbook.approval"
)

// Mode says whether a version acts.
type Mode string

// The modes of a version.
const (
	Shadow Mode = "shadow" // writes down what it would do
	Live   Mode = "live"
)

// PutInput is a new version of a playbook.
type PutInput struct {
	Name   string `json:"name"`
	Source string `json:"source"`
}

// ActivateInput names the version that is to act.
type ActivateInput struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// Playbook is a playbook as it stands.
type Playbook struct {
	Name          string           `json:"name"`
	Title         string           `json:"title"`
	LiveVersion   int              `json:"live_version"`   // 0: none acts
	ShadowVersion int              `json:"shadow_version"` // 0: none is tried
	Paused        *Pause           `json:"paused,omitempty"`
	NextScanAt    time.Time        `json:"next_scan_at,omitzero"`
	UpdatedAt     time.Time        `json:"updated_at"`
	Document      Document         `json:"document"` // of the newest version
	Runs          map[RunState]int `json:"runs"`
}

// Version is a stored document.
type Version struct {
	Name    string              `json:"name"`
	Version int                 `json:"version"`
	Source  string              `json:"source"`
	Hash    string              `json:"hash"`
	Author  governance.PersonID `json:"author,omitempty"`
	At      time.Time           `json:"at"`
}

func none[I any](I) governance.TenantID { return "" }

func lastVersion(ctx context.Context, tx *governance.Tx, name string) (int64, error) {
	var v int64
	err := tx.NewRaw("SELECT COALESCE(MAX(version), 0) FROM playbook_version WHERE name = ?", name).Scan(ctx, &v)
	return v, err
}

func (s *Service) definePut() *governance.Action[PutInput] {
	return governance.Define(ActionPut, governance.Spec[PutInput]{
		Summary:    "Stores a version of a playbook.",
		Unheld:     "A version does nothing before a second person puts it into force.",
		Permission: "playbook:write", Sensitive: true, Tenant: none[PutInput],
		Resource: func(in PutInput) governance.Ref { return governance.Ref{Kind: "playbook", ID: in.Name} },
		Validate: func(in PutInput) error {
			c, err := s.compile(in.Source)
			if err == nil && c.Name != in.Name {
				err = governance.Invalid("name", "the document is named %q", c.Name)
			}
			return err
		},
		Version: func(ctx context.Context, tx *governance.Tx, in PutInput) (int64, error) {
			return lastVersion(ctx, tx, in.Name)
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in PutInput) (any, error) {
			var before []string
			err := tx.NewRaw("SELECT source FROM playbook_version WHERE name = ? ORDER BY version DESC LIMIT 1", in.Name).Scan(ctx, &before)
			return map[string]any{"before": append(before, "")[0], "after": in.Source}, err
		},
	}, func(ctx context.Context, tx *governance.Tx, in PutInput) (governance.Result, error) {
		e, _ := governance.ExecutionFrom(ctx)
		v, err := s.storeTx(ctx, tx, in.Source, e.Identity.Actor.Person)
		if err != nil {
			return governance.Result{}, err
		}
		ev, err := governance.NewEvent("playbook.changed", "", 0, governance.Ref{Kind: "playbook", ID: v.Name}, map[string]any{"playbook": v.Name, "version": v.Version, "hash": v.Hash})
		return governance.Result{Data: map[string]any{"playbook": v.Name, "version": v.Version, "hash": v.Hash, "mode": Shadow}, Events: []governance.Event{ev}}, err
	})
}

// storeTx stores the next version; it begins in shadow, beside a live one.
func (s *Service) storeTx(ctx context.Context, tx *governance.Tx, source string, author governance.PersonID) (Version, error) {
	c, err := s.compile(source)
	if err != nil {
		return Version{}, err
	}
	row, err := lockPlaybook(ctx, tx, c.Name)
	if err != nil && !errors.Is(err, governance.ErrNotFound) {
		return Version{}, err
	}
	last, err := lastVersion(ctx, tx, c.Name)
	if err != nil {
		return Version{}, err
	}
	now := s.k.Now()
	v := Version{Name: c.Name, Version: int(last) + 1, Source: source, Hash: c.hash, Author: author, At: now}
	vr := &versionRow{Name: v.Name, Version: v.Version, Source: v.Source, Hash: v.Hash, Author: string(author), CreatedAt: govdb.At(now)}
	if _, err := tx.NewInsert().Model(vr).Exec(ctx); err != nil {
		if governance.IsUnique(err) {
			return v, fmt.Errorf("playbook %s: %w: %w", c.Name, governance.ErrRetry, err)
		}
		return v, fmt.Errorf("playbook %s: %w", c.Name, err)
	}
	row.Name, row.Title, row.ShadowVersion, row.UpdatedAt = c.Name, c.Title, v.Version, govdb.At(now)
	events := c.eventTypes()
	if row.LiveVersion > 0 {
		live, err := s.versionTx(ctx, tx, c.Name, row.LiveVersion)
		if err != nil {
			return v, err
		}
		events = append(events, live.eventTypes()...)
	}
	row.Events = toJSON(append([]string{}, events...))
	row.NextScanAt = govdb.At(c.nextDaily(now))
	_, err = tx.NewInsert().Model(&row).On("CONFLICT (name) DO UPDATE").Set("title = EXCLUDED.title").Set("shadow_version = EXCLUDED.shadow_version").
		Set("events = EXCLUDED.events").Set("next_scan_at = EXCLUDED.next_scan_at").Set("updated_at = EXCLUDED.updated_at").Exec(ctx)
	if err != nil {
		return v, fmt.Errorf("playbook %s: %w", c.Name, err)
	}
	return v, nil
}

// lockPlaybook makes batches and changes of one playbook follow one another.
func lockPlaybook(ctx context.Context, tx *governance.Tx, name string) (playbookRow, error) {
	var row playbookRow
	err := tx.NewRaw("UPDATE playbook_playbook SET touched = touched + 1 WHERE name = ? RETURNING *", name).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return row, fmt.Errorf("playbook %s: %w", name, governance.ErrNotFound)
	}
	if err != nil {
		return row, fmt.Errorf("playbook %s: %w", name, err)
	}
	return row, nil
}

// Put stores a new version of a playbook, which begins in shadow: a version that
// acts goes on acting until another is activated.
func (s *Service) Put(ctx context.Context, id governance.Identity, source string, opts *governance.DoOptions) (governance.Outcome, error) {
	c, err := s.compile(source)
	if err != nil {
		return governance.Outcome{}, err
	}
	return s.put.Do(ctx, s.k, id, PutInput{c.Name, source}, opts)
}

func (s *Service) defineActivate() *governance.Action[ActivateInput] {
	return governance.Define(ActionActivate, governance.Spec[ActivateInput]{
		Summary:    "Puts a version of a playbook into force.",
		Permission: "playbook:write", Sensitive: true, Tenant: none[ActivateInput],
		Resource: func(in ActivateInput) governance.Ref { return governance.Ref{Kind: "playbook", ID: in.Name} },
		Validate: func(in ActivateInput) error {
			if in.Name == "" || in.Version < 1 {
				return governance.Invalid("version", "name a playbook and one of its versions")
			}
			return nil
		},
		Version: func(ctx context.Context, tx *governance.Tx, in ActivateInput) (int64, error) {
			return lastVersion(ctx, tx, in.Name)
		},
		Preview: func(ctx context.Context, tx *governance.Tx, in ActivateInput) (any, error) {
			var source []string
			if err := tx.NewRaw("SELECT source FROM playbook_version WHERE name = ? AND version = ?", in.Name, in.Version).Scan(ctx, &source); err != nil {
				return nil, err
			}
			var b batchRow
			err := tx.NewSelect().Model(&b).Where("playbook = ? AND version = ?", in.Name, in.Version).Order("created_at DESC").Limit(1).Scan(ctx)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			return map[string]any{"source": append(source, "")[0], "in_shadow": map[string]any{"at": b.CreatedAt.Time().Format(time.RFC3339),
				"scanned": b.Scanned, "would_act_on": b.Matched, "unusable": b.Unusable, "cap": b.Cap, "stopped": b.Why}}, nil
		},
	}, s.activateTx)
}

func (s *Service) activateTx(ctx context.Context, tx *governance.Tx, in ActivateInput) (governance.Result, error) {
	row, err := lockPlaybook(ctx, tx, in.Name)
	if err != nil {
		return governance.Result{}, err
	}
	if in.Version != row.ShadowVersion {
		return governance.Result{}, fmt.Errorf("playbook %s: version %d is not in shadow: %w", in.Name, in.Version, governance.ErrConflict)
	}
	tried, err := tx.NewSelect().Model((*batchRow)(nil)).Where("playbook = ? AND version = ? AND mode = ?", in.Name, in.Version, Shadow).Exists(ctx)
	if err != nil {
		return governance.Result{}, fmt.Errorf("playbook %s: %w", in.Name, err)
	}
	if !tried {
		return governance.Result{}, governance.Invalid("version", "version %d has not run in shadow yet: let it look at the tenants first", in.Version)
	}
	c, err := s.versionTx(ctx, tx, in.Name, in.Version)
	if err != nil {
		return governance.Result{}, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE playbook_playbook SET live_version = ?, shadow_version = 0, events = ?, next_scan_at = ?, updated_at = ? WHERE name = ?",
		in.Version, toJSON(append([]string{}, c.eventTypes()...)), govdb.At(c.nextDaily(s.k.Now())), govdb.At(s.k.Now()), in.Name)
	if err != nil {
		return governance.Result{}, fmt.Errorf("playbook %s: %w", in.Name, err)
	}
	ev, err := governance.NewEvent("playbook.activated", "", 0, governance.Ref{Kind: "playbook", ID: in.Name}, map[string]any{"playbook": in.Name, "version": in.Version})
	return governance.Result{Data: map[string]any{"playbook": in.Name, "version": in.Version, "mode": Live}, Events: []governance.Event{ev}}, err
}

// Activate lets the version that is in shadow act. Its author may not vote on that.
func (s *Service) Activate(ctx context.Context, id governance.Identity, in ActivateInput, opts *governance.DoOptions) (governance.Outcome, error) {
	o := governance.DoOptions{}
	if opts != nil {
		o = *opts
	}
	v, err := s.Version(ctx, in.Name, in.Version)
	if err != nil {
		return governance.Outcome{}, err
	}
	if v.Author != "" {
		o.Exclude = append(slices.Clone(o.Exclude), v.Author)
	}
	return s.activate.Do(ctx, s.k, id, in, &o)
}

// Retire ends the version that acts; runs that are under way go on.
func (s *Service) Retire(ctx context.Context, id governance.Identity, name, why string) error {
	if err := s.k.Authorize(ctx, id, "playbook:write", governance.Target{}); err != nil {
		return err
	}
	if why == "" {
		return governance.Invalid("reason", "is required")
	}
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		row, err := lockPlaybook(ctx, tx, name)
		if err != nil {
			return err
		}
		if row.LiveVersion == 0 {
			return fmt.Errorf("playbook %s does not act: %w", name, governance.ErrConflict)
		}
		if _, err := tx.ExecContext(ctx, "UPDATE playbook_playbook SET live_version = 0, updated_at = ? WHERE name = ?", govdb.At(s.k.Now()), name); err != nil {
			return fmt.Errorf("playbook %s: %w", name, err)
		}
		_, err = s.k.RecordTx(ctx, tx, id, governance.Record{Action: "playbook.retire", Resource: governance.Ref{Kind: "playbook", ID: name}, Reason: why, Data: map[string]any{"version": row.LiveVersion}})
		return err
	})
}

// version reads a compiled version; it never changes, so it is kept.
func (s *Service) version(ctx context.Context, name string, version int) (*compiled, error) {
	if c := s.cached(name, version); c != nil {
		return c, nil
	}
	v, err := s.Version(ctx, name, version)
	if err != nil {
		return nil, err
	}
	return s.keep(v)
}

func (s *Service) versionTx(ctx context.Context, tx *governance.Tx, name string, version int) (*compiled, error) {
	if c := s.cached(name, version); c != nil {
		return c, nil
	}
	var row versionRow
	if err := tx.NewSelect().Model(&row).Where("name = ? AND version = ?", name, version).Scan(ctx); err != nil {
		return nil, fmt.Errorf("playbook %s version %d: %w", name, version, err)
	}
	return s.keep(row.version())
}

func key(name string, version int) string { return fmt.Sprintf("%s/%d", name, version) }

func (s *Service) cached(name string, version int) *compiled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cache[key(name, version)]
}

func (s *Service) keep(v Version) (*compiled, error) {
	c, err := s.compile(v.Source)
	if err != nil {
		return nil, fmt.Errorf("playbook %s version %d does not fit this program any more: %w", v.Name, v.Version, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cache) > 500 {
		clear(s.cache)
	}
	s.cache[key(v.Name, v.Version)] = c
	return c, nil
}

func (r versionRow) version() Version {
	return Version{r.Name, r.Version, r.Source, r.Hash, governance.PersonID(r.Author), r.CreatedAt.Time()}
}

// Version reads one stored version.
func (s *Service) Version(ctx context.Context, name string, version int) (Version, error) {
	var row versionRow
	err := s.k.DB().Handle().NewSelect().Model(&row).Where("name = ? AND version = ?", name, version).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Version{}, fmt.Errorf("playbook %s version %d: %w", name, version, governance.ErrNotFound)
	}
	if err != nil {
		return Version{}, fmt.Errorf("playbook %s version %d: %w", name, version, err)
	}
	return row.version(), nil
}

// Versions lists every version of one playbook, newest first.
func (s *Service) Versions(ctx context.Context, name string) ([]Version, error) {
	var rows []versionRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Where("name = ?", name).Order("version DESC").Limit(200).Scan(ctx); err != nil {
		return nil, fmt.Errorf("versions of %s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("playbook %s: %w", name, governance.ErrNotFound)
	}
	out := make([]Version, len(rows))
	for i, r := range rows {
		out[i] = r.version()
	}
	return out, nil
}

// Playbooks lists all playbooks by name.
func (s *Service) Playbooks(ctx context.Context) ([]Playbook, error) {
	var rows []playbookRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("name").Limit(500).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list playbooks: %w", err)
	}
	pauses, err := s.pauses(ctx)
	if err != nil {
		return nil, err
	}
	var counts []struct {
		Playbook, State string
		N               int
	}
	if err := s.k.DB().Read().NewRaw("SELECT playbook, state, COUNT(*) AS n FROM playbook_run GROUP BY playbook, state").Scan(ctx, &counts); err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	out := make([]Playbook, len(rows))
	for i, r := range rows {
		p := Playbook{Name: r.Name, Title: r.Title, LiveVersion: r.LiveVersion, ShadowVersion: r.ShadowVersion, NextScanAt: r.NextScanAt.Time(), UpdatedAt: r.UpdatedAt.Time(), Runs: map[RunState]int{}}
		if ps, ok := pauses[r.Name]; ok {
			p.Paused = &ps
		} else if ps, ok := pauses[""]; ok {
			p.Paused = &ps
		}
		for _, c := range counts {
			if c.Playbook == r.Name {
				p.Runs[RunState(c.State)] = c.N
			}
		}
		var newest versionRow
		if err := s.k.DB().Read().NewSelect().Model(&newest).Where("name = ?", r.Name).Order("version DESC").Limit(1).Scan(ctx); err != nil {
			return nil, fmt.Errorf("playbook %s: %w", r.Name, err)
		}
		if c, err := s.version(ctx, r.Name, newest.Version); err == nil { // one that lost its kinds is still listed
			p.Document = c.Document
		}
		out[i] = p
	}
	return out, nil
}

// Playbook reads one playbook.
func (s *Service) Playbook(ctx context.Context, name string) (Playbook, error) {
	all, err := s.Playbooks(ctx)
	if err != nil {
		return Playbook{}, err
	}
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
	}
	return Playbook{}, fmt.Errorf("playbook %s: %w", name, governance.ErrNotFound)
}
