package devicegw_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
	"github.com/semio-iot/semio/internal/control"
)

// The factory's program is cut at every operation and run again from its beginning: one name, one key, one sticker, one
// registration, and a device that opens.
func TestProducePowerCut(t *testing.T) {
	w := newWorld(t) // for its CA and platform
	ctx := t.Context()
	w.fs = newFS()
	run := func(fsys *crashfs.FS) (devicegw.Registration, identity.Sticker) {
		nvm := openCrash(t, fsys)
		p, err := devicegw.Produce(ctx, w.root, nvm, w.id)
		require.NoError(t, err)
		chain, err := w.ca.Issue(p.CSR(), issueOptions)
		require.NoError(t, err)
		reg, err := p.Endorse(chain, w.ca.roots())
		require.NoError(t, err)
		require.NoError(t, p.Complete(ctx, w.admitted, devicegw.ProduceOptions{}))
		require.True(t, p.Completed())
		return reg, p.Sticker()
	}
	reg, sticker := run(w.fs)
	require.True(t, sticker.HasClaim())
	n := 0
	for c := range w.fs.Crashes() {
		if n++; n%2 != 0 {
			continue
		}
		again, label := run(c.FS)
		require.Equal(t, reg.Device, again.Device, "%v", c)
		require.Equal(t, reg.ClaimKey, again.ClaimKey, "%v", c)
		require.Equal(t, reg.Credential, again.Credential, "%v", c)
		require.Equal(t, sticker.Encode(), label.Encode(), "%v", c)
		cfg := w.config()
		cfg.NVM = openCrash(t, c.FS)
		gw, err := devicegw.Open(ctx, cfg)
		require.NoError(t, err, "%v", c)
		require.Equal(t, w.id, gw.ID())
	}
	require.Greater(t, n, 50)
}

func TestProduceRefuses(t *testing.T) {
	w := newWorld(t) // a device that is produced
	ctx := t.Context()
	foreign := newAuthority(t, "Another CA")
	begin := func(t *testing.T, seed string) *devicegw.Production {
		p, err := devicegw.Produce(ctx, keyRoot(seed), openCrash(t, newFS()), w.id)
		require.NoError(t, err)
		require.False(t, p.Completed())
		return p
	}
	chainOf := func(t *testing.T, a *authority, p *devicegw.Production) [][]byte {
		chain, err := a.Issue(p.CSR(), issueOptions)
		require.NoError(t, err)
		return chain
	}

	t.Run("arguments", func(t *testing.T) {
		for _, c := range []struct {
			root devicegw.Root
			nvm  devicegw.NVM
			id   identity.DeviceID
		}{{nil, w.nvm(), w.id}, {w.root, nil, w.id}, {w.root, w.nvm(), identity.DeviceID{}}} {
			_, err := devicegw.Produce(ctx, c.root, c.nvm, c.id)
			require.Error(t, err)
		}
	})
	t.Run("a second name", func(t *testing.T) {
		_, err := devicegw.Produce(ctx, w.root, w.nvm(), deviceID(t, "D-2002"))
		require.ErrorIs(t, err, devicegw.ErrProduced)
		nvm := openCrash(t, newFS())
		_, err = devicegw.Produce(ctx, w.root, nvm, w.id)
		require.NoError(t, err)
		_, err = devicegw.Produce(ctx, w.root, nvm, deviceID(t, "D-2002"))
		require.ErrorIs(t, err, devicegw.ErrProduced, "also before it is complete")
	})
	t.Run("memory of another chip", func(t *testing.T) {
		_, err := devicegw.Produce(ctx, keyRoot("another chip"), w.nvm(), w.id)
		require.ErrorIs(t, err, devicegw.ErrWrongRoot)
	})
	t.Run("produced already", func(t *testing.T) {
		p, err := devicegw.Produce(ctx, w.root, w.nvm(), w.id)
		require.NoError(t, err)
		require.True(t, p.Completed())
		require.Equal(t, w.sticker.Encode(), p.Sticker().Encode())
		require.NoError(t, p.Complete(ctx, w.admitted, devicegw.ProduceOptions{}))
		require.ErrorIs(t, p.Complete(ctx, w.admitted, devicegw.ProduceOptions{NoPSK: true}), devicegw.ErrProduced, "the claim code was switched off later")
		require.ErrorIs(t, p.Complete(ctx, w.admission(w.ca.party(t, "P-OTHER"), w.device), devicegw.ProduceOptions{}), devicegw.ErrProduced)
		second := newAuthority(t, "Second CA")
		_, err = p.Endorse(chainOf(t, second, p), second.roots())
		require.ErrorIs(t, err, devicegw.ErrProduced)
	})
	t.Run("endorse", func(t *testing.T) {
		p, other := begin(t, "chip 2"), begin(t, "chip 3")
		good := chainOf(t, foreign, p)
		id2 := deviceID(t, "D-2002")
		csr, err := identity.NewCSR(keyRoot("chip 2").Signer(), id2.ID, identity.CSROptions{HelperHash: keyRoot("chip 2").HelperHash()})
		require.NoError(t, err)
		another := newAuthority(t, "Third CA")
		otherName, err := another.Issue(csr, issueOptions)
		require.NoError(t, err)
		csr, err = identity.NewCSR(keyRoot("chip 2").Signer(), w.id.ID, identity.CSROptions{HelperHash: [32]byte{1}})
		require.NoError(t, err)
		fourth := newAuthority(t, "Fourth CA")
		otherHelper, err := fourth.Issue(csr, issueOptions)
		require.NoError(t, err)
		for name, c := range map[string]struct {
			chain [][]byte
			roots []*x509.Certificate
			want  error
		}{
			"no certificate":              {nil, foreign.roots(), nil},
			"no root":                     {good, nil, nil},
			"not a certificate":           {[][]byte{[]byte("rubbish")}, foreign.roots(), nil},
			"a root that did not sign":    {good, newAuthority(t, "Other").roots(), identity.ErrUntrusted},
			"another device's":            {chainOf(t, newAuthority(t, "Fifth CA"), other), foreign.roots(), nil},
			"of another name":             {otherName, another.roots(), devicegw.ErrNotOurs},
			"for other helper data":       {otherHelper, fourth.roots(), devicegw.ErrNotOurs},
			"a root that is nil":          {good, []*x509.Certificate{nil}, nil},
			"more roots than are pinned":  {good, append(foreign.roots(), make([]*x509.Certificate, 8)...), nil},
			"chain with a second copy":    {append(good, good[0]), foreign.roots(), nil},
			"an application's, as device": {foreign.party(t, "A-FIRST").credential.Chain, foreign.roots(), nil},
		} {
			_, err := p.Endorse(c.chain, c.roots)
			require.Error(t, err, name)
			if c.want != nil {
				require.ErrorIs(t, err, c.want, name)
			}
		}
		require.Error(t, p.Complete(ctx, w.admitted, devicegw.ProduceOptions{}), "without a certificate")
		_, err = p.Endorse(good, foreign.roots())
		require.NoError(t, err, "after all refusals")
	})
	t.Run("admission", func(t *testing.T) {
		p := begin(t, "chip 4")
		fifth := newAuthority(t, "Fifth CA")
		reg, err := p.Endorse(chainOf(t, fifth, p), fifth.roots())
		require.NoError(t, err)
		device, err := fifth.verifier.Verify(reg.Credential, identity.RoleDevice)
		require.NoError(t, err)
		platform := fifth.party(t, "P-TEST")
		good := w.admission(platform, device)
		forged := bytes.Clone(good)
		forged[len(forged)-1] ^= 1
		app := fifth.party(t, "A-FIRST")
		wrongSigner, err := control.Admission{
			Peer: device.ID(), CertificateHash: device.CertificateHash(), Binding: w.binding, Platform: platform.credential,
		}.Sign(app.signer)
		require.NoError(t, err)
		for name, admission := range map[string][]byte{
			"none":                     nil,
			"rubbish":                  []byte("rubbish"),
			"forged":                   forged,
			"cut":                      good[:len(good)-1],
			"lengthened":               append(bytes.Clone(good), 0),
			"of another authority":     w.admission(w.platform, device),
			"for another device":       w.admission(platform, w.device),
			"by an application":        w.admission(app, device),
			"signed by somebody else":  wrongSigner,
			"for the device as it was": w.admitted,
		} {
			require.Error(t, p.Complete(ctx, admission, devicegw.ProduceOptions{}), name)
			require.False(t, p.Completed(), name)
		}
		require.NoError(t, p.Complete(ctx, good, devicegw.ProduceOptions{}))
	})
	t.Run("full memory", func(t *testing.T) {
		fsys := newFS()
		nvm := openCrash(t, fsys)
		fsys.Fail(func(int, string) error { return syscall.ENOSPC })
		_, err := devicegw.Produce(ctx, w.root, nvm, w.id)
		var storage *devicegw.StorageError
		require.ErrorAs(t, err, &storage)
		fsys.Fail(nil)
		_, err = devicegw.Produce(ctx, w.root, nvm, w.id)
		require.NoError(t, err)
	})
}

// Nothing that is printed or logged has the claim code or what follows from it.
func TestSecretsDoNotPrint(t *testing.T) {
	w := newWorld(t)
	p, err := devicegw.Produce(t.Context(), w.root, w.nvm(), w.id)
	require.NoError(t, err)
	gw, err := devicegw.Open(t.Context(), w.config())
	require.NoError(t, err)
	code, err := w.root.Derive("claim code", []byte(w.id.String()), identity.ClaimCodeSize)
	require.NoError(t, err)
	psk, err := w.sticker.Claim.PSK(w.id)
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "production", p, "sticker", p.Sticker(), "status", gw.Status())
	for _, v := range []any{p, p.Sticker(), gw, gw.Status(), w.config()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			fmt.Fprintf(&log, verb, v)
		}
	}
	for _, secret := range [][]byte{code, psk.Bytes()} {
		for _, form := range []string{"%s", "%x", "%X", "%v", "%q"} {
			require.NotContains(t, log.String(), fmt.Sprintf(form, secret))
		}
	}
	label := p.Sticker().Encode()
	require.NotContains(t, log.String(), label)
}
