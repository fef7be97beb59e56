package secureboot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/semio-iot/semio/identity"
)

const (
	magic       = "SEMI"
	version     = 1
	firstStage  = 2 // stage 1 is ROM
	maxProduct  = 64
	maxNextKeys = 8

	// MaxManifest is the most bytes that a manifest has.
	MaxManifest = 512
)

var (
	// ErrManifest reports bytes that are no manifest, or fields that none may have.
	ErrManifest = errors.New("secureboot: no valid manifest")
	// ErrSignature reports a manifest that none of the running stage's keys signed. Install an image of this product's provider.
	ErrSignature = errors.New("secureboot: manifest is not signed by a provider that this stage trusts")
	// ErrImage reports an image that is not the one of the manifest: damaged or exchanged. Fetch it again.
	ErrImage = errors.New("secureboot: image is not the one in its manifest")
	// ErrWrongImage reports a genuine image for another product or another stage.
	ErrWrongImage = errors.New("secureboot: image is for another product or stage")
	// ErrRollback reports a genuine image that is too old to run.
	ErrRollback = errors.New("secureboot: image is older than this device may run")
)

// Manifest is what a provider says of an image.
type Manifest struct {
	Product string // 1 to 64 printable ASCII characters: images of one product do not run on another
	Stage   uint8  // 2 or more
	Version uint64 // counting up
	Size    uint64 // of the image, in bytes
	Hash    [sha256.Size]byte

	// Next are the keys that the image trusts for the stage after it: they are part of the running stage, and none for the last one. At
	// most 8.
	Next []*ecdsa.PublicKey
}

// Describe returns the manifest of an image, to be completed and signed.
func Describe(product string, stage uint8, imageVersion uint64, image []byte) Manifest {
	return Manifest{Product: product, Stage: stage, Version: imageVersion, Size: uint64(len(image)), Hash: sha256.Sum256(image)}
}

// Sign returns the manifest's bytes, signed. Errors: ErrManifest for fields out of range, and the signer's.
func (m Manifest) Sign(signer crypto.Signer) ([]byte, error) {
	body, err := m.body()
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	signature, err := identity.Sign(signer, identity.ContextImage, body)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return append(append(body, byte(len(signature))), signature...), nil
}

func (m Manifest) check() error {
	switch {
	case m.Product == "" || len(m.Product) > maxProduct || strings.ContainsFunc(m.Product, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("%w: product of %d bytes, want 1 to %d printable ASCII characters", ErrManifest, len(m.Product), maxProduct)
	case m.Stage < firstStage:
		return fmt.Errorf("%w: stage %d, the first one that is verified is %d", ErrManifest, m.Stage, firstStage)
	case len(m.Next) > maxNextKeys:
		return fmt.Errorf("%w: %d keys for the next stage, at most %d", ErrManifest, len(m.Next), maxNextKeys)
	}
	return nil
}

func (m Manifest) body() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddBytes([]byte(magic))
	b.AddUint8(version)
	b.AddUint8(m.Stage)
	b.AddUint64(m.Version)
	b.AddUint64(m.Size)
	b.AddBytes(m.Hash[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(m.Product)) })
	b.AddUint8(uint8(len(m.Next)))
	for _, key := range m.Next {
		point, err := identity.MarshalPublicKey(key)
		if err != nil {
			return nil, err
		}
		b.AddBytes(point)
	}
	return b.Bytes()
}

// parse returns what b says, and what is signed. Nothing of it is verified.
func parse(b []byte) (m Manifest, body, signature []byte, err error) {
	malformed := func() (Manifest, []byte, []byte, error) { return Manifest{}, nil, nil, ErrManifest }
	if len(b) > MaxManifest {
		return malformed()
	}
	s := cryptobyte.String(b)
	var product, sig cryptobyte.String
	var magicBytes [4]byte
	var v, n uint8
	if !s.CopyBytes(magicBytes[:]) || string(magicBytes[:]) != magic || !s.ReadUint8(&v) || v != version ||
		!s.ReadUint8(&m.Stage) || !s.ReadUint64(&m.Version) || !s.ReadUint64(&m.Size) || !s.CopyBytes(m.Hash[:]) ||
		!s.ReadUint8LengthPrefixed(&product) || !s.ReadUint8(&n) || n > maxNextKeys {
		return malformed()
	}
	m.Product = string(product)
	for range n {
		var point []byte
		if !s.ReadBytes(&point, 33) {
			return malformed()
		}
		key, err := identity.ParsePublicKey(point)
		if err != nil {
			return malformed()
		}
		m.Next = append(m.Next, key)
	}
	body = b[:len(b)-len(s)]
	if !s.ReadUint8LengthPrefixed(&sig) || !s.Empty() || m.check() != nil {
		return malformed()
	}
	return m, body, sig, nil
}
