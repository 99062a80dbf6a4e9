package analytics

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance"
)

// Kind says what a fact is about.
type Kind string

// The kinds of fact.
const (
	KindSubscription Kind = "subscription" // from At on, the subscription has this plan, quantity and MRR
	KindInvoice      Kind = "invoice"      // a line of the invoice Ref, due on Due; negative for a credit
	KindPayment      Kind = "payment"      // money that came in for the invoice Ref; negative for a refund
	KindPurchase     Kind = "purchase"     // a sale that belongs to no subscription
	KindUsage        Kind = "usage"        // Quantity of Metric on the day of At
	KindRate         Kind = "rate"         // one unit of Currency is Rate/1e6 units of the reporting currency
	KindWatermark    Kind = "watermark"    // the source has sent everything up to and with the day of At
)

var kinds = []Kind{KindSubscription, KindInvoice, KindPayment, KindPurchase, KindUsage, KindRate, KindWatermark}

// Fact is something that happened, as a source tells it. Facts are only ever
// added: another fact with the same Source and Key corrects the one before it, and
// with Void takes it back. Two times stand in each: At, when it took effect, and
// RecordedAt, when it was learned.
type Fact struct {
	Source string `json:"source"` // the system that tells it
	Key    string `json:"key"`    // the source's own id of the fact
	// Version is the source's own version of the fact, when it has one: a fact with a
	// lower one than is known arrived late and is not taken.
	Version int64 `json:"version,omitempty"`
	// Sequence orders facts of one subscription that took effect at the same instant.
	Sequence     int64               `json:"sequence,omitempty"`
	Kind         Kind                `json:"kind"`
	Tenant       governance.TenantID `json:"tenant,omitempty"`
	Subscription string              `json:"subscription,omitempty"`
	Plan         string              `json:"plan,omitempty"`
	Metric       string              `json:"metric,omitempty"`
	Ref          string              `json:"ref,omitempty"`
	Quantity     int64               `json:"quantity,omitempty"`
	Amount       int64               `json:"amount,string,omitempty"` // minor units of Currency; of a subscription, its MRR
	Currency     string              `json:"currency,omitempty"`
	Rate         int64               `json:"rate,omitempty"` // millionths
	At           time.Time           `json:"at"`
	Due          Day                 `json:"due,omitempty"`
	Cancelled    bool                `json:"cancelled,omitempty"`
	Void         bool                `json:"void,omitempty"`

	// What follows is set when the fact is taken.
	ID         uuid.UUID `json:"id"`
	Revision   int       `json:"revision"` // from 1 within Source and Key
	Day        Day       `json:"day"`      // of At, in the reporting zone
	RecordedAt time.Time `json:"recorded_at"`
	Batch      uuid.UUID `json:"batch"`
}

// Money is the fact's amount with its currency.
func (f Fact) Money() governance.Money {
	return governance.Money{Minor: f.Amount, Currency: f.Currency}
}

// Monthly is a price for several months as MRR: divided, and rounded half to even.
// Twelve times the result may differ from a yearly price by up to six minor units;
// that difference is the source's, ARR is always 12 × MRR.
func Monthly(minor int64, months int64) int64 {
	if months <= 1 {
		return minor
	}
	q, r := minor/months, minor%months
	if 2*r > months || (2*r == months && q%2 != 0) {
		q++
	}
	return q
}

const (
	maxText   = 200
	maxMinor  = 10_000_000_000_000 // a hundred thousand million: products with a rate stay within 128 bits
	maxRate   = 10_000_000_000     // ten thousand for one
	maxNumber = 1 << 53
	maxErrors = 50
)

// check collects what is wrong with one fact; place names a field of it.
type check struct {
	place func(field string) string
	errs  []error
}

func (c *check) bad(field, format string, args ...any) {
	c.errs = append(c.errs, governance.Invalid(c.place(field), format, args...))
}

func (c *check) text(field, v string, required bool) {
	switch {
	case v == "" && required:
		c.bad(field, "is required")
	case len(v) > maxText:
		c.bad(field, "has %d bytes, at most %d are allowed", len(v), maxText)
	case !utf8.ValidString(v):
		c.bad(field, "is not UTF-8")
	case strings.ContainsRune(v, 0):
		c.bad(field, "contains U+0000")
	}
}

// none refuses what another kind of fact has: what would be ignored was meant.
func (c *check) none(field string, set bool, k Kind) {
	if set {
		c.bad(field, "a %s has none", k)
	}
}

func (f Fact) validate(now time.Time, place func(field string) string) error {
	c := &check{place: place}
	c.text("source", f.Source, true)
	c.text("key", f.Key, true)
	if !slices.Contains(kinds, f.Kind) {
		c.bad("kind", "is not one of subscription, invoice, payment, purchase, usage, rate, watermark")
		return errors.Join(c.errs...)
	}
	k := f.Kind
	aboutTenant := k != KindRate && k != KindWatermark
	money := k == KindInvoice || k == KindPayment || k == KindPurchase || (k == KindSubscription && !f.Cancelled)
	c.text("tenant", string(f.Tenant), aboutTenant)
	c.text("subscription", f.Subscription, k == KindSubscription)
	c.text("plan", f.Plan, false)
	c.text("metric", f.Metric, k == KindUsage)
	c.text("ref", f.Ref, k == KindInvoice || k == KindPayment)
	c.none("tenant", !aboutTenant && f.Tenant != "", k)
	c.none("subscription", (k == KindUsage || !aboutTenant) && f.Subscription != "", k)
	c.none("plan", k != KindSubscription && f.Plan != "", k)
	c.none("metric", k != KindUsage && f.Metric != "", k)
	c.none("ref", (k == KindUsage || !aboutTenant) && f.Ref != "", k)
	c.none("cancelled", k != KindSubscription && f.Cancelled, k)
	c.none("due", k != KindInvoice && f.Due != 0, k)
	c.none("rate", k != KindRate && f.Rate != 0, k)
	c.none("amount", (k == KindUsage || !aboutTenant) && f.Amount != 0, k)
	c.none("currency", (k == KindUsage || k == KindWatermark) && f.Currency != "", k)
	c.none("quantity", !aboutTenant && f.Quantity != 0, k)

	if (money || k == KindRate) && !governance.ValidCurrency(f.Currency) {
		c.bad("currency", "is not an ISO 4217 code")
	}
	if f.Amount > maxMinor || f.Amount < -maxMinor {
		c.bad("amount", "is larger than allowed")
	}
	if f.Amount < 0 && (k == KindSubscription || k == KindPurchase) {
		c.bad("amount", "is negative")
	}
	if f.Cancelled && f.Amount != 0 {
		c.bad("amount", "a cancelled subscription has no MRR")
	}
	if f.Quantity < 0 || f.Quantity >= maxNumber {
		c.bad("quantity", "is negative or too large")
	}
	if f.Version < 0 || f.Version >= maxNumber || f.Sequence < 0 || f.Sequence >= maxNumber {
		c.bad("version", "version and sequence are not negative, and below 2^53")
	}
	if k == KindRate && !f.Void && (f.Rate <= 0 || f.Rate > maxRate) {
		c.bad("rate", "is not above 0 and at most 10000")
	}
	switch y := f.At.UTC().Year(); {
	case f.At.IsZero():
		c.bad("at", "is required")
	case y < 1970 || y > 2199 && k != KindWatermark:
		c.bad("at", "is not between 1970 and 2199")
	case k != KindSubscription && k != KindWatermark && f.At.After(now.Add(24*time.Hour)):
		c.bad("at", "lies in the future; only a subscription changes ahead of time")
	}
	if f.Due < 0 || f.Due > Forever {
		c.bad("due", "is not a date between 1970 and 9999")
	}
	return errors.Join(c.errs...)
}

// digest is over everything the source says, each field with its length before it.
func (f Fact) digest() string {
	h := sha256.New()
	buf := make([]byte, 0, 256)
	text := func(v string) {
		buf = binary.AppendUvarint(buf, uint64(len(v)))
		buf = append(buf, v...)
	}
	text("reeve/fact/v1")
	text(f.Source)
	text(f.Key)
	text(string(f.Kind))
	text(string(f.Tenant))
	text(f.Subscription)
	text(f.Plan)
	text(f.Metric)
	text(f.Ref)
	text(f.Currency)
	for _, v := range []int64{f.Version, f.Sequence, f.Quantity, f.Amount, f.Rate, f.At.UnixMicro(), int64(f.Due)} {
		buf = binary.AppendVarint(buf, v)
	}
	var flags byte
	if f.Cancelled {
		flags |= 1
	}
	if f.Void {
		flags |= 2
	}
	buf = append(buf, flags)
	h.Write(buf)
	return hex.EncodeToString(h.Sum(nil))
}

// ParseAt reads an instant (RFC 3339) or a date, which is the beginning of that day
// in zone.
func ParseAt(s string, zone *time.Location) (time.Time, error) {
	if d, err := ParseDay(s); err == nil {
		return d.Start(zone).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date such as 2026-01-31 nor an instant such as 2026-01-31T09:30:00Z", s)
	}
	return t.UTC(), nil
}

// ParseRate reads a decimal rate with at most six decimals as millionths.
func ParseRate(s string) (int64, error) {
	whole, fraction, dot := strings.Cut(s, ".")
	if whole != "" && len(whole) <= 8 && len(fraction) <= 6 && dot == (fraction != "") {
		if v, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 63); err == nil {
			return int64(v), nil
		}
	}
	return 0, fmt.Errorf("%q is not a decimal rate with at most six decimals", s)
}

// FormatRate is the decimal form of millionths.
func FormatRate(micro int64) string { return fmt.Sprintf("%d.%06d", micro/1_000_000, micro%1_000_000) }
