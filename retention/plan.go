package retention

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Plan names the exact rows that are due in one source, and why. It cannot execute:
// [Service.Purge] asks for that, bound to Digest.
type Plan struct {
	ID         governance.ID[Plan] `json:"id"`
	Source     string              `json:"source"`
	Class      string              `json:"class"`
	AsOf       time.Time           `json:"as_of"`
	Revision   int64               `json:"revision"` // of the rules and policies
	Rows       int64               `json:"rows"`
	Related    int64               `json:"related"` // rows that go with them
	Groups     []PlanGroup         `json:"groups"`
	Exceptions []Exception         `json:"exceptions"`
	Sample     []string            `json:"sample"` // some keys
	Population []Group             `json:"population"`
	Law        []Bound             `json:"law"` // every rule and policy that decided
	Warnings   []string            `json:"warnings"`
	KeysHash   string              `json:"keys_hash"`
	Chunks     int                 `json:"chunks"`
	Place      string              `json:"place"`
	Print      string              `json:"fingerprint"` // of the host's schema
	Digest     governance.Digest   `json:"digest"`
	Approval   string              `json:"approval,omitempty"`
	Run        string              `json:"run,omitempty"`
	CreatedBy  string              `json:"created_by"`
	CreatedAt  time.Time           `json:"created_at"`
}

// PlanGroup counts planned rows of one country.
type PlanGroup struct {
	Country string `json:"country"`
	Action  Action `json:"action"`
	Rows    int64  `json:"rows"`
}

// Exception is rows that are not touched although somebody may expect it.
type Exception struct {
	Source  string   `json:"source"`
	State   State    `json:"state"`
	Country string   `json:"country,omitempty"`
	Written string   `json:"written,omitempty"` // the country as the host writes it
	Hold    string   `json:"hold,omitempty"`
	Count   int64    `json:"count"`
	Sample  []string `json:"sample,omitempty"`
}

const sampleKeys = 20

type exceptionID struct {
	state         State
	country, hold string
}

// planner gathers a plan while the source gives its rows.
type planner struct {
	plan   *Plan
	r      *Resolver
	can    map[Action]bool
	size   int
	open   map[Action][]string
	chunks []chunkRow
	groups map[PlanGroup]int64
	except map[exceptionID]*Exception
}

func (p *planner) take(f Facts) error {
	state, action := p.r.Decide(f, p.plan.AsOf)
	country, _ := p.r.Country(f.Country)
	switch {
	case state == Held:
		for _, h := range p.r.heldBy(f) {
			p.exception(Exception{State: Held, Country: country, Hold: h}, f.Key)
		}
		return nil
	case state != Due: // the source's selection is wider than the resolver's: the resolver counts
		return nil
	case !p.can[action]:
		p.exception(Exception{State: Unsupported, Country: country}, f.Key)
		return nil
	}
	p.plan.Rows++
	p.groups[PlanGroup{Country: country, Action: action}]++
	if len(p.plan.Sample) < sampleKeys {
		p.plan.Sample = append(p.plan.Sample, f.Key)
	}
	p.open[action] = append(p.open[action], f.Key)
	if len(p.open[action]) == p.size {
		p.close(action)
	}
	return nil
}

func (p *planner) close(a Action) {
	keys := p.open[a]
	if len(keys) == 0 {
		return
	}
	p.chunks = append(p.chunks, chunkRow{Plan: p.plan.ID.String(), Seq: len(p.chunks), Action: string(a), Keys: strings.Join(keys, "\n"), N: len(keys)})
	p.open[a] = nil
}

func (p *planner) exception(e Exception, key string) {
	id := exceptionID{e.State, e.Country, e.Hold}
	have, ok := p.except[id]
	if !ok {
		e.Source = p.plan.Source
		have = &e
		p.except[id] = have
	}
	have.Count++
	if len(have.Sample) < sampleKeys {
		have.Sample = append(have.Sample, key)
	}
}

// NewPlan is what is needed to make a plan.
type NewPlan struct {
	Source string
	Key    string // makes the call idempotent for this actor; empty: every call makes one
}

var planNamespace = uuid.MustParse("3b7f1f0e-2d4c-5a86-8e0b-6a7d3f9c1e52")

// CreatePlan finds what is due in a source now. Nothing is changed in the host.
func (s *Service) CreatePlan(ctx context.Context, id governance.Identity, n NewPlan) (Plan, error) {
	if err := s.gov.Authorize(ctx, id, "retention:run", governance.Target{}); err != nil {
		return Plan{}, err
	}
	source, planID := n.Source, governance.NewID[Plan]()
	if n.Key != "" {
		planID.UUID = uuid.NewSHA1(planNamespace, []byte(id.Actor.ID+"\x00"+n.Key))
		switch have, err := s.Plan(ctx, planID); {
		case err == nil && have.Source != source:
			return Plan{}, fmt.Errorf("the idempotency key was used for another source: %w", governance.ErrConflict)
		case err == nil:
			return have, nil
		case !errors.Is(err, governance.ErrNotFound):
			return Plan{}, err
		}
	}
	src, ok := s.source(source)
	if !ok {
		return Plan{}, fmt.Errorf("source %q: %w", source, governance.ErrNotFound)
	}
	p, chunks, err := s.scan(ctx, src, planID)
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", source, err)
	}
	p.CreatedBy = id.Actor.ID
	body, err := json.Marshal(p)
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", source, err)
	}
	row := &planRow{ID: p.ID.String(), Source: p.Source, Class: p.Class, AsOf: govdb.At(p.AsOf), Revision: p.Revision, Planned: p.Rows,
		Digest: string(p.Digest), Body: string(body), CreatedBy: p.CreatedBy, CreatedAt: govdb.At(p.CreatedAt)}
	err = s.db.Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		for part := range slices.Chunk(chunks, 50) {
			if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
				return err
			}
		}
		// The keys of plans that can no longer be executed are of no use, and are data.
		_, err := tx.ExecContext(ctx, `DELETE FROM retention_chunk WHERE plan IN (SELECT p.id FROM retention_plan p WHERE p.source = ? AND p.created_at < ?
			AND NOT EXISTS (SELECT 1 FROM retention_run r WHERE r.plan = p.id))`, p.Source, govdb.At(s.gov.Now().Add(-s.opts.PlanTTL)))
		if err != nil {
			return err
		}
		_, err = s.gov.RecordTx(ctx, tx, id, governance.Record{Action: "retention.plan", Resource: governance.RefTo("retention_plan", p.ID),
			Digest: p.Digest, Data: map[string]any{"source": p.Source, "as_of": p.AsOf, "rows": p.Rows, "keys_hash": p.KeysHash, "groups": p.Groups}})
		return err
	})
	if err != nil {
		return Plan{}, fmt.Errorf("store plan of %s: %w", source, err)
	}
	return p, nil
}

// scan asks a source what is due and binds the answer to a digest.
func (s *Service) scan(ctx context.Context, src Source, id governance.ID[Plan]) (Plan, []chunkRow, error) {
	d, err := src.Describe(ctx)
	if err != nil {
		return Plan{}, nil, err
	}
	r, revision, _, err := s.load(ctx)
	if err != nil {
		return Plan{}, nil, err
	}
	now := s.gov.Now()
	p := Plan{ID: id, Source: d.Name, Class: d.Class, AsOf: now.Truncate(time.Second), Revision: revision, Place: d.Place,
		Print: d.Fingerprint, Warnings: append([]string{}, d.Warnings...), Groups: []PlanGroup{}, Exceptions: []Exception{}, Sample: []string{},
		Law: []Bound{}, CreatedAt: now}
	pl := &planner{plan: &p, r: r, can: map[Action]bool{}, size: s.opts.BatchSize, open: map[Action][]string{}, groups: map[PlanGroup]int64{}, except: map[exceptionID]*Exception{}}
	for _, a := range d.Actions {
		pl.can[a] = true
	}
	pop, err := src.Plan(ctx, Selection{AsOf: p.AsOf, Soon: p.AsOf.AddDate(0, 0, 30), Resolver: r}, pl.take)
	if err != nil {
		return Plan{}, nil, err
	}
	pl.close(Delete)
	pl.close(Anonymise)
	p.Population = pop.Groups
	if p.Population == nil {
		p.Population = []Group{}
	}
	h := sha256.New()
	for i := range pl.chunks {
		c := pl.chunks[i]
		_, _ = fmt.Fprintf(h, "%d %s\n%s\n", c.Seq, c.Action, c.Keys)
		n, err := src.Related(ctx, strings.Split(c.Keys, "\n"))
		if err != nil {
			return Plan{}, nil, err
		}
		p.Related += n
	}
	p.Chunks, p.KeysHash = len(pl.chunks), "sha256:"+hex.EncodeToString(h.Sum(nil))
	for g, n := range pl.groups {
		g.Rows = n
		p.Groups = append(p.Groups, g)
	}
	slices.SortFunc(p.Groups, compareGroups)
	p.exceptions(pl)
	p.law(r, pop)
	p.Digest, err = governance.DigestOf("reeve/retention/plan/v1", map[string]any{
		"source": p.Source, "fingerprint": p.Print, "as_of": p.AsOf.Format(time.RFC3339), "revision": p.Revision, "law": p.Law, "rows": p.Rows,
		"related": p.Related, "groups": p.Groups, "keys": p.KeysHash,
	})
	return p, pl.chunks, err
}

func compareGroups(a, b PlanGroup) int {
	return cmp.Or(-cmp.Compare(a.Rows, b.Rows), cmp.Compare(a.Country, b.Country), cmp.Compare(a.Action, b.Action))
}

// exceptions turns the counts of the population into exceptions, beside the held
// rows that were met on the way.
func (p *Plan) exceptions(pl *planner) {
	for _, id := range slices.SortedFunc(maps.Keys(pl.except), func(a, b exceptionID) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(a.country, b.country), cmp.Compare(a.hold, b.hold))
	}) {
		p.Exceptions = append(p.Exceptions, *pl.except[id])
	}
	for _, g := range p.Population {
		add := func(state State, n int64) {
			if n == 0 {
				return
			}
			e := Exception{Source: p.Source, State: state, Country: g.Country, Written: g.Written, Count: n}
			for _, smp := range g.Sample {
				if smp.State == state {
					e.Sample = smp.Keys
				}
			}
			p.Exceptions = append(p.Exceptions, e)
		}
		if g.State != "" {
			add(g.State, g.Total)
			continue
		}
		add(Conflict, g.Conflict)
		add(NoStart, g.NoStart)
		add(Implausible, g.Implausible)
	}
}

// law lists every rule and policy that decided over the population.
func (p *Plan) law(r *Resolver, pop Population) {
	seen := map[string]bool{}
	for _, g := range pop.Groups {
		for _, b := range r.Resolve(Facts{Source: p.Source, Class: p.Class, Country: g.Written}, p.AsOf).Trace {
			if id := b.Kind + " " + b.ID; !seen[id] {
				seen[id] = true
				p.Law = append(p.Law, b)
			}
		}
	}
	slices.SortFunc(p.Law, func(a, b Bound) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
}

// PlanFilter selects plans; the zero value lists all, newest first.
type PlanFilter struct {
	Source string
	Limit  int
	Before string // the last id of the page before
}

// Plans lists plans, newest first.
func (s *Service) Plans(ctx context.Context, f PlanFilter) ([]Plan, error) {
	var rows []planRow
	q := s.db.Read().NewSelect().Model(&rows).Order("created_at DESC", "id DESC").Limit(pageLimit(f.Limit))
	if f.Source != "" {
		q = q.Where("source = ?", f.Source)
	}
	if f.Before != "" {
		q = q.Where("(created_at, id) < (SELECT created_at, id FROM retention_plan WHERE id = ?)", f.Before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	out := make([]Plan, 0, len(rows))
	for _, r := range rows {
		p, err := s.planOf(ctx, r)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Plan reads one plan.
func (s *Service) Plan(ctx context.Context, id governance.ID[Plan]) (Plan, error) {
	var row planRow
	err := s.db.Read().NewSelect().Model(&row).Where("id = ?", id.String()).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = governance.ErrNotFound
	}
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", id, err)
	}
	return s.planOf(ctx, row)
}

func (s *Service) planOf(ctx context.Context, r planRow) (Plan, error) {
	var p Plan
	if err := json.Unmarshal([]byte(r.Body), &p); err != nil {
		return p, fmt.Errorf("plan %s: %w", r.ID, err)
	}
	p.Approval = r.Approval
	var run []string
	if err := s.db.Read().NewRaw("SELECT id FROM retention_run WHERE plan = ?", r.ID).Scan(ctx, &run); err != nil {
		return p, fmt.Errorf("plan %s: %w", r.ID, err)
	}
	if len(run) == 1 {
		p.Run = run[0]
	}
	return p, nil
}

// Explanation says why a row is kept or due.
type Explanation struct {
	Source   string    `json:"source"`
	Key      string    `json:"key"`
	AsOf     time.Time `json:"as_of"`
	Decision Decision  `json:"decision"`
}

// Explain decides over one row as of now or another instant, with the whole trace.
func (s *Service) Explain(ctx context.Context, source, key string, asOf time.Time) (Explanation, error) {
	src, ok := s.source(source)
	if !ok {
		return Explanation{}, fmt.Errorf("source %q: %w", source, governance.ErrNotFound)
	}
	reader, ok := src.(Reader)
	if !ok {
		return Explanation{}, governance.Invalid("source", "%q cannot read single rows", source)
	}
	key, err := CanonicalKey(key)
	if err != nil {
		return Explanation{}, governance.Invalid("key", "%v", err)
	}
	r, err := s.Resolver(ctx)
	if err != nil {
		return Explanation{}, err
	}
	f, ok, err := reader.Row(ctx, key, r)
	if err != nil {
		return Explanation{}, fmt.Errorf("row of %s: %w", source, err)
	}
	if !ok {
		return Explanation{}, fmt.Errorf("row of %s: %w", source, governance.ErrNotFound)
	}
	if asOf.IsZero() {
		asOf = s.gov.Now()
	}
	return Explanation{Source: source, Key: key, AsOf: asOf.UTC(), Decision: r.Resolve(f, asOf)}, nil
}
