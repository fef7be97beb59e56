package systemtest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/semio-iot/semio/"

// keys are types that are a key or may be one.
var keys = []string{
	"crypto.Signer", "crypto.Decapsulator", "crypto/ecdh.KeyExchanger", "crypto/ecdh.PrivateKey", "crypto/ecdsa.PrivateKey", "crypto/tls.Certificate",
	"crypto/tls.Config", "crypto/mlkem.DecapsulationKey768", "crypto/cipher.AEAD", "internal/secret.Bytes", "internal/secret.Opaque",
	"devicegw.Root", "appgw.Locker", "keyvault.Sealer",
}

// keyHolders reads the source of every public package and returns the exported structs that hold a key, or hold what holds one.
func keyHolders(t *testing.T) []string {
	t.Helper()
	mentions := map[string][]string{} // of structs, by their full names
	require.NoError(t, filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || name == "examples" || strings.HasPrefix(name, ".") && p != "../..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel("../..", filepath.Dir(p))
		if err != nil {
			return err
		}
		structs(f, filepath.ToSlash(pkg), mentions)
		return nil
	}))
	holds := map[string]bool{}
	for _, k := range keys {
		holds[k] = true
	}
	for grown := true; grown; {
		grown = false
		for name, types := range mentions {
			if !holds[name] && slices.ContainsFunc(types, func(x string) bool { return holds[x] }) {
				holds[name], grown = true, true
			}
		}
	}
	var found []string
	for name := range mentions {
		pkg, short := path.Split(strings.Replace(name, ".", "/", 1))
		if holds[name] && ast.IsExported(short) && !strings.Contains("/"+pkg, "/internal/") && !strings.HasSuffix(pkg, "test/") {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// structs notes which types the structs of a file name in their fields.
func structs(f *ast.File, pkg string, mentions map[string][]string) {
	imports := map[string]string{}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		imports[name] = strings.TrimPrefix(p, module)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			spec, ok := s.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if _, ok := spec.Type.(*ast.StructType); !ok {
				continue
			}
			name := pkg + "." + spec.Name.Name
			mentions[name] = append(mentions[name], "") // also those without fields
			ast.Inspect(spec.Type, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncType:
					return false // nothing prints what a function keeps or returns
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok {
						mentions[name] = append(mentions[name], imports[x.Name]+"."+n.Sel.Name)
					}
					return false
				case *ast.Field:
					ast.Inspect(n.Type, func(m ast.Node) bool {
						if id, ok := m.(*ast.Ident); ok {
							mentions[name] = append(mentions[name], pkg+"."+id.Name)
						}
						_, fn := m.(*ast.FuncType)
						return !fn
					})
				}
				return true
			})
		}
	}
}
