package ca_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

func TestStores(t *testing.T) {
	file, err := ca.OpenFileStore(t.TempDir() + "/a/b")
	require.NoError(t, err)
	for name, s := range map[string]ca.Store{"memory": &ca.MemStore{}, "file": file} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Get("peer-D-1")
			require.ErrorIs(t, err, fs.ErrNotExist)
			v := []byte("one")
			require.NoError(t, s.Put("peer-D-1", v))
			require.NoError(t, s.Put("peer-D-2", []byte("two")))
			clear(v)
			got, err := s.Get("peer-D-1")
			require.NoError(t, err)
			require.Equal(t, "one", string(got))
			clear(got)
			require.NoError(t, s.Put("peer-D-2", []byte("three")))
			got, err = s.Get("peer-D-1")
			require.NoError(t, err)
			require.Equal(t, "one", string(got))
			got, err = s.Get("peer-D-2")
			require.NoError(t, err)
			require.Equal(t, "three", string(got))
		})
	}
	for _, name := range []string{"", "../x", "a/b", "a.b", "a b", string(bytes.Repeat([]byte("a"), 81))} {
		require.Error(t, file.Put(name, nil), "%q", name)
		_, err := file.Get(name)
		require.Error(t, err)
		require.NotErrorIs(t, err, fs.ErrNotExist, "%q", name)
	}
}

func TestReopen(t *testing.T) {
	dir, signer, k := t.TempDir(), newKey(t), newKey(t)
	open := func(name string) (*ca.Authority, error) {
		s, err := ca.OpenFileStore(dir)
		require.NoError(t, err)
		return ca.New(ca.Config{Name: name, Signer: signer, Store: s})
	}
	a, err := open("root")
	require.NoError(t, err)
	chain, err := a.Issue(newCSR(t, k, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	_, err = a.Issue(newCSR(t, newKey(t), "D-2", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	crl, err := a.Revoke(parseID(t, "D-2"))
	require.NoError(t, err)

	b, err := open("root")
	require.NoError(t, err)
	require.Equal(t, a.Certificate().Raw, b.Certificate().Raw)
	again, err := b.Issue(newCSR(t, k, "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	require.Equal(t, chain, again)
	_, err = b.Issue(newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.ErrorIs(t, err, ca.ErrOtherKey)
	got, err := b.CRL()
	require.NoError(t, err)
	require.Equal(t, crl, got)

	_, err = open("another name")
	require.ErrorIs(t, err, ca.ErrStore)
	signer = newKey(t)
	_, err = open("root")
	require.ErrorIs(t, err, ca.ErrStore)
}

func TestNewRefuses(t *testing.T) {
	k := newKey(t)
	for name, cfg := range map[string]ca.Config{
		"no signer":         {Name: "r", Store: &ca.MemStore{}},
		"no store":          {Name: "r", Signer: k},
		"no name":           {Signer: k, Store: &ca.MemStore{}},
		"long name":         {Name: string(bytes.Repeat([]byte("a"), 65)), Signer: k, Store: &ca.MemStore{}},
		"negative validity": {Name: "r", Signer: k, Store: &ca.MemStore{}, CRLValidity: -1},
	} {
		_, err := ca.New(cfg)
		require.Error(t, err, name)
	}
}

// What was written to the store by somebody else is not believed.
// A store without the authority's own record that is not empty: a new authority in it would forget what the last one has revoked.
func TestStoreOfAnother(t *testing.T) {
	for _, record := range []string{"root", "crl"} {
		store := &ca.MemStore{}
		require.NoError(t, store.Put(record, []byte{1}))
		for name, open := range map[string]func(ca.Config) (*ca.Authority, error){"new": ca.New, "roll-over": ca.RollOver} {
			_, err := open(ca.Config{Name: "test root", Signer: newKey(t), Store: store})
			require.ErrorIs(t, err, ca.ErrStore, name)
			require.ErrorContains(t, err, "earlier format", name)
		}
		_, err := store.Get("authority")
		require.ErrorIs(t, err, fs.ErrNotExist)
	}

	// The record of the authority is lost, its lists are there.
	store, lost, key := &ca.MemStore{}, &ca.MemStore{}, newKey(t)
	a := newCA(t, ca.Config{Store: store, Signer: key})
	peer(t, a, newKey(t), "D-1")
	_, err := a.Revoke(parseID(t, "D-1"))
	require.NoError(t, err)
	id := identity.AuthorityOf(a.Certificate())
	record := "crl-" + hex.EncodeToString(id[:])
	list, err := store.Get(record)
	require.NoError(t, err)
	require.NoError(t, lost.Put(record, list))
	_, err = ca.New(ca.Config{Name: "test root", Signer: key, Store: lost})
	require.ErrorIs(t, err, ca.ErrStore)
	kept, err := lost.Get(record)
	require.NoError(t, err)
	require.Equal(t, list, kept)
}

func TestDamagedStore(t *testing.T) {
	signer, stranger := newKey(t), newKey(t)
	foreignStore := &ca.MemStore{}
	foreign := newCA(t, ca.Config{Name: "root", Signer: stranger, Store: foreignStore})
	foreignSelf, err := foreignStore.Get("authority")
	require.NoError(t, err)
	foreignChain, err := foreign.Issue(newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.IssueOptions{})
	require.NoError(t, err)
	foreignCRL, err := foreign.CRL()
	require.NoError(t, err)
	record := append([]byte{1, byte(len(foreignChain[0]) >> 8), byte(len(foreignChain[0]))}, foreignChain[0]...)
	for name, d := range map[string]struct {
		record string
		value  []byte
	}{
		"foreign list": {"crl", foreignCRL}, "list of zeros": {"crl", make([]byte, 100)}, "empty list": {"crl", nil},
		"foreign root": {"authority", foreignSelf}, "root of zeros": {"authority", make([]byte, 100)}, "no root": {"authority", []byte{1}},
		"torn root": {"authority", foreignSelf[:len(foreignSelf)-2]}, "empty root": {"authority", nil},
		"foreign certificate": {"peer-D-1", record}, "empty record": {"peer-D-1", nil}, "no certificate": {"peer-D-1", []byte{1}},
		"later version": {"peer-D-1", []byte{2, 0, 0}}, "torn record": {"peer-D-1", []byte{1, 9, 9, 1}}, "no DER": {"peer-D-1", []byte{1, 0, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &ca.MemStore{}
			cfg := ca.Config{Name: "root", Signer: signer, Store: s}
			a, err := ca.New(cfg)
			require.NoError(t, err)
			if d.record == "crl" {
				d.record = listRecord(a.Certificate())
			}
			require.NoError(t, s.Put(d.record, d.value))
			a, err = ca.New(cfg)
			if err == nil {
				_, err = a.Issue(newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.IssueOptions{})
			}
			require.ErrorIs(t, err, ca.ErrStore)
		})
	}
	t.Run("list lost", func(t *testing.T) {
		s := &forgetful{lose: "crl-"}
		_, err := ca.New(ca.Config{Name: "root", Signer: signer, Store: s})
		require.NoError(t, err)
		_, err = ca.New(ca.Config{Name: "root", Signer: signer, Store: s})
		require.ErrorIs(t, err, ca.ErrStore, "the numbers may not begin again at 1")
	})
}

func listRecord(c *x509.Certificate) string {
	id := identity.AuthorityOf(c)
	return "crl-" + hex.EncodeToString(id[:])
}

type forgetful struct {
	ca.MemStore
	lose string
}

func (s *forgetful) Put(name string, value []byte) error {
	if strings.HasPrefix(name, s.lose) {
		return nil
	}
	return s.MemStore.Put(name, value)
}

// A power cut at every operation of the file system: what was handed out before it is known after it, list numbers do not go back,
// and the authority goes on.
func TestPowerCut(t *testing.T) {
	const dir = "/ca"
	fsys, signer := crashfs.New(), newKey(t)
	open := func(f *crashfs.FS) *ca.Authority {
		t.Helper()
		s, err := ca.OpenStoreOn(f, dir)
		require.NoError(t, err)
		a, err := ca.New(ca.Config{Name: "root", Signer: signer, Store: s})
		require.NoError(t, err)
		return a
	}
	type promise struct {
		ops   int
		check func(t *testing.T, a *ca.Authority)
	}
	var promises []promise
	k1, k2 := newKey(t), newKey(t)
	csr1, csr2 := newCSR(t, k1, "D-1", identity.CSROptions{}), newCSR(t, k2, "D-2", identity.CSROptions{})

	a := open(fsys)
	root := a.Certificate().Raw
	promises = append(promises, promise{fsys.Ops(), func(t *testing.T, b *ca.Authority) { require.Equal(t, root, b.Certificate().Raw) }})
	chain, err := a.Issue(csr1, ca.IssueOptions{})
	require.NoError(t, err)
	promises = append(promises, promise{fsys.Ops(), func(t *testing.T, b *ca.Authority) {
		_, err := b.Issue(newCSR(t, newKey(t), "D-1", identity.CSROptions{}), ca.IssueOptions{})
		require.Error(t, err, "a second key for D-1")
	}})
	_, err = a.Issue(csr2, ca.IssueOptions{})
	require.NoError(t, err)
	var crls [][]byte
	for _, id := range []string{"D-1", "D-2"} {
		crl, err := a.Revoke(parseID(t, id))
		require.NoError(t, err)
		crls = append(crls, crl)
		promises = append(promises, promise{fsys.Ops(), func(t *testing.T, b *ca.Authority) {
			now, err := b.CRL()
			require.NoError(t, err)
			v := verifier(t, b)
			require.NoError(t, v.AddCRL(crl))
			require.NoError(t, v.AddCRL(now), "a list that was handed out has a higher number")
		}})
	}

	n := 0
	for c := range fsys.Crashes() {
		n++
		b := open(c.FS)
		for _, p := range promises {
			if c.After >= p.ops {
				p.check(t, b)
			}
		}
		// It goes on: the request that was under way is repeated, unless the name was revoked by then.
		again, err := b.Issue(csr1, ca.IssueOptions{})
		if errors.Is(err, ca.ErrRevoked) {
			continue
		}
		require.NoError(t, err, c)
		if c.After >= promises[1].ops {
			require.Equal(t, chain, again, c)
		}
		crl, err := b.Revoke(parseID(t, "D-1"))
		require.NoError(t, err, c)
		v := verifier(t, b)
		require.NoError(t, v.AddCRL(crl))
		require.True(t, v.Revoked(parse(t, again[0])), c)
	}
	require.Greater(t, n, 50)
	require.Len(t, crls, 2)
}

// A store that fails at the nth write: nothing is handed out that the store does not know.
func TestFailingStore(t *testing.T) {
	signer, k := newKey(t), newKey(t)
	csr := newCSR(t, k, "D-1", identity.CSROptions{})
	failed := 0
	for n := range 6 {
		s := &failing{at: n}
		cfg := ca.Config{Name: "root", Signer: signer, Store: s}
		a, err := ca.New(cfg)
		if err != nil {
			require.ErrorIs(t, err, errWrite)
			failed++
			a, err = ca.New(cfg)
			require.NoError(t, err)
		}
		chain, err := a.Issue(csr, ca.IssueOptions{})
		if err != nil {
			require.ErrorIs(t, err, errWrite)
			require.Nil(t, chain)
			failed++
			_, err = a.Issue(csr, ca.IssueOptions{})
			require.NoError(t, err)
		}
		crl, err := a.Revoke(parseID(t, "D-1"))
		if err != nil {
			require.ErrorIs(t, err, errWrite)
			require.Nil(t, crl)
			failed++
			_, err = a.Revoke(parseID(t, "D-1"))
			require.NoError(t, err)
		}
		_, err = a.Issue(csr, ca.IssueOptions{})
		require.ErrorIs(t, err, ca.ErrRevoked)
	}
	require.Equal(t, 5, failed, "two writes of New, two of Issue, one of Revoke")
}

var errWrite = errors.New("write failed")

type failing struct {
	ca.MemStore
	at, n int
}

func (s *failing) Put(name string, value []byte) error {
	s.n++
	if s.n-1 == s.at {
		return errWrite
	}
	return s.MemStore.Put(name, value)
}

func TestConcurrentIssue(t *testing.T) {
	a := newCA(t, ca.Config{})
	var wg sync.WaitGroup
	granted := make(chan []byte, 8)
	for range 8 {
		csr := newCSR(t, newKey(t), "D-1", identity.CSROptions{})
		wg.Go(func() {
			if chain, err := a.Issue(csr, ca.IssueOptions{}); err == nil {
				granted <- chain[0]
			}
			_, _ = a.CRL()
		})
	}
	wg.Wait()
	require.Len(t, granted, 1, "eight keys asked for one device")
	var _ *x509.Certificate = parse(t, <-granted)
}
