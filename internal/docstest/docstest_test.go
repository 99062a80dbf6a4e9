// Package docstest holds README.md and docs to the code: their Go compiles, their
// YAML and JSON load, their shell runs, their links lead somewhere.
//
// A go block is a file, or declarations whose imports are left out. A sh block of the
// README is one of the two commands; one of docs is run against a demo server with
// its keys in the environment. Blocks in another language, such as console, are shown
// only.
package docstest

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/reevehq/reeve"
	"github.com/reevehq/reeve/governance"
	"github.com/reevehq/reeve/governance/alertroute"
	"github.com/reevehq/reeve/governance/celrules"
	"github.com/reevehq/reeve/governance/govtest"
	"github.com/reevehq/reeve/governance/policyfile"
	"github.com/reevehq/reeve/integrations"
	"github.com/reevehq/reeve/playbook"
	"github.com/reevehq/reeve/retention/sqlsource"
)

const module = "github.com/reevehq/reeve"

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	return dir
}

// documents are the files that are held to the code, relative to the root.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(root(t), "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, docs)
	out := []string{"README.md"}
	for _, d := range docs {
		out = append(out, filepath.Join("docs", filepath.Base(d)))
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), file))
	require.NoError(t, err)
	return string(b)
}

// block is a fenced piece of a document; line is that of its first line.
type block struct {
	file string
	line int
	lang string
	text string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.file, b.line) }

func blocks(t *testing.T, lang string, files ...string) []block {
	t.Helper()
	var out []block
	for _, file := range files {
		var open *block
		n := 0
		for line := range strings.Lines(read(t, file)) {
			n++
			fence, is := strings.CutPrefix(strings.TrimRight(line, " \n"), "```")
			switch {
			case is && open == nil:
				require.NotEmpty(t, fence, "%s:%d: a block says its language", file, n)
				open = &block{file: file, line: n + 1, lang: fence}
			case is:
				if open.lang == lang {
					out = append(out, *open)
				}
				open = nil
			case open != nil:
				open.text += line
			}
		}
		require.Nil(t, open, "%s: a block is not closed", file)
	}
	return out
}

// TestGo: every go block is in gofmt's form and compiles against this module.
func TestGo(t *testing.T) {
	t.Parallel()
	all := blocks(t, "go", documents(t)...)
	require.NotEmpty(t, all)
	packages := importable(t)
	dir := t.TempDir()
	overlay := map[string]string{}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json")}
	for i, b := range all {
		formatted, err := format.Source([]byte(b.text))
		require.NoError(t, err, "%s", b)
		require.Equal(t, strings.TrimSpace(string(formatted)), strings.TrimSpace(b.text), "%s: not in gofmt's form", b)
		file := filepath.Join(dir, fmt.Sprintf("b%02d.go", i))
		require.NoError(t, os.WriteFile(file, []byte(whole(t, b, packages)), 0o600))
		place := fmt.Sprintf("internal/docstest/block%02d", i)
		overlay[filepath.Join(root(t), place, "block.go")] = file
		args = append(args, "./"+place)
	}
	j, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), j, 0o600))
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root(t)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// importable maps the names of packages to their paths: ours that others can import,
// and what the documents use beside them.
func importable(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{
		"bun": "github.com/uptrace/bun", "sqlitedialect": "github.com/uptrace/bun/dialect/sqlitedialect", "pgdialect": "github.com/uptrace/bun/dialect/pgdialect",
		"huma": "github.com/danielgtaylor/huma/v2", "humago": "github.com/danielgtaylor/huma/v2/adapters/humago",
		"http": "net/http", "slog": "log/slog", "sql": "database/sql", "url": "net/url",
	}
	for _, std := range []string{"context", "errors", "fmt", "io", "os", "testing", "time"} {
		names[std] = std
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-f", "{{.Name}} {{.ImportPath}}", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		if rel := strings.TrimPrefix(path, module); name != "main" && !strings.HasPrefix(rel, "/internal") && !strings.HasPrefix(rel, "/examples") {
			names[name] = path
		}
	}
	return names
}

// whole makes a file of a block: with a package clause and the imports it leaves out.
// The name main is replaced, for a program would be linked as well.
func whole(t *testing.T, b block, packages map[string]string) string {
	t.Helper()
	text := b.text
	if !strings.HasPrefix(strings.TrimSpace(text), "package ") && !strings.Contains(text, "\npackage ") {
		text = "package block; " + text // on one line, so that numbers of lines stay
	}
	f, err := parser.ParseFile(token.NewFileSet(), b.file, text, parser.AllErrors)
	require.NoError(t, err, "%s", b)
	var imports []string
	have := map[string]bool{}
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		require.NotContains(t, p, module+"/internal", "%s: nobody else can import it", b)
		require.NotContains(t, p, module+"/examples", "%s", b)
		have[p] = true
	}
	free := map[*ast.Ident]bool{}
	for _, id := range f.Unresolved {
		free[id] = true
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && free[x] {
			if p := packages[x.Name]; p != "" && !have[p] {
				have[p] = true
				imports = append(imports, fmt.Sprintf("import %q; ", p))
			}
		}
		return true
	})
	at := int(f.Name.End()) - int(f.FileStart)
	after := strings.TrimPrefix(text[at:], ";")
	return text[:int(f.Name.Pos())-int(f.FileStart)] + "block; " + strings.Join(imports, "") + fmt.Sprintf("\n//line %s:%d\n", b.file, b.line+strings.Count(text[:at], "\n")) + after
}

// TestConnector: the connector of the README is the one that the conformance kit
// proves in examples/connector.
func TestConnector(t *testing.T) {
	t.Parallel()
	example := read(t, "examples/connector/main.go")
	require.True(t, slices.ContainsFunc(blocks(t, "go", "README.md"), func(b block) bool {
		return strings.Contains(b.text, "serve.Connector(") && strings.Contains(example, strings.TrimSpace(b.text))
	}), "README.md shows another connector than examples/connector/main.go")
}

// TestDocuments: what is shown in YAML and JSON is taken by the code that reads it.
func TestDocuments(t *testing.T) {
	t.Parallel()
	r, env := parts(t)
	for _, b := range blocks(t, "json", documents(t)...) {
		require.True(t, json.Valid([]byte(b.text)), "%s", b)
		if strings.Contains(b.text, `"receivers"`) { // alert routes
			var d alertroute.Document
			require.NoError(t, json.Unmarshal([]byte(b.text), &d), "%s", b)
			require.Empty(t, d.Faults([]string{"webhook", "slack", "pagerduty", "smtp"}), "%s", b)
		}
		if strings.Contains(b.text, `"mode"`) && !strings.Contains(b.text, `"additionalProperties"`) { // a policy of the guard, not its schema
			var p governance.Policy
			require.NoError(t, json.Unmarshal([]byte(b.text), &p), "%s", b)
			if p.ID == "" { // it stands in the path
				p.ID = "shown"
			}
			require.NoError(t, p.Validate(), "%s", b)
			require.NoError(t, env.Kernel.InstallPolicies(t.Context(), p), "%s", b)
		}
	}
	for _, b := range blocks(t, "yaml", documents(t)...) {
		var err error
		switch {
		case strings.Contains(b.text, "trigger:"):
			_, err = r.Playbook.Parse(b.text)
		case strings.Contains(b.text, "alerts:"):
			_, err = playbook.ParseRunbook(b.text)
		case strings.Contains(b.text, "policies:"):
			_, err = policyfile.Parse([]byte(b.text))
		case strings.Contains(b.text, "sources:"):
			_, err = sqlsource.Load([]byte(b.text))
		case strings.Contains(b.text, "listen:"): // settings of the server: see TestShell
		default:
			t.Errorf("%s: no reader of this YAML is known", b)
		}
		require.NoError(t, err, "%s", b)
	}
}

// parts has every kind of step that a playbook may name.
func parts(t *testing.T) (*reeve.Reeve, *govtest.Env) {
	t.Helper()
	rules, err := celrules.New(nil)
	require.NoError(t, err)
	var o governance.Options
	env := govtest.New(t, &govtest.Options{Kernel: func(ko *governance.Options) {
		ko.Rules = rules
		o = *ko
	}})
	sealer, err := integrations.NewSealer(make([]byte, integrations.KeySize))
	require.NoError(t, err)
	r, err := reeve.New(env.DB, &reeve.Options{Governance: o, Playbook: &playbook.Options{}, Integrations: &integrations.Options{Sealer: sealer}})
	require.NoError(t, err)
	return r, env
}

// TestTraps: every test that the list of known faults names is there.
func TestTraps(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	form := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w*)\(`)
	require.NoError(t, filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range form.FindAllStringSubmatch(string(b), -1) {
			have[m[1]] = true
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w*)`").FindAllStringSubmatch(read(t, "docs/traps.md"), -1)
	require.Greater(t, len(named), 40)
	for _, m := range named {
		require.True(t, have[m[1]], "docs/traps.md names %s, which is not there", m[1])
	}
}

var (
	linkForm = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headForm = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	codeForm = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
)

// TestLinks: every relative link leads to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	t.Parallel()
	files := append(documents(t), "CHANGELOG.md", "examples/connector/README.md")
	for _, file := range files {
		for _, m := range linkForm.FindAllStringSubmatch(codeForm.ReplaceAllString(read(t, file), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			path, fragment, _ := strings.Cut(m[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			_, err := os.Stat(filepath.Join(root(t), target))
			require.NoError(t, err, "%s links to %s", file, m[1])
			if fragment != "" {
				require.Contains(t, anchors(read(t, target)), fragment, "%s links to %s", file, m[1])
			}
		}
	}
}

// anchors are the headings of a document in the form that links name them.
func anchors(text string) []string {
	var out []string
	for _, m := range headForm.FindAllStringSubmatch(codeForm.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "```") {
			return ""
		}
		return strings.Trim(s, "`")
	}), -1) {
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return out
}

// TestPackagesNamed: a package that the documents name as `a/b` exists.
func TestPackagesNamed(t *testing.T) {
	t.Parallel()
	paths := slices.Collect(maps.Values(importable(t)))
	named := regexp.MustCompile("`((?:governance|retention|oversight|analytics|playbook|integrations|plugins|console)/[a-z0-9/]+)`")
	for _, file := range documents(t) {
		text := read(t, file)
		if before, _, cut := strings.Cut(text, "\n## Not built yet"); cut {
			text = before
		}
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root(t), m[1]))
			require.True(t, err == nil || slices.Contains(paths, module+"/"+m[1]), "%s names %s, which is not there", file, m[1])
		}
	}
}
