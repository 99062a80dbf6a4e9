package govapi

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed reference.html
var referencePage string

//go:embed reference.css
var referenceStyle []byte

// Reference serves the API's reference page at path and its style at path + ".css",
// rendered from the OpenAPI document, without a script and without the internet. The
// document is read at the first request: register every operation before.
func Reference(api huma.API, path string) http.Handler {
	page := sync.OnceValues(func() ([]byte, error) { return renderReference(api.OpenAPI(), path) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		if r.URL.Path == path+".css" {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
			_, _ = w.Write(referenceStyle)
			return
		}
		b, err := page()
		if err != nil {
			http.Error(w, "The reference could not be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b)
	})
}

type refPage struct {
	Title, Version, Base, Style, Document string
	Groups                                []refGroup
	Schemas                               []refSchema
}

type refGroup struct {
	Name, Anchor string
	Operations   []refOperation
}

type refOperation struct {
	ID, Method, Path, Summary, Description, Permission string
	Parameters                                         []refField
	Body                                               string // schema name or inline text
	BodyRef                                            string
	Fields                                             []refField
	Responses                                          []refResponse
}

type refField struct {
	Name, In, Type, Ref, Doc string
	Required                 bool
}

type refResponse struct{ Status, Doc, Type, Ref string }

type refSchema struct {
	Name   string
	Fields []refField
}

func renderReference(doc *huma.OpenAPI, path string) ([]byte, error) {
	t, err := template.New("reference").Parse(referencePage)
	if err != nil {
		return nil, fmt.Errorf("reference template: %w", err)
	}
	p := refPage{Title: doc.Info.Title, Version: doc.Info.Version, Style: path + ".css"}
	if len(doc.Servers) > 0 {
		p.Base = doc.Servers[0].URL
	}
	p.Document = p.Base + "/openapi.json"
	groups := map[string]*refGroup{}
	for route, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			name := "Other"
			if len(op.Tags) > 0 {
				name = op.Tags[0]
			}
			if groups[name] == nil {
				groups[name] = &refGroup{Name: name, Anchor: strings.ToLower(strings.ReplaceAll(name, " ", "-"))}
			}
			groups[name].Operations = append(groups[name].Operations, refOp(op, method, route))
		}
	}
	for _, g := range groups {
		slices.SortFunc(g.Operations, func(a, b refOperation) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
		})
		p.Groups = append(p.Groups, *g)
	}
	slices.SortFunc(p.Groups, func(a, b refGroup) int { return strings.Compare(a.Name, b.Name) })
	for name, s := range doc.Components.Schemas.Map() {
		p.Schemas = append(p.Schemas, refSchema{name, schemaFields(s)})
	}
	slices.SortFunc(p.Schemas, func(a, b refSchema) int { return strings.Compare(a.Name, b.Name) })
	var buf bytes.Buffer
	if err := t.Execute(&buf, p); err != nil {
		return nil, fmt.Errorf("reference: %w", err)
	}
	return buf.Bytes(), nil
}

func refOp(op *huma.Operation, method, route string) refOperation {
	out := refOperation{ID: op.OperationID, Method: method, Path: route, Summary: op.Summary, Description: op.Description}
	if s, ok := op.Extensions["x-permission"].(string); ok {
		out.Permission = s
	}
	for _, param := range op.Parameters {
		typ, ref := schemaType(param.Schema)
		out.Parameters = append(out.Parameters, refField{param.Name, param.In, typ, ref, param.Description, param.Required})
	}
	if op.RequestBody != nil {
		for ct, media := range op.RequestBody.Content {
			out.Body, out.BodyRef = schemaType(media.Schema)
			if ct != "application/json" {
				out.Body, out.BodyRef = ct, ""
			}
			if media.Schema != nil && media.Schema.Ref == "" {
				out.Fields = schemaFields(media.Schema)
			}
		}
	}
	for status, r := range op.Responses {
		res := refResponse{Status: status, Doc: r.Description}
		for _, media := range r.Content {
			res.Type, res.Ref = schemaType(media.Schema)
		}
		out.Responses = append(out.Responses, res)
	}
	slices.SortFunc(out.Responses, func(a, b refResponse) int { return strings.Compare(a.Status, b.Status) })
	return out
}

func schemaFields(s *huma.Schema) []refField {
	var out []refField
	for name, f := range s.Properties {
		if name == "$schema" {
			continue
		}
		typ, ref := schemaType(f)
		out = append(out, refField{Name: name, Type: typ, Ref: ref, Doc: fieldDoc(f), Required: slices.Contains(s.Required, name)})
	}
	slices.SortFunc(out, func(a, b refField) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func fieldDoc(s *huma.Schema) string {
	parts := []string{}
	if s.Description != "" {
		parts = append(parts, strings.TrimSuffix(s.Description, "."))
	}
	if len(s.Enum) > 0 {
		b, err := json.Marshal(s.Enum)
		if err == nil {
			parts = append(parts, "One of "+strings.Trim(strings.ReplaceAll(string(b), ",", ", "), "[]"))
		}
	}
	if s.Pattern != "" {
		parts = append(parts, "Matches "+s.Pattern)
	}
	if len(s.Examples) > 0 {
		parts = append(parts, fmt.Sprintf("Such as %v", s.Examples[0]))
	}
	return strings.Join(parts, ". ")
}

// schemaType says a schema in words; ref is the name to link to.
func schemaType(s *huma.Schema) (text, ref string) {
	switch {
	case s == nil:
		return "", ""
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return name, name
	case s.Type == "array":
		text, ref = schemaType(s.Items)
		return "list of " + text, ref
	case s.Format != "":
		return s.Type + " (" + s.Format + ")", ""
	case s.Type == "":
		return "any", ""
	}
	return s.Type, ""
}
