package governance

import (
	"strconv"
	"strings"
)

// String writes the measure for people: "EUR 12.00", "EUR 12.00 mrr", "40 rows",
// "3 times".
func (m Measure) String() string {
	if currency, ok := unitCurrency(m.Unit); ok {
		return Money{m.Value, currency}.String()
	}
	if of, unit, ok := strings.Cut(m.Unit, "."); ok {
		if currency, money := unitCurrency(unit); money {
			return Money{m.Value, currency}.String() + " " + of
		}
	}
	n := strconv.FormatInt(m.Value, 10)
	switch {
	case m.Unit == UnitCount && m.Value == 1:
		return "1 time"
	case m.Unit == UnitCount:
		return n + " times"
	}
	return n + " " + m.Unit
}

// windowText is a window without the zeros of its last units: "24h", not "24h0m0s".
func windowText(d Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
