package keyvault

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/internal/secret"
)

// Vault is a device's root of trust, open. Only [Enroll], [Open] and [FromSecret] make one. It is safe for concurrent use, and so
// are the keys that it returns. It prints as "[redacted]".
type Vault struct {
	secret.Opaque

	store     Store
	name      string
	helper    [32]byte
	report    fuzzy.Report
	signing   []byte // public key, uncompressed
	agreement *ecdh.PublicKey

	mu     sync.RWMutex // held for reading by every use of root, so that Close waits for them
	root   rootKey
	closed bool
}

// rootKey is the one secret of a vault: *fuzzy.RootKey, or a secretRoot. Derive may be called at once from many goroutines,
// Wipe not beside it.
type rootKey interface {
	Derive(label string, context []byte, n int) ([]byte, error)
	Wipe()
}

// newVault takes root over and wipes it after an error. helper is all zero where there is no helper data.
func newVault(root rootKey, helper [32]byte, report fuzzy.Report, store Store, name string) (*Vault, error) {
	v := &Vault{root: root, helper: helper, report: report, store: store, name: name}
	err := v.withSigningKey(func(key *ecdsa.PrivateKey) (err error) {
		v.signing, err = key.PublicKey.Bytes()
		return err
	})
	if err == nil {
		err = v.withAgreementKey(func(key *ecdh.PrivateKey) error {
			v.agreement = key.PublicKey()
			return nil
		})
	}
	if err != nil {
		_ = v.Close()
		return nil, fmt.Errorf("derive keys: %w", err)
	}
	return v, nil
}

// use runs f while the root key stands.
func (v *Vault) use(f func() error) (err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	// The zero Vault has no root.
	if v.closed || v.root == nil {
		return ErrClosed
	}
	secret.Do(func() { err = f() })
	return err
}

// Signer returns the device's signing key: ECDSA on P-256, signatures deterministic as in RFC 6979, its reader not used. Sign
// takes digests of SHA-256, SHA-384 and SHA-512. After Close it gives [ErrClosed]; the public key stays.
func (v *Vault) Signer() crypto.Signer { return &signer{public: v.signing, with: v.withSigningKey} }

// KeyExchanger returns the device's agreement key: ECDH on P-256, another key than the Signer's. After Close it gives
// [ErrClosed]; the public key stays.
func (v *Vault) KeyExchanger() ecdh.KeyExchanger {
	return &exchanger{public: v.agreement, with: v.withAgreementKey}
}

const (
	maxLabel   = 255
	maxContext = 1<<16 - 1 - 1 - maxLabel
)

// Derive returns n bytes (1 to 8160) that follow from the root key, label (1 to 255 bytes, the purpose) and context (at most
// 65,279 bytes, what tells apart the keys of one purpose): the same after every power-up, independent for different arguments,
// n included. The caller clears the result. Errors: ErrArgument, ErrClosed.
func (v *Vault) Derive(label string, context []byte, n int) (out []byte, err error) {
	if err = checkDerive(label, context, n); err == nil {
		err = v.use(func() (err error) {
			out, err = v.root.Derive(labelDerive, deriveInfo(label, context), n)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("derive: %w", err)
	}
	return out, nil
}

func checkDerive(label string, context []byte, n int) error {
	switch {
	case label == "" || len(label) > maxLabel:
		return fmt.Errorf("%w: label of %d bytes, want 1 to %d", ErrArgument, len(label), maxLabel)
	case len(context) > maxContext:
		return fmt.Errorf("%w: context of %d bytes, want at most %d", ErrArgument, len(context), maxContext)
	case n < 1 || n > 255*32:
		return fmt.Errorf("%w: %d bytes wanted, from 1 to %d can be had", ErrArgument, n, 255*32)
	}
	return nil
}

// deriveInfo keeps label and context apart: u8 length ‖ label ‖ context.
func deriveInfo(label string, context []byte) []byte {
	info := make([]byte, 0, 1+len(label)+len(context)+2)
	info = append(info, byte(len(label)))
	info = append(info, label...)
	return append(info, context...)
}

// HelperHash returns the SHA-256 of the helper data, which the device's certificate carries. It is all zero for a vault of
// [FromSecret], which has none.
func (v *Vault) HelperHash() [32]byte { return v.helper }

// Report tells how close the reconstruction was that opened the vault: how many bits were corrected, how much margin is left. Log
// it, so that ageing is seen before it hurts. It is zero after an enrolment that had no reading to prove itself, and for a vault of
// [FromSecret].
func (v *Vault) Report() fuzzy.Report { return v.report }

// Destroy ends the life of the keys: it deletes from the store what brings them back (the helper data, or the name given to
// [FromSecret]), makes sure that it is gone, and closes the vault. Copies of it elsewhere bring the keys back, on this chip. When it
// fails, the vault stays open: call it again.
func (v *Vault) Destroy(ctx context.Context) error {
	// Not under the lock: the store is other people's code.
	if err := v.use(func() error { return nil }); err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	if err := v.store.Delete(ctx, v.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroy: delete %q: %w", v.name, err)
	}
	if _, err := v.store.Get(ctx, v.name); err == nil {
		return fmt.Errorf("destroy: %w: %q is there after it was deleted", ErrStore, v.name)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("destroy: make sure that %q is gone: %w", v.name, err)
	}
	return v.Close()
}

// Close waits for uses under way and clears the root key. Later uses of the vault and of its keys are ErrClosed; HelperHash,
// Report and the public keys stay. It returns nil, and does nothing when called again.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.root != nil {
		v.root.Wipe()
	}
	return nil
}
