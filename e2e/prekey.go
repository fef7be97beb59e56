package e2e

import (
	"crypto"
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/secret"
)

// Prekey is an agreement key that an application gateway signs and hands out before anybody calls, and erases some weeks later.
// With it, early data has what otherwise only the messages after RESP have: forward secrecy, from the moment that the gateway has erased
// the private half, and no impersonation towards a gateway whose agreement key alone was stolen.
type Prekey struct {
	Number  uint32 // of this gateway, rising from 1
	Expires time.Time
	key     *ecdh.PublicKey
	name    string
	cert    [hashSize]byte
}

// Prekeys are the private halves that a gateway has handed out and not yet erased.
type Prekeys interface {
	// Prekey returns one, or an error that Is [ErrUnknownPrekey]. It is called for INITs whose outer MAC holds.
	Prekey(number uint32) (ecdh.KeyExchanger, error)
}

const prekeyVersion = 1

// SignPrekey makes the bundle that devices are given. signer is the signing key of self. Encoding:
//
//	version u8 ‖ number u32 ‖ expires u64, Unix seconds ‖ H(certificate) 32 ‖ point 33 ‖ LP(name) ‖ signature of all before, to the end
func SignPrekey(signer crypto.Signer, self *identity.Verified, number uint32, expires time.Time, key *ecdh.PublicKey) ([]byte, error) {
	switch {
	case number == 0:
		return nil, errors.New("e2e: prekeys are numbered from 1")
	case self.Role() != identity.RoleApplication:
		return nil, fmt.Errorf("e2e: prekey of %s: only applications have them", self.ID())
	case key.Curve() != ecdh.P256():
		return nil, errors.New("e2e: prekeys must be on P-256")
	}
	body := prekeyBody(number, expires, self.CertificateHash(), key, self.ID().String())
	sig, err := identity.Sign(signer, identity.ContextPrekey, body)
	if err != nil {
		return nil, fmt.Errorf("e2e: sign prekey %d: %w", number, err)
	}
	bundle := append(body, sig...)
	if _, err := OpenPrekey(bundle, self); err != nil {
		return nil, err // the signer is another one's
	}
	return bundle, nil
}

func prekeyBody(number uint32, expires time.Time, cert [hashSize]byte, key *ecdh.PublicKey, name string) []byte {
	b := []byte{prekeyVersion}
	b = binary.BigEndian.AppendUint32(b, number)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	b = append(b, cert[:]...)
	b = append(b, compress(key)...)
	return appendLP(b, []byte(name))
}

const prekeyNameAt = 1 + 4 + 8 + hashSize + pointSize

// ErrPrekey means a bundle that is no prekey of the gateway in question.
var ErrPrekey = errors.New("e2e: not a prekey of this application")

// OpenPrekey verifies a bundle: form, signature, and that owner's certificate is the one it was made under. Whether it has expired
// is decided when it is used.
func OpenPrekey(b []byte, owner *identity.Verified) (*Prekey, error) {
	if len(b) < prekeyNameAt+2 || b[0] != prekeyVersion {
		return nil, fmt.Errorf("%w: malformed", ErrPrekey)
	}
	end := prekeyNameAt + 2 + int(binary.BigEndian.Uint16(b[prekeyNameAt:]))
	if end > len(b) {
		return nil, fmt.Errorf("%w: malformed", ErrPrekey)
	}
	expires := binary.BigEndian.Uint64(b[5:])
	k := &Prekey{
		Number: binary.BigEndian.Uint32(b[1:]), Expires: time.Unix(int64(expires), 0),
		cert: [hashSize]byte(b[13:]), name: string(b[prekeyNameAt+2 : end]),
	}
	var err error
	if k.key, err = decompress(b[13+hashSize : prekeyNameAt]); err != nil || k.Number == 0 || expires > 1<<40 {
		return nil, fmt.Errorf("%w: malformed", ErrPrekey)
	}
	if owner.Role() != identity.RoleApplication || k.name != owner.ID().String() || k.cert != owner.CertificateHash() {
		return nil, fmt.Errorf("%w: it is %s's, or of another certificate", ErrPrekey, k.name)
	}
	if err := identity.VerifySignature(owner.SigningKey(), identity.ContextPrekey, b[:end], b[end:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPrekey, err)
	}
	if k.key.Equal(owner.Agreement()) {
		return nil, fmt.Errorf("%w: it is the application's agreement key", ErrPrekey)
	}
	return k, nil
}

// PrekeyNumber returns the number in a bundle that nobody has verified, 0 for what is no bundle.
func PrekeyNumber(b []byte) uint32 {
	if len(b) < prekeyNameAt+2 || b[0] != prekeyVersion {
		return 0
	}
	return binary.BigEndian.Uint32(b[1:])
}

// UsePrekey makes Initiate put early data under k, from now on until a later prekey comes or k expires. A prekey that is not later than
// the one in use changes nothing. It is for the device's side of a session binding in ProfileEphemeral, else [ErrWrongUse].
func (p *Peer) UsePrekey(k *Prekey) error {
	if p.oneShot || p.selfB || p.profile != ProfileEphemeral {
		return fmt.Errorf("use a prekey: %w", ErrWrongUse)
	}
	if k.name != p.remote.name || k.cert != p.remote.cert || k.key.Equal(p.self.agreement) {
		return ErrPrekey
	}
	p.hs.Lock()
	defer p.hs.Unlock()
	if p.wiped {
		return ErrWiped
	}
	if have := p.prekey.Load(); have == nil || k.Number > have.Number {
		p.prekey.Store(k)
	}
	return nil
}

// EarlyDataReady says whether Initiate takes early data now: always, unless Config.RequirePrekey waits for a prekey.
func (p *Peer) EarlyDataReady(now time.Time) bool {
	return !p.requirePrekey || p.livePrekey(now) != nil
}

// livePrekey returns the prekey to use, nil without one.
func (p *Peer) livePrekey(now time.Time) *Prekey {
	k := p.prekey.Load()
	if k == nil || !now.Before(k.Expires) {
		return nil
	}
	return k
}

// findPrekey returns the private half that an INIT names.
func (p *Peer) findPrekey(number uint32) (ecdh.KeyExchanger, error) {
	k, err := p.prekeys.Prekey(number)
	if err != nil {
		return nil, fmt.Errorf("e2e: prekey %d: %w", number, err)
	}
	return k, nil
}

// chainPrekey mixes a prekey P into ck1: ECDH(e_I, P), which only the two of this handshake can compute, and ECDH(S_I, P), which nobody can
// who has neither the initiator's agreement key nor P's private half.
func chainPrekey(ck1 secret.Bytes, ephemeral, static agreement) (secret.Bytes, error) {
	ep, err := ephemeral.private.ECDH(ephemeral.public)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("e2e: agree with prekey: %w", err)
	}
	defer clear(ep)
	sp, err := static.private.ECDH(static.public)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("e2e: agree with prekey: %w", err)
	}
	defer clear(sp)
	defer ck1.Wipe()
	return extract2(ck1.Expose(), ep, sp), nil
}
