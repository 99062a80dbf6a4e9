package rulepack_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/retention"
	"github.com/reevehq/reeve/retention/rulepack"
)

func TestPack(t *testing.T) {
	js, err := rulepack.Jurisdictions()
	require.NoError(t, err)
	rules, err := rulepack.Rules()
	require.NoError(t, err)
	areas := map[string]bool{}
	for _, j := range js {
		areas[j.Code] = true
		for _, r := range j.Regions {
			areas[r] = true
		}
	}
	invoice, contact := map[string]bool{}, map[string]bool{}
	for _, r := range rules {
		require.True(t, areas[r.Jurisdiction], "%s: unknown area %s", r.ID, r.Jurisdiction)
		require.NotEmpty(t, r.Citation, r.ID)
		require.NotEqual(t, retention.Verified, r.Status, "%s: nothing we ship is verified", r.ID)
		switch r.Class {
		case "invoice":
			invoice[r.Jurisdiction] = true
		case "contact":
			contact[r.Jurisdiction] = true
		}
	}
	require.GreaterOrEqual(t, len(js), 20)
	for _, j := range js { // every country of the pack can answer for invoices and for contact data
		require.True(t, invoice[j.Code], "%s has no rule on invoices", j.Code)
		require.True(t, contact[j.Code] || slices.ContainsFunc(j.Regions, func(r string) bool { return contact[r] }), "%s has no rule on contact data", j.Code)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field": "rules:\n  - {id: x, jurisdiction: DE, class: invoice, kind: floor, period: P8Y, citation: c, colour: red}",
		"no citation":   "rules:\n  - {id: x, jurisdiction: DE, class: invoice, kind: floor, period: P8Y}",
		"no period":     "rules:\n  - {id: x, jurisdiction: DE, class: invoice, kind: floor, citation: c}",
		"bad period":    "rules:\n  - {id: x, jurisdiction: DE, class: invoice, kind: floor, period: 8 years, citation: c}",
		"twice":         "rules:\n  - {id: x, jurisdiction: DE, class: a, kind: principle, citation: c}\n  - {id: x, jurisdiction: DE, class: a, kind: principle, citation: c}",
	} {
		_, err := rulepack.LoadRules([]byte(text))
		require.Error(t, err, name)
	}
}
