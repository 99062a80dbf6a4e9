package governance

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/reevehq/reeve/governance/govdb"
)

// CatalogueEntry is one registered action as people read it. Nothing of it is written
// by hand but the summary: the rest is what the kernel goes by.
type CatalogueEntry struct {
	Name       string
	Summary    string
	Permission string
	Sensitive  bool // refused while impersonating
	Remote     bool // its effect is not in our database
	Schema     json.RawMessage
	Units      []string // of its measures, beside "count"; "*.cent" is every currency
	Policies   []CataloguePolicy
	Unheld     string // why no policy that is shipped holds it
	LastUsed   time.Time
}

// CataloguePolicy is a policy in force that names an action.
type CataloguePolicy struct {
	ID    string
	Title string
	Mode  Mode
	Holds bool   // it may hold or refuse the action, and not only ask for a reason
	Match string // its condition: it holds only what meets it
}

// Held tells whether an enforcing policy without a condition may hold or refuse the
// action.
func (e CatalogueEntry) Held() bool {
	return slices.ContainsFunc(e.Policies, func(p CataloguePolicy) bool { return p.Mode == Enforce && p.Holds && p.Match == "" })
}

// Catalogue lists every registered action by name, with the policies that name it now
// and when it was last asked for.
func (k *Kernel) Catalogue(ctx context.Context) ([]CatalogueEntry, error) {
	policies, err := k.Policies(ctx)
	if err != nil {
		return nil, err
	}
	var used []struct {
		Name string       `bun:"name"`
		At   govdb.Micros `bun:"at"`
	}
	if err := k.db.Read().NewSelect().Model((*actionRow)(nil)).Column("name").ColumnExpr("MAX(created_at) AS at").Group("name").Scan(ctx, &used); err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	last := map[string]time.Time{}
	for _, u := range used {
		last[u.Name] = u.At.Time()
	}
	k.mu.Lock()
	defs := maps.Clone(k.defs)
	k.mu.Unlock()
	out := make([]CatalogueEntry, 0, len(defs))
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		d := defs[name]
		e := CatalogueEntry{Name: name, Summary: d.summary, Permission: d.permission, Sensitive: d.sensitive, Remote: d.remote, Units: append([]string{}, d.units...),
			Policies: []CataloguePolicy{}, Unheld: d.unheld, LastUsed: last[name]}
		if e.Schema, err = Canonical(schemaOf(d.input, 0)); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", name, err)
		}
		for _, p := range policies {
			if p.matchesName(name) {
				holds := p.Deny || p.Require != nil || len(p.Limits) > 0
				e.Policies = append(e.Policies, CataloguePolicy{p.ID, p.Title, p.Mode, holds, p.Match})
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// schemaOf is the JSON schema of what an input of type t decodes from.
func schemaOf(t reflect.Type, depth int) map[string]any {
	if t == nil || depth > 16 { // a type that contains itself has no end
		return map[string]any{}
	}
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem(), depth)
	}
	switch t {
	case reflect.TypeFor[Money]():
		return map[string]any{"type": "object", "additionalProperties": false, "required": []string{"amount", "currency"},
			"properties": map[string]any{"amount": text("decimal"), "currency": map[string]any{"type": "string", "pattern": "^[A-Z]{3}$"}}}
	case reflect.TypeFor[time.Time]():
		return text("date-time")
	case reflect.TypeFor[Duration]():
		return text("duration such as 24h")
	case reflect.TypeFor[uuid.UUID]():
		return text("uuid")
	case reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	}
	if t.Implements(reflect.TypeFor[json.Marshaler]()) {
		return map[string]any{}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return text("")
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return text("")
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return text("base64")
		}
		return map[string]any{"type": []string{"array", "null"}, "items": schemaOf(t.Elem(), depth+1)}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": schemaOf(t.Elem(), depth+1)}
	case reflect.Struct:
		properties, required := map[string]any{}, []string{}
		fieldsOf(t, depth, properties, &required)
		return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
	}
	return map[string]any{}
}

func text(format string) map[string]any {
	out := map[string]any{"type": "string"}
	if format != "" {
		out["format"] = format
	}
	return out
}

func fieldsOf(t reflect.Type, depth int, properties map[string]any, required *[]string) {
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" && opts == "" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			fieldsOf(f.Type, depth, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		has := func(o string) bool { return slices.Contains(strings.Split(opts, ","), o) }
		s := schemaOf(f.Type, depth+1)
		if has("string") {
			s = text("integer")
		}
		if f.Type.Kind() == reflect.Pointer && s["type"] != nil {
			s = map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
		}
		properties[name] = s
		if !has("omitempty") && !has("omitzero") {
			*required = append(*required, name)
		}
	}
}
