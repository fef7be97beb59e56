package fieldtest_test

import (
	"context"
	"crypto"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// asker is an application without the gateway's own checks, as somebody writes it who wants to be heard: it asks the platform, and nothing else.
type asker struct{ *control.Client }

func (s *system) asker(p *party.Party) asker {
	t := s.t
	credential, err := p.Credential()
	require.NoError(t, err)
	admission, err := p.Admission()
	require.NoError(t, err)
	v, err := p.Verifier()
	require.NoError(t, err)
	self, err := v.Verify(credential, identity.RoleApplication)
	require.NoError(t, err)
	a, platform, err := control.OpenAdmission(admission, v, self)
	require.NoError(t, err)
	peer, err := e2e.NewPeer(e2e.Config{Self: self, Key: p.Key(), Remote: platform, Binding: a.Binding, Epochs: new(controltest.Epochs)})
	require.NoError(t, err)
	l, err := mqttlink.NewMutual(mqttlink.Mutual{
		Broker: s.URL, ClientID: p.ID().String(), Chain: credential.Chain, Signer: p.Signer(), Verifier: v,
	})
	require.NoError(t, err)
	c, err := control.NewClient(control.ClientConfig{
		Self: self, Signer: p.Signer(), Platform: platform, Peer: peer, Binding: a.Binding, Verifier: v,
		Publish: func(ctx context.Context, b []byte) error { return l.Publish(ctx, a.Topics.ToPlatform(p.ID()), b) },
		Apply:   func(context.Context, control.Order) error { return nil },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-up:
			}
			if l.Subscribe(ctx, a.Topics.ToPeer(p.ID())) == nil {
				c.LinkUp()
			}
		}
	})
	wg.Go(func() {
		_ = l.Run(ctx, link.Receiver{
			Up: func() {
				select {
				case up <- struct{}{}:
				default:
				}
			},
			Down:    func(error) { c.LinkDown() },
			Message: func(m link.Message) { c.Receive(m.Payload); m.Ack() },
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return asker{c}
}

// connect asks for a device that is connected with another application: that answer says that the platform has heard the request.
func (a asker) connect(s identity.Sticker) func(context.Context) error {
	return func(ctx context.Context) error {
		var proof crypto.Signer
		proof, err := s.Claim.ProofKey(s.Device)
		if err != nil {
			return err
		}
		res, err := a.Do(ctx, control.Request{Op: control.OpConnect, Device: s.Device}, proof)
		if err != nil {
			return err
		}
		if err := res.Err(); !errors.Is(err, appgw.ErrConnectedElsewhere) {
			return err
		}
		return nil
	}
}
