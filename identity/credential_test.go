package identity_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestCredentialRoundTrip(t *testing.T) {
	for name, c := range map[string]identity.Credential{
		"smallest": {Chain: [][]byte{{1}}},
		"endorsed": {Chain: [][]byte{{1, 2, 3}}, Endorsement: []byte{4}},
		"four":     {Chain: [][]byte{{1}, {2}, {3}, bytes.Repeat([]byte{4}, 8192)}, Endorsement: make([]byte, 256)},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := c.Marshal()
			require.NoError(t, err)
			got, err := identity.ParseCredential(b)
			require.NoError(t, err)
			require.Equal(t, c, got)
			clear(b)
			require.Equal(t, c, got, "it shares memory with its source")
		})
	}
}

func TestCredentialLayout(t *testing.T) {
	b, err := identity.Credential{Chain: [][]byte{{0xa1, 0xa2}, {0xb1}}, Endorsement: []byte{0xe1, 0xe2}}.Marshal()
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 0, 2, 0xa1, 0xa2, 0, 1, 0xb1, 0, 2, 0xe1, 0xe2}, b)
}

func TestCredentialRefused(t *testing.T) {
	good := []byte{1, 2, 0, 2, 0xa1, 0xa2, 0, 1, 0xb1, 0, 2, 0xe1, 0xe2}
	_, err := identity.ParseCredential(good)
	require.NoError(t, err)
	for i := range good {
		_, err := identity.ParseCredential(good[:i])
		require.ErrorIs(t, err, identity.ErrCredential, "cut at %d", i)
	}
	for name, b := range map[string][]byte{
		"version 0":         {0, 1, 0, 1, 9, 0, 0},
		"version 2":         {2, 1, 0, 1, 9, 0, 0},
		"no certificate":    {1, 0, 0, 0},
		"five certificates": {1, 5, 0, 1, 9, 0, 1, 9, 0, 1, 9, 0, 1, 9, 0, 1, 9, 0, 0},
		"empty certificate": {1, 1, 0, 0, 0, 0},
		"length runs over":  {1, 1, 0xff, 0xff, 9, 0, 0},
		"trailing":          append(bytes.Clone(good), 0),
		"long endorsement":  append([]byte{1, 1, 0, 1, 9, 1, 1}, make([]byte, 257)...),
		"long certificate":  append(append([]byte{1, 1, 0x20, 1}, make([]byte, 8193)...), 0, 0),
		"too long":          make([]byte, identity.MaxCredential+1),
	} {
		_, err := identity.ParseCredential(b)
		require.ErrorIs(t, err, identity.ErrCredential, name)
	}
	big := make([]byte, 8192)
	for name, c := range map[string]identity.Credential{
		"empty":             {},
		"five certificates": {Chain: [][]byte{{1}, {1}, {1}, {1}, {1}}},
		"empty certificate": {Chain: [][]byte{{}}},
		"long certificate":  {Chain: [][]byte{append(big, 0)}},
		"long endorsement":  {Chain: [][]byte{{1}}, Endorsement: make([]byte, 257)},
		"too long":          {Chain: [][]byte{big, big}},
	} {
		_, err := c.Marshal()
		require.ErrorIs(t, err, identity.ErrCredential, name)
	}
}

func FuzzParseCredential(f *testing.F) {
	p := newPKI(f)
	v := p.verifier(f)
	c, _, _ := p.peer(f, "D-1")
	b, err := c.Marshal()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{1, 2, 0, 2, 0xa1, 0xa2, 0, 1, 0xb1, 0, 2, 0xe1, 0xe2})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := identity.ParseCredential(b)
		if err != nil {
			require.ErrorIs(t, err, identity.ErrCredential)
			return
		}
		back, err := got.Marshal()
		require.NoError(t, err)
		require.Equal(t, b, back, "two encodings of one credential")
		if peer, err := v.Verify(got, 0); err == nil {
			require.Equal(t, "D-1", peer.ID().String())
		}
	})
}
