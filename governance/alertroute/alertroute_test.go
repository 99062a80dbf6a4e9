package alertroute_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/reevehq/reeve/governance/alertroute"
)

func parse(t *testing.T, doc string) alertroute.Document {
	t.Helper()
	var d alertroute.Document
	require.NoError(t, json.Unmarshal([]byte(doc), &d))
	return d
}

func TestDocument_Faults(t *testing.T) {
	have := []string{"slack", "pager"}
	good := `{"receivers":[{"name":"chat","notifiers":["slack"]}],"routes":[{"name":"a","match":{"severities":["critical"],"keys":["approval"]},
		"steps":[{"receiver":"chat"},{"receiver":"everyone","after":"15m"}],"group_by":["tenant"],"group_wait":"0s","group_interval":"1m","repeat_interval":"1h"}]}`
	require.Empty(t, parse(t, good).Faults(have))
	require.Empty(t, alertroute.Document{}.Faults(nil))
	one := func(route string) string {
		return `{"receivers":[{"name":"chat","notifiers":["slack"]}],"routes":[` + route + `]}`
	}
	for want, doc := range map[string]string{
		"receivers[0].name":             `{"receivers":[{"name":"everyone","notifiers":["*"]}]}`,
		"receivers[0].notifiers":        `{"receivers":[{"name":"none"}]}`,
		"receivers[0].notifiers[1]":     `{"receivers":[{"name":"x","notifiers":["slack","fax"]}]}`,
		"routes[0].name":                one(`{"name":"default","steps":[{"receiver":"chat"}]}`),
		"routes[0].steps":               one(`{"name":"a"}`),
		"routes[0].steps[0].receiver":   one(`{"name":"a","steps":[{"receiver":"nobody"}]}`),
		"routes[0].steps[0].after":      one(`{"name":"a","steps":[{"receiver":"chat","after":"5m"}]}`),
		"routes[0].steps[1].after":      one(`{"name":"a","steps":[{"receiver":"chat"},{"receiver":"everyone"}]}`),
		"routes[0].group_by[0]":         one(`{"name":"a","steps":[{"receiver":"chat"}],"group_by":["severity"]}`), // else nothing would inhibit
		"routes[0].group_by[1]":         one(`{"name":"a","steps":[{"receiver":"chat"}],"group_by":["tenant","tenant"]}`),
		"routes[0].group_wait":          one(`{"name":"a","steps":[{"receiver":"chat"}],"group_wait":"2h"}`),
		"routes[0].group_interval":      one(`{"name":"a","steps":[{"receiver":"chat"}],"group_interval":"1s"}`),
		"routes[0].repeat_interval":     one(`{"name":"a","steps":[{"receiver":"chat"}],"repeat_interval":"1m"}`),
		"routes[0].match":               one(`{"name":"a","steps":[{"receiver":"chat"}]},{"name":"b","steps":[{"receiver":"chat"}]}`),
		"routes[1].name":                one(`{"name":"a","continue":true,"steps":[{"receiver":"chat"}]},{"name":"a","steps":[{"receiver":"chat"}]}`),
		"routes[0].match.severities[0]": one(`{"name":"a","match":{"severities":["loud"]},"steps":[{"receiver":"chat"}]}`),
		"routes[0].match.keys[0]":       one(`{"name":"a","match":{"keys":[""]},"steps":[{"receiver":"chat"}]}`),
	} {
		fs := parse(t, doc).Faults(have)
		require.Len(t, fs, 1, "%s: %v", want, fs)
		require.Equal(t, want, fs[0].Field)
	}
	long := one(`{"name":"a","steps":[` + strings.Repeat(`{"receiver":"chat","after":"5m"},`, 5) + `{"receiver":"chat","after":"5m"}]}`)
	require.Contains(t, fmt.Sprint(parse(t, long).Faults(have)), "want 1 to 5", "an escalation is bounded")
}

func TestRoute_Figures(t *testing.T) {
	var r alertroute.Route
	require.Equal(t, []time.Duration{30 * time.Second, 0, 5 * time.Minute, 4 * time.Hour}, []time.Duration{r.Wait("warning"), r.Wait("critical"), r.Interval(), r.Repeat()})
	r.GroupInterval.Duration, r.RepeatInterval.Duration = 7*time.Minute, 20*time.Minute
	require.Equal(t, 21*time.Minute, r.Repeat(), "rounded up to whole group intervals")
}

var (
	severity = rapid.SampledFrom([]string{"info", "warning", "critical"})
	word     = rapid.SampledFrom([]string{"", "acme", "globex", "approval:1", "approval:2", "alert.undelivered:slack", "break-glass:1", "lane:1"})
	facts    = rapid.Custom(func(t *rapid.T) alertroute.Facts {
		return alertroute.Facts{Key: word.Draw(t, "key"), Severity: severity.Draw(t, "severity"), Tenant: word.Draw(t, "tenant"), Policy: word.Draw(t, "policy")}
	})
	match = rapid.Custom(func(t *rapid.T) alertroute.Match {
		return alertroute.Match{Severities: rapid.SliceOfN(severity, 0, 2).Draw(t, "severities"), Keys: rapid.SliceOfN(word, 0, 2).Draw(t, "keys"), Tenants: rapid.SliceOfN(word, 0, 2).Draw(t, "tenants")}
	})
)

// Whatever a document says, every alert has somebody who is told, and a protected one
// has everybody.
func TestDocument_NeverSilent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d alertroute.Document
		for i := range rapid.IntRange(0, 3).Draw(t, "receivers") {
			d.Receivers = append(d.Receivers, alertroute.Receiver{Name: fmt.Sprint("r", i), Notifiers: rapid.SliceOfN(rapid.SampledFrom([]string{"*", "slack", "pager", "fax"}), 0, 2).Draw(t, "notifiers")})
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "routes") {
			d.Routes = append(d.Routes, alertroute.Route{Name: fmt.Sprint("n", i), Match: match.Draw(t, "match"), Continue: rapid.Bool().Draw(t, "continue"),
				Steps: []alertroute.Step{{Receiver: rapid.SampledFrom([]string{"r0", "r1", "r2", "everyone", "unknown"}).Draw(t, "receiver")}}})
		}
		have := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"slack", "pager", "mail"}), 1, 3, rapid.ID).Draw(t, "have")
		f := facts.Draw(t, "facts")
		rs := d.For(f)
		require.NotEmpty(t, rs)
		all := false
		for _, r := range rs {
			to := d.Notifiers(r.Steps[0].Receiver, have)
			known := 0
			for _, n := range have {
				for _, x := range to {
					if x == n {
						known++
					}
				}
			}
			require.Positive(t, known, "route %s tells none of %v", r.Name, have)
			all = all || known >= len(have)
			same, ok := d.Route(r.Name)
			require.True(t, ok)
			require.Equal(t, r.Name, same.Name)
		}
		if alertroute.Protected(f.Key) {
			require.True(t, all)
		}
	})
}

// Two alerts are of one group exactly when their labels are the same.
func TestRoute_Group(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := alertroute.Route{Name: "a", GroupBy: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"tenant", "prefix", "policy", "key"}), 0, 4, rapid.ID).Draw(t, "by")}
		a, b := facts.Draw(t, "a"), facts.Draw(t, "b")
		require.Equal(t, r.Labels(a).Same(r.Labels(b)), r.Group(a) == r.Group(b))
		other := r
		other.Name = "b"
		require.NotEqual(t, r.Group(a), other.Group(a))
	})
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"write to Zoë.O'Neil+x@mail.example.com now":                     "write to [e-mail] now",
		"pay DE89 3704 0044 0532 0130 00 or DE89370400440532013000":      "pay [account] or [account]",
		"card 4111 1111 1111 1111, 4111-1111-1111-1111":                  "card [number], [number]",
		"from 203.0.113.7 by +49 (30) 901820-1":                          "from [address] by [number]",
		"Authorization: Bearer abcdef123456, token refused everything":   "[secret], token refused everything",
		"password=hunter2hunter2":                                        "[secret]",
		"key sk_live_51H8abcdefgh":                                       "key [secret]",
		"EUR 1,200.00 over 24h would be more than EUR 1,000.00":          "EUR 1,200.00 over 24h would be more than EUR 1,000.00",
		"approval 0195f2a0-1234-7000-8000-123456789012 waits since 2026": "approval 0195f2a0-1234-7000-8000-123456789012 waits since 2026",
		"tenant.credit waits for approval, run 2026-11-24 10:00:00":      "tenant.credit waits for approval, run 2026-11-24 10:00:00",
	} {
		require.Equal(t, want, alertroute.Redact(in))
	}
	require.Equal(t, "approval:0195f2a0-1234-7000-8000-123456789012", alertroute.OutwardKey("approval:0195f2a0-1234-7000-8000-123456789012"))
	a, b := alertroute.OutwardKey("link:a@b.example"), alertroute.OutwardKey("link:c@b.example")
	require.NotEqual(t, a, b)
	require.Equal(t, a, alertroute.OutwardKey("link:a@b.example"), "stable")
	require.NotContains(t, a, "b.example")
	require.True(t, strings.HasPrefix(a, "link:"))
}

func FuzzRedact(f *testing.F) {
	f.Add("a", "b.example", "4111111111111111")
	f.Fuzz(func(t *testing.T, user, host, tail string) {
		clean := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
					return r
				}
				return -1
			}, s)
		}
		user, host = clean(user), clean(host)
		if user == "" || host == "" {
			return
		}
		out := alertroute.Redact("for " + user + "@" + host + ".example: " + tail)
		require.NotContains(t, out, user+"@"+host)
	})
}
