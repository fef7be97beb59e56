package fieldtest

import (
	"crypto/rand"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/unit"
)

// RunApplication admits an application and runs its gateway until the test ends: the other side for tests of a device.
func (w *World) RunApplication(name string, change func(*appgw.Config)) *appgw.Gateway {
	t := w.t
	p := w.Application(name)
	credential, err := p.Credential()
	require.NoError(t, err)
	admission, err := p.Admission()
	require.NoError(t, err)
	key := make([]byte, appgw.LockerKeySize)
	rand.Read(key)
	locker, err := appgw.NewLocker(key)
	require.NoError(t, err)
	cfg := appgw.Config{
		Credential: credential, Signer: p.Signer(), Key: p.Key(), Roots: p.Roots(), Admission: admission,
		Locker: locker, Store: appgw.NewMemStore(), Broker: w.URL,
	}
	change(&cfg)
	gw, err := appgw.Open(t.Context(), cfg)
	require.NoError(t, err)
	w.run(gw.Run)
	return gw
}

// RunDevice wakes the device in a folder and runs its gateway until the test ends: the other side for tests of an application.
func (w *World) RunDevice(dir string, change func(*devicegw.Config)) *devicegw.Gateway {
	t := w.t
	u, err := unit.Open(dir)
	require.NoError(t, err)
	vault, err := u.PowerUp(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { vault.Close(); u.Close() })
	cfg := devicegw.Config{Root: vault, NVM: u.NVM, Broker: w.URL}
	change(&cfg)
	gw, err := devicegw.Open(t.Context(), cfg)
	require.NoError(t, err)
	w.run(gw.Run)
	return gw
}
