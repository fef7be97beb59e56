package secureboot

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"github.com/semio-iot/semio/identity"
)

// Trust is what a running stage knows of the next one: it is built into the stage, or comes from the manifest that the stage was
// verified with.
type Trust struct {
	Product string
	Stage   uint8              // of the image to be verified
	Keys    []*ecdsa.PublicKey // of its providers; any one of them may sign
	Floor   uint64             // the lowest version that may run; see the package's documentation
}

// Stage is an image that [VerifyImage] has verified.
type Stage struct {
	Manifest
	digest [sha256.Size]byte // of what is signed: anybody can give an ECDSA signature a second form
}

// Trust returns what the stage knows of the one after it, with that one's floor.
func (s *Stage) Trust(floor uint64) Trust {
	return Trust{Product: s.Product, Stage: s.Stage + 1, Keys: s.Next, Floor: floor}
}

// VerifyImage verifies a manifest and the image that it describes. It reads exactly the image from r: neither less nor anything
// after it, and never more than one byte beyond the manifest's size. The image must not run before VerifyImage has returned without an error.
//
// Errors: ErrManifest, ErrSignature, ErrWrongImage, ErrRollback, ErrImage, and r's.
func VerifyImage(manifest []byte, r io.Reader, t Trust) (*Stage, error) {
	s, err := verifyImage(manifest, r, t)
	if err != nil {
		return nil, fmt.Errorf("verify image: %w", err)
	}
	return s, nil
}

func verifyImage(manifest []byte, r io.Reader, t Trust) (*Stage, error) {
	m, body, signature, err := parse(manifest)
	if err != nil {
		return nil, err
	}
	if !signedByOne(t.Keys, body, signature) {
		return nil, ErrSignature
	}
	switch {
	case m.Product != t.Product || m.Stage != t.Stage:
		return nil, fmt.Errorf("%w: it is stage %d of %q, wanted is stage %d of %q", ErrWrongImage, m.Stage, m.Product, t.Stage, t.Product)
	case m.Version < t.Floor:
		return nil, fmt.Errorf("%w: version %d, the lowest allowed is %d", ErrRollback, m.Version, t.Floor)
	case m.Size > 1<<62:
		return nil, ErrManifest
	}
	if err := hashIs(r, int64(m.Size), m.Hash); err != nil {
		return nil, err
	}
	return &Stage{Manifest: m, digest: sha256.Sum256(body)}, nil
}

func signedByOne(keys []*ecdsa.PublicKey, body, signature []byte) bool {
	for _, key := range keys {
		if identity.VerifySignature(key, identity.ContextImage, body, signature) == nil {
			return true
		}
	}
	return false
}

// VerifyHash is what code in ROM does: it compares the second stage with a hash in fuses.
func VerifyHash(image io.Reader, size int64, hash [sha256.Size]byte) error {
	if err := hashIs(image, size, hash); err != nil {
		return fmt.Errorf("verify hash: %w", err)
	}
	return nil
}

func hashIs(r io.Reader, size int64, want [sha256.Size]byte) error {
	h := sha256.New()
	switch n, err := io.Copy(h, io.LimitReader(r, size)); {
	case err != nil:
		return err
	case n < size:
		return fmt.Errorf("%w: it ends after %d of %d bytes", ErrImage, n, size)
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("%w: it has more than %d bytes", ErrImage, size)
	case !errors.Is(err, io.EOF):
		return err
	}
	if subtle.ConstantTimeCompare(h.Sum(nil), want[:]) != 1 {
		return ErrImage
	}
	return nil
}

// Chain is a hash chain over the stages that were started, in their order: as a TPM's platform configuration register, it tells
// whether these very images ran. The zero value is the chain of nothing.
type Chain [sha256.Size]byte

// Extend returns the chain with one more stage: SHA-256(chain ‖ SHA-256(manifest up to
// its signature's length)). The manifest has the image's hash.
func (c Chain) Extend(s *Stage) Chain {
	return sha256.Sum256(append(c[:], s.digest[:]...))
}
