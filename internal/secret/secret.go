// Package secret holds key bytes so that no print, log or encoder shows them.
//
// Start with [New]. The bytes lie behind a closure, not in a field: reflection (fmt reaching into unexported fields of an
// enclosing struct, the dump of a failed test assertion, a debugger-style printer that ignores methods) ends at a function value
// and prints an address at most. On top of that every formatting and encoding hook of the standard library answers
// [Redacted] or [ErrEncode].
//
// The package does not protect memory: Go may have copied the bytes before they came here, and a core dump holds them until
// [Bytes.Wipe].
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is printed in place of a secret.
const Redacted = "[redacted]"

// ErrEncode is returned by the binary encoders (gob and encoding.BinaryMarshaler), which would write the secret to be read back.
var ErrEncode = errors.New("secret: refusing to encode a secret; store it sealed, for example with a key vault")

// Bytes holds a secret. Copies of a Bytes share it, so wiping one wipes all. The zero value is empty. Bytes cannot be compared
// with ==, which would not run in constant time.
//
// Reading methods are safe for concurrent use with each other, not with Wipe: the owner waits for its readers first.
type Bytes struct {
	opaque
	hold func() *[]byte
}

// New returns a Bytes with a copy of b. The caller clears b.
func New(b []byte) Bytes {
	own := append(make([]byte, 0, len(b)), b...)
	return Bytes{hold: func() *[]byte { return &own }}
}

// Expose returns the live bytes, nil when empty or wiped. Do not keep, change or append to the slice: Wipe clears it in place.
func (s Bytes) Expose() []byte {
	if s.hold == nil {
		return nil
	}
	b := *s.hold()
	return b[:len(b):len(b)]
}

// Len returns the number of bytes, 0 after Wipe.
func (s Bytes) Len() int { return len(s.Expose()) }

// Equal compares in constant time for a given length; lengths are not secret. Two empty secrets are equal.
func (s Bytes) Equal(t Bytes) bool {
	return subtle.ConstantTimeCompare(s.Expose(), t.Expose()) == 1
}

// Wipe overwrites the bytes with zeros and empties s and all its copies. Further calls do nothing.
func (s Bytes) Wipe() {
	if s.hold == nil {
		return
	}
	b := s.hold()
	clear(*b)
	*b = nil
}

// Opaque, embedded in a struct, gives it the printing and encoding methods of [Bytes]. Alone it protects nothing: the fields
// beside it are within reach of %p and of reflection, so keep secrets in a Bytes or a closure.
type Opaque struct{ opaque }

// opaque is embedded so that Bytes and Opaque share one set of methods.
type opaque struct{}

// Format prints [Redacted] for every verb.
func (opaque) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String returns [Redacted].
func (opaque) String() string { return Redacted }

// GoString returns [Redacted].
func (opaque) GoString() string { return Redacted }

// LogValue returns [Redacted].
func (opaque) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns [Redacted].
func (opaque) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON returns [Redacted] as a JSON string.
func (opaque) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalBinary returns [ErrEncode].
func (opaque) MarshalBinary() ([]byte, error) { return nil, ErrEncode }

// AppendBinary returns b unchanged and [ErrEncode].
func (opaque) AppendBinary(b []byte) ([]byte, error) { return b, ErrEncode }

// GobEncode returns [ErrEncode].
func (opaque) GobEncode() ([]byte, error) { return nil, ErrEncode }
