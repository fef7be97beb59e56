package bench

import (
	"crypto/rand"
	"errors"

	"github.com/flynn/noise"
)

var errNoiseOpen = errors.New("the Noise handshake is not over after two messages")

// noisePair is two ends that know one another's static keys: pattern KK, the one closest to ours, over Curve25519 and SHA-256.
type noisePair struct {
	suite      noise.CipherSuite
	own, other noise.DHKey
}

func newNoisePair(c noise.CipherFunc) (*noisePair, error) {
	p := &noisePair{suite: noise.NewCipherSuite(noise.DH25519, c, noise.HashSHA256)}
	var err error
	if p.own, err = p.suite.GenerateKeypair(rand.Reader); err != nil {
		return nil, err
	}
	p.other, err = p.suite.GenerateKeypair(rand.Reader)
	return p, err
}

// handshake does both sides, and returns the direction from the initiator at either end.
func (p *noisePair) handshake() (out, in *noise.CipherState, err error) {
	start := func(initiator bool, own, other noise.DHKey) (*noise.HandshakeState, error) {
		return noise.NewHandshakeState(noise.Config{
			CipherSuite: p.suite, Pattern: noise.HandshakeKK, Initiator: initiator, StaticKeypair: own, PeerStatic: other.Public,
		})
	}
	a, err := start(true, p.own, p.other)
	if err != nil {
		return nil, nil, err
	}
	b, err := start(false, p.other, p.own)
	if err != nil {
		return nil, nil, err
	}
	first, _, _, err := a.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, _, _, err = b.ReadMessage(nil, first); err != nil {
		return nil, nil, err
	}
	second, in, _, err := b.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	_, out, _, err = a.ReadMessage(nil, second)
	if err == nil && (out == nil || in == nil) {
		err = errNoiseOpen
	}
	return out, in, err
}

// noiseChannel is transport messages of Noise, without additional data.
type noiseChannel struct{ out, in *noise.CipherState }

func newNoiseChannel(c noise.CipherFunc) (channel, error) {
	p, err := newNoisePair(c)
	if err != nil {
		return nil, err
	}
	out, in, err := p.handshake()
	return &noiseChannel{out: out, in: in}, err
}

func (c *noiseChannel) ready(int) error { return nil }

func (c *noiseChannel) seal(dst, plaintext []byte) ([]byte, error) {
	return c.out.Encrypt(dst, nil, plaintext)
}

func (c *noiseChannel) open(dst, record []byte) ([]byte, error) {
	return c.in.Decrypt(dst, nil, record)
}
