package analytics

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/govdb"
)

// Rates answers the kernel from the rate facts, so that a limit on money is counted
// with the rates that the figures are made with. Use [NewRates].
type Rates struct {
	db        *govdb.DB
	reporting string
	maxAge    time.Duration

	mu   sync.Mutex
	kept map[string]keptRate
}

type keptRate struct {
	micro     int64
	low, high int64 // of all that was told of maxAge, corrected or taken back as well
	day       Day
	until     time.Time
}

// far is how many percent a rate may be from the others before it is not trusted to
// count a limit with.
const far = 20

const rateKept = time.Minute

var _ governance.Rates = (*Rates)(nil)

// NewRates makes Rates; reporting is the currency that rate facts convert into, and
// maxAge how old the newest rate may be (default 45 days): with an older one a limit
// cannot be counted, and what it guards is refused.
func NewRates(db *govdb.DB, reporting string, maxAge time.Duration) *Rates {
	if maxAge <= 0 {
		maxAge = 45 * 24 * time.Hour
	}
	return &Rates{db: db, reporting: reporting, maxAge: maxAge, kept: map[string]keptRate{}}
}

// Rate implements governance.Rates with the newest rate on or before at; a pair
// without the reporting currency goes through it. A rate that nobody told is
// governance.ErrNotFound. Whoever sends facts must not widen a limit by a rate that is
// far too low: then the limit is counted with the highest of the time before.
func (r *Rates) Rate(ctx context.Context, from, to string, at time.Time) (governance.Rate, error) {
	a, err := r.one(ctx, from, at)
	if err != nil {
		return governance.Rate{}, err
	}
	b, err := r.one(ctx, to, at)
	if err != nil {
		return governance.Rate{}, err
	}
	day := a.day
	if to != r.reporting && (from == r.reporting || b.day < a.day) {
		day = b.day
	}
	unit, into := a.micro, b.micro
	if a.high-unit > unit/100*far {
		unit = a.high
	}
	if into-b.low > b.low/100*far {
		into = b.low
	}
	// Rounded up: a limit must never be counted with less than is due.
	n := new(big.Int).Mul(big.NewInt(unit), big.NewInt(1_000_000))
	n.Add(n, big.NewInt(into-1)).Quo(n, big.NewInt(into))
	if !n.IsInt64() {
		return governance.Rate{}, fmt.Errorf("rate of %s into %s: overflow", from, to)
	}
	return governance.Rate{From: from, To: to, Micro: n.Int64(), Date: day.String(), Source: "facts"}, nil
}

// one is what a unit of a currency is worth in the reporting currency.
func (r *Rates) one(ctx context.Context, currency string, at time.Time) (keptRate, error) {
	day := DayOf(at, time.UTC)
	if currency == r.reporting {
		return keptRate{micro: 1_000_000, low: 1_000_000, high: 1_000_000, day: day}, nil
	}
	now := time.Now()
	key := currency + "@" + day.String()
	r.mu.Lock()
	k, ok := r.kept[key]
	r.mu.Unlock()
	if ok && now.Before(k.until) {
		return k, nil
	}
	recorded := govdb.At(at)
	var d int32
	err := r.db.Read().NewSelect().Model((*factRow)(nil)).Column("rate", "day").Where("f.kind = ? AND f.currency = ? AND f.day <= ?", KindRate, currency, int32(day)).
		Where(current, recorded, recorded).Order("f.day DESC", "f.recorded_at DESC").Limit(1).Scan(ctx, &k.micro, &d)
	if errors.Is(err, sql.ErrNoRows) {
		return k, fmt.Errorf("rate of %s into %s: %w", currency, r.reporting, governance.ErrNotFound)
	}
	if err != nil {
		return k, fmt.Errorf("rate of %s: %w", currency, err)
	}
	k.day = Day(d)
	if age := at.Sub(k.day.Start(time.UTC)); age > r.maxAge {
		return k, fmt.Errorf("the newest rate of %s is of %s, too old to count with: %w", currency, k.day, governance.ErrNotFound)
	}
	err = r.db.Read().NewSelect().Model((*factRow)(nil)).ColumnExpr("MIN(f.rate), MAX(f.rate)").Where("f.kind = ? AND f.currency = ? AND f.day <= ? AND f.day > ? AND f.rate > 0",
		KindRate, currency, int32(day), int32(DayOf(at.Add(-r.maxAge), time.UTC))-1).Scan(ctx, &k.low, &k.high)
	if err != nil {
		return k, fmt.Errorf("rates of %s: %w", currency, err)
	}
	k.until = now.Add(rateKept)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) > 1000 {
		r.kept = map[string]keptRate{}
	}
	r.kept[key] = k
	return k, nil
}
