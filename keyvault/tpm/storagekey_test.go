//go:build linux

package tpm_test

import (
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault/tpm"
)

const handle = 0x81000001

// persist makes a primary key of a template and keeps it in the TPM.
func persist(t testing.TB, m *machine, template tpm2.TPMTPublic) {
	t.Helper()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	key, err := tpm2.CreatePrimary{PrimaryHandle: owner, InPublic: tpm2.New2B(template)}.Execute(m)
	require.NoError(t, err)
	_, err = tpm2.EvictControl{
		Auth:             owner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: key.ObjectHandle, Name: key.Name},
		PersistentHandle: handle,
	}.Execute(m)
	require.NoError(t, err)
	_, err = tpm2.FlushContext{FlushHandle: key.ObjectHandle}.Execute(m)
	require.NoError(t, err)
}

func TestPersistentStorageKey(t *testing.T) {
	for name, template := range map[string]tpm2.TPMTPublic{"ECC": tpm2.ECCSRKTemplate, "RSA": tpm2.RSASRKTemplate} {
		t.Run(name, func(t *testing.T) {
			m, store, o := newMachine(t), newMemory(), &tpm.Options{StorageKey: handle}
			persist(t, m, template)
			public := enroll(t, m, store, o).Signer().Public()
			m.reboot(t)
			require.Equal(t, public, open(t, m, store, o).Signer().Public())
			if name == "ECC" { // the template's key is the persistent one
				require.Equal(t, public, open(t, m, store, nil).Signer().Public())
			} else {
				refused(t, m, store.values[tpm.DefaultName], tpm.ErrWrongTPM)
			}
		})
	}
}

// An owner password keeps the key of the template out of reach, and not a persistent one.
func TestOwnerPassword(t *testing.T) {
	m, store := newMachine(t), newMemory()
	public := enroll(t, m, store, nil).Signer().Public()
	persist(t, m, tpm2.ECCSRKTemplate)
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("password")},
	}.Execute(m)
	require.NoError(t, err)
	refused(t, m, store.values[tpm.DefaultName], tpm.ErrStorageKey)
	_, err = tpm.Enroll(t.Context(), m, newMemory(), nil)
	require.ErrorIs(t, err, tpm.ErrStorageKey)
	require.Equal(t, public, open(t, m, store, &tpm.Options{StorageKey: handle}).Signer().Public())
}

func TestStorageKeyRefused(t *testing.T) {
	signing := tpm2.ECCSRKTemplate
	signing.ObjectAttributes.Restricted, signing.ObjectAttributes.Decrypt, signing.ObjectAttributes.SignEncrypt = false, false, true
	signing.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
	portable := tpm2.ECCSRKTemplate
	portable.ObjectAttributes.FixedTPM, portable.ObjectAttributes.FixedParent = false, false
	for name, template := range map[string]*tpm2.TPMTPublic{"none there": nil, "it signs": &signing, "it can be duplicated": &portable} {
		t.Run(name, func(t *testing.T) {
			m, store := newMachine(t), newMemory()
			if template != nil {
				persist(t, m, *template)
			}
			v, err := tpm.Enroll(t.Context(), m, store, &tpm.Options{StorageKey: handle})
			require.ErrorIs(t, err, tpm.ErrStorageKey)
			require.Nil(t, v)
			require.Empty(t, store.values)
		})
	}
}
