package keyvault_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

// regions are two windows of one chip.
func regions(seed uint64) (first, second puf.Source) {
	c := pufsim.New(seed, pufsim.Config{Size: 2048})
	return puf.Window(c, 0, 1024), puf.Window(c, 1024, 1024)
}

var another = &keyvault.Options{Name: "helper-2"}

func TestReenrollIsAnotherDevice(t *testing.T) {
	first, second := regions(1)
	store := newMemory()
	v, err := keyvault.Enroll(t.Context(), first, store, nil)
	require.NoError(t, err)
	old := store.values[keyvault.DefaultName]
	blob, err := v.Lock("label", []byte("secret"))
	require.NoError(t, err)

	again, err := keyvault.Reenroll(t.Context(), second, store, keyvault.DefaultName, another)
	require.NoError(t, err)
	require.NotEqual(t, v.Signer().Public(), again.Signer().Public())
	_, err = again.Unlock("label", blob)
	require.ErrorIs(t, err, keyvault.ErrUnlock, "what was locked is lost")

	_, err = keyvault.Open(t.Context(), first, store, nil)
	require.ErrorIs(t, err, keyvault.ErrUsedUp)
	_, err = keyvault.Enroll(t.Context(), first, store, nil)
	require.ErrorIs(t, err, keyvault.ErrEnrolled, "the region stays used up")
	reopened, err := keyvault.Open(t.Context(), second, store, another)
	require.NoError(t, err)
	require.Equal(t, again.Signer().Public(), reopened.Signer().Public())
	_, err = keyvault.Reenroll(t.Context(), second, store, keyvault.DefaultName, another)
	require.ErrorIs(t, err, keyvault.ErrUsedUp)
	require.False(t, bytes.Contains(store.values[keyvault.DefaultName], old[:64]))
}

func TestReenrollRefuses(t *testing.T) {
	first, second := regions(1)
	foreign, _ := regions(2)
	fresh := func() *memory {
		store := newMemory()
		_, err := keyvault.Enroll(t.Context(), first, store, nil)
		require.NoError(t, err)
		return store
	}
	store := fresh()
	_, err := keyvault.Reenroll(t.Context(), first, store, keyvault.DefaultName, another)
	require.ErrorIs(t, err, keyvault.ErrSameRegion)
	require.Len(t, store.values, 1)
	for _, old := range []string{"", "helper-2"} {
		_, err = keyvault.Reenroll(t.Context(), second, store, old, another)
		require.ErrorIs(t, err, keyvault.ErrArgument)
	}
	_, err = keyvault.Reenroll(t.Context(), second, store, "never", another)
	require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
	store.values["helper-2"] = store.values[keyvault.DefaultName]
	_, err = keyvault.Reenroll(t.Context(), foreign, store, keyvault.DefaultName, another)
	require.ErrorIs(t, err, keyvault.ErrEnrolled, "an enrolment of something else")
	_, err = keyvault.Open(t.Context(), first, store, nil)
	require.NoError(t, err, "the old one still stands")
}

// The power goes after each write of it: the device is the old one or the new one, and a second call ends what the first began.
func TestReenrollGoesOn(t *testing.T) {
	for puts := range 3 {
		first, second := regions(1)
		store := newMemory()
		v, err := keyvault.Enroll(t.Context(), first, store, nil)
		require.NoError(t, err)
		left := puts
		store.fail = func(op, _ string) error {
			if op != "put" {
				return nil
			}
			if left == 0 {
				return errBroken
			}
			left--
			return nil
		}
		if _, err = keyvault.Reenroll(t.Context(), second, store, keyvault.DefaultName, another); puts < 2 {
			require.ErrorIs(t, err, errBroken)
			store.fail = nil
			still, err := keyvault.Open(t.Context(), first, store, nil)
			require.NoError(t, err)
			require.Equal(t, v.Signer().Public(), still.Signer().Public())
			_, err = keyvault.Reenroll(t.Context(), second, store, keyvault.DefaultName, another)
			require.NoError(t, err)
		} else {
			require.NoError(t, err)
		}
		store.fail = nil
		_, err = keyvault.Open(t.Context(), first, store, nil)
		require.ErrorIs(t, err, keyvault.ErrUsedUp)
		_, err = keyvault.Open(t.Context(), second, store, another)
		require.NoError(t, err)
	}
}
