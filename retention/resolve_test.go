package retention_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

var places = []retention.Jurisdiction{
	{Code: "DE", Name: "Germany", Zone: "Europe/Berlin", Regions: []string{"EU"}},
	{Code: "US", Name: "United States", Zone: "America/Los_Angeles", Aliases: []string{"USA"}},
	{Code: "JP", Name: "Japan", Zone: "Asia/Tokyo"},
	{Code: "FR", Name: "France", Zone: "Europe/Paris", Regions: []string{"EU"}},
}

func period(t testing.TB, s string) retention.Period {
	p, err := retention.ParsePeriod(s)
	require.NoError(t, err)
	return p
}

func rule(t testing.TB, id, area string, k retention.Kind, p string, round retention.Round) retention.RuleVersion {
	r := retention.Rule{ID: id, Jurisdiction: area, Class: "invoice", Kind: k, Citation: "§ " + id, Status: retention.VerifyWithCounsel, Clock: retention.Clock{Round: round}}
	if p != "" {
		r.Period = period(t, p)
	}
	require.NoError(t, r.Validate())
	return retention.RuleVersion{Rule: r, Version: 1}
}

func policy(t testing.TB, id, country, p string, a retention.Action) retention.PolicyVersion {
	pol := retention.Policy{ID: id, Title: id, Class: "invoice", Country: country, Period: period(t, p), Action: a}
	require.NoError(t, pol.Validate())
	return retention.PolicyVersion{Policy: pol, Version: 1}
}

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func facts(country, start string) retention.Facts {
	return retention.Facts{Source: "s", Class: "invoice", Key: "1", Country: country, Start: day(start), StartIsDay: true, HasStart: true}
}

func TestCalendar(t *testing.T) {
	for _, c := range []struct {
		period string
		round  retention.Round
		fiscal string
		start  string
		due    string
	}{
		{"P1Y", "", "", "2024-02-29", "2025-03-01"},  // the year ends with 28 February
		{"P4Y", "", "", "2024-02-29", "2028-03-01"},  // a leap year again: the 29th is kept, due the day after
		{"P1M", "", "", "2025-01-31", "2025-03-01"},  // ends with 28 February
		{"P1M", "", "", "2024-01-31", "2024-03-01"},  // ends with 29 February
		{"P30D", "", "", "2024-01-31", "2024-03-02"}, // 30 days after, and the day after that
		{"P8Y", retention.RoundYear, "", "2016-06-10", "2025-01-01"},
		{"P8Y", retention.RoundYear, "", "2016-12-31", "2025-01-01"},
		{"P8Y", retention.RoundYear, "", "2017-01-01", "2026-01-01"},
		{"P1M", retention.RoundMonth, "", "2025-01-15", "2025-03-01"},
		{"P3Y", retention.RoundFiscal, "04-06", "2025-04-05", "2028-04-06"},
		{"P3Y", retention.RoundFiscal, "04-06", "2025-04-06", "2029-04-06"},
		{"P1Y6M", "", "", "2023-08-31", "2025-03-01"},
	} {
		law := rule(t, "r", "DE", retention.Principle, "", "")
		pol := policy(t, "p", "", c.period, retention.Delete)
		pol.Clock = retention.Clock{Round: c.round, Fiscal: c.fiscal}
		require.NoError(t, pol.Validate())
		r, err := retention.NewResolver(places, []retention.RuleVersion{law}, []retention.PolicyVersion{pol}, nil)
		require.NoError(t, err)
		d := r.Resolve(facts("DE", c.start), day("2020-01-01"))
		require.Equal(t, c.due, d.Due, "%+v", c)
	}
}

// The law of 2024 shortened ten years to eight for all that had not run out: on 1
// January 2025 the vouchers of 2014, 2015 and 2016 fell due together.
func TestVersionsOfLaw(t *testing.T) {
	old := rule(t, "de.old", "DE", retention.Floor, "P10Y", retention.RoundYear)
	old.To = day("2025-01-01")
	now := rule(t, "de.new", "DE", retention.Floor, "P8Y", retention.RoundYear)
	now.From = day("2025-01-01")
	r, err := retention.NewResolver(places, []retention.RuleVersion{old, now}, []retention.PolicyVersion{policy(t, "p", "", "P1Y", retention.Delete)}, nil)
	require.NoError(t, err)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	before := time.Date(2024, 12, 31, 12, 0, 0, 0, berlin)
	after := time.Date(2025, 1, 1, 12, 0, 0, 0, berlin)
	for start, want := range map[string][2]retention.State{
		"2013-06-01": {retention.Due, retention.Due},
		"2014-06-01": {retention.Kept, retention.Due},
		"2015-06-01": {retention.Kept, retention.Due},
		"2016-06-01": {retention.Kept, retention.Due},
		"2017-06-01": {retention.Kept, retention.Kept},
	} {
		require.Equal(t, want[0], r.Resolve(facts("DE", start), before).State, start)
		d := r.Resolve(facts("DE", start), after)
		require.Equal(t, want[1], d.State, start)
		require.Equal(t, "de.new", d.Trace[0].ID)
		require.Equal(t, "§ de.new", d.Trace[0].Citation)
	}
}

func TestResolve(t *testing.T) {
	floor := func(p string) retention.RuleVersion { return rule(t, "floor-"+"x", "DE", retention.Floor, p, "") }
	ceiling := func(p string) retention.RuleVersion {
		return rule(t, "ceiling-"+"x", "EU", retention.Ceiling, p, "")
	}
	target := policy(t, "everywhere", "", "P3Y", retention.Delete)
	state := func(t *testing.T, f retention.Facts, rules []retention.RuleVersion, ps []retention.PolicyVersion, holds ...retention.Hold) retention.Decision {
		r, err := retention.NewResolver(places, rules, ps, holds)
		require.NoError(t, err)
		d := r.Resolve(f, day("2026-06-01"))
		fast, action := r.Decide(f, day("2026-06-01"))
		require.Equal(t, d.State, fast)
		require.Equal(t, d.Action, action)
		return d
	}
	one := []retention.PolicyVersion{target}
	t.Run("no rule never deletes", func(t *testing.T) {
		require.Equal(t, retention.NoRule, state(t, facts("JP", "1990-01-01"), []retention.RuleVersion{floor("P1Y")}, one).State)
	})
	t.Run("no policy never deletes, even past a ceiling", func(t *testing.T) {
		require.Equal(t, retention.NoPolicy, state(t, facts("DE", "1990-01-01"), []retention.RuleVersion{ceiling("P1Y")}, nil).State)
	})
	t.Run("no country and an unknown one", func(t *testing.T) {
		for _, c := range []string{"", "  ", "Atlantis"} {
			require.Equal(t, retention.UnknownCountry, state(t, facts(c, "1990-01-01"), []retention.RuleVersion{floor("P1Y")}, one).State)
		}
	})
	t.Run("no start and a default start", func(t *testing.T) {
		f := facts("DE", "1990-01-01")
		f.HasStart = false
		require.Equal(t, retention.NoStart, state(t, f, []retention.RuleVersion{floor("P1Y")}, one).State)
		f = facts("DE", "1970-01-01")
		f.Implausible = true
		require.Equal(t, retention.Implausible, state(t, f, []retention.RuleVersion{floor("P1Y")}, one).State)
	})
	t.Run("the latest floor lifts the target", func(t *testing.T) {
		d := state(t, facts("DE", "2020-01-01"), []retention.RuleVersion{floor("P8Y"), rule(t, "short", "EU", retention.Floor, "P2Y", "")}, one)
		require.Equal(t, retention.Kept, d.State)
		require.Equal(t, "2028-01-02", d.Due)
	})
	t.Run("the earliest ceiling lowers the target", func(t *testing.T) {
		d := state(t, facts("DE", "2024-06-01"), []retention.RuleVersion{ceiling("P1Y"), rule(t, "long", "DE", retention.Ceiling, "P9Y", "")}, one)
		require.Equal(t, retention.Due, d.State)
		require.Equal(t, "2025-06-02", d.Due)
	})
	t.Run("a floor above a ceiling is a conflict while both speak", func(t *testing.T) {
		rules := []retention.RuleVersion{floor("P8Y"), ceiling("P2Y")}
		require.Equal(t, retention.Kept, state(t, facts("DE", "2025-01-01"), rules, one).State)
		require.Equal(t, retention.Conflict, state(t, facts("DE", "2020-01-01"), rules, one).State)
		require.Equal(t, retention.Due, state(t, facts("DE", "2015-01-01"), rules, one).State)
	})
	t.Run("country beats region beats everywhere", func(t *testing.T) {
		ps := []retention.PolicyVersion{target, policy(t, "eu", "EU", "P5Y", retention.Anonymise), policy(t, "de", "DE", "P6Y", retention.Delete)}
		rules := []retention.RuleVersion{rule(t, "p", "EU", retention.Principle, "", ""), rule(t, "q", "US", retention.Principle, "", "")}
		require.Equal(t, "2026-01-02", state(t, facts("DE", "2020-01-01"), rules, ps).Due)
		d := state(t, facts("France", "2020-01-01"), rules, ps)
		require.Equal(t, "2025-01-02", d.Due)
		require.Equal(t, retention.Anonymise, d.Action)
		require.Equal(t, "2023-01-02", state(t, facts("usa", "2020-01-01"), rules, ps).Due)
	})
	t.Run("holds win over everything", func(t *testing.T) {
		f := facts("DE", "1990-01-01")
		f.Subject, f.Tenant, f.Classes = "7", "acme", []string{"page"}
		for _, sel := range []retention.Selector{{Subject: "7"}, {Tenant: "acme"}, {Class: "invoice"}, {Class: "page"}, {Source: "s", Key: "1"}, {Country: "Germany"}, {Tenant: "acme", Subject: "7"}} {
			d := state(t, f, []retention.RuleVersion{floor("P1Y")}, one, retention.Hold{ID: governance.NewID[retention.Hold](), Selector: sel})
			require.Equal(t, retention.Held, d.State, "%+v", sel)
			require.Len(t, d.HeldBy, 1)
		}
		for _, sel := range []retention.Selector{{}, {Subject: "8"}, {Tenant: "acme", Subject: "8"}, {Source: "s", Key: "2"}, {Source: "other", Key: "1"}, {Country: "FR"}, {Class: "contact"}} {
			d := state(t, f, []retention.RuleVersion{floor("P1Y")}, one, retention.Hold{ID: governance.NewID[retention.Hold](), Selector: sel})
			require.Equal(t, retention.Due, d.State, "%+v", sel)
		}
		released := retention.Hold{ID: governance.NewID[retention.Hold](), Selector: retention.Selector{Subject: "7"}, ReleasedAt: day("2026-01-01")}
		require.Equal(t, retention.Due, state(t, f, []retention.RuleVersion{floor("P1Y")}, one, released).State)
	})
	t.Run("the day begins in the jurisdiction", func(t *testing.T) {
		r, err := retention.NewResolver(places, []retention.RuleVersion{rule(t, "j", "JP", retention.Principle, "", ""), rule(t, "u", "US", retention.Principle, "", "")}, one, nil)
		require.NoError(t, err)
		f := facts("JP", "2020-05-10") // due on 11 May 2023
		asOf := time.Date(2023, 5, 10, 15, 30, 0, 0, time.UTC)
		require.Equal(t, retention.Due, r.Resolve(f, asOf).State) // already the 11th in Tokyo
		f.Country = "US"
		require.Equal(t, retention.Kept, r.Resolve(f, asOf).State)
		require.Equal(t, time.Date(2023, 5, 11, 7, 0, 0, 0, time.UTC), r.Resolve(f, asOf).DueAt)
	})
}

// A row that starts later is never due earlier, and the cutoff a database selects by
// agrees with the resolver on every start.
func TestCutoffAgreesWithDecide(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		anyPeriod := rapid.Custom(func(rt *rapid.T) retention.Period {
			return retention.Period{Years: rapid.IntRange(0, 12).Draw(rt, "y"), Months: rapid.IntRange(0, 14).Draw(rt, "m"), Days: rapid.IntRange(1, 40).Draw(rt, "d")}
		})
		anyClock := rapid.Custom(func(rt *rapid.T) retention.Clock {
			c := retention.Clock{Round: rapid.SampledFrom([]retention.Round{"", retention.RoundMonth, retention.RoundYear, retention.RoundFiscal}).Draw(rt, "round")}
			if c.Round == retention.RoundFiscal {
				c.Fiscal = rapid.SampledFrom([]string{"04-01", "04-06", "07-01", "02-29"}).Draw(rt, "fiscal")
			}
			return c
		})
		var rules []retention.RuleVersion
		for i := range rapid.IntRange(1, 4).Draw(rt, "rules") {
			r := retention.RuleVersion{Rule: retention.Rule{ID: string(rune('a' + i)), Jurisdiction: rapid.SampledFrom([]string{"DE", "EU", "US", "JP"}).Draw(rt, "area"),
				Class: "invoice", Kind: rapid.SampledFrom([]retention.Kind{retention.Floor, retention.Ceiling}).Draw(rt, "kind"), Period: anyPeriod.Draw(rt, "p"), Clock: anyClock.Draw(rt, "c")}}
			rules = append(rules, r)
		}
		pol := retention.PolicyVersion{Policy: retention.Policy{ID: "p", Class: "invoice", Period: anyPeriod.Draw(rt, "target"), Clock: anyClock.Draw(rt, "clock"), Action: retention.Delete}}
		r, err := retention.NewResolver(places, rules, []retention.PolicyVersion{pol}, nil)
		if err != nil {
			rt.Fatal(err)
		}
		asOf := time.Unix(rapid.Int64Range(1500000000, 1900000000).Draw(rt, "asOf"), 0).UTC()
		country := rapid.SampledFrom([]string{"DE", "US", "JP", "FR", "Atlantis"}).Draw(rt, "country")
		c := r.Cutoff("s", "invoice", country, asOf)
		for range 40 {
			f := retention.Facts{Source: "s", Class: "invoice", Country: country, HasStart: true}
			f.StartIsDay = rapid.Bool().Draw(rt, "day")
			f.Start = time.Unix(rapid.Int64Range(700000000, 1900000000).Draw(rt, "start"), 0).UTC()
			if rapid.Bool().Draw(rt, "near") && c.State == "" && c.Due.Year() > 1950 {
				f.Start = c.Instant(c.Due).Add(time.Duration(rapid.Int64Range(-2, 2).Draw(rt, "s")) * time.Second).UTC()
			}
			if f.StartIsDay {
				f.Start = f.Start.Truncate(24 * time.Hour)
			}
			state, _ := r.Decide(f, asOf)
			before := func(day time.Time) bool {
				if f.StartIsDay {
					return f.Start.Before(day)
				}
				return f.Start.Before(c.Instant(day))
			}
			want := c.State
			if want == "" {
				switch {
				case before(c.Due):
					want = retention.Due
				case before(c.Conflict):
					want = retention.Conflict
				default:
					want = retention.Kept
				}
			}
			if state != want {
				rt.Fatalf("start %s (day %v) as of %s: resolver says %s, cutoff %+v says %s", f.Start, f.StartIsDay, asOf, state, c, want)
			}
		}
	})
}

func TestPeriodText(t *testing.T) {
	for _, s := range []string{"P8Y", "P6M", "P30D", "P1Y6M", "P1Y2M3D"} {
		require.Equal(t, s, period(t, s).String())
	}
	for _, s := range []string{"", "P", "8Y", "P8", "PY", "P-1Y", "P+1Y", "P1M1Y", "PT1H", "P1.5Y", "P999999Y", "P1Y "} {
		_, err := retention.ParsePeriod(s)
		require.Error(t, err, s)
	}
}

func TestKeys(t *testing.T) {
	for in, want := range map[string]string{"42": "42", `"42"`: `"42"`, "abc": `"abc"`, `["a",1]`: `["a",1]`, "a b\nc": `"a b\nc"`, "1.5": `"1.5"`, "<x>": `"<x>"`} {
		got, err := retention.CanonicalKey(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
		again, err := retention.CanonicalKey(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func FuzzParsePeriod(f *testing.F) {
	f.Add("P1Y2M3D")
	f.Add("P")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := retention.ParsePeriod(s)
		if err != nil {
			return
		}
		again, err := retention.ParsePeriod(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func BenchmarkDecide(b *testing.B) {
	rules := []retention.RuleVersion{rule(b, "f", "DE", retention.Floor, "P8Y", retention.RoundYear), rule(b, "c", "EU", retention.Ceiling, "P10Y", "")}
	r, err := retention.NewResolver(places, rules, []retention.PolicyVersion{policy(b, "p", "", "P5Y", retention.Delete)}, nil)
	require.NoError(b, err)
	f, asOf := facts("DE", "2016-03-04"), day("2026-01-01")
	for b.Loop() {
		r.Decide(f, asOf)
	}
}
