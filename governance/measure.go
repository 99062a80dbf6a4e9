package governance

import "strings"

// Measure is how much of something an action is about, as an integer with a unit:
// "EUR.cent", "rows", "mrr.EUR.cent". It is never negative.
type Measure struct {
	Unit  string `json:"unit"`
	Value int64  `json:"value,string"`
}

// MoneyMeasure measures an amount of money by its size.
func MoneyMeasure(m Money) Measure {
	v := m.Minor
	if v < 0 {
		v = -v
	}
	return Measure{m.Unit(), v}
}

// UnitCount is the unit that every action has once, for limits on how often.
const UnitCount = "count"

func validateMeasures(ms []Measure) error {
	seen := map[string]bool{}
	for _, m := range ms {
		switch {
		case m.Unit == "" || len(m.Unit) > 64 || strings.ContainsAny(m.Unit, " \x00|"):
			return Invalid("measures", "unit %q is not valid", m.Unit)
		case m.Unit == UnitCount:
			return Invalid("measures", "unit %q is reserved", UnitCount)
		case m.Value < 0:
			return Invalid("measures", "%s is negative: a limit could be refilled with it", m.Unit)
		case seen[m.Unit]:
			return Invalid("measures", "%s is given twice", m.Unit)
		}
		seen[m.Unit] = true
	}
	return nil
}
