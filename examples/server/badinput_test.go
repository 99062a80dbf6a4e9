package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/analytics"
	"github.com/reevehq/reeve/oversight/evidence/evidenceapi"
)

// marker is in what is sent and must never be in an answer.
const marker = "zzqmarkerqzz"

// strange is the name of a field or parameter that no operation has; a problem names
// it.
const strange = "strange_name"

// sample is a value that the schema takes.
func (d *document) sample(s *schema) any {
	s = d.resolve(s)
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.is("object"):
		out := map[string]any{}
		for _, name := range s.Required {
			out[name] = d.sample(s.Properties[name])
		}
		return out
	case s.is("array"):
		return []any{d.sample(s.Items)}
	case s.is("integer"), s.is("number"):
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case s.is("boolean"):
		return true
	case s.is("string"):
		return sampleText(s)
	}
	return map[string]any{}
}

func sampleText(s *schema) string {
	switch s.Format {
	case "uuid":
		return "0190f0a0-0000-7000-8000-000000000001"
	case "date-time":
		return "2026-01-02T03:04:05Z"
	case "date":
		return "2026-01-02"
	case "email":
		return "a@example.com"
	}
	for _, v := range []string{"nobody", "EUR", "DE", "1"} {
		if s.Pattern == "" || regexp.MustCompile(s.Pattern).MatchString(v) {
			return v + strings.Repeat("x", max(0, s.MinLength-len(v)))
		}
	}
	return "x"
}

// place is a value somewhere in a sample.
type place struct {
	path   string
	schema *schema
	put    func(v any) // changes the sample
}

// places lists every field of a sample, with those that are optional, down to three
// levels.
func (d *document) places(s *schema, v any, path string, depth int) []place {
	s = d.resolve(s)
	var out []place
	if depth == 0 {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			p := d.resolve(s.Properties[name])
			out = append(out, place{path + "." + name, p, func(x any) { v[name] = x }})
			child, ok := v[name]
			if !ok {
				child = d.sample(p)
			}
			for _, inner := range d.places(p, child, path+"."+name, depth-1) {
				out = append(out, place{inner.path, inner.schema, func(x any) { v[name] = child; inner.put(x) }})
			}
		}
	case []any:
		out = append(out, place{path + "[0]", d.resolve(s.Items), func(x any) { v[0] = x }})
		out = append(out, d.places(s.Items, v[0], path+"[0]", depth-1)...)
	}
	return out
}

// shot is one bad request.
type shot struct {
	name   string
	who    string
	path   string
	body   string
	header []string
	want   []int
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// target is the operation's path with its parameters filled in, and its required
// query.
func (d *document) target(o *operation, tenant string) string {
	path := o.path
	q := url.Values{}
	for _, p := range o.Parameters {
		v := fmt.Sprint(d.sample(p.Schema))
		switch {
		case p.In == "path" && strings.HasPrefix(o.path, "/tenants/{"), p.In == "path" && p.Name == "tenant":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", tenant)
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", v)
		case p.In == "query" && p.Required:
			q.Set(p.Name, v)
		}
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

func with(path, name, value string) string {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return path + sep + name + "=" + value
}

// shots are the bad requests on one operation.
func (d *document) shots(t *testing.T, o *operation, tenant string) []shot {
	path := d.target(o, tenant)
	body, kind := "", []string{}
	s := o.body(d)
	if s != nil {
		body = jsonText(t, d.sample(s))
	} else if o.Body != nil {
		for ct := range o.Body.Content {
			body, kind = "a,b\n1,2\n", []string{"Content-Type", ct}
		}
	}
	add := func(out []shot, name, path, body string, want ...int) []shot {
		return append(out, shot{name, "super_admin", path, body, kind, want})
	}
	out := []shot{{"no credentials", "", path, body, kind, []int{401}}, {"a wrong key", "", path, body, append([]string{"Authorization", "Bearer " + marker}, kind...), []int{401}}}
	if o.Permission != "" {
		who := "finance_viewer"
		if o.Permission == "analytics:read" {
			who = "support"
		}
		out = append(out, shot{"a role without the permission", who, path, body, kind, []int{403}})
	}
	out = add(out, "an unknown query parameter", with(path, strange, "1"), body, 422)
	out = add(out, "NUL in the query", with(path, strange, "a%00b"), body, 422)
	for _, p := range o.Parameters {
		ps := d.resolve(p.Schema)
		if ps.is("array") {
			ps = d.resolve(ps.Items)
		}
		switch p.In {
		case "path":
			out = add(out, "NUL in the path", strings.Replace(path, pathValue(d, p, tenant, o), "a%00b", 1), body, 400, 404, 422)
			out = add(out, "bytes that are no text in the path", strings.Replace(path, pathValue(d, p, tenant, o), "a%ff%fe", 1), body, 400, 404, 422)
			if ps.MaxLength != nil {
				out = add(out, "a long path", strings.Replace(path, pathValue(d, p, tenant, o), strings.Repeat("z", *ps.MaxLength+1), 1), body, 422)
			}
		case "query":
			if p.Name == "cursor" {
				for name, v := range map[string]string{"a cursor of nothing": "!!", "a cursor of something else": "WyJhIiwiYiIsImMiLCJkIiwiZSJd", "a cursor with NUL": "WyJcdTAwMDAiXQ"} {
					out = add(out, name, with(path, "cursor", v), body, 422)
				}
			}
			if p.Name == "tenant" {
				out = add(out, "an empty tenant", with(path, "tenant", ""), body, 422)
			}
			out = add(out, "NUL in "+p.Name, with(path, p.Name, "a%00b"), body, 422)
			out = add(out, "bytes that are no text in "+p.Name, with(path, p.Name, "%ff%fe"), body, 422)
			if len(ps.Enum) > 0 || !ps.is("string") || ps.Format != "" || ps.Pattern != "" {
				out = add(out, "a wrong value of "+p.Name, with(strings.Replace(path, p.Name+"=", "_=", 1), p.Name, marker), body, 422)
			}
			if ps.MaxLength != nil {
				out = add(out, "a long "+p.Name, with(strings.Replace(path, p.Name+"=", "_=", 1), p.Name, strings.Repeat("z", *ps.MaxLength+1)), body, 422)
			}
		case "header":
			out = append(out, shot{"a long " + p.Name, "super_admin", path, body, append([]string{p.Name, strings.Repeat("z", 300)}, kind...), []int{422}})
			out = append(out, shot{"bytes that are no text in " + p.Name, "super_admin", path, body, append([]string{p.Name, "a\xff"}, kind...), []int{422}})
		}
	}
	if o.Body == nil {
		return out
	}
	most := 1 << 20
	if strings.HasPrefix(o.path, "/analytics/facts") {
		most = analytics.MaxCSV
	}
	if o.path == "/evidence/verification" {
		most = evidenceapi.MaxUpload
	}
	out = add(out, "an oversized body", path, `{"`+marker+`":"`+strings.Repeat("z", most)+`"}`, 413)
	out = add(out, "no body", path, "", 400, 422)
	if s == nil {
		return out
	}
	out = append(out, shot{"a body of another kind", "super_admin", path, body, []string{"Content-Type", "text/plain"}, []int{415}})
	for name, bad := range map[string]string{"malformed JSON": `{"` + marker + `":`, "two values": body + body, "a name twice": `{"zz":1,"zz":2}`, "no JSON": marker,
		"deep nesting": strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), "a NUL byte": body[:1] + "\x00" + body[1:]} {
		out = add(out, name, path, bad, 400)
	}
	for _, bad := range []string{"null", "[]", `"` + marker + `"`, "1"} {
		out = add(out, "a body that is "+bad, path, bad, 400, 422)
	}
	unknown := d.sample(s).(map[string]any)
	unknown[strange] = marker
	out = add(out, "an unknown field", path, jsonText(t, unknown), 422)
	for _, name := range s.Required {
		less := d.sample(s).(map[string]any)
		delete(less, name)
		out = add(out, "without "+name, path, jsonText(t, less), 422)
	}
	for i := range d.places(s, d.sample(s), "body", 4) {
		try := func(name string, bad any, want ...int) {
			v := d.sample(s)
			p := d.places(s, v, "body", 4)[i]
			p.put(bad)
			out = add(out, name+" at "+p.path, path, jsonText(t, v), want...)
		}
		at := d.places(s, d.sample(s), "body", 4)[i].schema
		switch {
		case at.is("string"):
			try("a number", 987654321, 422)
			try("an object", map[string]any{marker: 1}, 422)
			try("NUL", "a\x00b", 400)
			if at.MaxLength != nil {
				try("a long text", strings.Repeat("z", *at.MaxLength+1), 422)
			}
			if strings.HasSuffix(d.places(s, d.sample(s), "body", 4)[i].path, ".tenant") && o.method != "PUT" {
				try("an empty tenant", "", 422)
			}
			if len(at.Enum) > 0 || at.Format != "" || at.Pattern != "" {
				try("a value that is not one", marker, 422)
			}
		case at.is("object"):
			try("a text", marker, 422)
			if string(at.Additional) == "false" {
				v, _ := d.sample(at).(map[string]any)
				v[strange] = marker
				try("an unknown field", v, 422)
			}
		case at.is("integer"):
			try("a text", marker, 422)
			try("a fraction", 1.5, 422)
			try("too large a number", json.RawMessage("92233720368547758070"), 400, 422)
		case at.is("number"), at.is("boolean"), at.is("array"):
			try("a text", marker, 422)
		}
	}
	return out
}

func pathValue(d *document, p parameter, tenant string, o *operation) string {
	if strings.HasPrefix(o.path, "/tenants/{") || p.Name == "tenant" {
		return tenant
	}
	return fmt.Sprint(d.sample(p.Schema))
}

// ownPaths are the folders that an answer could betray: of this checkout, of whoever
// runs it and of temporary files.
func ownPaths() string {
	var out []string
	for _, dir := range []func() (string, error){os.Getwd, os.UserHomeDir} {
		if d, err := dir(); err == nil && len(d) > 1 {
			out = append(out, regexp.QuoteMeta(filepath.ToSlash(d)+"/"))
			if up := filepath.Dir(filepath.Dir(filepath.Dir(d))); len(up) > 1 { // examples/server is two below the checkout
				out = append(out, regexp.QuoteMeta(filepath.ToSlash(up)+"/"))
			}
		}
	}
	return strings.Join(append(out, regexp.QuoteMeta(filepath.ToSlash(os.TempDir())+"/")), "|")
}

// internals are words of drivers, of Go and of this machine.
var internals = regexp.MustCompile(`(?i)\bpq:|sqlite|sqlstate|postgres|\bbun\b|goroutine|panic|runtime error|/tmp/|` + ownPaths() + `|\.go:\d|unmarshal|json: |strconv\.|uuid: |invalid UUID|syntax error at|yaml\.`)

func checkProblem(t *testing.T, s shot, a answer) (fault string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
		Errors              []struct{ Field, Reason string }
	}
	switch err := json.Unmarshal([]byte(a.raw), &p); {
	case !slices.Contains(s.want, a.status):
		return fmt.Sprintf("status %d, want %v: %.300s", a.status, s.want, a.raw)
	case err != nil || a.header.Get("Content-Type") != "application/problem+json" || p.Status != a.status || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "urn:reeve:problem:"):
		return fmt.Sprintf("no problem document: %d %s %.300s", a.status, a.header.Get("Content-Type"), a.raw)
	case internals.MatchString(a.raw):
		return fmt.Sprintf("internals: %.400s", a.raw)
	case strings.Contains(a.raw, marker) || strings.Contains(a.raw, "987654321"):
		return fmt.Sprintf("echoes what was sent: %.400s", a.raw)
	}
	return ""
}

// Every operation is sent every kind of bad request. Each is refused with a clear
// problem, and after all of them nothing has changed.
func TestAPI_BadInput(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		_, d := w.document(t)
		before := w.state(t)
		var faults []string
		n := 0
		for _, o := range d.operations() {
			for _, s := range d.shots(t, o, w.tenants[0].ID) {
				n++
				a := w.send(t, s.who, o.method, "/v1"+s.path, s.body, s.header...)
				if fault := checkProblem(t, s, a); fault != "" {
					faults = append(faults, fmt.Sprintf("%s: %s: %s", o, s.name, fault))
				}
			}
		}
		for path, want := range map[string]int{"GET /v1/nothing": 404, "DELETE /v1/tenants": 405, "PATCH /v1/me": 405, "GET /v1/": 404} {
			method, at, _ := strings.Cut(path, " ")
			if fault := checkProblem(t, shot{want: []int{want}}, w.send(t, "super_admin", method, at, "")); fault != "" {
				faults = append(faults, path+": "+fault)
			}
		}
		t.Logf("%d bad requests on %d operations", n, len(d.operations()))
		if w.state(t)["gov_record"] != before["gov_record"] {
			t.Log("records were written")
		}
		require.Empty(t, faults, strings.Join(faults, "\n"))
		require.Equal(t, before, w.state(t), "bad requests changed something")
		require.NotContains(t, w.log.String(), "panic")
	})
}
