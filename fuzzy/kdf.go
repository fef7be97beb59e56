package fuzzy

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/semio-iot/semio/internal/secret"
)

// Every label of a key derivation in this package.
const (
	labelRootKey = "semio-fuzzy/1 root key" // Expand of the PRK: the root key
	labelTagKey  = "semio-fuzzy/1 tag key"  // Expand of the PRK: the key of the helper data's tag
	labelDerived = "semio-root/1 "          // Expand of the root key: prefix of RootKey.Derive's info
)

// keys derives the tag of body and the root key from the secret that the code
// protects. Extract takes the hash of the body in, so that no change of helper
// data leaves either as it was.
func keys(message, salt, body []byte) (tag []byte, root *RootKey, err error) {
	hash := sha256.Sum256(body)
	ikm := append(append(make([]byte, 0, len(message)+len(hash)), message...), hash[:]...)
	defer clear(ikm)
	prk, err := hkdf.Extract(sha256.New, ikm, salt)
	if err != nil {
		return nil, nil, fmt.Errorf("extract: %w", err)
	}
	defer clear(prk)
	tagKey, err := hkdf.Expand(sha256.New, prk, labelTagKey, keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("tag key: %w", err)
	}
	defer clear(tagKey)
	mac := hmac.New(sha256.New, tagKey)
	mac.Write(body)
	tag = mac.Sum(nil)[:tagSize]
	key, err := hkdf.Expand(sha256.New, prk, labelRootKey, keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("root key: %w", err)
	}
	defer clear(key)
	return tag, &RootKey{key: secret.New(key)}, nil
}
