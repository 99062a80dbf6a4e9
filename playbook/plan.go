package playbook

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Verdict is what a playbook says about one tenant.
type Verdict string

// The verdicts. Only Match leads to a run.
const (
	Match    Verdict = "match"
	NoMatch  Verdict = "no_match"
	Stale    Verdict = "stale"    // a signal is missing, too old or of another type
	Fault    Verdict = "error"    // the condition could not be evaluated, which never means false
	Exempt   Verdict = "exempt"   // somebody took the tenant out
	Repeated Verdict = "repeated" // it had a run within the window, or has one under way
	Loop     Verdict = "loop"     // the chain of causes is too long, or leads back here
)

// Candidate is one tenant as a playbook sees it.
type Candidate struct {
	Tenant  governance.TenantID `json:"tenant"`
	Name    string              `json:"name"`
	Verdict Verdict             `json:"verdict"`
	Why     string              `json:"why,omitempty"`
	Signals map[string]Reading  `json:"signals"`
	Steps   []PlannedStep       `json:"steps,omitempty"` // of a match
	Run     string              `json:"run,omitempty"`

	tenant governance.Tenant
}

// PlannedStep is a step with the parameters it would have.
type PlannedStep struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Params Params `json:"params"`
	Fault  string `json:"fault,omitempty"` // why the parameters cannot be told yet
}

// Plan says what a playbook would do now. It holds nothing that could execute it.
type Plan struct {
	Playbook   string      `json:"playbook"`
	Version    int         `json:"version"`
	At         time.Time   `json:"at"`
	Scanned    int         `json:"scanned"`
	Matched    int         `json:"matched"`
	Unusable   int         `json:"unusable"` // stale or in error
	Cap        int         `json:"cap"`
	Stopped    string      `json:"stopped,omitempty"` // why the whole batch would not run
	Candidates []Candidate `json:"candidates"`        // all but those that do not match
}

// Simulate says what a version would do now, and does nothing.
func (s *Service) Simulate(ctx context.Context, name string, version int) (Plan, error) {
	c, err := s.version(ctx, name, version)
	if err != nil {
		return Plan{}, err
	}
	p, err := s.planAll(ctx, c, version, Live)
	if err != nil {
		return Plan{}, err
	}
	today, err := s.takenToday(ctx, s.k.DB().Read(), name, Live)
	if err != nil {
		return Plan{}, err
	}
	p.Stopped = p.halt(c, today)
	return p, nil
}

// SimulateSource is Simulate for a document that is not stored.
func (s *Service) SimulateSource(ctx context.Context, source string) (Plan, error) {
	c, err := s.compile(source)
	if err != nil {
		return Plan{}, err
	}
	p, err := s.planAll(ctx, c, 0, Live)
	if err != nil {
		return Plan{}, err
	}
	p.Stopped = p.halt(c, 0)
	return p, nil
}

const planPage = 200

// planAll judges every tenant that is not closed.
func (s *Service) planAll(ctx context.Context, c *compiled, version int, mode Mode) (Plan, error) {
	p := Plan{Playbook: c.Name, Version: version, At: s.k.Now(), Candidates: []Candidate{}}
	var after governance.TenantID
	for {
		page, err := s.k.Tenants(ctx, governance.TenantFilter{After: after, Limit: planPage})
		if err != nil {
			return p, err
		}
		if err := s.planPage(ctx, c, &p, page, mode, cause{}); err != nil {
			return p, err
		}
		if len(page) < planPage {
			break
		}
		after = page[len(page)-1].ID
	}
	p.Cap = c.Safeguards.cap(p.Scanned)
	return p, nil
}

// cause is the event that makes a playbook look.
type cause struct {
	event     uuid.UUID
	typ       string
	actor     string
	causation uuid.UUID
	depth     int
}

func (s *Service) planPage(ctx context.Context, c *compiled, p *Plan, page []governance.Tenant, mode Mode, why cause) error {
	page = slices.DeleteFunc(slices.Clone(page), func(t governance.Tenant) bool { return t.Status == governance.TenantClosed }) // the caller's page is its cursor
	sigs, err := s.signals(ctx, page, p.At)
	if err != nil {
		return err
	}
	ids := make([]string, len(page))
	for i, t := range page {
		ids[i] = string(t.ID)
	}
	exempt, err := s.exempt(ctx, s.k.DB().Read(), c.Name, ids)
	if err != nil {
		return err
	}
	taken, err := s.taken(ctx, s.k.DB().Read(), c, mode, ids)
	if err != nil {
		return err
	}
	for _, t := range page {
		p.Scanned++
		cand := s.judge(ctx, c, t, sigs[t.ID], p.At, why)
		if cand.Verdict == Match {
			switch {
			case exempt[string(t.ID)] != "":
				cand.Verdict, cand.Why = Exempt, exempt[string(t.ID)]
			case taken[string(t.ID)] != "":
				cand.Verdict, cand.Why = Repeated, taken[string(t.ID)]
			default:
				cand.Steps = s.planSteps(c, t, cand.Signals)
			}
		}
		switch cand.Verdict {
		case NoMatch:
			continue
		case Match:
			p.Matched++
		case Stale, Fault:
			p.Unusable++
		}
		p.Candidates = append(p.Candidates, cand)
	}
	return nil
}

// judge evaluates the condition for one tenant. Only fresh and complete signals
// give an answer.
func (s *Service) judge(ctx context.Context, c *compiled, t governance.Tenant, have map[string]Signal, now time.Time, why cause) Candidate {
	cand := Candidate{Tenant: t.ID, Name: t.Name, tenant: t}
	var faults []string
	cand.Signals, faults = c.readings(have, now)
	if len(faults) > 0 {
		cand.Verdict, cand.Why = Stale, strings.Join(faults, "; ")
		return cand
	}
	yes, err := c.when.Eval(ctx, vars(t, cand.Signals, why.typ, now))
	switch {
	case err != nil:
		cand.Verdict, cand.Why = Fault, clip(err.Error())
	case !yes:
		cand.Verdict = NoMatch
	case why.actor == "playbook:"+c.Name:
		cand.Verdict, cand.Why = Loop, "the event was made by this playbook"
	case why.depth >= c.Safeguards.MaxDepth:
		cand.Verdict, cand.Why = Loop, fmt.Sprintf("the event stands at the end of %d causes, %d are allowed", why.depth, c.Safeguards.MaxDepth)
	default:
		cand.Verdict = Match
	}
	return cand
}

func clip(s string) string { return s[:min(len(s), 500)] }

// planSteps resolves what can be resolved before anything has run.
func (s *Service) planSteps(c *compiled, t governance.Tenant, rs map[string]Reading) []PlannedStep {
	sc := scope{tenant: t, playbook: c.Name, signals: rs}
	out := make([]PlannedStep, len(c.Steps))
	for i, st := range c.Steps {
		out[i] = PlannedStep{ID: st.ID, Kind: st.Kind}
		params, err := sc.resolve(s.kinds[st.Kind], st.Params)
		if err != nil {
			out[i].Fault = err.Error()
			continue
		}
		out[i].Params = params
	}
	return out
}

// halt says why the whole batch must not run, or is empty. taken is how many
// tenants were taken within the last day.
func (p Plan) halt(c *compiled, taken int) string {
	switch {
	case p.Scanned > 1 && p.Unusable*100 > c.Safeguards.MaxUnusable*p.Scanned:
		return fmt.Sprintf("the signals of %d of %d tenants cannot be used, more than %d %%: this looks like an outage of data", p.Unusable, p.Scanned, c.Safeguards.MaxUnusable)
	case p.Matched > p.Cap:
		return fmt.Sprintf("%d tenants match, more than the cap of %d", p.Matched, p.Cap)
	case p.Matched > 0 && p.Matched+taken > p.Cap:
		return fmt.Sprintf("%d tenants match and %d were taken within a day, together more than the cap of %d", p.Matched, taken, p.Cap)
	}
	return ""
}

// exempt tells which of the tenants are exempt, and why.
func (s *Service) exempt(ctx context.Context, db bun.IDB, playbook string, tenants []string) (map[string]string, error) {
	out := map[string]string{}
	if len(tenants) == 0 {
		return out, nil
	}
	var rows []exemptionRow
	err := db.NewSelect().Model(&rows).Where("tenant IN (?)", bun.List(tenants)).Where("playbook IN ('', ?)", playbook).
		Where("ended_at = 0 AND until_at > ?", govdb.At(s.k.Now())).Order("until_at").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("exemptions: %w", err)
	}
	for _, r := range rows {
		out[r.Tenant] = fmt.Sprintf("%s (until %s)", r.Reason, r.UntilAt.Time().Format(time.DateOnly))
	}
	return out, nil
}

// taken tells which of the tenants had a run within the window, or have one under
// way.
func (s *Service) taken(ctx context.Context, db bun.IDB, c *compiled, mode Mode, tenants []string) (map[string]string, error) {
	out := map[string]string{}
	if len(tenants) == 0 {
		return out, nil
	}
	var rows []runRow
	err := db.NewSelect().Model(&rows).Column("tenant", "state", "created_at").Where("playbook = ? AND mode = ?", c.Name, mode).Where("tenant IN (?)", bun.List(tenants)).
		Where("(created_at > ? OR state IN ('running', 'stopping'))", govdb.At(s.k.Now().Add(-c.Safeguards.RepeatAfter.Duration))).Order("created_at").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("earlier runs: %w", err)
	}
	for _, r := range rows {
		out[r.Tenant] = fmt.Sprintf("it had a run on %s, not again within %s", r.CreatedAt.Time().Format(time.DateOnly), c.Safeguards.RepeatAfter)
	}
	return out, nil
}

// takenToday counts the runs of the last 24 hours.
func (s *Service) takenToday(ctx context.Context, db bun.IDB, playbook string, mode Mode) (int, error) {
	n, err := db.NewSelect().Model((*runRow)(nil)).Where("playbook = ? AND mode = ? AND created_at > ?", playbook, mode, govdb.At(s.k.Now().Add(-day))).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("runs of today: %w", err)
	}
	return int(n), nil
}
