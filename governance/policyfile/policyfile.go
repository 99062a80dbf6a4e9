// Package policyfile reads policies from YAML, and so from JSON, which YAML contains.
//
// Start with [Parse] for a file of several, or [ParseOne] for one document. Unknown
// fields, anchors and second documents are refused; every fault names its place. What
// is read is checked alone: conditions are compiled and quorums looked at when the
// policy is stored.
package policyfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/reevehq/reeve/governance"
)

// MaxSize is the most bytes of a file.
const MaxSize = 1 << 20

// Parse reads a file whose only key is policies, a list.
func Parse(b []byte) ([]governance.Policy, error) {
	raw, err := toJSON(b)
	if err != nil {
		return nil, err
	}
	var file struct {
		Policies []json.RawMessage `json:"policies"`
	}
	if err := strict(raw, &file); err != nil {
		return nil, governance.Invalid("policies", "%v", err)
	}
	if len(file.Policies) == 0 {
		return nil, governance.Invalid("policies", "lists none")
	}
	out := make([]governance.Policy, len(file.Policies))
	seen := map[string]bool{}
	var errs []error
	for i, r := range file.Policies {
		at := fmt.Sprintf("policies[%d]", i)
		if out[i], err = one(at, r); err != nil {
			errs = append(errs, err)
			continue
		}
		if seen[out[i].ID] {
			errs = append(errs, governance.Invalid(at+".id", "%q is there twice", out[i].ID))
		}
		seen[out[i].ID] = true
	}
	return out, errors.Join(errs...)
}

// ParseOne reads one policy.
func ParseOne(b []byte) (governance.Policy, error) {
	raw, err := toJSON(b)
	if err != nil {
		return governance.Policy{}, err
	}
	return one("policy", raw)
}

func one(at string, raw []byte) (governance.Policy, error) {
	var p governance.Policy
	if err := strict(raw, &p); err != nil {
		return p, governance.Invalid(at, "%v", err)
	}
	if err := p.Validate(); err != nil {
		return p, fmt.Errorf("%s %s: %w", at, p.ID, err)
	}
	return p, nil
}

func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return fmt.Errorf("%s is a %s, and is to be of another type", kind.Field, kind.Value)
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// toJSON checks the YAML and turns it over.
func toJSON(b []byte) (raw []byte, err error) {
	defer func() { // of the YAML library, on hostile text
		if p := recover(); p != nil {
			raw, err = nil, governance.Invalid("yaml", "cannot be read")
		}
	}()
	if len(b) > MaxSize {
		return nil, governance.Invalid("yaml", "has %d bytes, at most %d are read", len(b), MaxSize)
	}
	for i, line := range bytes.Split(b, []byte("\n")) { // the parser descends without bound
		if deep := bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{")) + bytes.Count(line, []byte("- ")); deep > 100 {
			return nil, governance.Invalid("yaml", "line %d nests too deep", i+1)
		}
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, fault(err)
	}
	if len(file.Docs) == 1 && file.Docs[0].Body == nil {
		return nil, governance.Invalid("yaml", "is empty")
	}
	if len(file.Docs) != 1 {
		return nil, governance.Invalid("yaml", "has %d documents, want one", len(file.Docs))
	}
	a := &growth{}
	ast.Walk(a, file.Docs[0])
	if a.at > 0 {
		return nil, governance.Invalid("yaml", "line %d has an anchor, an alias or a tag", a.at)
	}
	var v any
	if err := yaml.NewDecoder(bytes.NewReader(b)).Decode(&v); err != nil { // finds keys that are there twice
		return nil, fault(err)
	}
	if raw, err = json.Marshal(v); err != nil {
		return nil, governance.Invalid("yaml", "has a key that is no text")
	}
	return raw, nil
}

// growth finds what could make a small document large.
type growth struct{ at int }

// Visit implements ast.Visitor.
func (g *growth) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		g.at = n.GetToken().Position.Line
	}
	return g
}

func fault(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		pos := at.GetToken().Position
		return governance.Invalid("yaml", "line %d column %d: %s", pos.Line, pos.Column, at.GetMessage())
	}
	return governance.Invalid("yaml", "%s", yaml.FormatError(err, false, false))
}
