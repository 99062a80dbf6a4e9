package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// conforms lists where a value is not what its schema says.
func (d *document) conforms(s *schema, v any, at string) []string {
	s = d.resolve(s)
	if s == nil || s.Type == nil {
		return nil
	}
	var out []string
	fault := func(format string, args ...any) { out = append(out, at+": "+fmt.Sprintf(format, args...)) }
	switch v := v.(type) {
	case nil:
		if s.is("array") {
			fault("null, and is to be []")
		} else if !s.is("null") {
			fault("null")
		}
	case map[string]any:
		if !s.is("object") {
			fault("an object, want %v", s.Type)
			break
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				fault("%s is missing", name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p, ok := s.Properties[name]
			if !ok {
				var more schema
				if string(s.Additional) == "false" || len(s.Additional) == 0 && len(s.Properties) > 0 {
					fault("%s is not in the document", name)
				}
				if json.Unmarshal(s.Additional, &more) == nil {
					out = append(out, d.conforms(&more, v[name], at+"."+name)...)
				}
				continue
			}
			out = append(out, d.conforms(p, v[name], at+"."+name)...)
		}
	case []any:
		if !s.is("array") {
			fault("a list, want %v", s.Type)
			break
		}
		for i, x := range v {
			out = append(out, d.conforms(s.Items, x, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		if !s.is("string") {
			fault("a text, want %v", s.Type)
		}
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, any(v)) {
			fault("%q is not one of %v", v, s.Enum)
		}
		if s.Format == "date-time" && !strings.HasSuffix(v, "Z") {
			fault("%s is not in UTC", v)
		}
	case float64:
		if !s.is("number") && !s.is("integer") {
			fault("a number, want %v", s.Type)
		}
	case bool:
		if !s.is("boolean") {
			fault("a boolean, want %v", s.Type)
		}
	}
	return out
}

// ids finds a real id for the path of every operation that reads one thing, by the
// list that it belongs to.
func (w *world) realPath(t *testing.T, o *operation) (string, bool) {
	t.Helper()
	first := func(list, field string) string {
		items, _ := w.send(t, "super_admin", "GET", "/v1"+list, "").json(t)["items"].([]any)
		if len(items) == 0 {
			return ""
		}
		item := items[0]
		if list == "/ledger/records" { // the newest are of the reading itself, and not sealed yet
			item = items[len(items)-1]
		}
		s, _ := item.(map[string]any)[field].(string)
		return s
	}
	path := o.path
	for prefix, from := range map[string][2]string{
		"/tenants/{id}": {"/tenants", "id"}, "/analytics/signals/{tenant}": {"/analytics/signals", "tenant"}, "/approvals/{id}": {"/approvals", "id"},
		"/ledger/records/{id}": {"/ledger/records", "id"}, "/policies/{id}": {"/policies", "policy"}, "/users/{id}": {"/users", "id"}, "/sessions/{id}": {"/sessions", "id"},
		"/playbooks/{name}": {"/playbooks", "name"}, "/playbook-runs/{id}": {"/playbook-runs", "id"}, "/retention/plans/{id}": {"/retention/plans", "id"},
		"/retention/holds/{id}": {"/retention/holds", "id"}, "/retention/runs/{id}": {"/retention/runs", "id"}, "/integrations/targets/{id}": {"/integrations/targets", "id"},
		"/integrations/deliveries/{id}": {"/integrations/deliveries", "id"}, "/runbook-instances/{id}": {"/runbook-instances", "id"},
		"/evidence/packs/{id}": {"/evidence/packs", "id"},
	} {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		id := first(from[0], from[1])
		if from[1] == "policy" {
			id = "credit-24h"
		}
		path = prefix[:strings.Index(prefix, "{")] + id + rest
		if id == "" {
			return "", false
		}
	}
	if strings.HasPrefix(path, "/playbook-batches/") {
		path = "/playbook-batches/" + first("/playbooks/"+first("/playbooks", "name")+"/batches", "id") + "/candidates"
	}
	path = strings.NewReplacer("{n}", "1", "{version}", "1", "{key}", "pci-user").Replace(path)
	switch o.ID {
	case "analytics-drill":
		path += "?metric=closing&month=" + w.demo.today.AddDate(0, -2, 0).Format("2006-01")
	case "retention-explain":
		path += "?source=" + url.QueryEscape(first("/retention/sources", "name")) + "&key=1"
	case "evidence-coverage", "evidence-coverage-csv", "evidence-coverage-html", "evidence-coverage-records":
		path += "?from=" + w.demo.today.AddDate(0, -1, 0).Format(time.RFC3339) + "&until=" + w.demo.today.AddDate(0, 0, 2).Format(time.RFC3339)
	case "evidence-outline":
		path += "?kind=action&subject=" + first("/sensitive-actions", "id")
	case "integrations-support-lookup":
		path += "?tenant=" + w.tenants[0].ID
	}
	return path, !strings.Contains(path, "{")
}

// What is read is what the document says: every field, no null for a list, times in
// UTC, enumerations.
func TestAPI_Answers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		require.NoError(t, w.demo.work(t.Context(), small(w.demo.seed, w.demo.today)))
		w.settle(t)
		acts, _ := w.send(t, "super_admin", "GET", "/v1/sensitive-actions?limit=1", "").json(t)["items"].([]any)
		about, _ := acts[0].(map[string]any)["id"].(string)
		built := w.send(t, "super_admin", "POST", "/v1/evidence/packs", `{"kind":"action","subject":"`+about+`","reason":"audit"}`)
		require.Equal(t, http.StatusCreated, built.status, built.raw)
		_, d := w.document(t)
		var faults, empty []string
		for _, o := range d.operations() {
			if o.method != http.MethodGet || o.ID == "product-download-export" || o.ID == "integrations-list-connectors" {
				continue
			}
			if strings.HasPrefix(o.path, "/ledger/") { // reading evidence was recorded meanwhile
				w.settle(t)
			}
			path, ok := w.realPath(t, o)
			if !ok {
				empty = append(empty, o.ID)
				continue
			}
			a := w.send(t, "super_admin", "GET", "/v1"+path, "")
			if a.status != http.StatusOK {
				faults = append(faults, fmt.Sprintf("%s (%s): %d %.200s", o, path, a.status, a.raw))
				continue
			}
			body := o.Responses["200"].Content["application/json"]
			if body == nil {
				w.settle(t) // a table that was taken is a record, which waits for its seal
				continue
			}
			var v any
			require.NoError(t, json.Unmarshal([]byte(a.raw), &v))
			if items, ok := v.(map[string]any)["items"].([]any); ok && len(items) == 0 {
				empty = append(empty, o.ID)
			}
			for _, f := range d.conforms(body.Schema, v, "answer") {
				faults = append(faults, o.String()+": "+f)
			}
		}
		t.Logf("nothing to read for %v", empty)
		require.Empty(t, faults, strings.Join(faults, "\n"))
		require.NotContains(t, w.log.String(), "ERROR")
	})
}
