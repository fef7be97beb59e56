package layering_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/semio-iot/semio"

// allowed is the table of ARCHITECTURE.md: what a package (and all below its path, unless they have a line of their own) may
// import of this module, outside its tests. A package may always import what lies below its own path.
var allowed = map[string][]string{
	"puf":      nil,
	"fuzzy":    {"internal/hkdf", "internal/polar", "internal/secret"},
	"identity": {"internal/hkdf", "internal/secret"},

	"identity/ca":           {"identity", "internal/atomicfile"},
	"identity/ca/cahttp":    {"identity", "identity/ca", "internal/httpapi", "internal/secret"},
	"identity/ca/opensslca": {"identity", "identity/ca", "internal/atomicfile"},
	"identity/label":        {"identity"},
	"identity/party":        {"identity", "internal/atomicfile"},
	"identity/secureboot":   {"identity"},
	"puf/hw":                {"puf"},

	"keyvault":     {"fuzzy", "internal/hkdf", "internal/keywrap", "internal/secret", "puf"},
	"keyvault/tpm": {"internal/hkdf", "keyvault"},
	"e2e":          {"identity", "internal/hkdf", "internal/secret"},

	"e2e/internal/adversary": {"e2e", "identity", "identity/ca"},
	"internal/atomicfile":    nil,
	"internal/hkdf":          nil,
	"internal/keywrap":       nil,
	"internal/kv":            nil,
	"internal/layering":      nil,
	"internal/link":          nil,
	"internal/mosquittotest": nil,
	"internal/pgtest":        nil,
	"internal/polar":         nil,
	"internal/secret":        nil,
	"internal/wsconn":        nil,
	"platform/link":          {"internal/link"},

	"internal/httpapi":             {"identity"},
	"internal/control":             {"e2e", "identity"},
	"internal/control/controltest": {"e2e", "identity", "identity/ca", "internal/control", "internal/link"},
	"internal/delivery":            {"e2e"},
	"internal/mqttlink":            {"identity", "internal/link", "internal/secret", "internal/wsconn"},

	"platform/publicbroker": {"internal/mqttlink"},

	"devicegw": {"e2e", "identity", "internal/atomicfile", "internal/control", "internal/delivery", "internal/link", "internal/mqttlink", "internal/secret"},
	"appgw":    {"e2e", "identity", "internal/control", "internal/delivery", "internal/hkdf", "internal/kv", "internal/link", "internal/mqttlink", "internal/secret"},
	"platform": {"e2e", "identity", "internal/control", "internal/kv", "internal/link", "internal/mqttlink", "internal/secret", "platform/registry"},

	"platform/registry":  {"e2e", "identity", "internal/control"},
	"platform/adminhttp": {"identity", "internal/control", "internal/httpapi", "internal/secret", "platform", "platform/registry"},
	"platform/broker":    {"identity", "platform/registry"},
	"platform/pgstore":   {"internal/kv", "platform"},
	"appgw/pgstore":      {"appgw", "identity", "internal/kv"},

	"internal/systemtest": {"devicegw", "e2e", "identity", "identity/ca", "platform"},

	"internal/wycheproof": {"identity", "internal/hkdf", "internal/keywrap"},

	"internal/bench": {"e2e", "identity", "identity/ca", "internal/delivery"},
}

// examples may import every public package, and nothing of internal: an integrator could not.
const examples = "examples"

func TestArrowsPointDown(t *testing.T) {
	root := moduleRoot(t)
	seen := map[string]bool{}
	for _, f := range sources(t, root) {
		pkg := path.Dir(f)
		rule, ok := ruleFor(pkg)
		if !ok {
			t.Errorf("%s: package %s has no line in the layering table: give it one", f, pkg)
			continue
		}
		seen[rule] = true
		for _, imp := range imports(t, filepath.Join(root, f)) {
			if !mayImport(rule, imp) {
				t.Errorf("%s imports %s: %s may import of this module only %v", f, imp, rule, allowed[rule])
			}
		}
	}
	for rule := range allowed {
		if !seen[rule] {
			t.Errorf("the layering table has a line for %s, and no such package exists", rule)
		}
	}
}

// A rule that admits everything would pass as well: so the judge is tried on arrows that must not be.
func TestForbiddenArrowsAreSeen(t *testing.T) {
	for _, c := range []struct{ from, to string }{
		{"puf", "fuzzy"}, {"fuzzy", "puf"}, {"identity", "e2e"}, {"e2e", "keyvault"}, {"identity", "identity/ca"},
		{"devicegw", "keyvault"}, {"devicegw", "appgw"}, {"appgw", "platform"}, {"platform", "devicegw"},
		{"platform", "platform/broker"}, {"internal/link", "internal/control"}, {"examples/quickstart", "internal/control"},
	} {
		rule, ok := ruleFor(c.from)
		require.True(t, ok, c.from)
		require.False(t, mayImport(rule, c.to), "%s may not import %s", c.from, c.to)
	}
	for _, c := range []struct{ from, to string }{
		{"keyvault", "fuzzy"}, {"puf/pufsim", "puf"}, {"devicegw", "internal/delivery"}, {"examples/quickstart", "platform/broker"},
	} {
		rule, _ := ruleFor(c.from)
		require.True(t, mayImport(rule, c.to), "%s may import %s", c.from, c.to)
	}
}

// ruleFor finds the line of the table for a package: its own, or that of the nearest package above it.
func ruleFor(pkg string) (string, bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if _, ok := allowed[p]; ok || p == examples {
			return p, true
		}
	}
	return "", false
}

func mayImport(rule, imp string) bool {
	if rule == examples {
		return !strings.HasPrefix(imp, "internal/")
	}
	if _, own := allowed[imp]; imp == rule || strings.HasPrefix(imp, rule+"/") && !own {
		return true
	}
	// A line for a package admits what lies below it and has no line of its own, for example a test suite.
	target, ok := ruleFor(imp)
	return ok && slices.Contains(allowed[rule], target)
}

// imports are the packages of this module that a file imports, without the module's path.
func imports(t *testing.T, file string) []string {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	require.NoError(t, err)
	var out []string
	for _, s := range f.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		require.NoError(t, err)
		if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			out = append(out, rest)
		}
	}
	return out
}

// sources are the module's Go files but for tests, relative to root. Suites that other packages' tests import (nvmtest and
// the like) are code.
func sources(t *testing.T, root string) []string {
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, out)
	return out
}

func moduleRoot(t *testing.T) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module "+module+"\n") {
			return dir
		}
		up := filepath.Dir(dir)
		require.NotEqual(t, dir, up, fmt.Sprintf("no go.mod of %s above the test", module))
		dir = up
	}
}
