package fuzzy

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/semio-iot/semio/internal/hkdf"
	"github.com/semio-iot/semio/internal/secret"
)

// Every label of a key derivation in this package.
const (
	labelRootKey = "semio-fuzzy/1 root key" // Expand of the PRK: the root key
	labelTagKey  = "semio-fuzzy/1 tag key"  // Expand of the PRK: the key of the helper data's tag
	labelDerived = "semio-root/1 "          // Expand of the root key: prefix of RootKey.Derive's info
)

// extract makes the key from which tag key and root key are expanded, of the secret
// that the code protects. It takes the hash of the body in, so that no change of
// helper data leaves either as it was. The caller clears the result.
func extract(message, salt, body []byte) ([]byte, error) {
	hash := sha256.Sum256(body)
	ikm := append(append(make([]byte, 0, len(message)+len(hash)), message...), hash[:]...)
	defer clear(ikm)
	prk, err := hkdf.Extract(ikm, salt)
	if err != nil {
		return nil, fmt.Errorf("extract: %w", err)
	}
	return prk, nil
}

// makeTag returns the tag of body.
func makeTag(prk, body []byte) ([]byte, error) {
	tagKey, err := hkdf.Expand(prk, labelTagKey, keySize)
	if err != nil {
		return nil, fmt.Errorf("tag key: %w", err)
	}
	defer clear(tagKey)
	mac := hmac.New(sha256.New, tagKey)
	mac.Write(body)
	return mac.Sum(nil)[:tagSize], nil
}

func makeRootKey(prk []byte) (*RootKey, error) {
	key, err := hkdf.Expand(prk, labelRootKey, keySize)
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	defer clear(key)
	return &RootKey{key: secret.New(key)}, nil
}

// keys returns the tag of body and the root key of a message.
func keys(message, salt, body []byte) (tag []byte, root *RootKey, err error) {
	prk, err := extract(message, salt, body)
	if err != nil {
		return nil, nil, err
	}
	defer clear(prk)
	if tag, err = makeTag(prk, body); err != nil {
		return nil, nil, err
	}
	root, err = makeRootKey(prk)
	return tag, root, err
}
