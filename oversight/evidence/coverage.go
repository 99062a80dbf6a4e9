package evidence

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/csv"
	"fmt"
	"html/template"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/ledger"
)

// ActionCoverage is the action of the record that somebody counted the ledger.
const ActionCoverage = "evidence.coverage"

// Coverage says, for a period, how many of the ledger's records carry what each
// control asks for. Every number is counted from records, and walks down to them:
// see [Service.CoverageRecords].
type Coverage struct {
	From    time.Time     `json:"from"`
	Until   time.Time     `json:"until"`
	MadeAt  time.Time     `json:"made_at"`
	MadeBy  string        `json:"made_by"`
	Log     string        `json:"log"`
	Size    int64         `json:"size"` // of the newest checkpoint
	Records int64         `json:"records"`
	Foreign int64         `json:"foreign"` // records of other programs, which nothing here can read
	Rows    []CoverageRow `json:"rows"`
}

// CoverageRow is one field of one control.
type CoverageRow struct {
	Key       string      `json:"key"`
	Framework string      `json:"framework"`
	Control   string      `json:"control"`
	Field     string      `json:"field"`
	Rule      string      `json:"rule"` // when a record counts
	Have      int64       `json:"have"`
	Of        int64       `json:"of"`
	None      bool        `json:"none"`     // Have should be 0
	Examples  []uuid.UUID `json:"examples"` // the first records that are not as they should be
}

// Falls is how many records are not as they should be.
func (r CoverageRow) Falls() int64 {
	if r.None {
		return r.Have
	}
	return r.Of - r.Have
}

const (
	maxPeriod   = 400 * 24 * time.Hour
	maxExamples = 20
)

func period(from, until time.Time) error {
	if from.IsZero() || !from.Before(until) || until.Sub(from) > maxPeriod {
		return governance.Invalid("until", "the period must begin before it ends, and have at most 400 days")
	}
	return nil
}

// Coverage counts the records of a period. That somebody did is recorded.
func (s *Service) Coverage(ctx context.Context, id governance.Identity, from, until time.Time) (Coverage, error) {
	if err := s.mayCount(ctx, id, from, until); err != nil {
		return Coverage{}, err
	}
	lines := requirements()
	out := Coverage{From: from.UTC(), Until: until.UTC(), MadeAt: s.k.Now(), MadeBy: id.Actor.ID, Log: s.k.Ledger().Origin(), Rows: make([]CoverageRow, len(lines))}
	if cp, err := s.k.Ledger().Checkpoint(ctx); err == nil {
		out.Size = cp.Size
	}
	for i, l := range lines {
		out.Rows[i] = CoverageRow{Key: l.key, Framework: l.framework, Control: l.control, Field: l.field, Rule: l.rule, None: l.none, Examples: []uuid.UUID{}}
	}
	f, err := s.facts(ctx, from, until)
	if err != nil {
		return out, err
	}
	err = s.walk(ctx, from, until, uuid.Nil, func(r *seen) bool {
		out.Records++
		if r == nil {
			out.Foreign++
			return true
		}
		for i, l := range lines {
			if !l.applies(*r) {
				continue
			}
			row := &out.Rows[i]
			row.Of++
			has := l.has(*r, f)
			if has {
				row.Have++
			}
			if has == l.none && len(row.Examples) < maxExamples {
				row.Examples = append(row.Examples, r.ID)
			}
		}
		return true
	})
	if err != nil {
		return out, err
	}
	return out, s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		_, err := s.k.RecordTx(ctx, tx, id, governance.Record{Action: ActionCoverage, Outcome: governance.OutcomeObserved, Resource: governance.Ref{Kind: "ledger", ID: out.Log},
			Data: map[string]any{"from": out.From, "until": out.Until, "records": out.Records}})
		return err
	})
}

func (s *Service) mayCount(ctx context.Context, id governance.Identity, from, until time.Time) error {
	for _, p := range []string{PermissionRead, "ledger:read"} {
		if err := s.k.Authorize(ctx, id, p, governance.Target{}); err != nil {
			return err
		}
	}
	return period(from, until)
}

// walk calls fn for each record of the period until it says no; nil stands for a
// record that is none of the kernel's.
func (s *Service) walk(ctx context.Context, from, until time.Time, after uuid.UUID, fn func(r *seen) bool) error {
	for {
		page, err := s.k.Ledger().Between(ctx, from, until, after, 1000)
		if err != nil {
			return err
		}
		for _, rec := range page {
			v, err := governance.ReadRecord(rec.Body)
			r := &seen{v, rec.N >= 0}
			if err != nil {
				r = nil
			}
			if !fn(r) {
				return nil
			}
			after = rec.ID
		}
		if len(page) < 1000 {
			return nil
		}
	}
}

// facts reads the period once for what its records say of each other. A vote may be on
// a request made before the period.
func (s *Service) facts(ctx context.Context, from, until time.Time) (*facts, error) {
	f := &facts{recorded: map[string]bool{}, ended: map[string]bool{}, packed: map[uuid.UUID]bool{}, asked: map[string]*request{}}
	votes := map[string]governance.TenantID{}
	err := s.walk(ctx, from, until, uuid.Nil, func(r *seen) bool {
		if r == nil {
			return true
		}
		f.learn(*r)
		if cast(*r) {
			votes[r.ActionID] = r.Tenant
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for action, tenant := range votes {
		if f.asked[action] != nil {
			continue
		}
		filter := ledger.Filter{Tenant: string(tenant), AllTenants: tenant == "", Search: action, Limit: 200}
		rs, err := s.k.Ledger().Records(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, rec := range rs {
			if v, err := governance.ReadRecord(rec.Body); err == nil && v.ActionID == action {
				f.learn(seen{v, true})
			}
		}
	}
	return f, nil
}

// CoverageRecords walks one number down: the records that have what a line asks for,
// or those that it applies to and that lack it, those after an id, oldest first.
func (s *Service) CoverageRecords(ctx context.Context, id governance.Identity, from, until time.Time, key string, have bool, after uuid.UUID, limit int) ([]governance.RecordView, CoverageRow, error) {
	if err := s.mayCount(ctx, id, from, until); err != nil {
		return nil, CoverageRow{}, err
	}
	for _, l := range requirements() {
		if l.key != key {
			continue
		}
		row := CoverageRow{Key: l.key, Framework: l.framework, Control: l.control, Field: l.field, Rule: l.rule, None: l.none}
		f, err := s.facts(ctx, from, until)
		if err != nil {
			return nil, row, err
		}
		out := []governance.RecordView{}
		limit = max(1, min(limit, 200))
		err = s.walk(ctx, from, until, after, func(r *seen) bool {
			if r != nil && l.applies(*r) && l.has(*r, f) == have {
				out = append(out, r.RecordView)
			}
			return len(out) < limit
		})
		return out, row, err
	}
	return nil, CoverageRow{}, fmt.Errorf("line %q: %w", key, governance.ErrNotFound)
}

// CSV is the report for a spreadsheet.
func (c Coverage) CSV() ([]byte, error) {
	var buf bytes.Buffer
	w := csv.NewWriter(&buf)
	rows := [][]string{{"framework", "control", "field", "rule", "have", "of", "expected", "examples"}}
	for _, r := range c.Rows {
		expected, examples := "all", ""
		if r.None {
			expected = "none"
		}
		for i, id := range r.Examples {
			if i > 0 {
				examples += " "
			}
			examples += id.String()
		}
		rows = append(rows, []string{r.Framework, r.Control, r.Field, r.Rule, strconv.FormatInt(r.Have, 10), strconv.FormatInt(r.Of, 10), expected, examples})
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("coverage: %w", err)
	}
	return buf.Bytes(), nil
}

//go:embed coverage.html
var coverageText string

// HTML is the report as a page that needs no server and no script.
func (c Coverage) HTML() ([]byte, error) {
	t, err := template.New("coverage").Funcs(template.FuncMap{"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }}).Parse(coverageText)
	if err != nil {
		return nil, fmt.Errorf("coverage: %w", err)
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, c); err != nil {
		return nil, fmt.Errorf("coverage: %w", err)
	}
	return buf.Bytes(), nil
}
