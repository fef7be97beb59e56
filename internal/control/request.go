package control

import (
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// RequestID tells the requests of an application apart: random, so that a request sent again is the same request.
type RequestID [16]byte

// NewRequestID draws one.
func NewRequestID() (id RequestID) {
	rand.Read(id[:])
	return id
}

func (id RequestID) String() string { return hex.EncodeToString(id[:]) }

// Op is what an application gateway asks for.
type Op uint8

// The requests of an application gateway.
const (
	OpConnect Op = iota + 1
	OpDisconnect
)

func (o Op) String() string {
	switch o {
	case OpConnect:
		return "connect"
	case OpDisconnect:
		return "disconnect"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// Request asks the platform to connect a device with the asking application, or to disconnect it (Schrijen et al. 2019,
// objective 3: only the application asks, only the platform changes). Encoding, behind the version:
//
//	request ID 16 ‖ op 1 ‖ LP8 application ‖ LP8 device ‖ binding ID 16 ‖ revision u64
type Request struct {
	ID       RequestID
	Op       Op
	App      identity.AppID
	Device   identity.DeviceID
	Binding  e2e.BindingID // disconnect: the binding that ends, so that an old request ends no later one; connect: zero
	Revision uint64        // revision of the device's record that the request expects; 0: any
}

func (r Request) encode(b *builder) {
	b.AddBytes(r.ID[:])
	b.AddUint8(uint8(r.Op))
	b.id(r.App.ID)
	b.id(r.Device.ID)
	b.AddBytes(r.Binding[:])
	b.AddUint64(r.Revision)
}

func (p *reader) request() (r Request) {
	p.array(r.ID[:])
	r.Op = Op(p.u8())
	r.App = p.app()
	r.Device = p.device()
	r.Binding = p.binding()
	r.Revision = p.u64()
	p.bad = p.bad || r.Op != OpConnect && r.Op != OpDisconnect
	p.bad = p.bad || (r.Op == OpConnect) != (r.Binding == e2e.BindingID{})
	return r
}

// SignedRequest is a request with its evidence: the transcript TH1 of the INIT that first carried it and the application's
// signature over both, so that nobody can wrap it again under another epoch or binding. The claim proof is a signature over
// the same bytes with the key that the sticker's claim code seeds.
type SignedRequest struct {
	Request    Request
	Transcript [32]byte
	Signature  []byte
	ClaimProof []byte // empty: none
}

// body is what both signatures cover: version ‖ TH1 ‖ request.
func (s SignedRequest) body() ([]byte, error) {
	b := build()
	b.AddBytes(s.Transcript[:])
	s.Request.encode(b)
	return b.Bytes()
}

// Sign signs the request as part of the INIT with transcript th1. claim is the claim code's key, nil where there is none.
func (r Request) Sign(th1 [32]byte, app crypto.Signer, claim crypto.Signer) (SignedRequest, error) {
	s := SignedRequest{Request: r, Transcript: th1}
	body, err := s.body()
	if err != nil {
		return SignedRequest{}, fmt.Errorf("encode %s request: %w", r.Op, err)
	}
	if s.Signature, err = identity.Sign(app, identity.ContextRequest, body); err != nil {
		return SignedRequest{}, fmt.Errorf("sign %s request: %w", r.Op, err)
	}
	if claim == nil {
		return s, nil
	}
	if s.ClaimProof, err = identity.Sign(claim, identity.ContextClaim, body); err != nil {
		return SignedRequest{}, fmt.Errorf("prove claim of %s: %w", r.Device, err)
	}
	return s, nil
}

// Verify checks the application's signature and that app is the application that the request names.
func (s SignedRequest) Verify(app *identity.Verified) error {
	if app.ID() != s.Request.App.ID {
		return fmt.Errorf("%w: request of %s under the certificate of %s", ErrForeign, s.Request.App, app.ID())
	}
	body, err := s.body()
	if err != nil {
		return err
	}
	return identity.VerifySignature(app.SigningKey(), identity.ContextRequest, body, s.Signature)
}

// VerifyClaim checks the claim proof against the registered claim key, a compressed P-256 point.
func (s SignedRequest) VerifyClaim(claimKey []byte) error {
	pub, err := identity.ParsePublicKey(claimKey)
	if err != nil {
		return fmt.Errorf("claim key: %w", err)
	}
	body, err := s.body()
	if err != nil {
		return err
	}
	return identity.VerifySignature(pub, identity.ContextClaim, body, s.ClaimProof)
}

// Marshal encodes the request with its evidence: version ‖ TH1 32 ‖ request ‖ LP8 signature ‖ LP8 claim proof.
func (s SignedRequest) Marshal() ([]byte, error) {
	b := build()
	b.AddBytes(s.Transcript[:])
	s.Request.encode(b)
	b.lp8(s.Signature)
	b.lp8(s.ClaimProof)
	return b.Bytes()
}

// ParseSignedRequest parses what Marshal made. It verifies nothing.
func ParseSignedRequest(b []byte) (*SignedRequest, error) {
	p := parse(b, 1024)
	var s SignedRequest
	p.array(s.Transcript[:])
	s.Request = p.request()
	s.Signature = p.lp8()
	s.ClaimProof = p.lp8()
	if err := p.done("request"); err != nil {
		return nil, err
	}
	return &s, nil
}
