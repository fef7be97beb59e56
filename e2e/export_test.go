package e2e

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// What tests reach into. Nothing of it exists outside of test binaries.

// PlainParty is a side of a binding without certificates.
type PlainParty struct {
	Role  byte
	Name  string
	Cert  [32]byte
	Agree *ecdh.PublicKey
}

func (p PlainParty) party() party {
	return party{role: p.Role, name: p.Name, cert: p.Cert, agreement: p.Agree}
}

// NewPlainPeer is NewPeer for parties that no verifier has seen.
func NewPlainPeer(cfg Config, self, remote PlainParty, psk []byte) (*Peer, error) {
	return newPeer(cfg, self.party(), remote.party(), psk)
}

// SetEphemeral makes the peer use the given keys, in order, instead of random ones.
func SetEphemeral(p *Peer, next func() (*ecdh.PrivateKey, error)) { p.random.key = next }

// SetNonce does the same for ProfileStatic.
func SetNonce(p *Peer, n []byte) { p.random.nonce = func() []byte { return slices.Clone(n) } }

// SetChallenge does it for the nonce of a CHALLENGE.
func SetChallenge(p *Peer, n []byte) {
	p.random.challenge = func() [echoSize]byte { return [echoSize]byte(n) }
}

// SetKEM does the same for ML-KEM: the initiator's key, and what the responder encapsulates.
func SetKEM(p *Peer, key *mlkem.DecapsulationKey768, shared, ciphertext []byte) {
	p.random.kemKey = func() (*mlkem.DecapsulationKey768, error) { return key, nil }
	p.random.encapsulate = func(*mlkem.EncapsulationKey768) (s, c []byte) { return slices.Clone(shared), slices.Clone(ciphertext) }
}

// SetSent sets the counter of the next record of the current session.
func SetSent(p *Peer, n uint32) {
	p.current.sent = n
}

// SetFailed sets the number of failed tags of the current session.
func SetFailed(p *Peer, n uint32) { p.current.failed = n }

// LabelUse is one use of Expand.
type LabelUse struct {
	Label           string
	Context, Length int
	Salt            bool // the PRK is also the salt of an Extract
}

// LabelTable says how each label of labels.go is used with Expand.
var LabelTable = []LabelUse{
	{labelMAC1, 0, keySize, true},
	{labelChal, 0, keySize, true},
	{labelM1, hashSize, keysSize, true},
	{labelM2, hashSize, keysSize, false},
	{labelSID, hashSize, sessionIDSize, false},
	{labelAB, hashSize, keySize, false},
	{labelBA, hashSize, keySize, false},
	{labelRatchet, 0, keySize, false},
	{labelKeys, 0, keysSize, false},
	{labelExporter, hashSize, keySize, false},
	{labelExported, hashSize, maxExport, false},
}

// HashLabels are the labels that are hashed, not expanded.
var HashLabels = []string{labelTH0, labelHint}

// Fingerprint is SHA-256 of a key.
func Fingerprint(k []byte) [32]byte { return sha256.Sum256(k) }

// TrafficKeys fingerprints the keys of the current session: SEK ‖ SAK ‖ IV of what it sends and what it receives.
func TrafficKeys(p *Peer) (out, in [32]byte) {
	s := p.current
	return Fingerprint(expand(s.out.key, labelKeys, nil, keysSize)), Fingerprint(expand(s.in.key, labelKeys, nil, keysSize))
}

// Remac puts p's outer MAC under a changed INIT.
func Remac(p *Peer, init []byte) []byte {
	n := len(init) - mac1Size
	return append(init[:n], p.outerMAC(init[:n])...)
}

// Secrets returns key bytes that p holds.
func Secrets(p *Peer) [][]byte {
	out := [][]byte{p.mk.Expose()}
	if s := p.current; s != nil {
		out = append(out, s.out.key.Expose(), s.in.key.Expose(), s.exporter.Expose())
		if k, ok := s.out.keys.(*ctrHMAC); ok {
			out = append(out, k.nonce[:ivSize])
		}
	}
	if i := p.pending; i != nil {
		out = append(out, i.ck1.Expose())
		if i.private != nil {
			out = append(out, i.private.Bytes())
		}
	}
	return out
}

// RebuildHeader parses a header and writes it again.
func RebuildHeader(b []byte) []byte {
	h, _ := parseHeader(b)
	return h.append(nil)
}

// RebuildInit parses an INIT and puts it together from its parts.
func RebuildInit(b []byte) ([]byte, bool) {
	h, ok := parseHeader(b)
	if !ok || h.typ() != TypeInit {
		return nil, false
	}
	m, ok := parseInit(h, b)
	if !ok {
		return nil, false
	}
	whole := h.append(nil)
	whole = binary.BigEndian.AppendUint64(whole, m.epoch)
	whole = binary.BigEndian.AppendUint16(whole, m.offered)
	for _, part := range [][]byte{m.echo, prekeyNumber(m.prekey), m.share, m.kem, m.sealed, m.mac1} {
		whole = append(whole, part...)
	}
	return whole, true
}

func prekeyNumber(n uint32) []byte {
	if n == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(nil, n)
}

// PlainPrekey is what OpenPrekey returns for owner, without a signature.
func PlainPrekey(owner PlainParty, number uint32, expires time.Time, key *ecdh.PublicKey) *Prekey {
	return &Prekey{Number: number, Expires: expires, key: key, name: owner.Name, cert: owner.Cert}
}

// RebuildResp is RebuildInit for a RESP.
func RebuildResp(b []byte) ([]byte, bool) {
	h, ok := parseHeader(b)
	if !ok || h.typ() != TypeResp {
		return nil, false
	}
	m, ok := parseResp(h, b)
	if !ok {
		return nil, false
	}
	return slices.Concat(h.append(nil), m.share, m.kem, m.sealed), true
}

// RebuildChallenge is RebuildInit for a CHALLENGE.
func RebuildChallenge(b []byte) ([]byte, bool) {
	h, ok := parseHeader(b)
	if !ok || h.typ() != TypeChallenge {
		return nil, false
	}
	m, ok := parseChallenge(h, b)
	if !ok {
		return nil, false
	}
	whole := slices.Concat(h.append(nil), m.digest, m.nonce)
	return append(binary.BigEndian.AppendUint64(whole, m.highest), m.mac...), true
}

// ChainKeys returns the live chain keys of the current session, sending and receiving. They change under the caller.
func ChainKeys(p *Peer) [][]byte {
	return [][]byte{p.current.out.key.Expose(), p.current.in.key.Expose()}
}

// KeyBefore returns the live chain key of the generation before the one that the current session receives, nil when there is none.
func KeyBefore(p *Peer) []byte {
	if p.current.before == nil {
		return nil
	}
	return p.current.before.key.Expose()
}

// PrekeyBody is what SignPrekey signs.
func PrekeyBody(number uint32, expires time.Time, cert [32]byte, key *ecdh.PublicKey, name string) []byte {
	return prekeyBody(number, expires, cert, key, name)
}
