package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

// Period is a calendar period: eight years are not 8 × 365 days. Its text form is
// that of ISO 8601: "P8Y", "P1Y6M", "P30D".
type Period struct{ Years, Months, Days int }

// ParsePeriod reads the text form.
func ParsePeriod(s string) (Period, error) {
	bad := governance.Invalid("period", "%q is not a period such as P8Y, P6M or P30D", s)
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" {
		return Period{}, bad
	}
	var p Period
	for _, part := range []struct {
		unit string
		to   *int
	}{{"Y", &p.Years}, {"M", &p.Months}, {"D", &p.Days}} {
		number, after, found := strings.Cut(rest, part.unit)
		if !found {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 40000 || number[0] == '+' {
			return Period{}, bad
		}
		*part.to, rest = n, after
	}
	if rest != "" {
		return Period{}, bad
	}
	return p, nil
}

// IsZero tells whether the period was never set.
func (p Period) IsZero() bool { return p == Period{} }

func (p Period) String() string {
	var b strings.Builder
	b.WriteString("P")
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Years, "Y"}, {p.Months, "M"}, {p.Days, "D"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, "%d%s", part.n, part.unit)
		}
	}
	if b.Len() == 1 {
		return "P0D"
	}
	return b.String()
}

// Words is the period for people: "8 years", "1 year 6 months".
func (p Period) Words() string {
	var out []string
	for _, part := range []struct {
		n    int
		unit string
	}{{p.Years, "year"}, {p.Months, "month"}, {p.Days, "day"}} {
		switch {
		case part.n == 1:
			out = append(out, "1 "+part.unit)
		case part.n > 1:
			out = append(out, strconv.Itoa(part.n)+" "+part.unit+"s")
		}
	}
	return strings.Join(out, " ")
}

// MarshalText implements encoding.TextMarshaler.
func (p Period) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return nil, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Period) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*p = Period{}
		return nil
	}
	*p, err = ParsePeriod(string(b))
	return err
}

// Round says at the end of what a period begins to count.
type Round string

// The roundings. Most tax law counts from the end of the calendar or fiscal year.
const (
	RoundNone   Round = ""
	RoundMonth  Round = "month"
	RoundYear   Round = "calendar_year"
	RoundFiscal Round = "fiscal_year" // begins at Clock.Fiscal
)

// Clock says when a period begins.
type Clock struct {
	From   string `json:"from" yaml:"from"` // the event in words: "end of the contract"
	Round  Round  `json:"round,omitempty" yaml:"round"`
	Fiscal string `json:"fiscal,omitempty" yaml:"fiscal"` // first day of the fiscal year, "04-06"
}

func (c Clock) validate(at string) error {
	switch c.Round {
	case RoundNone, RoundMonth, RoundYear:
		if c.Fiscal != "" {
			return governance.Invalid(at+"fiscal", "goes only with round fiscal_year")
		}
	case RoundFiscal:
		if _, err := time.Parse("01-02", c.Fiscal); err != nil {
			return governance.Invalid(at+"fiscal", "%q is not a day such as 04-06", c.Fiscal)
		}
	default:
		return governance.Invalid(at+"round", "%q is none of month, calendar_year, fiscal_year", c.Round)
	}
	return nil
}

// A civil day is a time.Time at midnight UTC; it has no zone.
func civil(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// dayIn is the civil day that t falls on in zone.
func dayIn(t time.Time, zone *time.Location) time.Time {
	y, m, d := t.In(zone).Date()
	return civil(y, m, d)
}

// dayStart is the first instant of a civil day in zone. Some zones have days
// without a midnight: the clock goes from 23:59 to 01:00.
func dayStart(day time.Time, zone *time.Location) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	for dayIn(t, zone).Before(day) {
		t = t.Add(15 * time.Minute)
	}
	return t
}

// plus adds a period to a civil day: months keep the day or fall to the end of a
// shorter month, so 31 January and one month is 28 or 29 February.
func plus(day time.Time, p Period) time.Time {
	y, m, d := day.Date()
	months := int(m) - 1 + p.Months
	y += p.Years + months/12
	m = time.Month(months%12 + 1)
	last := civil(y, m+1, 0).Day()
	return civil(y, m, min(d, last)).AddDate(0, 0, p.Days)
}

// dueDay is the first civil day on which a period that begins on start is over.
// The day of the event is not counted: a period of one year from 10 May ends with
// the whole of 10 May next year, and the row is due on the 11th.
func dueDay(start time.Time, p Period, c Clock) time.Time {
	y, m, _ := start.Date()
	switch c.Round {
	case RoundMonth:
		return plus(civil(y, m+1, 1), p)
	case RoundYear:
		return plus(civil(y+1, time.January, 1), p)
	case RoundFiscal:
		first, err := time.Parse("01-02", c.Fiscal)
		if err != nil { // refused by validate; the longest reading is the safe one
			return plus(civil(y+2, time.January, 1), p)
		}
		begin := civil(y, first.Month(), first.Day())
		if !begin.After(start) {
			begin = civil(y+1, first.Month(), first.Day())
		}
		return plus(begin, p)
	}
	return plus(start, p).AddDate(0, 0, 1)
}
