package retention

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/reevehq/reeve/governance/schedule"
)

// Overdue counts rows of one source and country that are due and still there.
type Overdue struct {
	Source  string    `json:"source"`
	Class   string    `json:"class"`
	Country string    `json:"country"`
	Action  Action    `json:"action"`
	Rows    int64     `json:"rows"`
	Soon    int64     `json:"soon"` // due within 30 days more
	AsOf    time.Time `json:"as_of"`
}

// Dashboard answers "what is overdue", with the date of each figure.
type Dashboard struct {
	Overdue      []Overdue   `json:"overdue"`
	TotalOverdue int64       `json:"total_overdue"`
	TotalSoon    int64       `json:"total_soon"`
	Holds        int         `json:"holds"`
	HeldRows     int64       `json:"held_rows"`
	Exceptions   []Exception `json:"exceptions"`
	Plans        []Plan      `json:"plans"` // the newest of each source
	Runs         []Run       `json:"runs"`  // the last ten
	Unplanned    []string    `json:"unplanned"`
	Paused       bool        `json:"paused"`
	NextPlan     time.Time   `json:"next_plan,omitzero"`
}

// Dashboard gathers the figures from the newest plan of each source and from what
// was done since.
func (s *Service) Dashboard(ctx context.Context) (Dashboard, error) {
	d := Dashboard{Overdue: []Overdue{}, Exceptions: []Exception{}, Plans: []Plan{}, Unplanned: []string{}}
	for _, name := range s.sourceNames() {
		plans, err := s.Plans(ctx, PlanFilter{Source: name, Limit: 1})
		if err != nil {
			return d, err
		}
		if len(plans) == 0 {
			d.Unplanned = append(d.Unplanned, name)
			continue
		}
		p := plans[0]
		d.Plans = append(d.Plans, p)
		if err := s.overdue(ctx, &d, p); err != nil {
			return d, err
		}
	}
	slices.SortStableFunc(d.Overdue, func(a, b Overdue) int { return cmp.Or(-cmp.Compare(a.Rows, b.Rows), -cmp.Compare(a.Soon, b.Soon)) })
	var err error
	if d.Runs, err = s.Runs(ctx, RunFilter{Limit: 10}); err != nil {
		return d, err
	}
	if err := s.db.Read().NewRaw("SELECT COUNT(*) FROM retention_hold WHERE released_at = 0").Scan(ctx, &d.Holds); err != nil {
		return d, fmt.Errorf("count holds: %w", err)
	}
	if d.Paused, err = s.Paused(ctx); err != nil {
		return d, err
	}
	jobs, err := schedule.List(ctx, s.db)
	if err != nil {
		return d, err
	}
	for _, j := range jobs {
		if j.Name == "retention.plan" {
			d.NextPlan = j.NextAt
		}
	}
	return d, nil
}

// overdue adds the figures of one source. After a run its verification scan is
// newer than the plan.
func (s *Service) overdue(ctx context.Context, d *Dashboard, p Plan) error {
	pop, asOf := p.Population, p.AsOf
	held := int64(0)
	for _, e := range p.Exceptions {
		d.Exceptions = append(d.Exceptions, e)
		if e.State == Held {
			held += e.Count
		}
	}
	d.HeldRows += held
	rows := map[string]int64{}
	for _, g := range p.Groups {
		rows[g.Country] += g.Rows
	}
	if p.Run != "" {
		row, err := s.runRow(ctx, p.Run)
		if err != nil {
			return err
		}
		if row.Evidence != "" {
			var e Evidence
			if err := json.Unmarshal([]byte(row.Evidence), &e); err != nil {
				return fmt.Errorf("evidence of run %s: %w", row.ID, err)
			}
			pop, asOf = e.After, e.Verification.At
			rows = map[string]int64{}
			for _, g := range e.Verification.Overdue {
				rows[g.Country] += g.Rows
			}
		}
	}
	at := map[string]int{} // a host may write one country in several ways
	for _, g := range pop {
		if g.State != "" {
			continue
		}
		d.TotalSoon += g.Soon
		if i, ok := at[g.Country]; ok {
			d.Overdue[i].Soon += g.Soon
			continue
		}
		at[g.Country] = len(d.Overdue)
		d.TotalOverdue += rows[g.Country]
		d.Overdue = append(d.Overdue, Overdue{Source: p.Source, Class: p.Class, Country: g.Country, Action: g.Action, Rows: rows[g.Country], Soon: g.Soon, AsOf: asOf})
	}
	d.Overdue = slices.DeleteFunc(d.Overdue, func(o Overdue) bool { return o.Rows == 0 && o.Soon == 0 })
	return nil
}
