package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance"
)

const catalogueFile = "../../docs/catalogue.md"

func where(p governance.CataloguePolicy) string {
	if p.Match == "" {
		return ""
	}
	return ", where `" + p.Match + "`"
}

// catalogueText writes the catalogue down, without what changes from day to day.
func catalogueText(all []governance.CatalogueEntry) string {
	var b strings.Builder
	b.WriteString("# Catalogue of guarded actions\n\nWhat passes the guard on the reference server, with the policies it ships with. This page is generated from the registered actions; `go test ./examples/server -run TestCatalogue -update` writes it anew. A running server lists its own, with its own policies and the last use of each, by `GET /v1/catalogue` and in the console under *Actions*. How a host adds an action stands in [embedding](embedding.md).\n\nSensitive actions are refused while impersonating somebody. `*.cent` is money of any currency; every action can also be counted.\n")
	for _, e := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n- Permission: `%s`\n", e.Name, e.Summary, e.Permission)
		if e.Sensitive {
			b.WriteString("- Sensitive\n")
		}
		if e.Remote {
			b.WriteString("- Done outside of the server's database\n")
		}
		if len(e.Units) > 0 {
			fmt.Fprintf(&b, "- Measured in: `%s`\n", strings.Join(e.Units, "`, `"))
		}
		for _, p := range e.Policies {
			verb := "Demands a reason or tells"
			if p.Holds {
				verb = "Held"
			}
			fmt.Fprintf(&b, "- %s by `%s`: %s\n", verb, p.ID, p.Title+where(p))
		}
		if !e.Held() {
			why := e.Unheld
			if why == "" {
				why = "It is not sensitive."
			}
			fmt.Fprintf(&b, "- No shipped policy holds it in every case. %s\n", why)
		}
		var schema bytes.Buffer
		_ = json.Indent(&schema, e.Schema, "", "  ") // what is no JSON stays out, and the test below says so
		fmt.Fprintf(&b, "\n```json\n%s\n```\n", schema.String())
	}
	return b.String()
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	all, err := w.reeve.Kernel.Catalogue(t.Context())
	require.NoError(t, err)
	bare := []string{}
	shipped := []governance.CatalogueEntry{}
	for _, e := range all {
		require.NotEmpty(t, e.Summary, e.Name)
		if e.Sensitive && !e.Held() {
			if e.Unheld == "" {
				bare = append(bare, e.Name)
			}
		}
		// The demo's own policy is not shipped.
		own := e.Policies
		e.Policies = []governance.CataloguePolicy{}
		for _, p := range own {
			if p.ID != consentPolicy().ID {
				e.Policies = append(e.Policies, p)
			}
		}
		shipped = append(shipped, e)
	}
	require.Empty(t, bare, "sensitive: a shipped policy holds each, or it says why none does")
	got := catalogueText(shipped)
	if *update {
		require.NoError(t, os.WriteFile(catalogueFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(catalogueFile)
	require.NoError(t, err, "run go test ./examples/server -run TestCatalogue -update")
	require.Equal(t, string(want), got, "run go test ./examples/server -run TestCatalogue -update")

	// Each schema takes what was really asked for, and nothing that the decoder refuses.
	used := 0
	for _, e := range all {
		var schema map[string]any
		require.NoError(t, json.Unmarshal(e.Schema, &schema), e.Name)
		require.NotEmpty(t, misfit(schema, map[string]any{"no such field": "x"}, "input"), e.Name)
		acts, err := w.reeve.Kernel.Actions(context.Background(), governance.ActionFilter{Names: []string{e.Name}})
		require.NoError(t, err)
		require.Equal(t, len(acts) > 0, !e.LastUsed.IsZero(), e.Name)
		for _, a := range acts {
			var in any
			require.NoError(t, json.Unmarshal(a.Input, &in))
			require.Empty(t, misfit(schema, in, "input"), "%s: %s", e.Name, a.Input)
			used++
			for _, m := range a.Measures { // the units declared are the units measured
				require.Condition(t, func() bool {
					for _, u := range e.Units {
						if u == m.Unit || u == "*.cent" && strings.HasSuffix(m.Unit, ".cent") {
							return true
						}
					}
					return false
				}, "%s is measured in %s and does not say so", e.Name, m.Unit)
			}
		}
	}
	require.GreaterOrEqual(t, used, 5)
}

// misfit says where a value does not fit a schema of the kinds that the catalogue has.
func misfit(schema map[string]any, v any, at string) string {
	if either, ok := schema["anyOf"].([]any); ok {
		why := ""
		for _, s := range either {
			if why = misfit(s.(map[string]any), v, at); why == "" {
				return ""
			}
		}
		return why
	}
	types, _ := schema["type"].([]any)
	if one, ok := schema["type"].(string); ok {
		types = []any{one}
	}
	if len(types) == 0 {
		return ""
	}
	fits := false
	for _, name := range types {
		switch x := v.(type) {
		case nil:
			fits = fits || name == "null"
		case string:
			fits = fits || name == "string"
		case bool:
			fits = fits || name == "boolean"
		case float64:
			fits = fits || name == "number" || name == "integer" && x == float64(int64(x))
		case []any:
			fits = fits || name == "array"
		case map[string]any:
			fits = fits || name == "object"
		}
	}
	if !fits {
		return fmt.Sprintf("%s is no %v", at, types)
	}
	switch x := v.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, y := range x {
			if why := misfit(items, y, fmt.Sprintf("%s[%d]", at, i)); why != "" {
				return why
			}
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := x[name.(string)]; !ok {
				return at + " lacks " + name.(string)
			}
		}
		for name, y := range x {
			p, ok := properties[name].(map[string]any)
			if !ok {
				if p, ok = schema["additionalProperties"].(map[string]any); !ok {
					return at + "." + name + " is not known"
				}
			}
			if why := misfit(p, y, at+"."+name); why != "" {
				return why
			}
		}
	}
	return ""
}
