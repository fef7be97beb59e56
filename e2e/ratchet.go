package e2e

import "github.com/semio-iot/semio/internal/secret"

const (
	ratchetShift = 16 // a generation of keys lasts 2^16 messages of a direction
	maxSkip      = 16 // generations derived ahead for one record

	// maxCounter is the last counter that a receiver takes: MaxMessages DATA records and a CLOSE behind them. It keeps the
	// counter far from wrapping, whatever a peer's limits are.
	maxCounter = 1 << 20
)

// chain derives the generations of keys of one direction: SEK ‖ SAK ‖ IV of generation n come from G_n, and G_n+1 from G_n
// one-way, so that keys of earlier messages cannot be computed from what a device holds now.
type chain struct {
	suite Suite
	key   secret.Bytes // G_gen
	gen   uint32
	keys  aead // of gen
}

func newChain(s Suite, ck3 secret.Bytes, direction string, th3 [hashSize]byte) (*chain, error) {
	c := &chain{suite: s, key: secretOf(expand(ck3, direction, th3[:], keySize))}
	var err error
	c.keys, err = c.derive()
	return c, err
}

func (c *chain) derive() (aead, error) {
	keys := expand(c.key, labelKeys, nil, keysSize)
	defer clear(keys)
	return newAEAD(c.suite, keys)
}

// at returns the chain at generation gen, which must not lie before c: c itself, or a new one that replaces c once a tag has
// held under it.
func (c *chain) at(gen uint32) (*chain, error) {
	if gen == c.gen {
		return c, nil
	}
	next := &chain{suite: c.suite, gen: gen}
	key := c.key
	for i := range gen - c.gen {
		k := secretOf(expand(key, labelRatchet, nil, keySize))
		if i > 0 {
			key.Wipe() // an intermediate one; the first is c's
		}
		key = k
	}
	next.key = key
	var err error
	next.keys, err = next.derive()
	return next, err
}

func (c *chain) wipe() {
	if c == nil {
		return
	}
	c.key.Wipe()
	c.keys = nil
}
