package e2e

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/secret"
)

const (
	hashSize = sha256.Size
	keySize  = 32
	ivSize   = 12
	keysSize = keySize + keySize + ivSize // SEK ‖ SAK ‖ IV
)

// secretOf takes over b, which it clears.
func secretOf(b []byte) secret.Bytes {
	defer clear(b)
	return secret.New(b)
}

// extract is HKDF-Extract with SHA-256.
func extract(salt, input []byte) secret.Bytes {
	prk, err := hkdf.Extract(input, salt)
	if err != nil {
		panic("e2e: extract: " + err.Error()) // only for hashes or lengths that this package never passes
	}
	return secretOf(prk)
}

// extract2 is extract of a ‖ b; b may be nil.
func extract2(salt, a, b []byte) secret.Bytes {
	ikm := append(append(make([]byte, 0, 2*keySize), a...), b...)
	defer clear(ikm)
	return extract(salt, ikm)
}

// expand is HKDF-Expand with SHA-256; info is label ‖ context. The caller clears what it gets.
func expand(prk secret.Bytes, label string, context []byte, length int) []byte {
	out, err := hkdf.Expand(prk.Expose(), label+string(context), length)
	if err != nil {
		panic("e2e: expand: " + err.Error()) // as above
	}
	return out
}

// party is one side of a binding as it stands in the transcript.
type party struct {
	role      byte
	name      string
	cert      [hashSize]byte // SHA-256 of the certificate (DER)
	agreement *ecdh.PublicKey
}

// bindingHash is TH0: who the two are, under which certificates and keys, in which binding, with which local settings. A
// difference in any of it leaves the two without a common key.
func bindingHash(profile Profile, pskRequired bool, id BindingID, a, b party) [hashSize]byte {
	t := []byte(labelTH0)
	t = append(t, byte(profile))
	if pskRequired {
		t = append(t, 1)
	} else {
		t = append(t, 0)
	}
	t = appendLP(t, id[:])
	for _, p := range []party{a, b} {
		t = appendLP(t, []byte{p.role})
		t = appendLP(t, []byte(p.name))
		t = appendLP(t, p.cert[:])
		t = appendLP(t, compress(p.agreement))
	}
	return sha256.Sum256(t)
}

func appendLP(b, x []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(x)))
	return append(b, x...)
}

// masterKey is the paper's master key: one for each binding. psk is nil or 32 bytes.
func masterKey(th0 [hashSize]byte, shared, psk []byte) secret.Bytes {
	return extract2(th0[:], shared, psk)
}

func hintFor(th0 [hashSize]byte) Hint {
	h := sha256.Sum256(append([]byte(labelHint), th0[:]...))
	return Hint(h[:hintSize])
}

// transcript1 is TH1, which stands before a payload exists: signatures inside the payload can cover it.
func transcript1(th0 [hashSize]byte, initClear []byte) [hashSize]byte {
	return hashOf(th0[:], initClear)
}

// transcript2 is TH2. The length keeps the boundary between the two variable parts out of an attacker's hand.
func transcript2(th1 [hashSize]byte, sealed1, respClear []byte) [hashSize]byte {
	n := binary.BigEndian.AppendUint32(nil, uint32(len(sealed1)))
	return hashOf(th1[:], n, sealed1, respClear)
}

func transcript3(th2 [hashSize]byte, sealed2 []byte) [hashSize]byte {
	return hashOf(th2[:], sealed2)
}

func hashOf(parts ...[]byte) (h [hashSize]byte) {
	d := sha256.New()
	for _, p := range parts {
		d.Write(p)
	}
	d.Sum(h[:0])
	return h
}

// messageKeys are the keys of a handshake payload: m1 under ck1 and TH1, m2 under ck3 and TH2.
func messageKeys(s Suite, prk secret.Bytes, label string, th [hashSize]byte) (aead, error) {
	keys := expand(prk, label, th[:], keysSize)
	defer clear(keys)
	return newAEAD(s, keys)
}

// compress returns the SEC 1 compressed form, 33 bytes, of a P-256 key.
func compress(k *ecdh.PublicKey) []byte {
	u := k.Bytes()
	return append([]byte{2 | u[64]&1}, u[1:33]...)
}

var errPoint = errors.New("not a point of P-256")

// decompress parses the one canonical form of a point and refuses everything else.
func decompress(b []byte) (*ecdh.PublicKey, error) {
	if len(b) != pointSize {
		return nil, errPoint
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil, errPoint
	}
	u := make([]byte, 65)
	u[0] = 4
	x.FillBytes(u[1:33])
	y.FillBytes(u[33:])
	return ecdh.P256().NewPublicKey(u)
}
