package analytics

import (
	"context"

	"github.com/reevehq/reeve/governance"
)

// Warehouse holds generations of marts. Which generation is the one that readers
// see is not its business: the [Service] commits that together with the record of
// the refresh, so that nobody ever sees half of one. Sums are the warehouse's own:
// they are compared with the ones made in Go before a generation is published.
//
// Implementations: package sqlwarehouse. Package warehousetest proves one.
type Warehouse interface {
	// Load writes a generation, in the place of what it may hold already. It may take
	// many transactions; nobody reads the generation before it is published.
	Load(ctx context.Context, gen int64, m *Marts) error
	// Prune drops every generation below keep, and the one numbered drop when it is not 0.
	Prune(ctx context.Context, keep, drop int64) error

	// Check sums the generation by the engine's own arithmetic.
	Check(ctx context.Context, gen int64) (Sums, error)

	Months(ctx context.Context, gen int64) ([]MonthRow, error)
	Days(ctx context.Context, gen int64, from, to Day) ([]DayRow, error)
	Rates(ctx context.Context, gen int64) ([]Rate, error)
	Cohorts(ctx context.Context, gen int64, basis Basis) ([]CohortRow, error)
	Revenue(ctx context.Context, gen int64) ([]RevenueRow, error)
	Usage(ctx context.Context, gen int64, tenant governance.TenantID) ([]UsageRow, error)
	Forecast(ctx context.Context, gen int64) (*Forecast, error) // nil: none

	Movements(ctx context.Context, gen int64, f MovementFilter) ([]Movement, error)
	MovementsByTenant(ctx context.Context, gen int64, f MovementFilter) ([]TenantAmount, error)
	Segments(ctx context.Context, gen int64, f SegmentFilter) ([]Segment, error)
}

// DayRow is the roll-forward of a day.
type DayRow struct {
	Day Day `json:"day"`
	RollForward
}

// MovementFilter selects movements by keyset pages, in order of tenant,
// subscription, day and line.
type MovementFilter struct {
	Tenant   governance.TenantID // empty: of every tenant
	Line     Line                // empty: every line
	From, To Day                 // both included
	After    *Movement           // the last one of the page before
	Limit    int                 // 0: all
}

// TenantAmount is one tenant's part of a number.
type TenantAmount struct {
	Tenant governance.TenantID `json:"tenant"`
	Amount int64               `json:"amount,string"` // minor units of the reporting currency
	Rows   int                 `json:"rows"`          // movements or segments behind it
}

// SegmentFilter selects segments in order of tenant, subscription and day.
type SegmentFilter struct {
	Tenant       governance.TenantID // empty: of every tenant
	Subscription string
	On           *Day  // those that stand at the end of this day
	Cohort       Month // of the tenants that first paid in this month; 0: of all
	Paid         bool  // those with an MRR above zero
}

// Sums is what a generation adds up to in the engine.
type Sums struct {
	Months   []MonthSum
	Tenants  int64 // sum over tenants of the sum of their movements
	Below    int   // tenants whose movements sum to less than nothing
	Gaps     int   // segments that end where no other begins
	Negative int   // segments with a negative MRR
	Facts    int   // facts behind the segments
	Segments int
	Revenue  []RevenueRow // one for each kind and currency, Month 0
	Usage    []UsageRow   // one for each metric, Month 0, no tenant
}

// MonthSum is the sum of the movements of a month and line.
type MonthSum struct {
	Month Month
	Line  Line
	Sum   int64
	Logos int // tenants and days
}
