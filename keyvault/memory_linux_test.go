package keyvault_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/secret"
	"github.com/semio-iot/semio/keyvault"
)

const memoryChild = "SEMIO_KEYVAULT_MEMORY_CHILD"

// After Close the root key is nowhere in the process's memory, nor is the reading that it came from. A child process opens a
// vault and stops twice, before and after Close; its parent, which knows the secrets from elsewhere, looks through all that the
// child can write to. Before Close it must find the key, or the search would prove nothing.
func TestMemoryAfterClose(t *testing.T) {
	if dir := os.Getenv(memoryChild); dir != "" {
		holdVault(t, dir)
		return
	}
	if underRace {
		t.Skip("the race detector keeps copies of its own")
	}
	var vectors struct {
		Enrolments []struct {
			Response, Helper string
			RootKey          string `json:"root_key"`
		}
	}
	b, err := os.ReadFile("../fuzzy/testdata/vectors.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &vectors))
	e := vectors.Enrolments[0]

	secretOf := bytes.Repeat([]byte("a secret of 32 bytes or more. "), 2)
	prk, err := hkdf.Extract(sha256.New, secretOf, []byte("semio-keyvault/1 root secret"))
	require.NoError(t, err)

	for name, c := range map[string]struct {
		files map[string][]byte
		key   []byte
		other map[string][]byte
	}{
		"chip":   {map[string][]byte{"reading": unhex(t, e.Response), "helper": unhex(t, e.Helper)}, unhex(t, e.RootKey), pieces("reading", unhex(t, e.Response))},
		"secret": {map[string][]byte{"secret": secretOf}, prk, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for name, b := range c.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
			}
			self, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestMemoryAfterClose$")
			cmd.Env = append(os.Environ(), memoryChild+"="+dir)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
			lines := bufio.NewScanner(out)
			until := func(want string) {
				for lines.Scan() {
					if lines.Text() == want {
						return
					}
				}
				require.FailNow(t, "the child ended before it was "+want)
			}
			key := forms("root key", c.key)

			until("open")
			require.NotEmpty(t, find(t, cmd.Process.Pid, key), "the search must find the key while the vault is open")
			_, err = io.WriteString(in, "\n")
			require.NoError(t, err)
			until("closed")
			require.Empty(t, find(t, cmd.Process.Pid, c.other))
			if !secret.Erases {
				t.Skip("temporary copies of the root key are erased only in programs built with GOEXPERIMENT=runtimesecret: run this test so")
			}
			require.Empty(t, find(t, cmd.Process.Pid, key))
		})
	}
}

// forms are the ways in which a key of 32 bytes may lie in memory: as bytes, and as the words that a hash works with, which on a
// little-endian machine are reversed. Halves, since the other half may have been overwritten.
func forms(name string, key []byte) map[string][]byte {
	words := make([]byte, len(key))
	for i := 0; i < len(key); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(key[i:]))
	}
	inner, outer := bytes.Clone(key), bytes.Clone(key) // the pads of HMAC
	for i := range key {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	m := map[string][]byte{}
	for form, b := range map[string][]byte{"": key, " as words": words, " in HMAC's inner pad": inner, " in HMAC's outer pad": outer} {
		m[name+form+", first half"], m[name+form+", second half"] = b[:16], b[16:]
	}
	return m
}

func pieces(name string, b []byte) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i+32 <= len(b); i += 128 {
		m[fmt.Sprintf("%s at %d", name, i)] = b[i : i+32]
	}
	return m
}

// find returns where the needles are in what the process can write to.
func find(t *testing.T, pid int, needles map[string][]byte) (found []string) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skipf("this system lets no process read another's memory: %v", err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") {
			continue
		}
		// Reserved memory that was never touched reads as zero, and page by page it costs nothing.
		b := make([]byte, 1<<20)
		for at := from; at < to; at += uint64(len(b)) - 64 {
			n, _ := mem.ReadAt(b[:min(uint64(len(b)), to-at)], int64(at))
			for name, needle := range needles {
				if i := bytes.Index(b[:n], needle); i >= 0 {
					found = append(found, fmt.Sprintf("%s (%s) in %s", name, hex.EncodeToString(needle[:4]), strings.TrimSpace(line)))
				}
			}
			if to-at <= uint64(len(b)) {
				break
			}
		}
	}
	return found
}

// holdVault is the child.
func holdVault(t *testing.T, dir string) {
	v := openFrom(t, dir)
	for range 3 {
		digest := sha256.Sum256([]byte("message"))
		_, err := v.Signer().Sign(nil, digest[:], crypto.SHA256)
		require.NoError(t, err)
		blob, err := v.Lock("label", []byte("hello"))
		require.NoError(t, err)
		_, err = v.Unlock("label", blob)
		require.NoError(t, err)
		_, err = v.Derive("label", nil, 32)
		require.NoError(t, err)
	}
	fmt.Println("\nopen")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, v.Close())
	runtime.GC() // finds what is unreachable
	runtime.GC() // and has swept it
	fmt.Println("\nclosed")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func openFrom(t *testing.T, dir string) *keyvault.Vault {
	if f, err := os.Open(filepath.Join(dir, "secret")); err == nil {
		defer f.Close()
		b := make([]byte, 60)
		defer clear(b)
		_, err := io.ReadFull(f, b)
		require.NoError(t, err)
		v, err := keyvault.FromSecret(b, newMemory(), "sealed")
		require.NoError(t, err)
		return v
	}
	store := newMemory()
	helper, err := os.ReadFile(filepath.Join(dir, "helper"))
	require.NoError(t, err)
	store.values[keyvault.DefaultName] = helper
	v, err := keyvault.Open(context.Background(), cells(filepath.Join(dir, "reading")), store, nil)
	require.NoError(t, err)
	return v
}

// cells is a source that leaves no copy of its reading but the caller's, as one over memory does.
type cells string

func (c cells) Size() int { return 1024 }

func (c cells) Measure(_ context.Context, dst []byte) error {
	f, err := os.Open(string(c))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.ReadFull(f, dst); err != nil {
		return err
	}
	return nil
}
