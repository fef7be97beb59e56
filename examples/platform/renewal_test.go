package main

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
)

// With -ca the platform has its authority certify a device anew whose certificate is about to end.
func TestDeviceIsRenewed(t *testing.T) {
	const day = 24 * time.Hour
	a := clitest.NewAuthorityWith(t, -25*day, ca.Config{DeviceValidity: 30 * day})
	root, ctx := roottest.NewKeyRoot(rand.Text()), t.Context()
	nvm, err := devicegw.OpenFileNVM(t.TempDir())
	require.NoError(t, err)
	id, err := identity.ParseDeviceID("D-1")
	require.NoError(t, err)
	production, err := devicegw.Produce(ctx, root, nvm, id)
	require.NoError(t, err)
	chain, err := a.Issue(production.CSR(), ca.IssueOptions{})
	require.NoError(t, err)
	a.SetSkew(0)
	w := newWorldOf(t, a)
	s := clitest.Start(t, program, w.serve()...)
	reg, err := production.Endorse(chain, a.Roots)
	require.NoError(t, err)
	credential, err := w.registrar.Credential()
	require.NoError(t, err)
	signed, err := platform.Registration{
		Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
	}.Sign(w.registrar.Signer(), credential)
	require.NoError(t, err)
	admission, err := w.client(s.URL("admin"), w.registrar).Register(ctx, signed)
	require.NoError(t, err)
	require.NoError(t, production.Complete(ctx, admission, devicegw.ProduceOptions{}))

	gw, err := devicegw.Open(ctx, devicegw.Config{Root: root, NVM: nvm, Broker: s.URL("broker"), Now: time.Now})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(ctx, clitest.Wait)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- gw.Run(ctx) }()
	require.Less(t, time.Until(gw.Status().Certified), 6*day)
	for gw.Status().Generation < 2 {
		require.NoError(t, gw.Sync(ctx))
	}
	require.NoError(t, gw.Sync(ctx))
	require.Greater(t, time.Until(gw.Status().Certified), 29*day)
	require.Contains(t, clitest.OK(t, program, w.admin(s, "audit")...), "renewed")
	cancel()
	require.NoError(t, <-ended)
}
