package analytics

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
	"github.com/reevehq/reeve/governance/lease"
)

// RefreshState is where a refresh stands.
type RefreshState string

// The states of a refresh.
const (
	RefreshBuilding  RefreshState = "building"
	RefreshPublished RefreshState = "published"
	RefreshRefused   RefreshState = "refused" // a test failed: what was published before stays
	RefreshFailed    RefreshState = "failed"
)

// Refresh is one run that built a generation of the marts.
type Refresh struct {
	ID         uuid.UUID    `json:"id"`
	Generation int64        `json:"generation"`
	State      RefreshState `json:"state"`
	Actor      string       `json:"actor"`
	Reason     string       `json:"reason,omitempty"`
	Through    Day          `json:"data_through"` // the last complete day
	AsOf       time.Time    `json:"as_of"`        // facts learned up to here
	StartedAt  time.Time    `json:"started_at"`
	FinishedAt time.Time    `json:"finished_at,omitzero"`
	refreshBody
}

type refreshBody struct {
	Reporting    string        `json:"reporting"`
	Sources      []Source      `json:"sources"`
	Tests        []TestResult  `json:"tests"`
	Restatements []Restatement `json:"restatements"` // what changed in months that were published before
	Late         int           `json:"late"`         // facts about published days that were learned since
	Segments     int           `json:"segments"`
	Movements    int           `json:"movements"`
	MRR          int64         `json:"mrr,string"`
	Micros       int64         `json:"took_us"`
}

// Source is how far one source has told everything.
type Source struct {
	Source   string `json:"source"`
	Through  Day    `json:"through"`
	Declared bool   `json:"declared"` // by a watermark; otherwise the day of its latest fact
}

// TestResult is one test of a generation before it is published.
type TestResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"` // what was compared, or the first difference
}

// Restatement is a published figure that later facts changed.
type Restatement struct {
	Month  Month `json:"month"`
	Line   Line  `json:"line"`
	Before int64 `json:"before,string"`
	After  int64 `json:"after,string"`
}

// RefreshInput is the input of the action analytics.refresh.
type RefreshInput struct {
	Reason string `json:"reason,omitempty"`
}

func (s *Service) defineRefresh() *governance.Action[RefreshInput] {
	spec := governance.Spec[RefreshInput]{
		Summary:    "Computes the figures anew.",
		Permission: PermissionIngest,
		Tenant:     func(RefreshInput) governance.TenantID { return "" },
		Resource:   func(RefreshInput) governance.Ref { return governance.Ref{Kind: "marts", ID: "current"} },
		Validate: func(in RefreshInput) error {
			if !clean(in.Reason) {
				return governance.Invalid("reason", "has at most %d bytes and no U+0000", maxText)
			}
			return nil
		},
	}
	result := func(r Refresh) governance.Result {
		return governance.Result{Data: map[string]any{"refresh": r.ID, "generation": r.Generation, "state": r.State, "data_through": r.Through}}
	}
	return governance.DefineRemote("analytics.refresh", spec, governance.Remote[RefreshInput]{
		Call: func(ctx context.Context, idem string, in RefreshInput) (governance.Result, error) {
			id := governance.System("analytics")
			if e, ok := governance.ExecutionFrom(ctx); ok {
				id = e.Identity
			}
			r, err := s.run(ctx, id, runID(idem), in.Reason)
			if errors.Is(err, governance.ErrConflict) || (err == nil && r.State != RefreshPublished) {
				return governance.Result{}, governance.NotDone(errors.Join(err, refusal(r)))
			}
			return result(r), err
		},
		Lookup: func(ctx context.Context, idem string, _ RefreshInput) (governance.Result, bool, error) {
			r, err := s.refreshBy(ctx, "id = ?", runID(idem))
			if errors.Is(err, governance.ErrNotFound) {
				return governance.Result{}, false, nil
			}
			return result(r), err == nil && r.State == RefreshPublished, err
		},
	})
}

func runID(idem string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("reeve/analytics/refresh "+idem))
}

func refusal(r Refresh) error {
	for _, t := range r.Tests {
		if !t.OK {
			return fmt.Errorf("refresh %d was refused by its test %s: %s: %w", r.Generation, t.Name, t.Detail, governance.ErrConflict)
		}
	}
	return nil
}

// RefreshAction is the guarded form of [Service.Refresh], for buttons and the API.
func (s *Service) RefreshAction() *governance.Action[RefreshInput] { return s.refresh }

// Refresh builds the marts of all facts known now, tests them, and publishes them
// in one commit with their ledger record. A generation that fails a test is refused,
// which is an answer and no error: see Refresh.State and Tests. While another
// refresh runs it is [governance.ErrConflict].
func (s *Service) Refresh(ctx context.Context, id governance.Identity, reason string) (Refresh, error) {
	return s.run(ctx, id, uuid.Must(uuid.NewV7()), reason)
}

const leaseTime = 2 * time.Minute

func (s *Service) run(ctx context.Context, id governance.Identity, run uuid.UUID, reason string) (Refresh, error) {
	if done, err := s.refreshBy(ctx, "id = ?", run); err == nil && done.State != RefreshBuilding {
		return done, nil // called again for the same action
	}
	held, ok, err := lease.Acquire(ctx, s.k.DB(), "analytics.refresh", run.String(), leaseTime)
	if err != nil {
		return Refresh{}, fmt.Errorf("refresh: %w", err)
	}
	if !ok {
		return Refresh{}, fmt.Errorf("another refresh is running: %w", governance.ErrConflict)
	}
	defer func() { _ = lease.Release(context.WithoutCancel(ctx), s.k.DB(), held) }()
	limited, cancel := context.WithTimeout(ctx, leaseTime-leaseTime/10)
	defer cancel()

	r, err := s.begin(limited, id, run, reason, held)
	if err != nil {
		return r, fmt.Errorf("refresh: %w", err)
	}
	if err := s.build(limited, &r); err != nil {
		r.State = RefreshFailed
		r.Tests = append(r.Tests, TestResult{"ran to the end", false, "failed; see the server's log"})
		return r, errors.Join(fmt.Errorf("refresh %d: %w", r.Generation, err), s.finish(context.WithoutCancel(ctx), id, &r, held))
	}
	r.State = RefreshPublished
	for _, t := range r.Tests {
		if !t.OK {
			r.State = RefreshRefused
		}
	}
	if err := s.finish(limited, id, &r, held); err != nil {
		return r, fmt.Errorf("refresh %d: %w", r.Generation, err)
	}
	// The generation before this one stays for readers that have begun a page of it.
	drop := int64(0)
	if r.State != RefreshPublished {
		drop = r.Generation
	}
	keep := []int64{}
	err = s.k.DB().Read().NewRaw("SELECT gen FROM analytics_refresh WHERE state = ? ORDER BY gen DESC LIMIT 2", RefreshPublished).Scan(limited, &keep)
	if err != nil || len(keep) < 2 {
		keep = append(keep[:0], 0)
	}
	if err := s.w.Prune(limited, keep[len(keep)-1], drop); err != nil {
		s.k.Logger().WarnContext(ctx, "old marts stay until the next refresh", "error", err)
	}
	return r, nil
}

func (s *Service) begin(ctx context.Context, id governance.Identity, run uuid.UUID, reason string, held lease.Lease) (Refresh, error) {
	now := s.k.Now()
	r := Refresh{ID: run, State: RefreshBuilding, Actor: id.Actor.ID, Reason: reason, AsOf: now, StartedAt: now}
	err := s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lease.CheckTx(ctx, tx, held); err != nil {
			return err
		}
		// What a server that died left behind is told as it was.
		_, err := tx.ExecContext(ctx, "UPDATE analytics_refresh SET state = ?, finished_at = ? WHERE state = ?", RefreshFailed, s.at(now), RefreshBuilding)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM analytics_refresh WHERE id = ?", run); err != nil {
			return err
		}
		if err := tx.NewRaw("SELECT COALESCE(MAX(gen), 0) + 1 FROM analytics_refresh").Scan(ctx, &r.Generation); err != nil {
			return err
		}
		row, err := r.row()
		if err != nil {
			return err
		}
		_, err = tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	return r, err
}

// build does the work: nothing of it is seen before finish.
func (s *Service) build(ctx context.Context, r *Refresh) error {
	began := time.Now()
	r.Reporting = s.opts.Reporting
	in, err := s.read(ctx, r.AsOf)
	if err != nil {
		return err
	}
	r.Through, r.Sources = in.through, in.sources
	m, err := in.marts(s.opts.Reporting)
	if err != nil {
		return err
	}
	r.Segments, r.Movements = len(m.Segments), len(m.Movements)
	if n := len(m.Months); n > 0 {
		r.MRR = m.Months[n-1].Closing
	}
	if err := s.w.Load(ctx, r.Generation, m); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	sums, err := s.w.Check(ctx, r.Generation)
	if err != nil {
		return err
	}
	stored, err := s.w.Months(ctx, r.Generation)
	if err != nil {
		return err
	}
	r.Tests = tests(m, stored, sums, in)
	if err := s.compare(ctx, r, m.Months); err != nil {
		return err
	}
	r.Micros = time.Since(began).Microseconds()
	return nil
}

// compare lists what changed in months that were complete when they were published.
func (s *Service) compare(ctx context.Context, r *Refresh, months []MonthRow) error {
	prev, err := s.published(ctx)
	if errors.Is(err, governance.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := s.w.Months(ctx, prev.Generation)
	if err != nil {
		return err
	}
	now := map[Month]MonthRow{}
	for _, m := range months {
		now[m.Month] = m
	}
	for _, o := range old {
		if !o.Complete {
			continue
		}
		n := now[o.Month]
		for _, l := range append(MovementLines(), LineClosing) {
			if o.Line(l) != n.Line(l) {
				r.Restatements = append(r.Restatements, Restatement{o.Month, l, o.Line(l), n.Line(l)})
			}
		}
	}
	err = s.k.DB().Read().NewRaw(`SELECT COUNT(*) FROM analytics_fact WHERE kind IN ('subscription', 'rate', 'invoice', 'payment', 'purchase', 'usage')
		AND day <= ? AND recorded_at > ?`, prev.Through, s.at(prev.AsOf)).Scan(ctx, &r.Late)
	if err != nil {
		return fmt.Errorf("count late facts: %w", err)
	}
	return nil
}

// finish says how the refresh ended, with its record, and its alert when people must look.
func (s *Service) finish(ctx context.Context, id governance.Identity, r *Refresh, held lease.Lease) error {
	r.FinishedAt = s.k.Now()
	return s.k.DB().Do(ctx, func(ctx context.Context, tx *governance.Tx) error {
		if err := lease.CheckTx(ctx, tx, held); err != nil {
			return err
		}
		row, err := r.row()
		if err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx); err != nil {
			return err
		}
		failed := []string{}
		for _, t := range r.Tests {
			if !t.OK {
				failed = append(failed, t.Name)
			}
		}
		record := governance.Record{Action: "analytics.refresh.finish", Reason: r.Reason, Resource: governance.Ref{Kind: "marts", ID: fmt.Sprint(r.Generation)},
			Data: map[string]any{"state": r.State, "data_through": r.Through, "tests": len(r.Tests), "failed": failed, "restatements": len(r.Restatements),
				"mrr": s.money(r.MRR)}}
		if r.State == RefreshPublished {
			ev, err := governance.NewEvent("analytics.refreshed", "", 0, record.Resource, map[string]any{"generation": r.Generation, "data_through": r.Through})
			if err != nil {
				return err
			}
			_, err = s.k.RecordTx(ctx, tx, id, record, ev)
			return err
		}
		record.Outcome = governance.OutcomeFailed
		receipt, err := s.k.RecordTx(ctx, tx, id, record)
		if err != nil {
			return err
		}
		_, err = s.k.AlertTx(ctx, tx, governance.Alert{Key: "analytics.refresh", Severity: governance.Warning, Title: "Revenue figures were not refreshed",
			Body:  fmt.Sprintf("Generation %d is %s: %s. What was published before stays.", r.Generation, r.State, strings.Join(failed, ", ")),
			Links: []governance.Link{{Title: "Ledger record", Kind: "record", ID: receipt.ID.String()}}})
		return err
	})
}

func (r Refresh) row() (*refreshRow, error) {
	body, err := json.Marshal(r.refreshBody)
	if err != nil {
		return nil, err
	}
	return &refreshRow{Gen: r.Generation, ID: r.ID, State: string(r.State), Actor: r.Actor, Reason: r.Reason, Through: int32(r.Through), AsOf: govdb.At(r.AsOf),
		Body: string(body), StartedAt: govdb.At(r.StartedAt), FinishedAt: govdb.At(r.FinishedAt)}, nil
}

func (row refreshRow) refresh() (Refresh, error) {
	r := Refresh{ID: row.ID, Generation: row.Gen, State: RefreshState(row.State), Actor: row.Actor, Reason: row.Reason, Through: Day(row.Through),
		AsOf: row.AsOf.Time(), StartedAt: row.StartedAt.Time(), FinishedAt: row.FinishedAt.Time()}
	if err := json.Unmarshal([]byte(row.Body), &r.refreshBody); err != nil {
		return r, fmt.Errorf("refresh %d: %w", row.Gen, err)
	}
	return r, nil
}

func (s *Service) refreshBy(ctx context.Context, where string, args ...any) (Refresh, error) {
	var row refreshRow
	err := s.k.DB().Read().NewSelect().Model(&row).Where(where, args...).Order("gen DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Refresh{}, fmt.Errorf("refresh: %w", governance.ErrNotFound)
	}
	if err != nil {
		return Refresh{}, fmt.Errorf("read refresh: %w", err)
	}
	return row.refresh()
}

// published is the refresh whose generation readers see.
func (s *Service) published(ctx context.Context) (Refresh, error) {
	return s.refreshBy(ctx, "state = ?", RefreshPublished)
}

// Refreshes lists refreshes, the latest first.
func (s *Service) Refreshes(ctx context.Context, n int) ([]Refresh, error) {
	var rows []refreshRow
	if err := s.k.DB().Read().NewSelect().Model(&rows).Order("gen DESC").Limit(limit(n, 20, 200)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list refreshes: %w", err)
	}
	out := make([]Refresh, len(rows))
	for i, row := range rows {
		r, err := row.refresh()
		if err != nil {
			return nil, err
		}
		out[i] = r
	}
	return out, nil
}

// RefreshOf is the refresh that built a generation.
func (s *Service) RefreshOf(ctx context.Context, generation int64) (Refresh, error) {
	return s.refreshBy(ctx, "gen = ?", generation)
}

// input is what a refresh reads: current facts as known at an instant, in one
// snapshot.
type input struct {
	through       Day
	sources       []Source
	subscriptions []Fact
	rates         []Fact
	revenue       []RevenueRow
	usage         []UsageRow
	bought        []bought

	counted int // subscription facts up to through, counted by the engine
	billed  []RevenueRow
	used    []UsageRow
}

func (s *Service) read(ctx context.Context, asOf time.Time) (*input, error) {
	opts := &sql.TxOptions{ReadOnly: true}
	if s.k.DB().Postgres() {
		opts.Isolation = sql.LevelRepeatableRead
	}
	tx, err := s.k.DB().Read().BeginTx(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	in := &input{}
	r := reader{db: tx, at: s.at(asOf), zone: s.opts.Zone, yesterday: DayOf(asOf, s.opts.Zone) - 1}
	if in.sources, in.through, err = r.sources(ctx); err != nil {
		return nil, err
	}
	return in, errors.Join(r.facts(ctx, in), r.sums(ctx, in))
}

type reader struct {
	db        bun.IDB
	at        govdb.Micros
	zone      *time.Location
	yesterday Day
}

// sources finds how far each source has told everything; through is the least of
// them, and never a day that is not over. Sources of rates alone do not count.
func (r reader) sources(ctx context.Context) (out []Source, through Day, err error) {
	err = r.db.NewRaw("SELECT DISTINCT source FROM analytics_source WHERE kind NOT IN ('rate', 'watermark') ORDER BY source").Scan(ctx, &out)
	if err != nil {
		return nil, 0, fmt.Errorf("read sources: %w", err)
	}
	var marks []Source
	err = r.db.NewRaw(`SELECT f.source, MAX(f.day) AS through FROM analytics_fact f WHERE f.kind = 'watermark' AND `+current+` GROUP BY f.source`, r.at, r.at).Scan(ctx, &marks)
	if err != nil {
		return nil, 0, fmt.Errorf("read watermarks: %w", err)
	}
	for i := range out {
		s := &out[i]
		for _, m := range marks {
			if m.Source == s.Source {
				s.Through, s.Declared = m.Through, true
			}
		}
		if !s.Declared { // a day is over for it once it tells of the next
			err = r.db.NewRaw(`SELECT COALESCE(MAX(f.day), 0) FROM analytics_fact f WHERE f.source = ? AND f.day <= ? AND f.kind NOT IN ('rate', 'watermark') AND `+current,
				s.Source, r.yesterday+1, r.at, r.at).Scan(ctx, &s.Through)
			if err != nil {
				return nil, 0, fmt.Errorf("read source %s: %w", s.Source, err)
			}
		}
		s.Through = min(s.Through, r.yesterday)
		if i == 0 || s.Through < through {
			through = s.Through
		}
	}
	return out, through, nil
}

func (r reader) facts(ctx context.Context, in *input) error {
	for kind, to := range map[Kind]*[]Fact{KindSubscription: &in.subscriptions, KindRate: &in.rates} {
		var rows []factRow
		err := r.db.NewSelect().Model(&rows).Where("f.kind = ? AND f.day <= ?", kind, in.through).Where(current, r.at, r.at).
			Order("f.tenant", "f.subscription", "f.at", "f.sequence", "f.recorded_at", "f.id").Scan(ctx)
		if err != nil {
			return fmt.Errorf("read %s facts: %w", kind, err)
		}
		for _, row := range rows {
			*to = append(*to, row.fact())
		}
	}
	return nil
}

// sums lets the engine add up what is billed and used: by month for the marts, and
// as a whole to compare with them.
func (r reader) sums(ctx context.Context, in *input) error {
	var errs []error
	scan := func(to any, query string, args ...any) {
		if err := r.db.NewRaw(strings.ReplaceAll(query, "$current", current), args...).Scan(ctx, to); err != nil {
			errs = append(errs, fmt.Errorf("sum facts: %w", err))
		}
	}
	scan(&in.counted, `SELECT COUNT(*) FROM analytics_fact f WHERE f.kind = 'subscription' AND f.day <= ? AND $current`, in.through, r.at, r.at)
	scan(&in.billed, `SELECT f.kind, f.currency, CAST(SUM(f.amount) AS BIGINT) AS amount, COUNT(*) AS facts FROM analytics_fact f
		WHERE f.kind IN ('invoice', 'payment', 'purchase') AND f.day <= ? AND $current GROUP BY f.kind, f.currency ORDER BY f.kind, f.currency`, in.through, r.at, r.at)
	scan(&in.used, `SELECT f.metric, CAST(SUM(f.quantity) AS BIGINT) AS quantity, COUNT(*) AS facts FROM analytics_fact f
		WHERE f.kind = 'usage' AND f.day <= ? AND $current GROUP BY f.metric ORDER BY f.metric`, in.through, r.at, r.at)
	// Months have no portable SQL of days: the days are summed in the engine, the
	// months here.
	var days []struct {
		Tenant   string `bun:"tenant"`
		Kind     Kind   `bun:"kind"`
		Currency string `bun:"currency"`
		Metric   string `bun:"metric"`
		Day      Day    `bun:"day"`
		Amount   int64  `bun:"amount"`
		Quantity int64  `bun:"quantity"`
		Facts    int    `bun:"facts"`
	}
	scan(&days, `SELECT f.tenant, f.kind, f.currency, f.day, CAST(SUM(f.amount) AS BIGINT) AS amount, COUNT(*) AS facts FROM analytics_fact f
		WHERE f.kind IN ('invoice', 'payment', 'purchase') AND f.day <= ? AND $current GROUP BY f.kind, f.tenant, f.currency, f.day
		ORDER BY f.kind, f.tenant, f.currency, f.day`, in.through, r.at, r.at)
	type key struct {
		month    Month
		kind     Kind
		currency string
	}
	revenue := map[key]*RevenueRow{}
	tenants := map[key]string{} // the last tenant counted
	for _, d := range days {
		k := key{d.Day.Month(), d.Kind, d.Currency}
		row := revenue[k]
		if row == nil {
			row = &RevenueRow{Month: k.month, Kind: k.kind, Currency: k.currency}
			revenue[k] = row
		}
		row.Amount += d.Amount
		row.Facts += d.Facts
		if tenants[k] != d.Tenant || row.Tenants == 0 {
			row.Tenants++
			tenants[k] = d.Tenant
		}
		if d.Kind == KindPurchase {
			if n := len(in.bought); n > 0 && in.bought[n-1].Tenant == d.Tenant && in.bought[n-1].Currency == d.Currency && in.bought[n-1].Month == k.month {
				in.bought[n-1].Amount += d.Amount
			} else {
				in.bought = append(in.bought, bought{d.Tenant, d.Currency, k.month, d.Amount})
			}
		}
	}
	for _, row := range revenue {
		in.revenue = append(in.revenue, *row)
	}
	sortRevenue(in.revenue)
	days = nil
	scan(&days, `SELECT f.tenant, f.metric, f.day, CAST(SUM(f.quantity) AS BIGINT) AS quantity, COUNT(*) AS facts FROM analytics_fact f
		WHERE f.kind = 'usage' AND f.day <= ? AND $current GROUP BY f.tenant, f.metric, f.day ORDER BY f.tenant, f.metric, f.day`, in.through, r.at, r.at)
	for _, d := range days {
		m := d.Day.Month()
		if n := len(in.usage); n > 0 && string(in.usage[n-1].Tenant) == d.Tenant && in.usage[n-1].Metric == d.Metric && in.usage[n-1].Month == m {
			in.usage[n-1].Quantity += d.Quantity
			in.usage[n-1].Facts += d.Facts
		} else {
			in.usage = append(in.usage, UsageRow{governance.TenantID(d.Tenant), d.Metric, m, d.Quantity, d.Facts})
		}
	}
	return errors.Join(errs...)
}

func (in *input) marts(reporting string) (*Marts, error) {
	m, err := Build(reporting, in.through, in.subscriptions, in.rates)
	if err != nil {
		return nil, err
	}
	m.Revenue, m.Usage = in.revenue, in.usage
	m.Cohorts = append(m.Cohorts, purchaseCohorts(in.bought, in.through)...)
	sortCohorts(m.Cohorts)
	if m.Forecast, err = NewForecast(m.Months); err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	return m, nil
}
