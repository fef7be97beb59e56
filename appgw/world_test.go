package appgw_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
	"github.com/semio-iot/semio/internal/link/linkmem"
)

// system is a platform that decides as the real one does about one device, a broker in memory, an application and a device.
type system struct {
	t        *testing.T
	world    *controltest.World
	platform *controltest.Platform
	broker   *linkmem.Broker
	app      controltest.Party
	admitted []byte
	store    appgw.Store
	locker   appgw.Locker

	root    *roottest.KeyRoot
	flash   string
	options devicegw.ProduceOptions
	sticker identity.Sticker

	mu        sync.Mutex // guards what follows
	lifecycle uint64
	binding   e2e.BindingID
	claimKey  []byte
	device    controltest.Party // credential only
	seen      [][]byte          // every publication
	up        [][]byte          // the device's for the application
	fate      func(linkmem.Publication) linkmem.Fate
}

// bubble runs a test in a synctest bubble with a system of its own.
func bubble(t *testing.T, f func(*testing.T, *system)) {
	t.Helper()
	bubbleOf(t, devicegw.ProduceOptions{}, f)
}

// bubbleOf is bubble with a device that is produced with options.
func bubbleOf(t *testing.T, options devicegw.ProduceOptions, f func(*testing.T, *system)) {
	t.Helper()
	bubbleWith(t, ca.Config{}, options, f)
}

// bubbleWith is bubbleOf with validities.
func bubbleWith(t *testing.T, authority ca.Config, options devicegw.ProduceOptions, f func(*testing.T, *system)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &system{t: t, world: controltest.NewWorldWith(t, authority), store: appgw.NewMemStore(), flash: t.TempDir(), options: options}
		s.broker = linkmem.New(linkmem.Options{
			Tap: func(p linkmem.Publication) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.seen = append(s.seen, p.Payload)
				if strings.HasSuffix(p.Topic, "/up") {
					s.up = append(s.up, p.Payload)
				}
			},
			Fate: func(p linkmem.Publication) linkmem.Fate {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.fate == nil {
					return 0
				}
				return s.fate(p)
			},
		})
		s.platform = controltest.NewPlatform(t, s.world)
		s.platform.Decide = s.decide
		s.app = s.world.Party(t, "A-WATER")
		s.admitted = s.platform.Admit(s.app.Verified)
		var err error
		s.locker, err = appgw.NewLocker(make([]byte, appgw.LockerKeySize))
		require.NoError(t, err)
		s.produce()
		s.background(func(ctx context.Context) error {
			s.platform.Run(ctx, s.broker.Client("P-TEST"))
			return nil
		})
		synctest.Wait() // the platform listens before anybody asks
		f(t, s)
	})
}

// background runs f until the returned function, or the end of the test, stops it.
func (s *system) background(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil && !errors.Is(err, devicegw.ErrRetired) {
			s.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return stop
}

func (s *system) produce() {
	t, ctx := s.t, s.t.Context()
	s.root = roottest.NewKeyRoot(t.Name())
	nvm, err := devicegw.OpenFileNVM(s.flash)
	require.NoError(t, err)
	id, err := identity.ParseDeviceID("D-7F3K2")
	require.NoError(t, err)
	p, err := devicegw.Produce(ctx, s.root, nvm, id)
	require.NoError(t, err)
	chain, err := s.world.Authority.Issue(p.CSR(), ca.IssueOptions{})
	require.NoError(t, err)
	reg, err := p.Endorse(chain, s.world.Roots)
	require.NoError(t, err)
	v, err := s.world.Verifier(t).Verify(reg.Credential, identity.RoleDevice)
	require.NoError(t, err)
	s.device = controltest.Party{Credential: reg.Credential, Verified: v}
	s.claimKey, s.sticker = reg.ClaimKey, p.Sticker()
	require.NoError(t, p.Complete(ctx, s.platform.Admit(v), s.options))
}

// decide is the platform's policy: the claim proof must be right, a device has one application.
func (s *system) decide(peer identity.ID, r control.SignedRequest) control.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Request.Device.ID != s.device.Verified.ID():
		return control.CodeUnknownDevice
	case r.Request.Op == control.OpConnect && r.VerifyClaim(s.claimKey) != nil:
		return control.CodeClaimRefused
	case r.Request.Op == control.OpConnect:
		if !s.binding.IsZero() {
			return control.CodeConnectedElsewhere
		}
		s.binding = e2e.NewBindingID()
		s.order(control.OrderInstall, s.binding, nil)
	default:
		if s.binding != r.Request.Binding {
			return control.CodeNotConnected
		}
		evidence, err := control.Evidence{Request: &r, Application: s.platform.Peer(s.app.Verified.ID()).Credential()}.Marshal()
		if err != nil {
			return control.CodeRefused
		}
		s.order(control.OrderRemove, s.binding, evidence)
		s.binding = e2e.BindingID{}
	}
	return control.CodeOK
}

// order sends one order to each side. The caller holds mu.
func (s *system) order(op control.OrderOp, binding e2e.BindingID, evidence []byte) {
	s.lifecycle++
	dev, _ := s.device.Verified.ID().Device()
	o := control.Order{Device: dev, Lifecycle: s.lifecycle, Op: op, Binding: binding, Evidence: evidence}
	toApp, toDevice := o, o
	toApp.To, toApp.Peer = s.app.Verified.ID(), s.device.Verified.ID()
	toDevice.To, toDevice.Peer = s.device.Verified.ID(), s.app.Verified.ID()
	if op == control.OrderInstall {
		toApp.Credential, toDevice.Credential = s.device.Credential, s.app.Credential
	}
	s.platform.Order(toApp)
	s.platform.Order(toDevice)
}

// orderApp sends the application alone an order that the test makes up.
func (s *system) orderApp(change func(*control.Order)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lifecycle++
	dev, _ := s.device.Verified.ID().Device()
	o := control.Order{
		To: s.app.Verified.ID(), Device: dev, Lifecycle: s.lifecycle, Op: control.OrderInstall,
		Binding: e2e.NewBindingID(), Peer: dev.ID, Credential: s.device.Credential,
	}
	change(&o)
	s.platform.Order(o)
}

// lastAck is the gateway's answer to the last order that the application got.
func (s *system) lastAck() control.AckResult {
	synctest.Wait()
	var last control.AckResult
	for _, a := range s.platform.Acks() {
		if a.From == s.app.Verified.ID() {
			last = a.Result
		}
	}
	return last
}

func (s *system) config() appgw.Config {
	return appgw.Config{
		Credential: s.app.Credential, Signer: s.app.Signer, Key: s.app.Key, Roots: s.world.Roots,
		Locker: s.locker, Store: s.store, Admission: s.admitted, Link: s.broker.Client("A-WATER"),
	}
}

// startApp opens and runs the gateway; stop is a kill as far as the store can tell.
func (s *system) startApp(change func(*appgw.Config)) (gw *appgw.Gateway, stop func()) {
	cfg := s.config()
	if change != nil {
		change(&cfg)
	}
	gw, err := appgw.Open(s.t.Context(), cfg)
	require.NoError(s.t, err)
	return gw, s.background(gw.Run)
}

// startDevice is a power-up of the device.
func (s *system) startDevice(change func(*devicegw.Config)) (gw *devicegw.Gateway, stop func()) {
	gw = s.openDevice(change)
	return gw, s.background(gw.Run)
}

// openDevice is startDevice before Run.
func (s *system) openDevice(change func(*devicegw.Config)) (gw *devicegw.Gateway) {
	nvm, err := devicegw.OpenFileNVM(s.flash)
	require.NoError(s.t, err)
	cfg := devicegw.Config{Root: s.root, NVM: nvm, Link: s.broker.Client("D-7F3K2"), Now: time.Now}
	if change != nil {
		change(&cfg)
	}
	gw, err = devicegw.Open(s.t.Context(), cfg)
	require.NoError(s.t, err)
	return gw
}
