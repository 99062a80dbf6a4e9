// Package archtest holds the import rules of docs/design.md.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/reevehq/reeve"

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	GoFiles    []string
	Dir        string
	Module     *struct{ Path string }
}

// list reads our packages with what they link, tests left out.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Deps,GoFiles,Dir,Module", "./...")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	pkgs := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		pkgs[p.ImportPath] = p
	}
	return pkgs
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	return filepath.Join(dir, "..", "..")
}

// rel is the path inside the module; ok is false for other modules.
func rel(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func under(path string, dirs ...string) bool {
	for _, d := range dirs {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}

var capabilities = []string{"retention", "oversight", "analytics", "playbook", "integrations"}

func isAPI(path string) bool { return strings.HasSuffix(path, "api") }

func isTest(path string) bool {
	return strings.HasSuffix(path, "test") || under(path, "internal")
}

// outer is what may link the heavy things: the facade, the console's users and programs.
func outer(path string) bool { return path == "." || under(path, "examples", "internal") }

func TestImports(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	var bad []string
	for _, p := range pkgs {
		from, ours := rel(p.ImportPath)
		if !ours {
			continue
		}
		for _, imp := range p.Imports {
			if why := forbidden(from, imp); why != "" {
				bad = append(bad, from+" imports "+imp+": "+why)
			}
		}
		if !isTest(from) && !outer(from) && !under(from, "plugins") && !under(from, "examples") && slices.Contains(p.Deps, "testing") {
			bad = append(bad, from+" links testing")
		}
		if slices.Contains(p.Imports, "C") && !under(from, "analytics/duckwarehouse") {
			bad = append(bad, from+" uses cgo")
		}
	}
	slices.Sort(bad)
	require.Empty(t, bad, strings.Join(bad, "\n"))
}

func forbidden(from, imp string) string {
	to, ours := rel(imp)
	if !ours {
		return foreign(from, imp)
	}
	for _, c := range capabilities {
		if !under(from, c) {
			continue
		}
		for _, other := range capabilities {
			if other != c && under(to, other) {
				return "capabilities do not import each other"
			}
		}
		if under(to, "console", "examples") || to == "." || under(to, "plugins") && !under(from, "integrations/connectortest") {
			return "a capability imports the kernel only"
		}
		if isAPI(to) && to != "governance/govapi" && !isAPI(from) {
			return "a service knows no HTTP"
		}
		if to == "governance/govapi" && !isAPI(from) {
			return "a service knows no HTTP"
		}
	}
	if under(from, "governance/ledger", "governance/outbox", "governance/lease", "governance/schedule", "governance/alertroute") && !under(to, "governance/govdb", "governance/lease", "governance/ledger/offline") && !(under(from, "governance/ledger") && to == "governance/ledger") &&
		!(from == "governance/ledger/publish/s3sink" && under(to, "governance/ledger")) {
		return "it takes bytes and knows nothing above it"
	}
	if under(from, "governance/govdb") && !under(to, "governance/govdb") {
		return "govdb knows nothing above it"
	}
	if from == "governance" && !under(to, "governance/govdb", "governance/ledger", "governance/outbox", "governance/lease", "governance/schedule", "governance/alertroute") {
		return "the kernel knows nothing above it"
	}
	if under(from, "governance") && !under(to, "governance") {
		return "the kernel knows no capability"
	}
	return ""
}

func foreign(from, imp string) string {
	switch {
	case strings.HasPrefix(imp, "github.com/danielgtaylor/huma"):
		if !isAPI(from) && !outer(from) {
			return "huma only in …api, the facade and examples"
		}
	case strings.HasPrefix(imp, "google.golang.org/grpc"), strings.HasPrefix(imp, "github.com/hashicorp/go-plugin"):
		if !outer(from) && !under(from, "plugins", "integrations/connectortest") {
			return "gRPC and go-plugin only under plugins, the facade and examples"
		}
	case strings.HasPrefix(imp, "cel.dev/"):
		if !under(from, "governance/celrules") {
			return "CEL only in governance/celrules"
		}
	case strings.HasPrefix(imp, "github.com/cedar-policy/"):
		if !under(from, "governance/govauth") {
			return "Cedar only in governance/govauth"
		}
	case strings.HasPrefix(imp, "github.com/stretchr/testify"):
		if !isTest(from) {
			return "testify only in tests"
		}
	case strings.HasPrefix(imp, "modernc.org/sqlite"), strings.HasPrefix(imp, "github.com/jackc/pgx"):
		if !under(from, "governance/govdb/opendb") && !outer(from) && !isTest(from) {
			return "drivers only in opendb and programs"
		}
	}
	return ""
}

// TestKernelWeight: an embedder of the kernel alone links few modules.
func TestKernelWeight(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	modules := map[string]bool{}
	for _, dep := range pkgs[module+"/governance"].Deps {
		if m := pkgs[dep].Module; m != nil && m.Path != module {
			modules[m.Path] = true
		}
	}
	require.NotEmpty(t, modules)
	require.LessOrEqual(t, len(modules), 12, "modules: %v", modules)
}

// TestNoInitNoGlobals: a library has no init and no variable that changes.
func TestNoInitNoGlobals(t *testing.T) {
	t.Parallel()
	var bad []string
	base := root(t)
	err := filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(base, path)
		if d.IsDir() {
			if under(name, ".git", "examples", "internal", "tools", ".cache", "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".pb.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				bad = append(bad, name+": init")
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, bad)
}
