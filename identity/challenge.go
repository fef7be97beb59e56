package identity

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/internal/secret"
)

// AuthConfig is what one side of a challenge-response authentication needs. Self, Signer and Verifier are required.
type AuthConfig struct {
	secret.Opaque // a key may be within

	Self     *Verified     // one's own credential
	Signer   crypto.Signer // the certified key of Self
	Verifier *Verifier     // of the other side
	// Want is the role that the other side must have; 0: any.
	Want Role
	// Binding is what ties the proofs to the channel that they travel through, the same on both sides: for example what
	// tls.ConnectionState.ExportKeyingMaterial returns. Without it somebody in the middle may pass the messages on, and
	// both are right about who is there and wrong about who carries the rest. At most 1,024 bytes.
	Binding []byte
}

// Challenger is the side that starts a challenge-response authentication: [Challenge] makes its first message, Finish its second.
type Challenger struct {
	cfg   AuthConfig
	nonce [nonceSize]byte
	done  bool
}

// Answerer is the other side: [Answer] makes its message, Finish judges the last one.
type Answerer struct {
	cfg  AuthConfig
	peer *Verified
	body []byte
	done bool
}

const (
	nonceSize  = 32
	maxBinding = 1024
	authV1     = 1

	kindChallenge, kindAnswer, kindProof = 1, 2, 3
)

// ErrChallenge reports a message that is none of a challenge-response authentication, or not the one that was expected now.
var ErrChallenge = errors.New("identity: not the expected message of a challenge-response authentication")

// Challenge begins an authentication of two peers to one another (Schrijen et al. 2019, section III.D.3, in both directions; the three
// passes of ISO/IEC 9798-3) and returns the message for the other side: a random number and one's own credential.
//
//	c, challenge, err := identity.Challenge(cfg)          //  challenge ──▶
//	a, answer, err := identity.Answer(cfg, challenge)     //               ──▶ (the other side)
//	peer, proof, err := c.Finish(answer)                  //  ◀── answer, proof ──▶
//	peer, err := a.Finish(proof)                          //               ──▶ (the other side)
//
// Each side signs both random numbers and both certificates. docs/identity.md has the bytes. The peers agree on no key: for that
// there is package e2e.
func Challenge(cfg AuthConfig) (*Challenger, []byte, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, fmt.Errorf("challenge: %w", err)
	}
	c := &Challenger{cfg: cfg}
	rand.Read(c.nonce[:])
	m, err := introduction(kindChallenge, c.nonce, cfg.Self)
	if err != nil {
		return nil, nil, fmt.Errorf("challenge: %w", err)
	}
	message, err := m.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("challenge: %w", err)
	}
	return c, message, nil
}

// Finish verifies the answer: peer is who signed it. proof is the message that proves one's own identity to him. It is called
// once. Errors: ErrChallenge, ErrSignature, and those of [Verifier.Verify].
func (c *Challenger) Finish(answer []byte) (peer *Verified, proof []byte, err error) {
	if peer, proof, err = c.finish(answer); err != nil {
		return nil, nil, fmt.Errorf("challenge: %w", err)
	}
	return peer, proof, nil
}

func (c *Challenger) finish(answer []byte) (*Verified, []byte, error) {
	if c.done {
		return nil, nil, fmt.Errorf("%w: the challenge was answered before", ErrChallenge)
	}
	c.done = true
	nonce, peer, s, err := c.cfg.meet(kindAnswer, answer)
	if err != nil {
		return nil, nil, err
	}
	signature, ok := readSignature(&s)
	if !ok {
		return nil, nil, ErrChallenge
	}
	body := c.cfg.body(c.nonce, nonce, c.cfg.Self, peer)
	if err := VerifySignature(peer.SigningKey(), ContextAnswer, body, signature); err != nil {
		return nil, nil, err
	}
	own, err := Sign(c.cfg.Signer, ContextChallenge, body)
	if err != nil {
		return nil, nil, err
	}
	proof := append([]byte{authV1, kindProof, byte(len(own))}, own...)
	return peer, proof, nil
}

// Answer answers the challenge of a peer who is not known to be who he says before Finish. Errors: ErrChallenge, and those of
// [Verifier.Verify] for the credential in it.
func Answer(cfg AuthConfig, challenge []byte) (*Answerer, []byte, error) {
	a, answer, err := newAnswer(cfg, challenge)
	if err != nil {
		return nil, nil, fmt.Errorf("answer challenge: %w", err)
	}
	return a, answer, nil
}

func newAnswer(cfg AuthConfig, challenge []byte) (*Answerer, []byte, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	nonce, peer, s, err := cfg.meet(kindChallenge, challenge)
	if err != nil {
		return nil, nil, err
	}
	if !s.Empty() {
		return nil, nil, ErrChallenge
	}
	var own [nonceSize]byte
	rand.Read(own[:])
	a := &Answerer{cfg: cfg, peer: peer, body: cfg.body(nonce, own, peer, cfg.Self)}
	signature, err := Sign(cfg.Signer, ContextAnswer, a.body)
	if err != nil {
		return nil, nil, err
	}
	m, err := introduction(kindAnswer, own, cfg.Self)
	if err != nil {
		return nil, nil, err
	}
	m.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(signature) })
	answer, err := m.Bytes()
	return a, answer, err
}

// Finish verifies the proof and returns the peer, who is there now. It is called once. Errors: ErrChallenge, ErrSignature.
func (a *Answerer) Finish(proof []byte) (*Verified, error) {
	if err := a.finish(proof); err != nil {
		return nil, fmt.Errorf("answer challenge: %w", err)
	}
	return a.peer, nil
}

func (a *Answerer) finish(proof []byte) error {
	if a.done {
		return fmt.Errorf("%w: it came before", ErrChallenge)
	}
	a.done = true
	s := cryptobyte.String(proof)
	if !readKind(&s, kindProof) {
		return ErrChallenge
	}
	signature, ok := readSignature(&s)
	if !ok {
		return ErrChallenge
	}
	return VerifySignature(a.peer.SigningKey(), ContextChallenge, a.body, signature)
}

func (cfg *AuthConfig) check() error {
	switch {
	case cfg.Self == nil || cfg.Signer == nil || cfg.Verifier == nil:
		return errors.New("identity: AuthConfig needs Self, Signer and Verifier")
	case len(cfg.Binding) > maxBinding:
		return fmt.Errorf("identity: binding of %d bytes, want at most %d", len(cfg.Binding), maxBinding)
	}
	pub, err := signerKey(cfg.Signer)
	if err != nil {
		return err
	}
	if !pub.Equal(cfg.Self.SigningKey()) {
		return fmt.Errorf("%w: the signer is not the certified key of %s", ErrKey, cfg.Self.ID())
	}
	return nil
}

// meet reads what a peer introduces himself with, verifies the credential, and returns the rest of the message.
func (cfg *AuthConfig) meet(kind uint8, message []byte) (nonce [nonceSize]byte, peer *Verified, rest cryptobyte.String, err error) {
	s := cryptobyte.String(message)
	var credential cryptobyte.String
	if len(message) > MaxCredential+256 || !readKind(&s, kind) || !s.CopyBytes(nonce[:]) || !s.ReadUint16LengthPrefixed(&credential) {
		return nonce, nil, nil, ErrChallenge
	}
	c, err := ParseCredential(credential)
	if err != nil {
		return nonce, nil, nil, err
	}
	if peer, err = cfg.Verifier.Verify(c, cfg.Want); err != nil {
		return nonce, nil, nil, err
	}
	// Whoever reflects our own message back must not be taken for a second one of us.
	if peer.ID() == cfg.Self.ID() || peer.SigningKey().Equal(cfg.Self.SigningKey()) {
		return nonce, nil, nil, fmt.Errorf("%w: it is our own identity", ErrChallenge)
	}
	return nonce, peer, s, nil
}

// body is what both sides sign, each under a context of its own.
func (cfg *AuthConfig) body(challenge, answer [nonceSize]byte, challenger, answerer *Verified) []byte {
	b := append([]byte{authV1}, challenge[:]...)
	b = append(b, answer[:]...)
	for _, p := range []*Verified{challenger, answerer} {
		hash := p.CertificateHash()
		b = append(b, hash[:]...)
	}
	return append(b, cfg.Binding...)
}

func introduction(kind uint8, nonce [nonceSize]byte, self *Verified) (*cryptobyte.Builder, error) {
	credential, err := self.Credential().Marshal()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddUint8(authV1)
	b.AddUint8(kind)
	b.AddBytes(nonce[:])
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(credential) })
	return &b, nil
}

func readKind(s *cryptobyte.String, want uint8) bool {
	var version, kind uint8
	return s.ReadUint8(&version) && version == authV1 && s.ReadUint8(&kind) && kind == want
}

// readSignature reads the last field.
func readSignature(s *cryptobyte.String) ([]byte, bool) {
	var signature cryptobyte.String
	ok := s.ReadUint8LengthPrefixed(&signature) && s.Empty()
	return signature, ok
}
