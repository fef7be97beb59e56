package main

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
)

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
	var out, logs clitest.Buffer // mochi's event loop says goodbye after its server has closed
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
		code := strings.Split(d.sticker.Encode(), ":")[2]
		secrets["claim code of "+d.id.String()] = []byte(code)
		secrets["claim code of "+d.id.String()+", bytes"] = codeBytes(code)
		secrets["claim proof key of "+d.id.String()] = claimProofKey(t, d, codeBytes(code))
		require.NotEmpty(t, recorders[i].readings)
		if i < 2 { // the third has been wiped, helper data and all
			for what, key := range chipKeys(t, d, recorders[i].readings[0]) {
				secrets[what+" of "+d.id.String()] = key
			}
		}
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

// codeBytes reads a claim code as it is printed.
func codeBytes(code string) []byte {
	n := new(big.Int)
	for _, c := range code {
		n.Add(n.Lsh(n, 5), big.NewInt(int64(strings.IndexRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c))))
	}
	return n.FillBytes(make([]byte, identity.ClaimCodeSize))
}

// claimProofKey derives the key that the claim code seeds as docs/identity.md says, for package identity does not show it.
func claimProofKey(t *testing.T, d *device, code []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, code, []byte(d.id.String()))
	require.NoError(t, err)
	raw, err := hkdf.Expand(sha256.New, prk, "semio-identity/1 claim\x00", 32)
	require.NoError(t, err)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	require.NoError(t, err)
	proof, err := d.sticker.Claim.ProofKey(d.id)
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(proof.Public()))
	return raw
}

// chipKeys derives the two keys of a device from a reading, past the vault, which does not show them.
func chipKeys(t *testing.T, d *device, reading []byte) map[string][]byte {
	nvm, err := devicegw.OpenFileNVM(d.flash)
	require.NoError(t, err)
	raw, err := nvm.Get(t.Context(), keyvault.DefaultName)
	require.NoError(t, err)
	helper, err := fuzzy.ParseHelperData(raw)
	require.NoError(t, err)
	root, _, err := fuzzy.Reconstruct(reading, helper)
	require.NoError(t, err)
	signing, err := root.Derive("semio-keyvault/1 signing key", []byte{0}, 32)
	require.NoError(t, err)
	agreement, err := root.Derive("semio-keyvault/1 agreement key", []byte{0}, 32)
	require.NoError(t, err)
	s, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), signing)
	require.NoError(t, err)
	require.True(t, s.PublicKey.Equal(d.vault.Signer().Public()))
	a, err := ecdh.P256().NewPrivateKey(agreement)
	require.NoError(t, err)
	require.True(t, a.PublicKey().Equal(d.vault.KeyExchanger().PublicKey()))
	return map[string][]byte{"signing key": signing, "agreement key": agreement}
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
