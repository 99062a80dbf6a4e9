package sqlwarehouse

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

//go:embed migrations
var files embed.FS

// Schema is the tables of the marts.
func Schema() govdb.Schema {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return govdb.Schema{Name: "analytics_mart", FS: files} // names no migrations: Migrate says so
	}
	return govdb.Schema{Name: "analytics_mart", FS: sub}
}

// Warehouse is an [analytics.Warehouse] on one database. Use [New].
type Warehouse struct{ db *govdb.DB }

var _ analytics.Warehouse = (*Warehouse)(nil)

// New makes a Warehouse; db must have [Schema].
func New(db *govdb.DB) *Warehouse { return &Warehouse{db} }

var tables = []string{"segment", "movement", "month", "rate", "cohort", "revenue", "usage", "forecast"}

// chunk is the most rows in one transaction: a few milliseconds of the one writer.
const chunk = 1000

// Load implements [analytics.Warehouse].
func (w *Warehouse) Load(ctx context.Context, gen int64, m *analytics.Marts) error {
	if err := w.clear(ctx, "gen = ?", gen); err != nil {
		return err
	}
	movements := make([]*movementRow, len(m.Movements))
	for i, v := range m.Movements {
		movements[i] = newMovementRow(gen, v)
	}
	segments := make([]*segmentRow, len(m.Segments))
	for i, s := range m.Segments {
		segments[i] = newSegmentRow(gen, s)
	}
	months := make([]*monthRow, len(m.Months))
	for i, r := range m.Months {
		months[i] = newMonthRow(gen, r)
	}
	rates := make([]*rateRow, len(m.Rates))
	for i, r := range m.Rates {
		rates[i] = &rateRow{Gen: gen, Month: r.Month, Currency: r.Currency, Micro: r.Micro, Day: r.Day}
	}
	cohorts := make([]*cohortRow, len(m.Cohorts))
	for i, r := range m.Cohorts {
		cohorts[i] = &cohortRow{Gen: gen, Basis: r.Basis, Currency: r.Currency, Cohort: r.Cohort, Age: r.Age, Size: r.Size, Base: r.Base, Logos: r.Logos, Amount: r.Amount}
	}
	revenue := make([]*revenueRow, len(m.Revenue))
	for i, r := range m.Revenue {
		revenue[i] = &revenueRow{Gen: gen, Month: r.Month, Kind: r.Kind, Currency: r.Currency, Amount: r.Amount, Facts: r.Facts, Tenants: r.Tenants}
	}
	usage := make([]*usageRow, len(m.Usage))
	for i, r := range m.Usage {
		usage[i] = &usageRow{Gen: gen, Tenant: r.Tenant, Metric: r.Metric, Month: r.Month, Quantity: r.Quantity, Facts: r.Facts}
	}
	var forecast []*forecastRow
	if m.Forecast != nil {
		body, err := json.Marshal(m.Forecast)
		if err != nil {
			return fmt.Errorf("load forecast: %w", err)
		}
		forecast = append(forecast, &forecastRow{Gen: gen, Body: string(body)})
	}
	return errors.Join(
		insert(ctx, w.db, segments), insert(ctx, w.db, movements), insert(ctx, w.db, months), insert(ctx, w.db, rates),
		insert(ctx, w.db, cohorts), insert(ctx, w.db, revenue), insert(ctx, w.db, usage), insert(ctx, w.db, forecast),
	)
}

func insert[R any](ctx context.Context, db *govdb.DB, rows []*R) error {
	for len(rows) > 0 {
		part := rows[:min(chunk, len(rows))]
		rows = rows[len(part):]
		err := db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			_, err := tx.NewInsert().Model(&part).Exec(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("load %T: %w", rows, err)
		}
	}
	return nil
}

// clear deletes table by table, each in a transaction of its own.
func (w *Warehouse) clear(ctx context.Context, where string, args ...any) error {
	for _, t := range tables {
		err := w.db.Do(ctx, func(ctx context.Context, tx *govdb.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM analytics_mart_"+t+" WHERE "+where, args...)
			return err
		})
		if err != nil {
			return fmt.Errorf("clear marts: %w", err)
		}
	}
	return nil
}

// Prune implements [analytics.Warehouse].
func (w *Warehouse) Prune(ctx context.Context, keep, drop int64) error {
	return w.clear(ctx, "gen < ? OR gen = ?", keep, drop)
}

// Check implements [analytics.Warehouse].
func (w *Warehouse) Check(ctx context.Context, gen int64) (analytics.Sums, error) {
	var s analytics.Sums
	db := w.db.Read()
	var months []struct {
		Month analytics.Month `bun:"month"`
		Line  analytics.Line  `bun:"line"`
		Sum   int64           `bun:"total"`
		Logos int             `bun:"logos"`
	}
	err := db.NewRaw(`SELECT month, line, CAST(SUM(delta) AS BIGINT) AS total, COUNT(DISTINCT tenant || '|' || day) AS logos
		FROM analytics_mart_movement WHERE gen = ? GROUP BY month, line ORDER BY month, line`, gen).Scan(ctx, &months)
	if err != nil {
		return s, fmt.Errorf("check movements: %w", err)
	}
	for _, m := range months {
		s.Months = append(s.Months, analytics.MonthSum(m))
	}
	err = db.NewRaw(`SELECT CAST(COALESCE(SUM(total), 0) AS BIGINT), COALESCE(SUM(CASE WHEN total < 0 THEN 1 ELSE 0 END), 0) FROM
		(SELECT tenant, SUM(delta) AS total FROM analytics_mart_movement WHERE gen = ? GROUP BY tenant) t`, gen).Scan(ctx, &s.Tenants, &s.Below)
	if err != nil {
		return s, fmt.Errorf("check tenants: %w", err)
	}
	err = db.NewRaw(`SELECT COUNT(*), COALESCE(SUM(fact_count), 0), COALESCE(SUM(CASE WHEN amount < 0 THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN to_day <> ? AND NOT EXISTS (SELECT 1 FROM analytics_mart_segment n
			WHERE n.gen = s.gen AND n.tenant = s.tenant AND n.subscription = s.subscription AND n.from_day = s.to_day) THEN 1 ELSE 0 END), 0)
		FROM analytics_mart_segment s WHERE gen = ?`, analytics.Forever, gen).Scan(ctx, &s.Segments, &s.Facts, &s.Negative, &s.Gaps)
	if err != nil {
		return s, fmt.Errorf("check segments: %w", err)
	}
	var revenue []revenueRow
	err = db.NewRaw(`SELECT kind, currency, CAST(SUM(amount) AS BIGINT) AS amount, SUM(facts) AS facts FROM analytics_mart_revenue WHERE gen = ?
		GROUP BY kind, currency ORDER BY kind, currency`, gen).Scan(ctx, &revenue)
	if err != nil {
		return s, fmt.Errorf("check revenue: %w", err)
	}
	for _, r := range revenue {
		s.Revenue = append(s.Revenue, r.out())
	}
	var usage []usageRow
	err = db.NewRaw(`SELECT metric, CAST(SUM(quantity) AS BIGINT) AS quantity, SUM(facts) AS facts FROM analytics_mart_usage WHERE gen = ?
		GROUP BY metric ORDER BY metric`, gen).Scan(ctx, &usage)
	if err != nil {
		return s, fmt.Errorf("check usage: %w", err)
	}
	for _, r := range usage {
		s.Usage = append(s.Usage, r.out())
	}
	return s, nil
}

// Months implements [analytics.Warehouse].
func (w *Warehouse) Months(ctx context.Context, gen int64) ([]analytics.MonthRow, error) {
	var rows []monthRow
	if err := w.db.Read().NewSelect().Model(&rows).Where("gen = ?", gen).Order("month").Scan(ctx); err != nil {
		return nil, fmt.Errorf("months: %w", err)
	}
	out := make([]analytics.MonthRow, len(rows))
	for i, r := range rows {
		out[i] = r.out()
	}
	return out, nil
}

// Days implements [analytics.Warehouse].
func (w *Warehouse) Days(ctx context.Context, gen int64, from, to analytics.Day) ([]analytics.DayRow, error) {
	var opening int64
	err := w.db.Read().NewRaw("SELECT CAST(COALESCE(SUM(delta), 0) AS BIGINT) FROM analytics_mart_movement WHERE gen = ? AND day < ?", gen, from).Scan(ctx, &opening)
	if err != nil {
		return nil, fmt.Errorf("opening of %s: %w", from, err)
	}
	var sums []struct {
		Day   analytics.Day  `bun:"day"`
		Line  analytics.Line `bun:"line"`
		Total int64          `bun:"total"`
	}
	err = w.db.Read().NewRaw(`SELECT day, line, CAST(SUM(delta) AS BIGINT) AS total FROM analytics_mart_movement
		WHERE gen = ? AND day BETWEEN ? AND ? GROUP BY day, line ORDER BY day`, gen, from, to).Scan(ctx, &sums)
	if err != nil {
		return nil, fmt.Errorf("days from %s to %s: %w", from, to, err)
	}
	out := []analytics.DayRow{}
	for d := from; d <= to; d++ {
		r := analytics.DayRow{Day: d, RollForward: analytics.RollForward{Opening: opening, Closing: opening}}
		for len(sums) > 0 && sums[0].Day == d {
			r.Add(sums[0].Line, sums[0].Total)
			sums = sums[1:]
		}
		opening = r.Closing
		out = append(out, r)
	}
	return out, nil
}

// Rates implements [analytics.Warehouse].
func (w *Warehouse) Rates(ctx context.Context, gen int64) ([]analytics.Rate, error) {
	var rows []rateRow
	if err := w.db.Read().NewSelect().Model(&rows).Where("gen = ?", gen).Order("month", "currency").Scan(ctx); err != nil {
		return nil, fmt.Errorf("rates: %w", err)
	}
	out := make([]analytics.Rate, len(rows))
	for i, r := range rows {
		out[i] = analytics.Rate{Month: r.Month, Currency: r.Currency, Micro: r.Micro, Day: r.Day}
	}
	return out, nil
}

// Cohorts implements [analytics.Warehouse].
func (w *Warehouse) Cohorts(ctx context.Context, gen int64, basis analytics.Basis) ([]analytics.CohortRow, error) {
	var rows []cohortRow
	err := w.db.Read().NewSelect().Model(&rows).Where("gen = ? AND basis = ?", gen, basis).Order("currency", "cohort", "age").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("cohorts: %w", err)
	}
	out := make([]analytics.CohortRow, len(rows))
	for i, r := range rows {
		out[i] = analytics.CohortRow{Basis: r.Basis, Currency: r.Currency, Cohort: r.Cohort, Age: r.Age, Size: r.Size, Base: r.Base, Logos: r.Logos, Amount: r.Amount}
	}
	return out, nil
}

// Revenue implements [analytics.Warehouse].
func (w *Warehouse) Revenue(ctx context.Context, gen int64) ([]analytics.RevenueRow, error) {
	var rows []revenueRow
	if err := w.db.Read().NewSelect().Model(&rows).Where("gen = ?", gen).Order("month", "kind", "currency").Scan(ctx); err != nil {
		return nil, fmt.Errorf("revenue: %w", err)
	}
	out := make([]analytics.RevenueRow, len(rows))
	for i, r := range rows {
		out[i] = r.out()
	}
	return out, nil
}

// Usage implements [analytics.Warehouse].
func (w *Warehouse) Usage(ctx context.Context, gen int64, tenant governance.TenantID) ([]analytics.UsageRow, error) {
	var rows []usageRow
	if err := w.db.Read().NewSelect().Model(&rows).Where("gen = ? AND tenant = ?", gen, tenant).Order("metric", "month").Scan(ctx); err != nil {
		return nil, fmt.Errorf("usage of %s: %w", tenant, err)
	}
	out := make([]analytics.UsageRow, len(rows))
	for i, r := range rows {
		out[i] = r.out()
	}
	return out, nil
}

// Forecast implements [analytics.Warehouse].
func (w *Warehouse) Forecast(ctx context.Context, gen int64) (*analytics.Forecast, error) {
	var row forecastRow
	err := w.db.Read().NewSelect().Model(&row).Where("gen = ?", gen).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	out := &analytics.Forecast{}
	if err := json.Unmarshal([]byte(row.Body), out); err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	return out, nil
}

func filter(q *bun.SelectQuery, gen int64, f analytics.MovementFilter) *bun.SelectQuery {
	q = q.Where("gen = ?", gen).Where("day BETWEEN ? AND ?", f.From, f.To)
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Line != "" {
		q = q.Where("line = ?", f.Line)
	}
	return q
}

// Movements implements [analytics.Warehouse].
func (w *Warehouse) Movements(ctx context.Context, gen int64, f analytics.MovementFilter) ([]analytics.Movement, error) {
	var rows []movementRow
	q := filter(w.db.Read().NewSelect().Model(&rows), gen, f).Order("tenant", "subscription", "day", "line")
	if a := f.After; a != nil {
		q = q.Where("(tenant, subscription, day, line) > (?, ?, ?, ?)", a.Tenant, a.Subscription, a.Day, a.Line)
	}
	if f.Limit > 0 {
		q = q.Limit(int64(f.Limit))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("movements: %w", err)
	}
	out := make([]analytics.Movement, len(rows))
	for i, r := range rows {
		out[i] = r.out()
	}
	return out, nil
}

// MovementsByTenant implements [analytics.Warehouse].
func (w *Warehouse) MovementsByTenant(ctx context.Context, gen int64, f analytics.MovementFilter) ([]analytics.TenantAmount, error) {
	var rows []struct {
		Tenant governance.TenantID `bun:"tenant"`
		Amount int64               `bun:"amount"`
		Rows   int                 `bun:"n"`
	}
	err := filter(w.db.Read().NewSelect().TableExpr("analytics_mart_movement"), gen, f).
		ColumnExpr("tenant, CAST(SUM(delta) AS BIGINT) AS amount, COUNT(*) AS n").Group("tenant").Order("tenant").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("movements by tenant: %w", err)
	}
	out := make([]analytics.TenantAmount, len(rows))
	for i, r := range rows {
		out[i] = analytics.TenantAmount(r)
	}
	return out, nil
}

// Segments implements [analytics.Warehouse].
func (w *Warehouse) Segments(ctx context.Context, gen int64, f analytics.SegmentFilter) ([]analytics.Segment, error) {
	var rows []segmentRow
	q := w.db.Read().NewSelect().Model(&rows).Where("gen = ?", gen).Order("tenant", "subscription", "from_day")
	if f.Tenant != "" {
		q = q.Where("tenant = ?", f.Tenant)
	}
	if f.Subscription != "" {
		q = q.Where("subscription = ?", f.Subscription)
	}
	if f.On != nil {
		q = q.Where("from_day <= ? AND to_day > ?", *f.On, *f.On)
	}
	if f.Paid {
		q = q.Where("amount > 0")
	}
	if f.Cohort != 0 {
		q = q.Where("tenant IN (SELECT tenant FROM analytics_mart_movement WHERE gen = ? AND line = ? AND day BETWEEN ? AND ?)",
			gen, analytics.LineNew, f.Cohort.First(), f.Cohort.Last())
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("segments: %w", err)
	}
	out := make([]analytics.Segment, len(rows))
	for i, r := range rows {
		s, err := r.out()
		if err != nil {
			return nil, fmt.Errorf("segment of %s: %w", r.Subscription, err)
		}
		out[i] = s
	}
	return out, nil
}

func joinIDs(ids []uuid.UUID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(id.String())
	}
	return b.String()
}

func splitIDs(s string) ([]uuid.UUID, error) {
	parts := strings.Fields(s)
	out := make([]uuid.UUID, len(parts))
	for i, p := range parts {
		id, err := uuid.Parse(p)
		if err != nil {
			return nil, err
		}
		out[i] = id
	}
	return out, nil
}
