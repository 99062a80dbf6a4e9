package analytics

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/reevehq/reeve/governance"
)

// tests compares what the engine sums with what was built, and the figures with
// the facts. stored is the months as they were read back.
func tests(m *Marts, stored []MonthRow, sums Sums, in *input) []TestResult {
	return []TestResult{
		testRates(m), testRollForward(stored), testEngine(m, stored, sums), testPositions(m, stored), testLogos(stored, sums), testNegative(sums),
		testGaps(m, sums), testFacts(sums, in), testBilled(sums, in), testUsed(sums, in),
	}
}

func passed(name, format string, args ...any) TestResult {
	return TestResult{name, true, fmt.Sprintf(format, args...)}
}

func failed(name, format string, args ...any) TestResult {
	return TestResult{name, false, fmt.Sprintf(format, args...)}
}

func testRates(m *Marts) TestResult {
	const name = "every amount has a rate"
	if len(m.missing) > 0 {
		return failed(name, "no rate of %s to %s in %s or before, and %d more are wanted", m.missing[0].Currency, m.Reporting, m.missing[0].Month, len(m.missing)-1)
	}
	return passed(name, "%d monthly rates in use", len(m.Rates))
}

func testRollForward(stored []MonthRow) TestResult {
	const name = "opening and movements make closing"
	for i, r := range stored {
		if !r.Closes() {
			return failed(name, "%s: opening %d and its movements do not make closing %d", r.Month, r.Opening, r.Closing)
		}
		if i > 0 && (stored[i-1].Closing != r.Opening || stored[i-1].Month+1 != r.Month) {
			return failed(name, "%s: opening %d is not the closing %d of the month before", r.Month, r.Opening, stored[i-1].Closing)
		}
		if r.Closing < 0 {
			return failed(name, "%s: closing %d is negative", r.Month, r.Closing)
		}
	}
	return passed(name, "%d months", len(stored))
}

// testEngine compares the sums of movements, made by the engine, with the months.
func testEngine(m *Marts, stored []MonthRow, sums Sums) TestResult {
	const name = "tenants add up to the total"
	got := map[Month]RollForward{}
	for _, s := range sums.Months {
		r := got[s.Month]
		r.Add(s.Line, s.Sum)
		got[s.Month] = r
	}
	if len(stored) != len(m.Months) {
		return failed(name, "%d months are stored, %d were built", len(stored), len(m.Months))
	}
	closing := int64(0)
	for _, r := range stored {
		for _, l := range MovementLines() {
			g := got[r.Month]
			if a, b := g.Line(l), r.Line(l); a != b {
				return failed(name, "%s %s: tenants sum to %d, the month says %d", r.Month, l, a, b)
			}
		}
		closing = r.Closing
	}
	if sums.Tenants != closing {
		return failed(name, "tenants sum to %d, the last month closes with %d", sums.Tenants, closing)
	}
	return passed(name, "%d lines of %d movements, %s in the end", len(sums.Months), len(m.Movements), governance.Money{Minor: closing, Currency: m.Reporting})
}

// testPositions reaches the closing of each month a second way: by what every
// subscription pays at its end, without any movement.
func testPositions(m *Marts, stored []MonthRow) TestResult {
	const name = "subscriptions add up to the closing"
	rates := ratesOf(m.Reporting, m.Rates)
	all := accounts(m.Segments)
	for _, r := range stored {
		sum := int64(0)
		for _, a := range all {
			v, _, err := a.value(min(r.Month.Last(), m.Through), rates, r.Month)
			if err != nil {
				return failed(name, "%s: %v", r.Month, err)
			}
			sum += v
		}
		if sum != r.Closing {
			return failed(name, "%s: subscriptions pay %d, closing is %d", r.Month, sum, r.Closing)
		}
	}
	return passed(name, "%d months, %d segments", len(stored), len(m.Segments))
}

func testLogos(stored []MonthRow, sums Sums) TestResult {
	const name = "tenants are counted once"
	got := map[Month]map[Line]int{}
	for _, s := range sums.Months {
		if got[s.Month] == nil {
			got[s.Month] = map[Line]int{}
		}
		got[s.Month][s.Line] = s.Logos
	}
	for _, r := range stored {
		g := got[r.Month]
		if g[LineNew] != r.Logos.New || g[LineChurn] != r.Logos.Churned || g[LineReactivation] != r.Logos.Reactivated {
			return failed(name, "%s: movements begin %d, end %d and return %d tenants, the month says %d, %d and %d", r.Month, g[LineNew], g[LineChurn], g[LineReactivation],
				r.Logos.New, r.Logos.Churned, r.Logos.Reactivated)
		}
		if r.Logos.Opening+r.Logos.New+r.Logos.Reactivated-r.Logos.Churned != r.Logos.Closing || r.Logos.Closing < 0 {
			return failed(name, "%s: the number of tenants does not close", r.Month)
		}
	}
	return passed(name, "%d months", len(stored))
}

func testNegative(sums Sums) TestResult {
	const name = "no tenant pays less than nothing"
	if sums.Below+sums.Negative > 0 {
		return failed(name, "%d tenants and %d segments are below zero", sums.Below, sums.Negative)
	}
	return passed(name, "none")
}

func testGaps(m *Marts, sums Sums) TestResult {
	const name = "no subscription has a gap"
	if sums.Gaps > 0 || sums.Segments != len(m.Segments) {
		return failed(name, "%d gaps; %d segments are stored, %d were built", sums.Gaps, sums.Segments, len(m.Segments))
	}
	return passed(name, "%d segments", sums.Segments)
}

func testFacts(sums Sums, in *input) TestResult {
	const name = "every subscription fact is in one segment"
	if sums.Facts != in.counted {
		return failed(name, "segments hold %d facts, there are %d", sums.Facts, in.counted)
	}
	return passed(name, "%d facts", in.counted)
}

func testBilled(sums Sums, in *input) TestResult {
	const name = "billed, paid and sold are the facts"
	if len(sums.Revenue) != len(in.billed) {
		return failed(name, "%d kinds and currencies in the marts, %d in the facts", len(sums.Revenue), len(in.billed))
	}
	facts := 0
	for i, f := range in.billed {
		g := sums.Revenue[i]
		if g.Kind != f.Kind || g.Currency != f.Currency || g.Amount != f.Amount || g.Facts != f.Facts {
			return failed(name, "%s in %s: marts %d from %d facts, facts %d from %d", f.Kind, f.Currency, g.Amount, g.Facts, f.Amount, f.Facts)
		}
		facts += f.Facts
	}
	return passed(name, "%d facts in %d kinds and currencies", facts, len(in.billed))
}

func testUsed(sums Sums, in *input) TestResult {
	const name = "usage is the facts"
	if len(sums.Usage) != len(in.used) {
		return failed(name, "%d metrics in the marts, %d in the facts", len(sums.Usage), len(in.used))
	}
	facts := 0
	for i, f := range in.used {
		g := sums.Usage[i]
		if g.Metric != f.Metric || g.Quantity != f.Quantity || g.Facts != f.Facts {
			return failed(name, "%s: marts %d from %d facts, facts %d from %d", f.Metric, g.Quantity, g.Facts, f.Quantity, f.Facts)
		}
		facts += f.Facts
	}
	return passed(name, "%d facts of %d metrics", facts, len(in.used))
}

// ratesOf is a table of the rates that a generation used.
func ratesOf(reporting string, used []Rate) *rateTable {
	t := newRateTable(reporting, nil)
	for _, r := range used {
		t.used[rateKey{r.Month, r.Currency}] = r
	}
	return t
}

func sortRevenue(rows []RevenueRow) {
	slices.SortFunc(rows, func(a, b RevenueRow) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Currency, b.Currency))
	})
}
