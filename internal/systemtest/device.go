package systemtest

import (
	"context"
	"crypto/rand"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
)

// Device is a device that was produced and registered. While it is powered it has a gateway.
type Device struct {
	ID      identity.DeviceID
	Sticker identity.Sticker
	Gateway *devicegw.Gateway
	Ended   <-chan error // what Run returned

	s     *System
	root  devicegw.Root
	flash string
	cut   func()
}

// NewDevice produces a device, with a root of trust in software, and registers it with the platform.
func (s *System) NewDevice(name string) *Device {
	t, ctx := s.t, s.t.Context()
	t.Helper()
	id, err := identity.ParseDeviceID(name)
	require.NoError(t, err)
	d := &Device{ID: id, s: s, root: roottest.NewKeyRoot(rand.Text()), flash: t.TempDir()}
	nvm, err := devicegw.OpenFileNVM(d.flash)
	require.NoError(t, err)
	p, err := devicegw.Produce(ctx, d.root, nvm, id)
	require.NoError(t, err)
	chain, err := s.Authority.Issue(p.CSR(), ca.IssueOptions{})
	require.NoError(t, err)
	reg, err := p.Endorse(chain, s.Roots)
	require.NoError(t, err)
	signed, err := platform.Registration{
		Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
	}.Sign(s.registrar.Signer, s.registrar.Credential)
	require.NoError(t, err)
	admission, err := s.Platform.Register(ctx, signed)
	require.NoError(t, err)
	require.NoError(t, p.Complete(ctx, admission, devicegw.ProduceOptions{}))
	d.Sticker = p.Sticker()
	psk, err := d.Sticker.Claim.PSK(id)
	require.NoError(t, err)
	s.AddSecret("pre-shared key of "+name, psk.Bytes())
	s.AddSecret("sticker of "+name, []byte(d.Sticker.Encode()))
	return d
}

// PowerUp opens the gateway and runs it. configure says over which broker.
func (d *Device) PowerUp(configure func(*devicegw.Config)) {
	t := d.s.t
	t.Helper()
	nvm, err := devicegw.OpenFileNVM(d.flash)
	require.NoError(t, err)
	cfg := devicegw.Config{Root: d.root, NVM: nvm}
	configure(&cfg)
	d.Gateway, err = devicegw.Open(t.Context(), cfg)
	require.NoError(t, err)
	d.cut, d.Ended = d.s.Live(d.Gateway.Run)
}

// PowerCut ends the gateway; PowerUp starts another one on the same memory.
func (d *Device) PowerCut() { d.cut() }

// Send sends a text as an event.
func (d *Device) Send(ctx context.Context, text string) error {
	_, err := d.Gateway.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte(text)})
	return err
}
