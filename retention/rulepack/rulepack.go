// Package rulepack is a starter set of retention law: cited, dated, and every row
// marked for counsel to verify.
//
// Start with [Jurisdictions] for retention.Options and [Rules] for
// retention.Service.Install. The rows are data, not advice: where a reading is
// contested the longer one stands and the note says so.
package rulepack

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/retention"
)

//go:embed jurisdictions.yaml
var jurisdictions []byte

//go:embed rules.yaml
var rules []byte

// Jurisdictions gives the countries with their zones and names.
func Jurisdictions() ([]retention.Jurisdiction, error) { return LoadJurisdictions(jurisdictions) }

// LoadJurisdictions reads countries from YAML in the form of the embedded file.
func LoadJurisdictions(b []byte) ([]retention.Jurisdiction, error) {
	var doc struct {
		Jurisdictions []retention.Jurisdiction `yaml:"jurisdictions"`
	}
	if err := decode(b, &doc); err != nil {
		return nil, err
	}
	_, err := retention.NewResolver(doc.Jurisdictions, nil, nil, nil)
	return doc.Jurisdictions, err
}

// Rules gives the rules of the pack.
func Rules() ([]retention.Rule, error) { return LoadRules(rules) }

// LoadRules reads rules from YAML in the form of the embedded file. A rule without a
// status is for counsel to verify.
func LoadRules(b []byte) ([]retention.Rule, error) {
	var doc struct {
		Rules []retention.Rule `yaml:"rules"`
	}
	if err := decode(b, &doc); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var errs []error
	for i := range doc.Rules {
		r := &doc.Rules[i]
		if r.Status == "" {
			r.Status = retention.VerifyWithCounsel
		}
		if seen[r.ID] {
			errs = append(errs, governance.Invalid(fmt.Sprintf("rules[%d].id", i), "%q is there twice", r.ID))
		}
		seen[r.ID] = true
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d] %s: %w", i, r.ID, err))
		}
	}
	return doc.Rules, errors.Join(errs...)
}

func decode(b []byte, v any) error {
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.DisallowUnknownField()).Decode(v); err != nil {
		return governance.Invalid("yaml", "%s", yaml.FormatError(err, false, false))
	}
	return nil
}
