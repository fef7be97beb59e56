package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"
	"strings"
)

// Context says what a signature is for. It is part of what is signed, so that no signature of one purpose serves another,
// and none of TLS 1.3 (RFC 8446, 4.4.3 signs 64 spaces and a context that starts with "TLS 1.3") serves any here.
// This table holds every context of the system; each has 1 to 32 of a-z and '-'.
type Context string

// The contexts.
const (
	ContextEndorsement  Context = "endorsement"  // signing key for the agreement key of the same peer
	ContextRegistration Context = "registration" // registrar to platform: a new device
	ContextAdmission    Context = "admission"    // platform to a peer: the bundle that starts their binding
	ContextRequest      Context = "request"      // application to platform: connect, disconnect
	ContextClaim        Context = "claim"        // the claim code's key over the same request
	ContextOrder        Context = "order"        // platform to a peer: install, remove, wipe
	ContextPrekey       Context = "prekey"       // application gateway: an agreement key that lives for weeks
	ContextAck          Context = "ack"          // peer to platform: the order is done or refused
	ContextAnswer       Context = "answer"       // who answers a challenge, over both random numbers (Schrijen et al. 2019, section III.D.3)
	ContextChallenge    Context = "challenge"    // who made the challenge, over the same
	ContextRekey        Context = "rekey"        // key that a name is certified with, for the one that follows it
	ContextImage        Context = "image"        // software provider: a boot image (identity/secureboot)
)

const (
	maxContext   = 32
	maxSignature = 72 // SEQUENCE of two INTEGERs of at most 33 bytes
)

func (c Context) valid() bool {
	return len(c) >= 1 && len(c) <= maxContext && strings.Trim(string(c), "abcdefghijklmnopqrstuvwxyz-") == ""
}

// Sign signs body for the purpose c: ECDSA on P-256 over the SHA-256 of
//
//	64 x 0x20 ‖ "semio/1 <context>" ‖ 0x00 ‖ body
//
// It returns r and s in DER, at most 72 bytes. The signer is given no source of randomness: an *ecdsa.PrivateKey then signs deterministically
// (RFC 6979), so the same call returns the same bytes. ECDSA lets anybody turn a signature into a second
// valid one; never use signature bytes to tell two messages apart.
func Sign(signer crypto.Signer, c Context, body []byte) ([]byte, error) {
	pub, err := signerKey(signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", c, err)
	}
	if !c.valid() {
		return nil, fmt.Errorf("sign: context %q is not one of the table", string(c))
	}
	sig, err := signer.Sign(nil, signedDigest(c, body), crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", c, err)
	}
	// A fault during a deterministic signature gives away the key to whoever sees the result; none leaves unverified.
	if err := VerifySignature(pub, c, body, sig); err != nil {
		return nil, fmt.Errorf("sign %s: the signer returned a bad signature: %w", c, err)
	}
	return sig, nil
}

// VerifySignature reports with [ErrSignature] that sig is not what [Sign] made of c and body with the private key of pub, or
// is not canonical DER.
func VerifySignature(pub *ecdsa.PublicKey, c Context, body, sig []byte) error {
	if !isP256(pub) {
		return fmt.Errorf("verify %s: %w", c, ErrKey)
	}
	// ecdsa.VerifyASN1 reads DER with cryptobyte, which refuses lengths and integers that are not minimal, and trailing bytes.
	if !c.valid() || len(sig) > maxSignature || !ecdsa.VerifyASN1(pub, signedDigest(c, body), sig) {
		return fmt.Errorf("verify %s: %w", c, ErrSignature)
	}
	return nil
}

func signedDigest(c Context, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(strings.Repeat(" ", 64) + "semio/1 " + string(c) + "\x00"))
	h.Write(body)
	return h.Sum(nil)
}
