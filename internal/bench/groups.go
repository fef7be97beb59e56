package bench

import (
	"fmt"
	"net"

	"github.com/flynn/noise"
)

// Sizes of the messages that are compared, in bytes.
func Sizes() []int { return []int{64, 256, 1 << 10, 16 << 10} }

// Groups makes the certificates that the contenders need, and returns all that is compared: seal and open at each size, delivery
// at each size over each transport, and the handshake.
func Groups() ([]Group, error) {
	m, err := newMembers()
	if err != nil {
		return nil, fmt.Errorf("bench: make members: %w", err)
	}
	tlsName, err := tlsName(m)
	if err != nil {
		return nil, fmt.Errorf("bench: try TLS: %w", err)
	}
	all := channels(tlsName)
	var out []Group
	for _, op := range []struct {
		name string
		open func(named, *members, int) (*Case, error)
	}{{"seal", sealCase}, {"open", openCase}} {
		for _, size := range Sizes() {
			out = append(out, Group{Op: op.name, Size: size, Open: func() (cases []*Case, err error) {
				for _, n := range all {
					c, err := op.open(n, m, size)
					if err != nil {
						return cases, fmt.Errorf("open %s: %w", n.name, err)
					}
					cases = append(cases, c)
				}
				return cases, nil
			}})
		}
	}
	for _, t := range transports() {
		for _, size := range Sizes() {
			out = append(out, Group{Op: "deliver, " + t.name, Size: size, Open: func() ([]*Case, error) {
				return deliveries(m, t, size, tlsName)
			}})
		}
	}
	return append(out, Group{Op: "handshake", Open: func() ([]*Case, error) { return handshakes(m) }}), nil
}

// channels are the contenders that seal and open, ours first.
func channels(tlsName string) []named {
	var out []named
	for _, s := range sealers() {
		out = append(out, named{suiteName(s), true, func(m *members) (channel, error) { return newSession(m, s) }})
	}
	return append(out,
		named{"bare AES-256-CTR + HMAC-SHA-256", false, newBareCTRHMAC},
		named{"bare AES-256-GCM", false, newBareGCM},
		named{"Noise 25519 AES-256-GCM", false, func(*members) (channel, error) { return newNoiseChannel(noise.CipherAESGCM) }},
		named{"Noise 25519 ChaChaPoly", false, func(*members) (channel, error) { return newNoiseChannel(noise.CipherChaChaPoly) }},
		named{tlsName, false, newTLSChannel},
	)
}

func deliveries(m *members, t transport, size int, tlsName string) (cases []*Case, err error) {
	add := func(name string, ours bool, over func(near, far net.Conn) (stream, error)) {
		if err != nil {
			return
		}
		var c *Case
		if c, err = deliverCase(name, ours, size, t, over); err != nil {
			err = fmt.Errorf("open %s: %w", name, err)
			return
		}
		cases = append(cases, c)
	}
	for _, s := range sealers() {
		add(suiteName(s), true, func(near, far net.Conn) (stream, error) {
			c, err := newSession(m, s)
			return framed(near, far, c), err
		})
	}
	add("plaintext", false, func(near, far net.Conn) (stream, error) { return framed(near, far, nil), nil })
	add(tlsName, false, func(near, far net.Conn) (stream, error) { return tlsStream(m, near, far) })
	return cases, err
}

// handshakes are checked by what they do themselves: each compares keys or authenticates with them.
func handshakes(m *members) (cases []*Case, err error) {
	add := func(name string, ours bool, do func() error) {
		cases = append(cases, &Case{Name: name, Ours: ours, Batch: maxBatch, Check: do, Do: func(int) error { return do() }})
	}
	for _, s := range suites() {
		c, err := newSession(m, s)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", suiteName(s), err)
		}
		add(suiteName(s), true, c.handshake)
	}
	pair, err := newNoisePair(noise.CipherAESGCM)
	if err != nil {
		return nil, fmt.Errorf("open Noise: %w", err)
	}
	add("bare P-256, 2 keys + 6 DH", false, func() error { return bareP256(m.device.key, m.app.key) })
	add("bare P-256 and ML-KEM-768", false, func() error { return bareKEM(m.device.key, m.app.key) })
	add("Noise KK 25519", false, func() error { _, _, err := pair.handshake(); return err })
	add("TLS 1.3 P-256, both certified", false, func() error { return tlsHandshake(m) })
	return cases, nil
}
