package identity

import (
	"crypto"
	"crypto/ecdh"

	"github.com/semio-iot/semio/internal/secret"
)

// Holder is a credential together with the private keys that it names: what a peer has of himself. It prints as redacted.
type Holder struct {
	secret.Opaque
	Credential Credential
	Signer     crypto.Signer     // of the certificate
	Key        ecdh.KeyExchanger // the endorsed agreement key; nil where there is none
}
