package registry_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/platform/registry"
)

func TestRecordsSurviveStorage(t *testing.T) {
	w, d, a, _ := newWorld(t)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	w.sendAll(d)
	w.do(registry.Disconnect{App: a, Device: d, Binding: b1, Request: r2, Evidence: ev})
	next := registry.Successor{Credential: device(d).Credential, CertificateHash: [32]byte{2}, Generation: 1}
	w.do(registry.Offered{Peer: d.ID, Next: next})
	w.do(registry.Offered{Peer: a.ID, Next: next})
	rec := w.device(d)
	raw, err := rec.Marshal()
	require.NoError(t, err)
	got, err := registry.ParseDevice(raw)
	require.NoError(t, err)
	require.Equal(t, rec, got)

	for i := range raw {
		_, err := registry.ParseDevice(raw[:i])
		require.ErrorIs(t, err, registry.ErrRecord)
	}
	_, err = registry.ParseDevice(append(raw, 0))
	require.ErrorIs(t, err, registry.ErrRecord)
	_, err = registry.ParseApplication(raw)
	require.ErrorIs(t, err, registry.ErrRecord)

	ar, _ := w.s.Application(a)
	raw, err = ar.Marshal()
	require.NoError(t, err)
	gotApp, err := registry.ParseApplication(raw)
	require.NoError(t, err)
	require.Equal(t, ar, gotApp)
	for i := range raw {
		_, err := registry.ParseApplication(raw[:i])
		require.ErrorIs(t, err, registry.ErrRecord)
	}
}

// A record that parses has one encoding, so no two records can be taken for each other.
func FuzzParseDevice(f *testing.F) {
	w, d, a, _ := newWorld(f)
	w.do(registry.Connect{App: a, Device: d, Binding: b1, Request: r1, Evidence: ev})
	raw, err := w.device(d).Marshal()
	require.NoError(f, err)
	f.Add(raw)
	w.do(registry.Offered{Peer: d.ID, Next: registry.Successor{Credential: device(d).Credential, CertificateHash: [32]byte{2}, Generation: 1}})
	raw, err = w.device(d).Marshal()
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := registry.ParseDevice(b)
		if err != nil {
			return
		}
		again, err := d.Marshal()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func FuzzParseApplication(f *testing.F) {
	w, _, a, _ := newWorld(f)
	rec, _ := w.s.Application(a)
	raw, err := rec.Marshal()
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := registry.ParseApplication(b)
		if err != nil {
			return
		}
		again, err := a.Marshal()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}
