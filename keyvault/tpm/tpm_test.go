//go:build linux

package tpm_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/keyvault/tpm"
)

var errBroken = errors.New("wire broken")

func TestIsARootOfTrust(t *testing.T) {
	one, two := newMachine(t), newMachine(t)
	roottest.TestRoot(t, func(t *testing.T) roottest.Harness {
		store, otherStore := newMemory(), newMemory()
		enroll(t, one, store, nil)
		enroll(t, two, otherStore, nil)
		return roottest.Harness{
			Open:  func(t *testing.T) devicegw.Root { return open(t, one, store, nil) },
			Other: func(t *testing.T) devicegw.Root { return open(t, two, otherStore, nil) },
		}
	})
}

// An enrolled vault and one opened after a power cut are the same.
func TestSameKeysAfterReboot(t *testing.T) {
	for name, o := range map[string]*tpm.Options{"default": nil, "policy and name": {PCRs: []int{0, 7}, Name: "other"}} {
		t.Run(name, func(t *testing.T) {
			m, store := newMachine(t), newMemory()
			v := enroll(t, m, store, o)
			require.Len(t, store.values, 1)
			want, err := v.Derive("label", nil, 32)
			require.NoError(t, err)
			blob, err := v.Lock("label", []byte("kept"))
			require.NoError(t, err)
			for range 2 {
				m.reboot(t)
				again := open(t, m, store, o)
				got, err := again.Derive("label", nil, 32)
				require.NoError(t, err)
				require.Equal(t, want, got)
				require.Equal(t, v.Signer().Public(), again.Signer().Public())
				require.Equal(t, v.KeyExchanger().PublicKey(), again.KeyExchanger().PublicKey())
				plain, err := again.Unlock("label", blob)
				require.NoError(t, err)
				require.Equal(t, "kept", string(plain))
				require.Equal(t, [32]byte{}, again.HelperHash())
			}
		})
	}
}

// Two enrolments on one TPM, as after Destroy, have different keys.
func TestEveryEnrolmentIsNew(t *testing.T) {
	m := newMachine(t)
	one, two := enroll(t, m, newMemory(), nil), enroll(t, m, newMemory(), nil)
	require.NotEqual(t, one.Signer().Public(), two.Signer().Public())
}

func TestAnotherTPMIsRefused(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	store, otherStore := newMemory(), newMemory()
	enroll(t, m, store, nil)
	enroll(t, other, otherStore, nil)
	record, foreign := store.values[tpm.DefaultName], otherStore.values[tpm.DefaultName]
	refused(t, other, record, tpm.ErrWrongTPM)
	refused(t, m, foreign, tpm.ErrWrongTPM)

	// The name of the other TPM's key, forged in, does not help.
	copy(record[8:40], foreign[8:40])
	refused(t, other, record, tpm.ErrMalformed)
}

func TestClearedTPMIsAnother(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, store, nil)
	_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(m)
	require.NoError(t, err)
	refused(t, m, store.values[tpm.DefaultName], tpm.ErrWrongTPM)
}

func TestChangedRecordIsRefused(t *testing.T) {
	m := newMachine(t)
	for name, o := range map[string]*tpm.Options{"no policy": nil, "policy": {PCRs: []int{0, 7}}} {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			enroll(t, m, store, o)
			record := store.values[tpm.DefaultName]
			for i := range record {
				changed := bytes.Clone(record)
				changed[i] ^= 1 << (i % 8)
				want := []error{tpm.ErrMalformed}
				switch {
				case i >= 5 && i < 8: // other PCRs than those of the policy
					want = append(want, tpm.ErrPolicy)
				case i >= 8 && i < 40:
					want = []error{tpm.ErrWrongTPM}
				}
				refused(t, m, changed, want...)
			}
			for n := range record {
				refused(t, m, record[:n], tpm.ErrMalformed)
			}
			refused(t, m, append(bytes.Clone(record), 0), tpm.ErrMalformed)
			open(t, m, store, nil) // none of that did harm
		})
	}
}

// The halves of two records of one TPM do not fit together.
func TestMixedRecordsAreRefused(t *testing.T) {
	m, one, two := newMachine(t), newMemory(), newMemory()
	enroll(t, m, one, nil)
	enroll(t, m, two, nil)
	a, b := one.values[tpm.DefaultName], two.values[tpm.DefaultName]
	require.Len(t, b, len(a))
	const public = 42 + 46
	refused(t, m, append(bytes.Clone(a[:public]), b[public:]...), tpm.ErrMalformed)
}

// Who seals something of another size under the storage key, which everybody can who has the TPM, gets no vault for it.
func TestSecretOfAnotherSizeIsRefused(t *testing.T) {
	m := newMachine(t)
	for _, size := range []int{1, 31, 33, 64} {
		record, err := tpm.Seal(m, bytes.Repeat([]byte{1, 2}, size)[:size])
		require.NoError(t, err)
		refused(t, m, record, tpm.ErrMalformed)
	}
}

// Neither in the store nor on the bus is anything of the secret, while the TPM does give it to the host.
func TestSecretDoesNotShow(t *testing.T) {
	m := newMachine(t)
	var record, secret []byte
	for _, o := range []*tpm.Options{{PCRs: []int{7}}, nil} {
		m.reset()
		store := newMemory()
		v := enroll(t, m, store, o)
		enrolling := bytes.Clone(m.traffic.Bytes())
		m.reset()
		open(t, m, store, nil)
		opening := bytes.Clone(m.traffic.Bytes())
		record = store.values[tpm.DefaultName]
		var err error
		secret, err = tpm.Unseal(m, record)
		require.NoError(t, err)
		require.Len(t, secret, 32)
		again, err := keyvault.FromSecret(secret, store, tpm.DefaultName)
		require.NoError(t, err)
		require.Equal(t, v.Signer().Public(), again.Signer().Public(), "the test must know the right secret")

		for what, b := range map[string][]byte{"store": record, "bus at enrolment": enrolling, "bus at opening": opening} {
			require.Greater(t, len(b), 200, what)
			for i := 0; i+4 <= len(secret); i++ {
				require.False(t, bytes.Contains(b, secret[i:i+4]), "part of the secret in the %s", what)
			}
		}
	}

	// The ear is good: a session without encryption would have been heard.
	m.reset()
	srk, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(m)
	require.NoError(t, err)
	object, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](record[42:88]),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: record[90:]},
	}.Execute(m)
	require.NoError(t, err)
	_, err = tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: object.ObjectHandle, Name: object.Name, Auth: tpm2.PasswordAuth(nil)}}.Execute(m)
	require.NoError(t, err)
	require.True(t, bytes.Contains(m.traffic.Bytes(), secret))
}

func TestEnrolledOnce(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, store, nil)
	before := bytes.Clone(store.values[tpm.DefaultName])
	for _, damage := range []bool{false, true} {
		if damage {
			before = []byte("rubbish")
			store.values[tpm.DefaultName] = before
		}
		m.reset()
		v, err := tpm.Enroll(t.Context(), m, store, nil)
		require.ErrorIs(t, err, tpm.ErrEnrolled)
		require.Nil(t, v)
		require.Zero(t, m.commands)
		require.Equal(t, before, store.values[tpm.DefaultName])
	}
	enroll(t, m, store, &tpm.Options{Name: "second"})
}

func TestDestroy(t *testing.T) {
	m, store := newMachine(t), newMemory()
	v := enroll(t, m, store, nil)
	record := store.values[tpm.DefaultName]
	require.NoError(t, v.Destroy(t.Context()))
	require.Empty(t, store.values)
	_, err := v.Derive("label", nil, 32)
	require.ErrorIs(t, err, keyvault.ErrClosed)
	again, err := tpm.Open(t.Context(), m, store, nil)
	require.ErrorIs(t, err, tpm.ErrNotEnrolled)
	require.Nil(t, again)
	// What the package doc warns of.
	open(t, m, &memory{values: map[string][]byte{tpm.DefaultName: record}}, nil)
}

func TestArguments(t *testing.T) {
	m := newMachine(t)
	for name, o := range map[string]tpm.Options{
		"negative PCR":             {PCRs: []int{-1}},
		"PCR 24":                   {PCRs: []int{0, 24}},
		"handle that is transient": {StorageKey: 0x80000001},
		"handle of a hierarchy":    {StorageKey: 0x40000001},
		"handle beyond":            {StorageKey: 0x82000000},
	} {
		t.Run(name, func(t *testing.T) {
			m.reset()
			_, err := tpm.Enroll(t.Context(), m, newMemory(), &o)
			require.ErrorIs(t, err, keyvault.ErrArgument)
			_, err = tpm.Open(t.Context(), m, newMemory(), &o)
			require.ErrorIs(t, err, keyvault.ErrArgument)
			require.Zero(t, m.commands)
		})
	}
}

func TestStoreFails(t *testing.T) {
	m := newMachine(t)
	failing := func(op string) *memory {
		s := newMemory()
		s.fail = func(o string) error { return map[string]error{op: errBroken}[o] }
		return s
	}
	forgetful, spoiling := newMemory(), newMemory()
	forgetful.forget, spoiling.spoil = true, true
	for name, c := range map[string]struct {
		store *memory
		want  error
	}{
		"get": {failing("get"), errBroken}, "put": {failing("put"), errBroken},
		"forgets": {forgetful, keyvault.ErrStore}, "spoils": {spoiling, keyvault.ErrStore},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := tpm.Enroll(t.Context(), m, c.store, nil)
			require.ErrorIs(t, err, c.want)
			require.Nil(t, v)
		})
	}
	v, err := tpm.Open(t.Context(), m, failing("get"), nil)
	require.ErrorIs(t, err, errBroken)
	require.NotErrorIs(t, err, tpm.ErrNotEnrolled)
	require.Nil(t, v)
}

// Whichever command fails, nothing is stored and no slot of the TPM (three for objects, three for sessions) is lost for good.
func TestEveryCommandCanFail(t *testing.T) {
	m, store := newMachine(t), newMemory()
	m.reset()
	enroll(t, m, store, &tpm.Options{PCRs: []int{0}})
	atEnrolment := m.commands
	m.reset()
	open(t, m, store, nil)
	atOpening := m.commands
	record := store.values[tpm.DefaultName]

	for _, do := range []struct {
		name  string
		total int
		run   func(s *memory) (*keyvault.Vault, error)
	}{
		{"enroll", atEnrolment, func(s *memory) (*keyvault.Vault, error) {
			delete(s.values, tpm.DefaultName)
			return tpm.Enroll(context.Background(), m, s, &tpm.Options{PCRs: []int{0}})
		}},
		{"open", atOpening, func(s *memory) (*keyvault.Vault, error) { return tpm.Open(context.Background(), m, s, nil) }},
	} {
		t.Run(do.name, func(t *testing.T) {
			failed := 0
			for n := 1; n <= do.total; n++ {
				s := &memory{values: map[string][]byte{tpm.DefaultName: bytes.Clone(record)}}
				m.reset()
				m.fail = func(i int) error {
					if i == n {
						return errBroken
					}
					return nil
				}
				v, err := do.run(s)
				// The last ones free slots: what fails there did its work.
				if err == nil {
					require.NoError(t, v.Close())
				} else {
					failed++
					require.ErrorIs(t, err, errBroken, "command %d", n)
					require.Nil(t, v)
					require.True(t, do.name == "open" || len(s.values) == 0, "command %d: something was stored", n)
				}
				m.reset()
				m.reboot(t)
			}
			require.GreaterOrEqual(t, failed, do.total-4)
		})
	}
}

func TestNoSlotIsLost(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, store, &tpm.Options{PCRs: []int{23}})
	extend(t, m, 23)
	for range 8 {
		refused(t, m, store.values[tpm.DefaultName], tpm.ErrPolicy)
	}
	for range 8 {
		enroll(t, m, newMemory(), nil)
	}
}

// Each response, with one bit changed on the bus, gives the right keys or none.
func TestChangedResponses(t *testing.T) {
	m, store := newMachine(t), newMemory()
	want := enroll(t, m, store, nil).Signer().Public()
	m.reset()
	open(t, m, store, nil)
	accepted := 0
	for n, total := 1, m.commands; n <= total; n++ {
		for _, at := range []int{-1, -20, -40} {
			m.reset()
			m.spoil = func(i int, response []byte) []byte {
				if i == n && len(response)+at > 10 {
					response[len(response)+at] ^= 1
				}
				return response
			}
			v, err := tpm.Open(t.Context(), m, store, nil)
			if err == nil {
				accepted++
				require.Equal(t, want, v.Signer().Public(), "response %d, byte %d from its end", n, -at)
			}
			m.reboot(t)
		}
	}
	t.Logf("%d of %d changes did not matter", accepted, 3*m.commands)
}

// A TPM that gives another secret back than it was given is found out before anything is stored.
func TestUnprovedIsNotStored(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, newMemory(), nil)
	last := m.commands - 2 // before two slots are freed: Unseal
	m.reset()
	m.spoil = func(i int, response []byte) []byte {
		if i == last {
			response[len(response)-1] ^= 1
		}
		return response
	}
	v, err := tpm.Enroll(t.Context(), m, store, nil)
	require.ErrorIs(t, err, tpm.ErrUnproved)
	require.Nil(t, v)
	require.Empty(t, store.values)
}

func TestContext(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, store, nil)
	ctx, cancel := context.WithCancel(t.Context())
	m.reset()
	m.fail = func(n int) error {
		if n == 2 {
			cancel()
		}
		return nil
	}
	v, err := tpm.Open(ctx, m, store, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, v)
	require.LessOrEqual(t, m.commands, 3, "the command under way, and one that frees the key's slot")
	m.reset()
	_, err = tpm.Enroll(ctx, m, newMemory(), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, m.commands)
}
