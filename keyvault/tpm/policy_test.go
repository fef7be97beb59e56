//go:build linux

package tpm_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/keyvault/tpm"
)

// extend is a boot step that was measured.
func extend(t testing.TB, m *machine, pcr uint32) {
	t.Helper()
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{7}, 32)},
		}},
	}.Execute(m)
	require.NoError(t, err)
}

func TestPolicy(t *testing.T) {
	m, store := newMachine(t), newMemory()
	// Nine, more than a TPM reads out at once.
	o := &tpm.Options{PCRs: []int{9, 0, 1, 2, 3, 4, 5, 7, 8, 9}}
	extend(t, m, 8)
	public := enroll(t, m, store, o).Signer().Public()
	record := store.values[tpm.DefaultName]

	extend(t, m, 10) // not among them
	require.Equal(t, public, open(t, m, store, nil).Signer().Public())
	for _, pcr := range []uint32{0, 9} {
		m.reboot(t)
		refused(t, m, record, tpm.ErrPolicy)
		extend(t, m, 8)
		require.Equal(t, public, open(t, m, store, nil).Signer().Public())
		extend(t, m, pcr)
		refused(t, m, record, tpm.ErrPolicy)
	}
}

// No change of the record gets around the policy.
func TestPolicyCannotBeTakenOff(t *testing.T) {
	m, store := newMachine(t), newMemory()
	enroll(t, m, store, &tpm.Options{PCRs: []int{16}})
	extend(t, m, 16)
	record := store.values[tpm.DefaultName]
	refused(t, m, record, tpm.ErrPolicy)

	mask := bytes.Clone(record)
	clear(mask[5:8])
	refused(t, m, mask, tpm.ErrMalformed)

	other := bytes.Clone(record)
	other[5], other[7] = 1, 0
	refused(t, m, other, tpm.ErrPolicy)

	// A well-formed public area without policy around the same private one.
	plain := newMemory()
	enroll(t, m, plain, nil)
	without := bytes.Clone(plain.values[tpm.DefaultName][:42+46])
	copy(without[42+46-32:], record[42+78-32:42+78]) // its unique value
	refused(t, m, append(without, record[42+78:]...), tpm.ErrMalformed)

	// The policy of today's PCRs around the same private one.
	today := newMemory()
	enroll(t, m, today, &tpm.Options{PCRs: []int{16}})
	now := bytes.Clone(record)
	copy(now[42+10:42+42], today.values[tpm.DefaultName][42+10:42+42])
	refused(t, m, now, tpm.ErrMalformed)
}

// A TPM leaves PCRs out that it does not have, and a policy of none would admit everybody.
func TestPolicyWithoutItsPCRs(t *testing.T) {
	m := newMachine(t)
	// TPM2_PCR_Allocate with the platform's empty password: no SHA-256, all of SHA-384.
	command, err := hex.DecodeString("80020000002b" + "0000012b" + "4000000c" + "00000009" + "400000090000000000" +
		"00000002" + "000b03000000" + "000c03ffffff")
	require.NoError(t, err)
	response, err := m.Send(command)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0, 0}, response[6:10])
	require.Equal(t, byte(1), response[14], "allocated")
	m.reboot(t)

	store := newMemory()
	v, err := tpm.Enroll(t.Context(), m, store, &tpm.Options{PCRs: []int{7}})
	require.ErrorIs(t, err, keyvault.ErrArgument)
	require.Nil(t, v)
	require.Empty(t, store.values)
	enroll(t, m, store, nil)
}
