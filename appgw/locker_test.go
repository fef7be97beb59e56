package appgw_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
)

func TestLocker(t *testing.T) {
	key := bytes.Repeat([]byte{3}, appgw.LockerKeySize)
	l, err := appgw.NewLocker(key)
	require.NoError(t, err)
	locked, err := l.Lock("out/1", []byte("secret"))
	require.NoError(t, err)
	again, err := l.Lock("out/1", []byte("secret"))
	require.NoError(t, err)
	require.NotEqual(t, locked, again)

	same, err := appgw.NewLocker(key)
	require.NoError(t, err)
	got, err := same.Unlock("out/1", locked)
	require.NoError(t, err)
	require.Equal(t, "secret", string(got))

	_, err = l.Unlock("out/2", locked)
	require.ErrorIs(t, err, appgw.ErrLocked, "a value does not open in another place")
	for i := range locked {
		changed := bytes.Clone(locked)
		changed[i] ^= 1
		_, err := l.Unlock("out/1", changed)
		require.ErrorIs(t, err, appgw.ErrLocked)
		_, err = l.Unlock("out/1", locked[:i])
		require.ErrorIs(t, err, appgw.ErrLocked)
	}
	other, err := appgw.NewLocker(bytes.Repeat([]byte{4}, appgw.LockerKeySize))
	require.NoError(t, err)
	_, err = other.Unlock("out/1", locked)
	require.ErrorIs(t, err, appgw.ErrLocked)

	for n := range 64 {
		if n == appgw.LockerKeySize {
			continue
		}
		_, err := appgw.NewLocker(make([]byte, n))
		require.ErrorIs(t, err, appgw.ErrConfig)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		require.Equal(t, "appgw.Locker([redacted])", fmt.Sprintf(verb, l))
	}
}
