package e2e

import (
	"crypto/sha256"
	"fmt"
)

const maxExport = 255 * sha256.Size // what HKDF-Expand gives

// Export derives key material for the layer above from session id, which both sides have established: the same bytes on both
// sides, other ones for every session and label, and nothing that says anything about the session's own keys or about
// another label's. The label says what the bytes are for; make it unique to the application. length is at most 8,160 bytes.
//
// [ErrNoSession] means that the session is not established, or is gone already: a session that was replaced lasts as long as its
// receiving keys. Who keeps the bytes beyond the session gives its forward secrecy away for what they protect.
func (p *Peer) Export(id SessionID, label string, length int) ([]byte, error) {
	if length < 1 || length > maxExport {
		return nil, fmt.Errorf("e2e: export %d bytes: choose from 1 to %d", length, maxExport)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wiped {
		return nil, ErrWiped
	}
	for _, s := range [...]*session{p.current, p.previous} {
		if s != nil && s.id == id {
			context := sha256.Sum256([]byte(label))
			return expand(s.exporter, labelExported, context[:], length), nil
		}
	}
	return nil, ErrNoSession
}
