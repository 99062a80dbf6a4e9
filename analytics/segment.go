package analytics

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Segment is a time in which a subscription did not change: from the day From up to
// the day To, which is no longer in it. The segments of a subscription follow each
// other without a gap, from its first fact to [Forever]; while it is not paid for,
// a segment with an MRR of zero stands.
type Segment struct {
	Tenant       governance.TenantID `json:"tenant"`
	Subscription string              `json:"subscription"`
	Plan         string              `json:"plan,omitempty"`
	Quantity     int64               `json:"quantity"`
	MRR          governance.Money    `json:"mrr"`
	From         Day                 `json:"from"`
	To           Day                 `json:"to"`
	Facts        []uuid.UUID         `json:"facts"` // that began it, or said the same again, in order
}

// Segments makes segments of subscription facts up to and with the day through. On
// one day the last fact counts: by instant, then Sequence, then order of arrival.
func Segments(facts []Fact, through Day) []Segment {
	fs := make([]Fact, 0, len(facts))
	for _, f := range facts {
		if f.Kind == KindSubscription && f.Day <= through {
			fs = append(fs, f)
		}
	}
	slices.SortStableFunc(fs, func(a, b Fact) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Subscription, b.Subscription), a.At.Compare(b.At),
			cmp.Compare(a.Sequence, b.Sequence), a.RecordedAt.Compare(b.RecordedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	var out []Segment
	for i := 0; i < len(fs); {
		j := i + 1
		for j < len(fs) && fs[j].Tenant == fs[i].Tenant && fs[j].Subscription == fs[i].Subscription && fs[j].Day == fs[i].Day {
			j++
		}
		last := fs[j-1]
		s := Segment{Tenant: last.Tenant, Subscription: last.Subscription, Plan: last.Plan, Quantity: last.Quantity, MRR: last.Money(), From: last.Day, To: Forever}
		if last.Cancelled {
			s.Quantity, s.MRR.Minor = 0, 0
		}
		for _, f := range fs[i:j] {
			s.Facts = append(s.Facts, f.ID)
		}
		i = j
		if n := len(out); n > 0 && out[n-1].Tenant == s.Tenant && out[n-1].Subscription == s.Subscription {
			prev := &out[n-1]
			if s.MRR.Currency == "" {
				s.MRR.Currency = prev.MRR.Currency // a cancellation need not name it
			}
			if prev.Plan == s.Plan && prev.Quantity == s.Quantity && prev.MRR == s.MRR {
				prev.Facts = append(prev.Facts, s.Facts...)
				continue
			}
			prev.To = s.From
		}
		out = append(out, s)
	}
	return out
}

// Rate is the value of one unit of a currency in the reporting currency, for a
// whole month: the last one known on its first day, or else the first of the month.
type Rate struct {
	Month    Month  `json:"month"`
	Currency string `json:"currency"`
	Micro    int64  `json:"micro,string"` // millionths
	Day      Day    `json:"day"`          // the day whose rate it is
}

// rateTable is every known rate, by currency and day.
type rateTable struct {
	reporting string
	known     map[string][]Rate // sorted by Day
	used      map[rateKey]Rate
	missing   map[rateKey]bool
}

type rateKey struct {
	month    Month
	currency string
}

func newRateTable(reporting string, facts []Fact) *rateTable {
	t := &rateTable{reporting: reporting, known: map[string][]Rate{}, used: map[rateKey]Rate{}, missing: map[rateKey]bool{}}
	for _, f := range facts {
		t.known[f.Currency] = append(t.known[f.Currency], Rate{f.Day.Month(), f.Currency, f.Rate, f.Day})
	}
	for _, rs := range t.known {
		slices.SortStableFunc(rs, func(a, b Rate) int { return cmp.Compare(a.Day, b.Day) })
	}
	return t
}

// of is the rate of a month; ok is false while there is none.
func (t *rateTable) of(currency string, m Month) (Rate, bool) {
	if currency == t.reporting {
		return Rate{m, currency, 1_000_000, m.First()}, true
	}
	key := rateKey{m, currency}
	if r, ok := t.used[key]; ok {
		return r, true
	}
	rs := t.known[currency]
	n, _ := slices.BinarySearchFunc(rs, m.First()+1, func(r Rate, d Day) int { return cmp.Compare(r.Day, d) })
	switch {
	case n > 0: // of several on one day the last one in order of arrival
		n--
	case len(rs) > 0 && rs[0].Day <= m.Last():
		n = 0
	default:
		t.missing[key] = true
		return Rate{}, false
	}
	r := rs[n]
	r.Month = m
	t.used[key] = r
	return r, true
}

// value is money in minor units of the reporting currency, at the rate of a month.
// Without a rate it is zero, and the rate is listed as missing, which no refresh
// publishes.
func (t *rateTable) value(m governance.Money, month Month) (int64, error) {
	if m.Minor == 0 || m.Currency == t.reporting {
		return m.Minor, nil
	}
	r, ok := t.of(m.Currency, month)
	if !ok {
		return 0, nil
	}
	return Convert(m, r.Micro, t.reporting)
}

// Convert gives m in minor units of another currency, at a rate in millionths,
// rounded half to even.
func Convert(m governance.Money, micro int64, to string) (int64, error) {
	minor, negative := uint64(m.Minor), m.Minor < 0
	if negative {
		minor = -minor
	}
	num, den := uint64(micro), uint64(1_000_000)
	for d := governance.Exponent(to) - governance.Exponent(m.Currency); d > 0; d-- {
		num *= 10
	}
	for d := governance.Exponent(m.Currency) - governance.Exponent(to); d > 0; d-- {
		den *= 10
	}
	hi, lo := bits.Mul64(minor, num)
	if micro <= 0 || micro > maxRate || hi >= den {
		return 0, fmt.Errorf("convert %s at %s to %s: out of range", m, FormatRate(micro), to)
	}
	q, r := bits.Div64(hi, lo, den)
	if r > den/2 || (r == den/2 && q%2 == 1) { // den is even: a power of ten
		q++
	}
	if q > 1<<62 {
		return 0, fmt.Errorf("convert %s at %s to %s: out of range", m, FormatRate(micro), to)
	}
	if negative {
		return -int64(q), nil
	}
	return int64(q), nil
}

// track is the segments of one subscription, in order.
type track struct {
	subscription string
	segments     []Segment
}

// at is the segment of a day, or the zero Segment before the first.
func (t track) at(d Day) (Segment, bool) {
	n, _ := slices.BinarySearchFunc(t.segments, d+1, func(s Segment, d Day) int { return cmp.Compare(s.From, d) })
	if n == 0 {
		return Segment{}, false
	}
	return t.segments[n-1], true
}

// account is everything of one tenant.
type account struct {
	tenant governance.TenantID
	tracks []track
}

// accounts groups sorted segments by tenant and subscription.
func accounts(segments []Segment) []account {
	var out []account
	for i := 0; i < len(segments); {
		j := i + 1
		for j < len(segments) && segments[j].Tenant == segments[i].Tenant && segments[j].Subscription == segments[i].Subscription {
			j++
		}
		if n := len(out); n == 0 || out[n-1].tenant != segments[i].Tenant {
			out = append(out, account{tenant: segments[i].Tenant})
		}
		a := &out[len(out)-1]
		a.tracks = append(a.tracks, track{segments[i].Subscription, segments[i:j]})
		i = j
	}
	return out
}

// value is what the tenant pays a month at the end of a day, at the rates of a month.
func (a account) value(d Day, rates *rateTable, month Month) (sum int64, active bool, err error) {
	for _, t := range a.tracks {
		s, ok := t.at(d)
		if !ok || s.MRR.Minor == 0 {
			continue
		}
		v, err := rates.value(s.MRR, month)
		if err != nil {
			return 0, false, fmt.Errorf("tenant %s, subscription %s: %w", a.tenant, t.subscription, err)
		}
		sum, active = sum+v, true
	}
	return sum, active, nil
}
