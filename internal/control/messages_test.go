package control_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/control/controltest"
)

// cast is everybody that the messages speak of.
type cast struct {
	*controltest.World
	v                                     *identity.Verifier
	platform, app, other, device, factory controltest.Party
	binding                               e2e.BindingID
}

func newCast(t testing.TB) *cast {
	w := controltest.NewWorld(t)
	return &cast{
		World: w, v: w.Verifier(t),
		platform: w.Party(t, "P-ONE"), app: w.Party(t, "A-WATER"), other: w.Party(t, "A-HEAT"),
		device: w.Party(t, "D-7F3K2"), factory: w.Party(t, "R-FACTORY"),
		binding: e2e.NewBindingID(),
	}
}

func (c *cast) request(t testing.TB, op control.Op) control.SignedRequest {
	return c.signed(t, op, c.app)
}

// signed is request by the application with some keys.
func (c *cast) signed(t testing.TB, op control.Op, by controltest.Party) control.SignedRequest {
	a, _ := c.app.Verified.ID().App()
	d, _ := c.device.Verified.ID().Device()
	r := control.Request{ID: control.NewRequestID(), Op: op, App: a, Device: d, Revision: 7}
	if op == control.OpDisconnect {
		r.Binding = c.binding
	}
	s, err := r.Sign([32]byte{1, 2, 3}, by.Signer, c.other.Signer) // any key will do for the claim
	require.NoError(t, err)
	return s
}

func (c *cast) order(op control.OrderOp) control.Order {
	p, _ := c.platform.Verified.ID().Platform()
	d, _ := c.device.Verified.ID().Device()
	o := control.Order{Number: 3, Platform: p, To: c.device.Verified.ID(), PlatformBinding: e2e.NewBindingID(), Device: d, Lifecycle: 5, Op: op}
	switch op {
	case control.OrderInstall:
		o.Binding, o.Peer, o.Credential = c.binding, c.app.Verified.ID(), c.app.Credential
	case control.OrderRemove:
		o.Binding, o.Peer, o.Evidence = c.binding, c.app.Verified.ID(), []byte{1}
	case control.OrderWipe:
		o.Evidence = []byte{1}
	}
	return o
}

// A signed message is refused when any byte of it changes, when it is cut, and when something follows.
func refusesChanges(t *testing.T, b []byte, open func([]byte) error) {
	t.Helper()
	require.NoError(t, open(b))
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 0x10
		require.Error(t, open(c), "byte %d of %d changed", i, len(b))
	}
	for n := range b {
		require.Error(t, open(b[:n]), "cut to %d of %d bytes", n, len(b))
	}
	require.Error(t, open(append(bytes.Clone(b), 0)), "a byte too many")
}

func TestRegistration(t *testing.T) {
	c := newCast(t)
	d, _ := c.device.Verified.ID().Device()
	claim, err := identity.MarshalPublicKey(&c.other.Signer.PublicKey)
	require.NoError(t, err)
	r := control.Registration{Device: d, Credential: c.device.Credential, Binding: c.binding, ClaimKey: claim}
	b, err := r.Sign(c.factory.Signer, c.factory.Credential)
	require.NoError(t, err)

	got, device, registrar, err := control.OpenRegistration(b, c.v)
	require.NoError(t, err)
	require.Equal(t, r, got)
	require.Equal(t, c.device.Verified.CertificateHash(), device.CertificateHash())
	require.Equal(t, c.factory.Verified.ID(), registrar.ID())
	refusesChanges(t, b, func(b []byte) error { _, _, _, err := control.OpenRegistration(b, c.v); return err })

	open := func(r control.Registration, by controltest.Party, as controltest.Party) error {
		b, err := r.Sign(by.Signer, as.Credential)
		require.NoError(t, err)
		_, _, _, err = control.OpenRegistration(b, c.v)
		return err
	}
	require.ErrorIs(t, open(r, c.app, c.app), identity.ErrRole, "only a registrar registers")
	require.ErrorIs(t, open(r, c.app, c.factory), identity.ErrSignature)
	foreign := r
	foreign.Credential = c.app.Credential
	require.ErrorIs(t, open(foreign, c.factory, c.factory), identity.ErrRole)
	foreign.Credential = c.Party(t, "D-OTHER").Credential
	require.ErrorIs(t, open(foreign, c.factory, c.factory), control.ErrForeign)
	short := r
	short.ClaimKey = claim[:32]
	require.ErrorIs(t, open(short, c.factory, c.factory), control.ErrMalformed)
	_, _, _, err = control.OpenRegistration(b, controltest.NewWorld(t).Verifier(t))
	require.ErrorIs(t, err, identity.ErrUntrusted)
}

func TestAdmission(t *testing.T) {
	c := newCast(t)
	topics, err := control.ParsePrefix("x/1")
	require.NoError(t, err)
	a := control.Admission{
		Peer: c.app.Verified.ID(), CertificateHash: c.app.Verified.CertificateHash(), Binding: c.binding,
		Platform: c.platform.Credential, Topics: topics,
	}
	b, err := a.Sign(c.platform.Signer)
	require.NoError(t, err)
	got, platform, err := control.OpenAdmission(b, c.v, c.app.Verified)
	require.NoError(t, err)
	require.Equal(t, a, got)
	require.Equal(t, c.platform.Verified.ID(), platform.ID())
	refusesChanges(t, b, func(b []byte) error { _, _, err := control.OpenAdmission(b, c.v, c.app.Verified); return err })

	_, _, err = control.OpenAdmission(b, c.v, c.other.Verified)
	require.ErrorIs(t, err, control.ErrForeign)
	false1, err := a.Sign(c.other.Signer)
	require.NoError(t, err)
	_, _, err = control.OpenAdmission(false1, c.v, c.app.Verified)
	require.ErrorIs(t, err, identity.ErrSignature)
	a.Platform = c.other.Credential
	false2, err := a.Sign(c.other.Signer)
	require.NoError(t, err)
	_, _, err = control.OpenAdmission(false2, c.v, c.app.Verified)
	require.ErrorIs(t, err, identity.ErrRole, "an application admits nobody")
}

func TestSignedRequest(t *testing.T) {
	c := newCast(t)
	for _, op := range []control.Op{control.OpConnect, control.OpDisconnect} {
		s := c.request(t, op)
		b, err := s.Marshal()
		require.NoError(t, err)
		claim, err := identity.MarshalPublicKey(&c.other.Signer.PublicKey)
		require.NoError(t, err)
		refusesChanges(t, b, func(b []byte) error {
			s, err := control.ParseSignedRequest(b)
			if err != nil {
				return err
			}
			return errors.Join(s.Verify(c.app.Verified), s.VerifyClaim(claim))
		})

		require.ErrorIs(t, s.Verify(c.other.Verified), control.ErrForeign)
		wrapped := s
		wrapped.Transcript[0] ^= 1
		require.ErrorIs(t, wrapped.Verify(c.app.Verified), identity.ErrSignature, "the request is bound to its INIT")
		swapped := s
		swapped.ClaimProof = s.Signature
		require.Error(t, swapped.VerifyClaim(claim))
		none := s
		none.ClaimProof = nil
		require.Error(t, none.VerifyClaim(claim))
		require.Error(t, s.VerifyClaim(nil))
	}
}

func TestRequestKeepsToItsFields(t *testing.T) {
	c := newCast(t)
	for name, change := range map[string]func(*control.Request){
		"unknown op":             func(r *control.Request) { r.Op = 9 },
		"connect with a binding": func(r *control.Request) { r.Binding = c.binding },
		"disconnect without one": func(r *control.Request) { r.Op = control.OpDisconnect },
		"no application":         func(r *control.Request) { r.App = identity.AppID{} },
		"no device":              func(r *control.Request) { r.Device = identity.DeviceID{} },
	} {
		r := c.request(t, control.OpConnect).Request
		change(&r)
		s, err := r.Sign([32]byte{}, c.app.Signer, nil)
		require.NoError(t, err, name)
		b, err := s.Marshal()
		require.NoError(t, err, name)
		_, err = control.ParseSignedRequest(b)
		require.ErrorIs(t, err, control.ErrMalformed, name)
	}
}

func TestOrder(t *testing.T) {
	c := newCast(t)
	for _, op := range []control.OrderOp{control.OrderInstall, control.OrderRemove, control.OrderWipe} {
		o := c.order(op)
		b, err := o.Sign(c.platform.Signer)
		require.NoError(t, err)
		got, err := control.OpenOrder(b, c.platform.Verified)
		require.NoError(t, err)
		require.Equal(t, o, got)
		refusesChanges(t, b, func(b []byte) error { _, err := control.OpenOrder(b, c.platform.Verified); return err })
		_, err = control.OpenOrder(b, c.app.Verified)
		require.ErrorIs(t, err, identity.ErrSignature)
	}
	for name, change := range map[string]func(*control.Order){
		"install with evidence":      func(o *control.Order) { o.Evidence = []byte{1} },
		"install without peer":       func(o *control.Order) { o.Peer = identity.ID{} },
		"install without binding":    func(o *control.Order) { o.Binding = e2e.BindingID{} },
		"install without credential": func(o *control.Order) { o.Credential = identity.Credential{} },
		"no life-cycle number":       func(o *control.Order) { o.Lifecycle = 0 },
		"no number":                  func(o *control.Order) { o.Number = 0 },
		"remove without evidence":    func(o *control.Order) { *o = c.order(control.OrderRemove); o.Evidence = nil },
		"wipe without evidence":      func(o *control.Order) { *o = c.order(control.OrderWipe); o.Evidence = nil },
		"wipe of an application":     func(o *control.Order) { *o = c.order(control.OrderWipe); o.To = c.app.Verified.ID() },
		"unknown op":                 func(o *control.Order) { o.Op = 9 },
	} {
		o := c.order(control.OrderInstall)
		change(&o)
		b, err := o.Sign(c.platform.Signer)
		require.NoError(t, err, name)
		_, err = control.OpenOrder(b, c.platform.Verified)
		require.ErrorIs(t, err, control.ErrMalformed, name)
	}
	foreign := c.order(control.OrderWipe)
	foreign.Platform, _ = c.Party(t, "P-OTHER").Verified.ID().Platform()
	b, err := foreign.Sign(c.platform.Signer)
	require.NoError(t, err)
	_, err = control.OpenOrder(b, c.platform.Verified)
	require.ErrorIs(t, err, control.ErrForeign)
}

func TestAck(t *testing.T) {
	c := newCast(t)
	a := control.AckOf(c.device.Verified.ID(), 3, []byte("order"), control.AckDone)
	b, err := a.Sign(c.device.Signer)
	require.NoError(t, err)
	got, err := control.OpenAck(b, c.device.Verified)
	require.NoError(t, err)
	require.Equal(t, a, got)
	refusesChanges(t, b, func(b []byte) error { _, err := control.OpenAck(b, c.device.Verified); return err })

	other, err := a.Sign(c.app.Signer)
	require.NoError(t, err)
	_, err = control.OpenAck(other, c.app.Verified)
	require.ErrorIs(t, err, control.ErrForeign)
	a.Result = 0
	none, err := a.Sign(c.device.Signer)
	require.NoError(t, err)
	_, err = control.OpenAck(none, c.device.Verified)
	require.ErrorIs(t, err, control.ErrMalformed)
}

func TestEvidence(t *testing.T) {
	c := newCast(t)
	disconnect, connect := c.request(t, control.OpDisconnect), c.request(t, control.OpConnect)
	before, err := c.Authority.CRL()
	require.NoError(t, err)
	names := func(p controltest.Party) []byte {
		crl, err := c.Authority.Revoke(p.Verified.ID())
		require.NoError(t, err)
		return crl
	}
	stranger := c.Party(t, "D-STRANGER")
	strangers := names(stranger)
	devices := names(c.device)
	// The application with other keys, of a later generation, and of the same one.
	later := c.Rekeyed(t, c.app, 1)
	same := c.Rekeyed(t, later, 0)
	_, err = c.Authority.RevokeCertificate(c.app.Verified.Certificate()) // and only the first one
	require.NoError(t, err)
	apps, err := c.Authority.CRL() // names the device too
	require.NoError(t, err)

	forged := disconnect
	forged.Signature = connect.Signature
	otherDevice := disconnect
	otherDevice.Request.Device, _ = stranger.Verified.ID().Device()
	parties := control.Parties{Device: c.device.Credential, Application: c.app.Verified}
	otherBinding := c.order(control.OrderRemove)
	otherBinding.Binding = e2e.NewBindingID()

	byLater, bySame := c.signed(t, control.OpDisconnect, later), c.signed(t, control.OpDisconnect, same)
	laterParties := control.Parties{Device: c.device.Credential, Application: later.Verified}

	for _, k := range []struct {
		name string
		e    control.Evidence
		o    control.Order
		p    control.Parties
		ok   bool
	}{
		{"remove by what the application became", control.Evidence{Request: &byLater, Application: later.Credential}, c.order(control.OrderRemove), parties, true},
		{"remove by the application, which is known", control.Evidence{Request: &disconnect, Application: c.app.Credential}, c.order(control.OrderRemove), parties, true},
		{"remove by another key without credential", control.Evidence{Request: &byLater}, c.order(control.OrderRemove), parties, false},
		{"remove by another key of the same generation", control.Evidence{Request: &bySame, Application: same.Credential}, c.order(control.OrderRemove), parties, false},
		{"remove by a replaced key", control.Evidence{Request: &disconnect, Application: c.app.Credential}, c.order(control.OrderRemove), laterParties, false},
		{"remove by another application's credential", control.Evidence{Request: &byLater, Application: c.other.Credential}, c.order(control.OrderRemove), parties, false},
		{"remove by the application's request", control.Evidence{Request: &disconnect}, c.order(control.OrderRemove), parties, true},
		{"remove by revocation of the device", control.Evidence{CRL: devices}, c.order(control.OrderRemove), parties, true},
		{"remove by revocation of the application", control.Evidence{CRL: apps}, c.order(control.OrderRemove), control.Parties{Device: stranger.Credential, Application: c.app.Verified}, true},
		{"wipe by revocation of the device", control.Evidence{CRL: devices}, c.order(control.OrderWipe), control.Parties{Device: c.device.Credential}, true},

		{"remove by a request to connect", control.Evidence{Request: &connect}, c.order(control.OrderRemove), parties, false},
		{"remove by a forged request", control.Evidence{Request: &forged}, c.order(control.OrderRemove), parties, false},
		{"remove by the request for another device", control.Evidence{Request: &otherDevice}, c.order(control.OrderRemove), parties, false},
		{"remove of a later binding by an old request", control.Evidence{Request: &disconnect}, otherBinding, parties, false},
		{"remove by the request of another application", control.Evidence{Request: &disconnect}, c.order(control.OrderRemove), control.Parties{Device: c.device.Credential, Application: c.other.Verified}, false},
		{"remove where no application is known", control.Evidence{Request: &disconnect}, c.order(control.OrderRemove), control.Parties{Device: c.device.Credential}, false},
		{"remove by a list that names neither", control.Evidence{CRL: strangers}, c.order(control.OrderRemove), parties, false},
		{"remove by an empty list", control.Evidence{CRL: before}, c.order(control.OrderRemove), parties, false},
		{"remove by junk", control.Evidence{CRL: []byte("junk")}, c.order(control.OrderRemove), parties, false},
		{"wipe by the application's request", control.Evidence{Request: &disconnect}, c.order(control.OrderWipe), parties, false},
		{"wipe by a list that names another device", control.Evidence{CRL: strangers}, c.order(control.OrderWipe), parties, false},
		{"wipe of another device by a list that names the application", control.Evidence{CRL: apps}, c.order(control.OrderWipe), control.Parties{Device: c.Party(t, "D-LAST").Credential, Application: c.app.Verified}, false},
		{"install", control.Evidence{CRL: devices}, c.order(control.OrderInstall), parties, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			b, err := k.e.Marshal()
			require.NoError(t, err)
			e, err := control.ParseEvidence(b)
			require.NoError(t, err)
			err = e.Permits(k.o, c.v, k.p)
			if k.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, control.ErrEvidence)
		})
	}
	_, err = control.Evidence{}.Marshal()
	require.Error(t, err)
	_, err = control.Evidence{Request: &disconnect, CRL: devices}.Marshal()
	require.Error(t, err)
}

// A device that was away knows the application as it was. What the application became is evidence, also once a list names that; what it was before
// is none, whatever generation the holder of its key writes.
func TestEvidenceAfterRenewals(t *testing.T) {
	c := newCast(t)
	now := time.Now().Add(-30 * 24 * time.Hour)
	c.World = controltest.NewWorldWith(t, ca.Config{Now: func() time.Time { return now }})
	c.v = c.Verifier(t)
	device, other := c.Party(t, "D-7F3K2"), c.Party(t, "A-HEAT")
	was := []controltest.Party{c.Party(t, "A-WATER")}
	for i := range uint32(3) {
		now = now.Add(7 * 24 * time.Hour)
		was = append(was, c.Rekeyed(t, was[i], i+1))
	}
	otherLater := c.Rekeyed(t, other, 1)
	list := func(p controltest.Party) []byte {
		b, err := c.Authority.RevokeCertificate(p.Verified.Certificate())
		require.NoError(t, err)
		return b
	}
	listOfOther := list(otherLater)
	listOf2 := list(was[2])
	require.NoError(t, c.v.AddCRL(listOf2))
	listOf0 := list(was[0])
	again := was[0].Credential
	var err error
	again.Endorsement, err = identity.Endorse(was[0].Signer, again.Chain[0], was[0].Key.PublicKey(), identity.EndorseOptions{Generation: 9})
	require.NoError(t, err)
	by := func(p controltest.Party) *control.SignedRequest {
		s := c.signed(t, control.OpDisconnect, p)
		return &s
	}
	byOther := by(otherLater)
	otherID, _ := other.Verified.ID().App()
	byOther.Request.App = otherID
	*byOther, err = byOther.Request.Sign([32]byte{1}, otherLater.Signer, nil)
	require.NoError(t, err)
	for _, k := range []struct {
		name  string
		e     control.Evidence
		known int
		ok    bool
	}{
		{"request by what it is", control.Evidence{Request: by(was[3]), Application: was[3].Credential}, 1, true},
		{"request by what it became and is no more, revoked since", control.Evidence{Request: by(was[2]), Application: was[2].Credential}, 1, true},
		{"request by what it was", control.Evidence{Request: by(was[0]), Application: was[0].Credential}, 1, false},
		{"request by what it was under a later generation", control.Evidence{Request: by(was[0]), Application: again}, 1, false},
		{"request by another application", control.Evidence{Request: byOther, Application: otherLater.Credential}, 0, false},
		{"request in its name under the key of another application", control.Evidence{Request: by(otherLater), Application: otherLater.Credential}, 0, false},
		{"list of what it became", control.Evidence{CRL: listOf2, Application: was[2].Credential}, 1, true},
		{"list of what it became, without saying so", control.Evidence{CRL: listOf2}, 1, false},
		{"list of what is known", control.Evidence{CRL: listOf2, Application: was[3].Credential}, 2, true},
		{"list that does not name what it became", control.Evidence{CRL: listOf2, Application: was[3].Credential}, 1, false},
		{"list of what it was", control.Evidence{CRL: listOf0, Application: was[0].Credential}, 1, false},
		{"list of what it was under a later generation", control.Evidence{CRL: listOf0, Application: again}, 1, false},
		{"list of another application", control.Evidence{CRL: listOfOther, Application: otherLater.Credential}, 0, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			b, err := k.e.Marshal()
			require.NoError(t, err)
			e, err := control.ParseEvidence(b)
			require.NoError(t, err)
			p := control.Parties{Device: device.Credential, Application: was[k.known].Verified}
			err = e.Permits(c.order(control.OrderRemove), c.v, p)
			if k.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, control.ErrEvidence)
			if len(e.CRL) > 0 {
				require.ErrorIs(t, e.Permits(c.order(control.OrderWipe), c.v, p), control.ErrEvidence)
			}
		})
	}
}

// With the key of an issuing CA anybody can make what an application might have become. Once the root has revoked the CA, that frees no device.
func TestEvidenceUnderARevokedCA(t *testing.T) {
	c := newCast(t)
	doomed := c.Issuing(t, "Doomed CA")
	p := control.Parties{Device: c.device.Credential, Application: c.app.Verified}
	forged := doomed.Rekeyed(t, doomed.Party(t, "A-WATER"), 1)
	s := c.signed(t, control.OpDisconnect, forged)
	e := control.Evidence{Request: &s, Application: forged.Credential}
	require.NoError(t, e.Permits(c.order(control.OrderRemove), c.v, p), "a CA that is trusted may do it")
	crl, err := c.Authority.RevokeCertificate(doomed.Authority.Certificate())
	require.NoError(t, err)
	require.NoError(t, c.v.AddCRL(crl))
	require.ErrorIs(t, e.Permits(c.order(control.OrderRemove), c.v, p), control.ErrEvidence)
}

func TestMessageAndReply(t *testing.T) {
	c := newCast(t)
	req := c.request(t, control.OpConnect)
	for _, m := range []control.Message{
		{},
		{Lists: []identity.CRLNumber{{Number: 9}, {Authority: identity.AuthorityID{1}, Number: 1 << 60}}, Acks: [][]byte{{1}, {2, 3}}},
		{Request: &req, Acks: make([][]byte, 0)},
		{PrekeyNumber: 7, Prekey: []byte{1, 2}},
		{CSR: []byte{3}, Credential: c.device.Credential, PeerGeneration: 1 << 31},
	} {
		b, err := m.Marshal()
		require.NoError(t, err)
		got, err := control.ParseMessage(b)
		require.NoError(t, err)
		again, err := got.Marshal()
		require.NoError(t, err)
		require.Equal(t, b, again)
		for n := range b {
			_, err := control.ParseMessage(b[:n])
			require.ErrorIs(t, err, control.ErrMalformed)
		}
	}
	for _, m := range []control.Message{
		{Acks: make([][]byte, 17)},
		{Lists: make([]identity.CRLNumber, 2)}, // one authority twice
		{Lists: []identity.CRLNumber{{Authority: identity.AuthorityID{1}}, {}}},
		{Lists: make([]identity.CRLNumber, 33)},
		{CSR: make([]byte, identity.MaxCSR+1)},
		{Credential: identity.Credential{Chain: [][]byte{nil}}},
	} {
		_, err := m.Marshal()
		require.Error(t, err)
	}
	b, err := control.Message{Lists: []identity.CRLNumber{{}, {Authority: identity.AuthorityID{1}}}}.Marshal()
	require.NoError(t, err)
	b[3+16] = 0 // the second authority is the first one again
	_, err = control.ParseMessage(b)
	require.ErrorIs(t, err, control.ErrMalformed)

	now := time.UnixMilli(1_800_000_000_123).UTC()
	for _, r := range []control.Reply{
		{Time: now},
		{Time: now, Prekey: []byte{1, 2}},
		{Time: now, Chain: [][]byte{{1}, {2, 3}}, Admission: []byte{4}, PeerCredential: c.app.Credential},
		{Time: now, Orders: [][]byte{{1}}, More: true, CRL: []byte{4}, CRLNumber: identity.CRLNumber{Authority: identity.AuthorityID{5}, Number: 6}, Result: &control.Result{Request: control.NewRequestID(), Code: control.CodeRetired, Text: "gone", Revision: 4}},
	} {
		b, err := r.Marshal()
		require.NoError(t, err)
		got, err := control.ParseReply(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		for n := range b {
			_, err := control.ParseReply(b[:n])
			require.ErrorIs(t, err, control.ErrMalformed)
		}
	}
	_, err = control.Reply{Chain: make([][]byte, identity.MaxChain+1)}.Marshal()
	require.Error(t, err)
	require.True(t, control.IsNudge(control.Nudge()))
	require.False(t, control.IsNudge(nil))
}

func TestRefusedError(t *testing.T) {
	require.NoError(t, control.Result{Code: control.CodeOK}.Err())
	for code, want := range map[control.Code]error{
		control.CodeUnknownDevice: control.ErrUnknownDevice, control.CodeConnectedElsewhere: control.ErrConnectedElsewhere,
		control.CodeClaimRefused: control.ErrClaimRefused, control.CodeTooManyGuesses: control.ErrTooManyGuesses,
		control.CodeRetired: control.ErrRetired, control.CodeRevision: control.ErrRevision,
		control.CodeNotConnected: control.ErrNotConnected, control.CodePolicy: control.ErrPolicy, control.CodeRefused: control.ErrRequest,
	} {
		err := control.Result{Code: code, Text: "why"}.Err()
		require.ErrorIs(t, err, want)
		var refused *control.RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, code, refused.Result.Code)
		require.Contains(t, err.Error(), "why")
	}
	require.ErrorContains(t, control.Result{Code: 99}.Err(), "99", "a code of a later version is a refusal too")
}

func FuzzMessages(f *testing.F) {
	c := newCast(f)
	req := c.request(f, control.OpDisconnect)
	seed := func(b []byte, err error) { require.NoError(f, err); f.Add(b) }
	seed(req.Marshal())
	seed(control.Message{Request: &req, Acks: [][]byte{{1}}}.Marshal())
	seed(control.Message{CSR: []byte{1}, Credential: c.device.Credential, PeerGeneration: 1}.Marshal())
	seed(control.Reply{Time: time.UnixMilli(1), Orders: [][]byte{{1}}, Result: &control.Result{}}.Marshal())
	seed(control.Reply{Time: time.UnixMilli(1), Chain: [][]byte{{1}}, Admission: []byte{1}, PeerCredential: c.app.Credential}.Marshal())
	seed(control.Evidence{Request: &req}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		// What parses has one encoding.
		if m, err := control.ParseMessage(b); err == nil {
			same(t, b)(m.Marshal())
		}
		if r, err := control.ParseReply(b); err == nil {
			same(t, b)(r.Marshal())
		}
		if s, err := control.ParseSignedRequest(b); err == nil {
			same(t, b)(s.Marshal())
		}
		if e, err := control.ParseEvidence(b); err == nil {
			same(t, b)(e.Marshal())
		}
	})
}

func same(t *testing.T, want []byte) func([]byte, error) {
	return func(got []byte, err error) {
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// The parsers behind a signature see bytes of whoever holds a key, so the fuzzer signs what it tries.
func FuzzSigned(f *testing.F) {
	c := newCast(f)
	o, err := c.order(control.OrderInstall).Sign(c.platform.Signer)
	require.NoError(f, err)
	f.Add(o[4 : 4+int(o[1])<<16+int(o[2])<<8+int(o[3])])
	a, err := control.AckOf(c.platform.Verified.ID(), 1, o, control.AckDone).Sign(c.platform.Signer)
	require.NoError(f, err)
	f.Add(a[4 : 4+int(a[3])])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		sign := func(context identity.Context) []byte {
			sig, err := identity.Sign(c.platform.Signer, context, body)
			require.NoError(t, err)
			b := append([]byte{control.Version, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
			return append(append(b, byte(len(sig))), sig...)
		}
		signed := sign(identity.ContextOrder)
		if o, err := control.OpenOrder(signed, c.platform.Verified); err == nil {
			same(t, signed)(o.Sign(c.platform.Signer))
		}
		signed = sign(identity.ContextAck)
		if a, err := control.OpenAck(signed, c.platform.Verified); err == nil {
			same(t, signed)(a.Sign(c.platform.Signer))
		}
		_, _, _ = control.OpenAdmission(sign(identity.ContextAdmission), c.v, c.app.Verified)
	})
}
