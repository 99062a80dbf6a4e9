package governance

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMeasure_String(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]Measure{
		"EUR 1300.00":   {"EUR.cent", 130000},
		"JPY 500":       {"JPY.cent", 500},
		"USD 12.50 mrr": {"mrr.USD.cent", 1250},
		"40 rows":       {"rows", 40},
		"1 time":        {UnitCount, 1},
		"3 times":       {UnitCount, 3},
		"7 euro.cent":   {"euro.cent", 7},
		"7 a.b.c":       {"a.b.c", 7},
	} {
		require.Equal(t, want, m.String())
	}
	for want, d := range map[string]time.Duration{"24h": 24 * time.Hour, "1h30m": 90 * time.Minute, "10m": 10 * time.Minute, "20s": 20 * time.Second, "1h0m5s": time.Hour + 5*time.Second} {
		require.Equal(t, want, windowText(Duration{d}))
	}
}
