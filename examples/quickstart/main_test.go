package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf"
)

// buffer is an io.Writer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// recorder keeps the readings of a chip, which are as secret as the key that they give.
type recorder struct {
	puf.Source
	mu       sync.Mutex
	readings [][]byte
}

func (r *recorder) Measure(ctx context.Context, dst []byte) error {
	err := r.Source.Measure(ctx, dst)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings = append(r.readings, bytes.Clone(dst))
	return err
}

// String is what was written until now: mochi's event loop says goodbye after its server has closed.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The whole story, and then a search for every plaintext and every key through all that the platform stored, logged and saw on the wire, and
// through what devices and applications left in their files.
func TestNothingSecretIsStoredLoggedOrSeen(t *testing.T) {
	chips, err := openChips("")
	require.NoError(t, err)
	var recorders []*recorder
	for i := range chips {
		r := &recorder{Source: chips[i].Source}
		chips[i].Source = r
		recorders = append(recorders, r)
	}
	dir := t.TempDir()
	var out, logs buffer
	told, ctx := newTeller(t.Context(), &out)
	s := newStage(dir, slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})), told)
	err = s.play(ctx, chips)
	s.close()
	require.NoError(t, err, "%s\n%s", out.String(), logs.String())
	require.Contains(t, out.String(), "Summary")

	// Where to look. The broker's observer sees every publication before encryption of the transport.
	haystacks := map[string][]byte{"log": []byte(logs.String())}
	for _, p := range s.wire.since(0, "") {
		haystacks["wire"] = append(append(haystacks["wire"], p.topic...), p.payload...)
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		haystacks[path], err = os.ReadFile(path)
		return err
	}))
	require.NotEmpty(t, haystacks["wire"])
	require.Contains(t, haystacks, filepath.Join(dir, "registry.db"))
	require.Contains(t, haystacks, filepath.Join(dir, "A-WATER.db"))

	// What to look for. That the search would find it is tried on values that are there and may be.
	secrets := map[string][]byte{}
	for _, text := range []string{"°C", "open valve", "close valve", "valve is open", "valve is closed"} {
		secrets["plaintext "+text] = []byte(text)
	}
	for i, d := range s.devices {
		psk, err := d.sticker.Claim.PSK(d.id)
		require.NoError(t, err)
		secrets["psk of "+d.id.String()] = psk.Bytes()
		proof, err := d.sticker.Claim.ProofKey(d.id)
		require.NoError(t, err)
		if key, ok := proof.(*ecdsa.PrivateKey); ok {
			raw, err := key.Bytes()
			require.NoError(t, err)
			secrets["claim proof key of "+d.id.String()] = raw
		}
		code := strings.Split(d.sticker.Encode(), ":")[2]
		secrets["claim code of "+d.id.String()] = []byte(code)
		require.NotEmpty(t, recorders[i].readings)
		for _, reading := range recorders[i].readings {
			// Any 16 bytes in a row would be 128 bits of the secret; looking at each 64th place keeps the search short.
			for at := 0; at+16 <= len(reading); at += 64 {
				secrets["SRAM of "+d.id.String()+" at "+hex.EncodeToString(reading[at:at+4])] = reading[at : at+16]
			}
		}
	}
	for _, p := range append([]party{s.registrar, s.me}, s.apps[0].party, s.apps[1].party) {
		raw, err := p.signer.Bytes()
		require.NoError(t, err)
		secrets["signing key of "+p.id.String()] = raw
		secrets["agreement key of "+p.id.String()] = p.agreement.Bytes()
	}
	for _, a := range s.apps {
		secrets["store key of "+a.id.String()] = a.storeKey
	}
	for name, secret := range secrets {
		require.GreaterOrEqual(t, len(secret), 3, name)
		for where, haystack := range haystacks {
			for form, needle := range map[string][]byte{
				"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "base64": []byte(base64.StdEncoding.EncodeToString(secret)),
			} {
				require.False(t, bytes.Contains(haystack, needle), "%s (%s) is in %s", name, form, where)
			}
		}
	}
	for where, known := range map[string]string{
		"wire": "D-THERMO-1", "log": "device registered", filepath.Join(dir, "registry.db"): "D-THERMO-1",
	} {
		require.True(t, bytes.Contains(haystacks[where], []byte(known)), "the search finds %q in %s", known, where)
	}
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":           {[]string{"-h"}, 0, "-sram folder"},
		"unknown flag":   {[]string{"-x"}, 2, "-x"},
		"argument":       {[]string{"now"}, 2, `unexpected argument "now"`},
		"no such folder": {[]string{"-sram", filepath.Join(t.TempDir(), "none")}, 2, "no such file"},
		"no dumps":       {[]string{"-sram", t.TempDir()}, 2, "make one for each chip"},
		"used folder":    {[]string{"-keep", "."}, 2, "not empty"},
		"a file":         {[]string{"-keep", "main.go"}, 2, "folder to keep"},
		"no name":        {[]string{"-sram", ""}, 2, "flag -sram wants the name of a folder"},
		"no keep name":   {[]string{"-keep", ""}, 2, "flag -keep wants the name of a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, err bytes.Buffer
			require.Equal(t, c.code, run(t.Context(), c.args, &out, &err))
			require.Contains(t, err.String(), c.says)
		})
	}
}

// The same on real silicon.
func TestRunOnRealDumps(t *testing.T) {
	dir := os.Getenv("SEMIO_SRAM")
	if dir == "" {
		t.Skip("set SEMIO_SRAM to a folder of power-up dumps, for example of github.com/TimothyClaeys/SramAnalyzer: a sub-folder a chip")
	}
	keep := filepath.Join(t.TempDir(), "kept")
	var out, err bytes.Buffer
	require.Equal(t, 0, run(t.Context(), []string{"-sram", dir, "-keep", keep}, &out, &err), "%s\n%s", out.String(), err.String())
	require.FileExists(t, filepath.Join(keep, "registry.db"))
	require.Contains(t, out.String(), "Kept in "+keep)
}
