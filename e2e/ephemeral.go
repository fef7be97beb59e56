package e2e

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"

	"github.com/semio-iot/semio/internal/secret"
)

// random is where a handshake takes what is new in it. Tests and vectors have their own.
type random struct {
	key         func() (*ecdh.PrivateKey, error)
	nonce       func() []byte // 32 bytes
	challenge   func() [echoSize]byte
	kemKey      func() (*mlkem.DecapsulationKey768, error)
	encapsulate func(*mlkem.EncapsulationKey768) (shared, ciphertext []byte)
}

// system is the operating system's.
var system = random{
	key: func() (*ecdh.PrivateKey, error) { return ecdh.P256().GenerateKey(rand.Reader) },
	nonce: func() []byte {
		n := make([]byte, nonceSize)
		rand.Read(n)
		return n
	},
	challenge: func() (n [echoSize]byte) {
		rand.Read(n[:])
		return n
	},
	kemKey:      mlkem.GenerateKey768,
	encapsulate: (*mlkem.EncapsulationKey768).Encapsulate,
}

// The functions below are all that the two profiles differ in: what a side puts into its record (its share), and how the chaining
// key goes on. They want hs where they call Key.

// newShare makes a share: the key behind it, nil in ProfileStatic, and its bytes on the wire.
func (p *Peer) newShare() (*ecdh.PrivateKey, []byte, error) {
	if p.profile == ProfileStatic {
		return nil, p.random.nonce(), nil
	}
	k, err := p.random.key()
	if err != nil {
		return nil, nil, fmt.Errorf("e2e: make ephemeral key: %w", err)
	}
	return k, compress(k.PublicKey()), nil
}

// parseShare reads the other side's. Every nonce is one.
func (p *Peer) parseShare(share []byte) (*ecdh.PublicKey, error) {
	if p.profile == ProfileStatic {
		return nil, nil
	}
	k, err := decompress(share)
	if err != nil {
		return nil, unauthentic(&p.count.badPoint)
	}
	return k, nil
}

// chainInit goes from MK to ck1: with ECDH(e_I, S_R), which either side computes with the private key that it has of the two, or
// with n_I.
func (p *Peer) chainInit(private ecdh.KeyExchanger, public *ecdh.PublicKey, share []byte) (secret.Bytes, error) {
	if p.profile == ProfileStatic {
		return extract(p.mk.Expose(), share), nil
	}
	es, err := private.ECDH(public)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("e2e: agree on ck1: %w", err)
	}
	defer clear(es)
	return extract(p.mk.Expose(), es), nil
}

// chainResp goes from ck1 to ck3: with ECDH(e_I, e_R) and ECDH(e_R, S_I), each given as the private and the public key that this side has
// of the two, or with n_R; and with ML-KEM's secret in the suites that have one.
func (p *Peer) chainResp(ck1 secret.Bytes, ee, se agreement, share, shared []byte) (secret.Bytes, error) {
	if p.profile == ProfileStatic {
		return extract2(ck1.Expose(), share, shared), nil
	}
	first, err := ee.private.ECDH(ee.public)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("e2e: agree on ck2: %w", err)
	}
	defer clear(first)
	second, err := se.private.ECDH(se.public)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("e2e: agree on ck3: %w", err)
	}
	defer clear(second)
	ck2 := extract2(ck1.Expose(), first, shared)
	defer ck2.Wipe()
	return extract(ck2.Expose(), second), nil
}

type agreement struct {
	private ecdh.KeyExchanger
	public  *ecdh.PublicKey
}
