package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve/governance/govauth"
)

var update = flag.Bool("update", false, "write the golden files anew")

const openAPIFile = "testdata/openapi.json"

// document is the OpenAPI document as its readers see it.
type document struct {
	OpenAPI string `json:"openapi"`
	Servers []struct {
		URL string `json:"url"`
	} `json:"servers"`
	Paths      map[string]map[string]*operation `json:"paths"`
	Components struct {
		Schemas         map[string]*schema `json:"schemas"`
		SecuritySchemes map[string]any     `json:"securitySchemes"`
	} `json:"components"`
}

type operation struct {
	ID         string `json:"operationId"`
	Permission string `json:"x-permission"`
	Summary    string `json:"summary"`
	Tags       []string
	Parameters []parameter `json:"parameters"`
	Body       *struct {
		Required bool              `json:"required"`
		Content  map[string]*media `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]*media `json:"content"`
		Headers map[string]any    `json:"headers"`
	} `json:"responses"`
	Security []map[string][]string `json:"security"`

	method, path string
}

type parameter struct {
	Name     string  `json:"name"`
	In       string  `json:"in"`
	Required bool    `json:"required"`
	Schema   *schema `json:"schema"`
}

type media struct {
	Schema *schema `json:"schema"`
}

type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"` // a name or a list of names
	Format     string             `json:"format"`
	Pattern    string             `json:"pattern"`
	Enum       []any              `json:"enum"`
	MinLength  int                `json:"minLength"`
	MaxLength  *int               `json:"maxLength"`
	Minimum    *float64           `json:"minimum"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
	Additional json.RawMessage    `json:"additionalProperties"`
}

// is tells whether the schema takes a JSON type.
func (s *schema) is(name string) bool {
	list, _ := s.Type.([]any)
	return s.Type == name || slices.Contains(list, any(name))
}

// resolve follows references.
func (d *document) resolve(s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

// operations lists all of them by path and method.
func (d *document) operations() []*operation {
	var out []*operation
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			o := d.Paths[path][method]
			o.method, o.path = strings.ToUpper(method), path
			out = append(out, o)
		}
	}
	return out
}

func (o *operation) String() string { return o.method + " " + o.path }

func (o *operation) has(in, name string) bool {
	return slices.ContainsFunc(o.Parameters, func(p parameter) bool { return p.In == in && p.Name == name })
}

// body is the schema of the JSON body, or nil.
func (o *operation) body(d *document) *schema {
	if o.Body == nil || o.Body.Content["application/json"] == nil {
		return nil
	}
	return d.resolve(o.Body.Content["application/json"].Schema)
}

func (w *world) document(t *testing.T) ([]byte, *document) {
	t.Helper()
	raw, err := json.Marshal(w.api.OpenAPI())
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, json.Indent(&b, raw, "", "  "))
	b.WriteByte('\n')
	var d document
	require.NoError(t, json.Unmarshal(b.Bytes(), &d))
	return b.Bytes(), &d
}

func TestOpenAPI_Golden(t *testing.T) {
	t.Parallel()
	got, _ := newWorld(t, "").document(t)
	again, _ := newWorld(t, "").document(t)
	require.Equal(t, string(got), string(again), "the document is not the same every time")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(openAPIFile), 0o755))
		require.NoError(t, os.WriteFile(openAPIFile, got, 0o644))
	}
	want, err := os.ReadFile(openAPIFile)
	require.NoError(t, err, "run go test ./examples/server -run Golden -update and read the difference")
	require.Equal(t, string(want), string(got), "run go test ./examples/server -run Golden -update and read the difference")
}

// open lists the operations that everybody who is signed in may call: they are about
// the caller, or decide by whose the thing is.
var openOperations = []string{"auth-me", "auth-my-keys", "auth-my-sessions", "auth-end-session", "auth-show-key", "auth-revoke-key", "auth-passkey-list", "auth-passkey-begin", "auth-passkey-register", "auth-passkey-revoke", "oversight-end-session"}

// repeatable lists the POST operations without Idempotency-Key, each with what a
// second request does.
var repeatable = map[string]string{
	"gov-export-ledger":          "a file is made again, and nothing else changes",
	"gov-ask-ledger-check":       "while one runs, that one is the answer",
	"analytics-ingest":           "each fact has a key of its own; what is known changes nothing",
	"analytics-ingest-csv":       "each fact has a key of its own; what is known changes nothing",
	"auth-access-decide":         "it is decided: conflict",
	"auth-end-session":           "it has ended",
	"auth-invitation-link":       "the link made before stops working",
	"auth-revoke-invitation":     "it is closed: conflict",
	"auth-revoke-key":            "it is revoked: conflict",
	"auth-passkey-begin":         "it changes nothing: another challenge",
	"auth-passkey-begin-vote":    "it changes nothing: another challenge",
	"auth-passkey-register":      "the challenge is used up, or the key is registered: conflict",
	"auth-passkey-revoke":        "it is revoked: conflict",
	"auth-show-key":              "it was shown: conflict",
	"auth-show-sign-in-link":     "it was shown: conflict",
	"gov-back-test":              "the report is kept under its hash, once",
	"evidence-build":             "another pack is built, and recorded",
	"evidence-verify-pack":       "nothing is changed",
	"gov-cancel-approval":        "it is cancelled: conflict",
	"gov-decide-review":          "it is decided: conflict",
	"gov-delegate":               "a membership moves once, however often it is delegated to the same person",
	"gov-revoke-delegation":      "it is revoked: not found",
	"gov-ack-alert-group":        "nothing fires in it",
	"gov-close-alert":            "it is closed",
	"gov-end-alert-silence":      "it has ended",
	"gov-resend-alert":           "it is not dead: conflict",
	"gov-verify-ledger":          "nothing is changed",
	"integrations-pause-target":  "it is paused",
	"integrations-resume-target": "it is running",
	"integrations-resync-target": "a connector is told what it was told",
	"integrations-rotate-secret": "another secret is made, and the answer shows it",
	"integrations-test-target":   "another message of type ping",
	"oversight-end-session":      "it has ended",
	"oversight-observe-session":  "it keeps somebody present, once or twice",
	"oversight-leave-session":    "they are gone",
	"oversight-review-session":   "it was reviewed: conflict",
	"oversight-open-session":     "it is open: conflict",
	"playbook-cancel-run":        "it has ended: conflict",
	"playbook-end-wait":          "it does not wait: conflict",
	"playbook-end-exemption":     "it has ended",
	"playbook-exempt":            "the tenant is exempt",
	"playbook-pause":             "it is paused",
	"playbook-pause-all":         "they are paused",
	"playbook-resume":            "it is running",
	"playbook-resume-all":        "they are running",
	"playbook-retire":            "nothing acts: conflict",
	"playbook-rollback-run":      "it is taken back: conflict",
	"playbook-scan":              "a tenant has one run at a time",
	"playbook-simulate-source":   "nothing is changed",
	"retention-cancel-run":       "it has ended: conflict",
	"runbook-check-step":         "the step is checked",
	"runbook-close":              "it is closed: conflict",
	"runbook-open":               "an alert has one open instance",
	"runbook-set-ticket":         "it has the ticket",
}

var (
	snake         = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	operationName = regexp.MustCompile(`^(gov|auth|retention|oversight|evidence|analytics|playbook|runbook|integrations|product)-[a-z0-9-]+$`)
	// Error… are huma's own, in every document that huma makes.
	schemaName = regexp.MustCompile(`^(List)?(Gov|Auth|Retention|Oversight|Evidence|Analytics|Playbook|Runbook|Integrations|Product)[A-Za-z0-9-]*$|^Error(Model|Detail)$`)
	pathName   = regexp.MustCompile(`^(/([a-z0-9-]+|\{[a-z_]+\}))+$`)
)

func TestOpenAPI_Structure(t *testing.T) {
	t.Parallel()
	raw, d := newWorld(t, "").document(t)
	require.Regexp(t, `^3\.1\.`, d.OpenAPI)
	require.Equal(t, "/v1", d.Servers[0].URL)
	require.Contains(t, d.Components.SecuritySchemes, "bearer")
	for _, ref := range regexp.MustCompile(`"\$ref": "([^"]*)"`).FindAllSubmatch(raw, -1) {
		name, ok := strings.CutPrefix(string(ref[1]), "#/components/schemas/")
		require.True(t, ok && d.Components.Schemas[name] != nil, "%s resolves to nothing", ref[1])
	}
	ids := map[string]bool{}
	used := map[string]bool{}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, o := range d.operations() {
		if ids[o.ID] || !operationName.MatchString(o.ID) {
			fault("%s: operation id %q is taken or has no prefix of its capability", o, o.ID)
		}
		ids[o.ID] = true
		if !pathName.MatchString(o.path) || o.Summary == "" || len(o.Tags) != 1 {
			fault("%s: path, summary or tag", o)
		}
		switch {
		case o.Permission == "" && !slices.Contains(openOperations, o.ID):
			fault("%s: no x-permission", o)
		case o.Permission != "" && !slices.Contains(govauth.Permissions(), o.Permission):
			fault("%s: permission %q is not in the table", o, o.Permission)
		case o.method == http.MethodGet && o.Permission != "" && !strings.HasSuffix(o.Permission, ":read") && o.Permission != "support:lookup" && o.Permission != "tenant:export":
			fault("%s: reading asks for %s", o, o.Permission)
		}
		used[o.Permission] = true
		if len(o.Security) != 1 || o.Security[0]["bearer"] == nil {
			fault("%s: security", o)
		}
		for _, code := range []string{"401", "403", "422", "500"} {
			if o.Responses[code].Content["application/problem+json"] == nil {
				fault("%s: %s is not a problem document", o, code)
			}
		}
		if _, ok := o.Responses["202"]; ok && (o.Responses["200"].Content["application/json"] == nil || o.Responses["202"].Content["application/json"] == nil || o.Responses["202"].Headers["Location"] == nil || !o.has("header", "Idempotency-Key")) {
			fault("%s: a guarded operation documents 200 and 202 with Location, and takes Idempotency-Key", o)
		}
		if why := repeatable[o.ID]; o.method == http.MethodPost && o.has("header", "Idempotency-Key") == (why != "") {
			fault("%s: takes Idempotency-Key, or is listed as repeatable", o)
		}
		for _, p := range o.Parameters {
			if p.In != "header" && !snake.MatchString(p.Name) {
				fault("%s: parameter %s", o, p.Name)
			}
			if s := d.resolve(p.Schema); p.In != "header" && s.is("string") && s.MaxLength == nil && s.Format == "" && s.Pattern == "" && len(s.Enum) == 0 {
				fault("%s: parameter %s has no longest length", o, p.Name)
			}
			if p.Name == "limit" && (p.Schema.Minimum == nil || *p.Schema.Minimum != 1) {
				fault("%s: limit has no least", o)
			}
		}
		if b := o.body(d); o.Body != nil && b != nil && string(b.Additional) != "false" {
			fault("%s: the body takes unknown fields", o)
		}
	}
	for _, p := range govauth.Permissions() {
		if !used[p] {
			t.Logf("permission %s is asked for by no operation", p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		s := d.Components.Schemas[name]
		if !schemaName.MatchString(name) {
			fault("schema %s has no prefix of its capability: a host may have one of this name", name)
		}
		if strings.HasPrefix(name, "Error") {
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			p := s.Properties[field]
			if !snake.MatchString(field) {
				fault("schema %s: field %s is not snake_case", name, field)
			}
			if money := regexp.MustCompile(`(^|_)(amount|price|rate|sum|max|value)$`); money.MatchString(field) && (p.is("number") || p.is("integer")) {
				fault("schema %s: %s is a number, and is to be a string", name, field)
			}
		}
	}
	require.Empty(t, faults, strings.Join(faults, "\n"))
}
