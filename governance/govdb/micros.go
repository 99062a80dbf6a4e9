package govdb

import "time"

// Micros is an instant as microseconds since 1970 in UTC, the way every time is
// stored, so that both engines order and compare instants alike. Zero is the zero
// [time.Time].
type Micros int64

// At makes Micros of t, cutting below the microsecond.
func At(t time.Time) Micros {
	if t.IsZero() {
		return 0
	}
	return Micros(t.UnixMicro())
}

// Time is the instant in UTC.
func (m Micros) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(m)).UTC()
}
