package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An integrator's first minutes: a module of his own, which finds this clone, the README's commands, the README's two functions. What the README
// shows is taken from the README, and compiled as it stands there.
func TestReadmeForAnImporter(t *testing.T) {
	clone, err := filepath.Abs("../..")
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(clone, "README.md"))
	require.NoError(t, err)
	readme := string(b)
	commands := regexp.MustCompile("(?s)```\n(go mod edit .*?)```").FindStringSubmatch(readme)
	require.Len(t, commands, 2, "the commands that take semio into a module")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	require.NotEmpty(t, blocks)

	source := "package main\n\nimport (\n"
	code := ""
	for _, block := range blocks {
		code += "\n" + block[1]
	}
	for _, path := range []string{
		"context", "crypto/x509",
		"github.com/semio-iot/semio/appgw", "github.com/semio-iot/semio/devicegw", "github.com/semio-iot/semio/identity",
		"github.com/semio-iot/semio/keyvault", "github.com/semio-iot/semio/puf",
	} {
		if name := path[strings.LastIndexByte(path, '/')+1:]; strings.Contains(code, name+".") {
			source += "\t\"" + path + "\"\n"
		}
	}
	source += ")\n" + code + `
func measure(ctx context.Context, gw *devicegw.Gateway) {
	_, _ = gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte("21.5 °C")})
}

func main() { _, _ = runDevice, runApplication }
`
	module := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(module, "main.go"), []byte(source), 0o644))
	lines := "go mod init example.com/backend\n" + strings.ReplaceAll(commands[1], "../semio", clone) + "go vet .\n"
	for line := range strings.Lines(lines) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", line, out)
	}
}
