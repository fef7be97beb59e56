package e2e_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

// Expand computes HMAC(PRK, T(i-1) ‖ info ‖ counter). Where the PRK is also the salt of an Extract, which computes HMAC(PRK,
// 32 or 64 bytes), no such input may have one of these lengths; we hold all uses to it.
func TestExpandInputLengths(t *testing.T) {
	for _, u := range e2e.LabelTable {
		info := len(u.Label) + u.Context
		for done, block := 0, 0; done < u.Length; done, block = done+32, block+1 {
			input := info + 1
			if block > 0 {
				input += 32
			}
			require.NotContains(t, []int{32, 64}, input, "block %d of %q", block, u.Label)
		}
	}
}

// The table holds every label of the source, each label stands in one place, and labels.go is that place.
func TestLabelsStandInOneTable(t *testing.T) {
	want := append([]string{}, e2e.HashLabels...)
	for _, u := range e2e.LabelTable {
		want = append(want, u.Label)
	}
	seen := map[string]string{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			if strings.HasPrefix(s, "semio") {
				require.Empty(t, seen[s], "%q stands twice", s)
				seen[s] = name
			}
			return true
		})
	}
	var got []string
	for label, name := range seen {
		require.Equal(t, "labels.go", name, label)
		require.True(t, strings.HasPrefix(label, "semio-e2e/1 "), label)
		for other := range seen {
			require.False(t, other != label && strings.HasPrefix(other, label), "%q begins %q", label, other)
		}
		got = append(got, label)
	}
	require.ElementsMatch(t, want, got)
}
