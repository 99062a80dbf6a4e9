package policyfile_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/policyfile"
)

const good = `
policies:
  - id: refunds
    title: Refunds over the day's limit
    actions: [refund.*]
    match: tenant.country == "DE"
    mode: enforce
    limits:
      - {unit: EUR.cent, max: 50000, window: 24h, by: tenant, convert: true, count: attempts}
    require:
      any_of:
        - {group: finance, approvals: 2}
        - {group: chief, approvals: 1, where: 'actor.roles.exists(r, r == "cfo")'}
      deny: 2
      exclude: [contractors]
      decide_within: 72h
      execute_within: 24h
      escalate: {after: 8h, to: chief}
      break_glass: {group: oncall, max: 2, window: 168h, review_within: 24h}
    need_reason: true
    review_after: 48h
    notify: warning
`

func TestParse(t *testing.T) {
	ps, err := policyfile.Parse([]byte(good))
	require.NoError(t, err)
	require.Len(t, ps, 1)
	require.Equal(t, governance.CountAttempts, ps[0].Limits[0].Count)
	require.Equal(t, governance.GroupID("oncall"), ps[0].Require.BreakGlass.Group)
	asJSON, err := json.Marshal(ps[0])
	require.NoError(t, err)
	again, err := policyfile.ParseOne(asJSON)
	require.NoError(t, err, "JSON is YAML")
	require.Equal(t, ps[0], again)
}

func TestParse_Refuses(t *testing.T) {
	for want, text := range map[string]string{
		"unknown field":            strings.Replace(good, "need_reason", "needs_reason", 1),
		"policies[1].id":           good + strings.TrimPrefix(strings.TrimSpace(good), "policies:\n"),
		"is to be of another type": strings.Replace(good, "max: 50000", "max: many", 1),
		"is not a duration":        strings.Replace(good, "window: 24h", "window: a day", 1),
		"at least one":             strings.Replace(good, "[refund.*]", "[]", 1),
		"has 2 documents":          good + "---\npolicies: []\n",
		"anchor":                   strings.Replace(good, "[refund.*]", "&a [refund.*]", 1),
		"lists none":               "policies: []",
		"already defined":          strings.Replace(good, "    mode: enforce\n", "    mode: enforce\n    mode: shadow\n", 1),
		"nests too deep":           "policies: " + strings.Repeat("[", 200),
		"line 3":                   "policies:\n  - id: a\n bad\n",
	} {
		_, err := policyfile.Parse([]byte(text))
		require.ErrorContains(t, err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps, err := policyfile.Parse(b)
		if err != nil {
			return
		}
		for _, p := range ps {
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
