package cahttp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

func request(t *testing.T, k *ecdsa.PrivateKey, name string) []byte {
	der, err := identity.NewCSR(k, id(t, name), identity.CSROptions{})
	require.NoError(t, err)
	return der
}

// Whoever has the key gets the certificate anew, with a certificate that has ended or with none at all.
func TestRenewAndRekey(t *testing.T) {
	w := newWorldAt(t, time.Now().Add(-5*365*24*time.Hour))
	old, next := newKey(t), newKey(t)
	csr := request(t, old, "A-WATER")
	first, err := w.authority.Issue(csr, ca.IssueOptions{Validity: time.Hour})
	require.NoError(t, err)
	dev := request(t, newKey(t), "D-1")
	devChain, err := w.authority.Issue(dev, ca.IssueOptions{})
	require.NoError(t, err)
	w.now = time.Now
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: w.roots})
	require.NoError(t, err)
	verify := func(chain [][]byte) error {
		leaf, err := x509.ParseCertificate(chain[0])
		require.NoError(t, err)
		_, err = v.VerifyChain([]*x509.Certificate{leaf})
		return err
	}
	require.ErrorIs(t, verify(first), identity.ErrExpired)

	anybody := w.client(nil)
	second, err := anybody.Renew(t.Context(), csr)
	require.NoError(t, err)
	require.NoError(t, verify(second))
	again, err := anybody.Renew(t.Context(), dev)
	require.NoError(t, err)
	require.Equal(t, devChain, again, "a device's has no expiry, so it stays")

	to, err := identity.NewRekey(old, request(t, next, "A-WATER"))
	require.NoError(t, err)
	third, err := anybody.Rekey(t.Context(), to)
	require.NoError(t, err)
	require.NoError(t, verify(third))

	stranger, err := identity.NewRekey(newKey(t), request(t, newKey(t), "A-WATER"))
	require.NoError(t, err)
	forDevice := append([]byte{1, byte(len(dev) >> 8), byte(len(dev))}, append(dev, 0)...)
	_, err = w.authority.Revoke(id(t, "D-1"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		ask  func() ([][]byte, error)
		want error
	}{
		"never certified":        {func() ([][]byte, error) { return anybody.Renew(t.Context(), request(t, old, "A-NEW")) }, ca.ErrUnknown},
		"another key":            {func() ([][]byte, error) { return anybody.Renew(t.Context(), request(t, newKey(t), "A-WATER")) }, ca.ErrOtherKey},
		"the replaced key":       {func() ([][]byte, error) { return anybody.Renew(t.Context(), csr) }, ca.ErrOtherKey},
		"revoked":                {func() ([][]byte, error) { return anybody.Renew(t.Context(), dev) }, ca.ErrRevoked},
		"junk":                   {func() ([][]byte, error) { return anybody.Renew(t.Context(), []byte("junk")) }, identity.ErrCSR},
		"rekey by a stranger":    {func() ([][]byte, error) { return anybody.Rekey(t.Context(), stranger) }, identity.ErrSignature},
		"rekey without vouching": {func() ([][]byte, error) { return anybody.Rekey(t.Context(), csr) }, identity.ErrCSR},
		"rekey of a device":      {func() ([][]byte, error) { return anybody.Rekey(t.Context(), forDevice) }, identity.ErrRole},
	} {
		_, err := c.ask()
		require.ErrorIs(t, err, c.want, name)
	}
}

// Who is no platform gets so much and no more, with or without certificate; a platform is not held up by that.
func TestRequestsOfOthersAreBounded(t *testing.T) {
	w := newWorld(t)
	platform := w.party("P-GOOD")
	csr := platform.Request()
	known := w.client(platform)
	for name, who := range map[string]*cahttp.Client{"anybody": w.client(nil), "an application": w.client(w.party("A-WATER"))} {
		busy := 0
		for range 20 * cahttp.AddressBurst {
			if _, err := who.Renew(t.Context(), csr); err != nil {
				require.ErrorIs(t, err, cahttp.ErrBusy, name)
				busy++
				break
			}
		}
		require.Positive(t, busy, name)
	}
	for range 2 * cahttp.AddressBurst {
		_, err := known.Renew(t.Context(), csr)
		require.NoError(t, err)
	}
	patient, err := cahttp.NewClient(cahttp.ClientConfig{URL: w.url, Roots: w.roots, Patience: time.Minute})
	require.NoError(t, err)
	_, err = patient.Renew(t.Context(), csr)
	require.NoError(t, err)
}

func TestAddresses(t *testing.T) {
	var a cahttp.Addresses
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for range cahttp.AddressBurst {
		require.True(t, a.TakeAt("192.0.2.1:1", now))
	}
	require.False(t, a.TakeAt("192.0.2.1:2", now), "another port is the same address")
	require.False(t, a.TakeAt("[::ffff:192.0.2.1]:2", now), "so is the other notation")
	require.True(t, a.TakeAt("192.0.2.2:1", now))
	require.True(t, a.TakeAt("192.0.2.1:1", now.Add(cahttp.AddressEvery)))
	require.False(t, a.TakeAt("192.0.2.1:1", now.Add(cahttp.AddressEvery)))
	for i := range cahttp.AddressBurst {
		require.True(t, a.TakeAt(fmt.Sprintf("[2001:db8::%x]:1", i+1), now))
	}
	require.False(t, a.TakeAt("[2001:db8::ffff]:1", now), "the same subscriber")
	require.True(t, a.TakeAt("[2001:db8:1::1]:1", now))

	// Addresses without end take neither memory nor more than their share.
	granted := 0
	for i := range 3 * cahttp.MaxAddresses {
		if a.TakeAt(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256), now) {
			granted++
		}
	}
	require.LessOrEqual(t, a.Known(), cahttp.MaxAddresses)
	require.Less(t, granted, cahttp.MaxAddresses+cahttp.AddressBurst)
	require.True(t, a.TakeAt("172.16.0.1:1", now.Add(time.Hour)))
	require.Less(t, a.Known(), 10, "those with their whole allowance are forgotten")
}
