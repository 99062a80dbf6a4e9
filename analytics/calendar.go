package analytics

import (
	"encoding"
	"fmt"
	"time"
)

// Day is a calendar day of the reporting zone, in days since 1970-01-01. Its text
// form is "2026-01-31".
type Day int32

// Forever is the end of what has not ended.
const Forever Day = 2932896 // 9999-12-31

// DayOf is the day that t falls on in zone.
func DayOf(t time.Time, zone *time.Location) Day {
	y, m, d := t.In(zone).Date()
	return Date(y, m, d)
}

// Date is the day of a calendar date.
func Date(year int, month time.Month, day int) Day {
	return Day(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// ParseDay reads "2026-01-31".
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date such as 2026-01-31", s)
	}
	return DayOf(t, time.UTC), nil
}

func (d Day) utc() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// Start is the instant at which the day begins in zone.
func (d Day) Start(zone *time.Location) time.Time {
	y, m, day := d.utc().Date()
	return time.Date(y, m, day, 0, 0, 0, 0, zone)
}

// Month is the month that the day is in.
func (d Day) Month() Month {
	y, m, _ := d.utc().Date()
	return Month(y*12 + int(m) - 1)
}

// String is "2026-01-31".
func (d Day) String() string { return d.utc().Format(time.DateOnly) }

// MarshalText implements [encoding.TextMarshaler].
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Day) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDay(string(b))
	return err
}

// Month is a calendar month: year×12 + month−1. Its text form is "2026-01".
type Month int32

// MonthOf is the month of a date.
func MonthOf(year int, month time.Month) Month { return Month(year*12 + int(month) - 1) }

// ParseMonth reads "2026-01".
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a month such as 2026-01", s)
	}
	return MonthOf(t.Year(), t.Month()), nil
}

// First is the first day of the month.
func (m Month) First() Day { return Date(int(m)/12, time.Month(int(m)%12+1), 1) }

// Last is the last day of the month.
func (m Month) Last() Day { return (m + 1).First() - 1 }

// String is "2026-01".
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", int(m)/12, int(m)%12+1) }

// MarshalText implements [encoding.TextMarshaler].
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Month) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMonth(string(b))
	return err
}

var (
	_ encoding.TextMarshaler   = Day(0)
	_ encoding.TextUnmarshaler = (*Month)(nil)
)

// age is the time from one day to a later one in months: whole months by the
// calendar, and the rest as a share of the month it falls in. From the 31st the
// month ends on the last day there is.
func age(from, to Day) float64 {
	whole := int(to.Month() - from.Month())
	anchor := anniversary(from, whole)
	if anchor > to {
		whole--
		anchor = anniversary(from, whole)
	}
	next := anniversary(from, whole+1)
	return float64(whole) + float64(to-anchor)/float64(next-anchor)
}

// anniversary is the day n months after from; the day of the month survives a
// short month in between, because it is always counted from the start.
func anniversary(from Day, n int) Day {
	m := from.Month() + Month(n)
	return min(m.First()+(from-from.Month().First()), m.Last())
}
