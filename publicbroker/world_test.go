package publicbroker_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/devicegw/roottest"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/publicbroker"
)

// world is a platform, applications and devices whose only way to each other is a public broker.
type world struct {
	t         *testing.T
	broker    string
	authority *ca.Authority
	roots     []*x509.Certificate
	registrar party
	platform  *platform.Service
	secrets   map[string][]byte // by what they are: must not be seen anywhere

	mu      sync.Mutex // guards dropped
	dropped int        // messages to the platform that it did not answer
}

type party struct {
	id        identity.ID
	signer    *ecdsa.PrivateKey
	agreement *ecdh.PrivateKey
	cred      identity.Credential
}

type revoker struct{ a *ca.Authority }

func (r revoker) Revoke(_ context.Context, id identity.ID) ([]byte, error) { return r.a.Revoke(id) }

func newWorld(t *testing.T, broker string) *world {
	w := &world{t: t, broker: broker, secrets: map[string][]byte{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	w.authority, err = ca.New(ca.Config{Name: "Test CA", Signer: key, Store: new(ca.MemStore)})
	require.NoError(t, err)
	w.roots = []*x509.Certificate{w.authority.Certificate()}
	w.registrar = w.party("R-FACTORY")
	me := w.party("P-SEMIO")
	w.platform, err = platform.Open(t.Context(), platform.Config{
		Credential: me.cred, Signer: me.signer, Key: me.agreement, Roots: w.roots, Store: platform.NewMemStore(),
		Link: w.link(), Prefix: publicbroker.RandomPrefix(), Revoker: revoker{w.authority},
		Observer: platform.Observer{Dropped: func(identity.ID, string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.dropped++
		}},
	})
	require.NoError(t, err)
	w.live(w.platform.Run)
	return w
}

func (w *world) refused() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

func (w *world) link() *publicbroker.Link {
	l, err := publicbroker.New(publicbroker.Config{Broker: w.broker})
	require.NoError(w.t, err)
	return l
}

// live runs a party until the test ends.
func (w *world) live(run func(context.Context) error) (ended <-chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	outcome, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if err != nil && !errors.Is(err, devicegw.ErrRetired) {
			w.t.Error(err)
		}
		outcome <- err
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return outcome
}

func (w *world) party(name string) party {
	t := w.t
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	p := party{id: id}
	p.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p.agreement, err = ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	csr, err := identity.NewCSR(p.signer, id, identity.CSROptions{})
	require.NoError(t, err)
	p.cred.Chain, err = w.authority.Issue(csr, ca.IssueOptions{})
	require.NoError(t, err)
	p.cred.Endorsement, err = identity.Endorse(p.signer, p.cred.Chain[0], p.agreement.PublicKey(), identity.EndorseOptions{})
	require.NoError(t, err)
	raw, err := p.signer.Bytes()
	require.NoError(t, err)
	w.secrets["signing key of "+name] = raw
	w.secrets["agreement key of "+name] = p.agreement.Bytes()
	return p
}

// application is a provider's back-end.
type application struct {
	*appgw.Gateway
	mu  sync.Mutex // guards got
	got map[identity.DeviceID][]string
}

func (w *world) application(name string) *application {
	t := w.t
	p := w.party(name)
	admission, err := w.platform.Admit(t.Context(), p.cred)
	require.NoError(t, err)
	key := make([]byte, appgw.LockerKeySize)
	rand.Read(key)
	w.secrets["store key of "+name] = key
	locker, err := appgw.NewLocker(key)
	require.NoError(t, err)
	a := &application{got: map[identity.DeviceID][]string{}}
	a.Gateway, err = appgw.Open(t.Context(), appgw.Config{
		Credential: p.cred, Signer: p.signer, Key: p.agreement, Roots: w.roots,
		Locker: locker, Store: appgw.NewMemStore(), Admission: admission, Link: w.link(),
		OnEvent: func(_ context.Context, d identity.DeviceID, e appgw.Event) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got[d] = append(a.got[d], string(e.Body))
			return nil
		},
	})
	require.NoError(t, err)
	w.live(a.Run)
	return a
}

func (a *application) events(d identity.DeviceID) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.got[d]...)
}

// device is a produced device in operation.
type device struct {
	*devicegw.Gateway
	sticker identity.Sticker
	flash   string
	ended   <-chan error

	mu     sync.Mutex // guards what follows
	events []string
	calls  []string
}

func (w *world) device(name string) *device {
	t, ctx := w.t, w.t.Context()
	d := &device{flash: t.TempDir()}
	root := roottest.NewKeyRoot(rand.Text())
	nvm, err := devicegw.OpenFileNVM(d.flash)
	require.NoError(t, err)
	id, err := identity.ParseDeviceID(name)
	require.NoError(t, err)
	p, err := devicegw.Produce(ctx, root, nvm, id)
	require.NoError(t, err)
	chain, err := w.authority.Issue(p.CSR(), ca.IssueOptions{})
	require.NoError(t, err)
	reg, err := p.Endorse(chain, w.roots)
	require.NoError(t, err)
	signed, err := platform.Registration{
		Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
	}.Sign(w.registrar.signer, w.registrar.cred)
	require.NoError(t, err)
	admission, err := w.platform.Register(ctx, signed)
	require.NoError(t, err)
	require.NoError(t, p.Complete(ctx, admission, devicegw.ProduceOptions{}))
	d.sticker = p.Sticker()
	psk, err := d.sticker.Claim.PSK(id)
	require.NoError(t, err)
	w.secrets["pre-shared key of "+name] = psk.Bytes()
	w.secrets["sticker of "+name] = []byte(d.sticker.Encode())

	d.Gateway, err = devicegw.Open(ctx, devicegw.Config{
		Root: root, NVM: nvm, Link: w.link(),
		OnEvent: func(_ context.Context, e devicegw.Event) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.events = append(d.events, string(e.Body))
			return nil
		},
		OnCall: func(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.calls = append(d.calls, string(c.Body))
			return devicegw.Reply{Body: fmt.Appendf(nil, "%s did %s", marker, c.Body)}, nil
		},
	})
	require.NoError(t, err)
	d.ended = w.live(d.Run)
	return d
}

func (d *device) seen() (events, calls []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.events...), append([]string(nil), d.calls...)
}

// marker is in everything that anybody says.
const marker = "TOP SECRET"
