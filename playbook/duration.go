package playbook

import (
	"strconv"
	"strings"
	"time"

	"github.com/reevehq/reeve/governance"
)

const day = 24 * time.Hour

// Duration is a time.Duration written as in Go or in whole days: "36h", "5d".
type Duration struct{ time.Duration }

// String is the shortest form that [Duration.UnmarshalText] reads.
func (d Duration) String() string {
	if d.Duration > 0 && d.Duration%day == 0 {
		return strconv.FormatInt(int64(d.Duration/day), 10) + "d"
	}
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			d.Duration = time.Duration(n) * day
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return governance.Invalid("duration", "%q is not a duration such as 36h or 5d", s)
	}
	d.Duration = v
	return nil
}
