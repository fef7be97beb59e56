package platform

import (
	"bytes"
	"fmt"

	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// keptDecided is how many epochs of a peer a decision is remembered for: far more than the window in which an INIT is still taken.
const keptDecided = 256

// decided returns how this very request was decided in another INIT, 0 if it was not. A gateway that gets no answer asks again with
// the same ID; whoever kept the first INIT back could otherwise have it come true after all that followed.
func (t *txn) decided(ask *asked) (control.Code, error) {
	if !ask.valid {
		return 0, nil
	}
	for key, v := range t.tx.List(prefixDecided + ask.peer.String() + "/") {
		if id, ok := bytes.CutPrefix(v, ask.Request.ID[:]); ok {
			if len(id) != 1 {
				return 0, fmt.Errorf("read %s: %w", key, registry.ErrRecord)
			}
			return control.Code(id[0]), nil
		}
	}
	return 0, nil
}

// settle remembers a decision under the epoch of the INIT that asked, and forgets those that no INIT can ask for again.
func (t *txn) settle(ask *asked, code control.Code) error {
	prefix := prefixDecided + ask.peer.String() + "/"
	var old []string
	for key := range t.tx.List(prefix) {
		if ask.epoch < keptDecided || key >= numbered(prefix, ask.epoch-keptDecided) {
			break
		}
		old = append(old, key)
	}
	for _, key := range old {
		if err := t.tx.Delete(key); err != nil {
			return err
		}
	}
	return t.tx.Put(numbered(prefix, ask.epoch), append(bytes.Clone(ask.Request.ID[:]), byte(code)))
}
