package fuzzy

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/secret"
)

const (
	maxLabel   = 255
	maxDerived = hkdf.MaxSize
)

// RootKey is the device's root key. It derives other keys and never comes out
// itself: no fmt verb, log or encoder shows it. Only [Enroll] and [Reconstruct]
// make one; the zero value behaves as wiped. Safe for concurrent use.
type RootKey struct {
	secret.Opaque
	mu  sync.RWMutex // guards key against Wipe during Derive
	key secret.Bytes
}

// Derive returns n bytes (1 to 8160) of key material for a purpose: HKDF-Expand
// (RFC 5869) with SHA-256 under the root key. label names the purpose, 1 to 255
// bytes, one for each use in a program; context tells apart the keys of one
// purpose, any bytes up to 65,535. Both and n are encoded so that different
// arguments give independent keys:
//
//	info = "semio-root/1 " || u8 len(label) || label || u16 len(context) || context || u16 n
//
// The caller clears the result. Errors: [ErrDerive], [ErrWiped].
func (k *RootKey) Derive(label string, context []byte, n int) ([]byte, error) {
	if label == "" || len(label) > maxLabel {
		return nil, fmt.Errorf("%w: label of %d bytes, want 1 to %d", ErrDerive, len(label), maxLabel)
	}
	if len(context) > 1<<16-1 {
		return nil, fmt.Errorf("%w: context of %d bytes, at most 65535", ErrDerive, len(context))
	}
	if n < 1 || n > maxDerived {
		return nil, fmt.Errorf("%w: %d bytes, want 1 to %d", ErrDerive, n, maxDerived)
	}
	info := make([]byte, 0, len(labelDerived)+len(label)+len(context)+5)
	info = append(info, labelDerived...)
	info = append(info, byte(len(label)))
	info = append(info, label...)
	info = binary.BigEndian.AppendUint16(info, uint16(len(context)))
	info = append(info, context...)
	info = binary.BigEndian.AppendUint16(info, uint16(n))

	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.key.Len() == 0 {
		return nil, fmt.Errorf("derive %q: %w", label, ErrWiped)
	}
	out, err := hkdf.Expand(k.key.Expose(), string(info), n)
	if err != nil {
		return nil, fmt.Errorf("derive %q: %w", label, err)
	}
	return out, nil
}

// Wipe clears the key from memory. Idempotent. It waits for calls of Derive
// under way; later ones are [ErrWiped].
func (k *RootKey) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key.Wipe()
}
