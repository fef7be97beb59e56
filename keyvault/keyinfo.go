package keyvault

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// KeyType says what a locked key is and what its bytes are.
type KeyType byte

// The types of locked keys.
const (
	TypeAES     KeyType = 1 // AES-256: 32 bytes
	TypeMAC     KeyType = 2 // HMAC-SHA-256 and HKDF-SHA-256: 32 to 64 bytes
	TypeSign    KeyType = 3 // ECDSA on P-256: scalar, 32 bytes
	TypeAgree   KeyType = 4 // ECDH on P-256: scalar, 32 bytes
	TypeMLKEM   KeyType = 5 // ML-KEM-768: seed d ‖ z, 64 bytes (FIPS 203, 7.1)
	lastKeyType         = TypeMLKEM
)

func (t KeyType) String() string {
	switch t {
	case TypeAES:
		return "AES-256"
	case TypeMAC:
		return "HMAC-SHA-256"
	case TypeSign:
		return "ECDSA P-256"
	case TypeAgree:
		return "ECDH P-256"
	case TypeMLKEM:
		return "ML-KEM-768"
	}
	return fmt.Sprintf("KeyType(%d)", byte(t))
}

// size returns the least and the most bytes of a key.
func (t KeyType) size() (low, high int) {
	switch t {
	case TypeMAC:
		return 32, 64
	case TypeMLKEM:
		return 64, 64
	}
	return 32, 32
}

// Usage says what a locked key may be used for. What is not in it is refused by this package wherever the key is opened.
type Usage uint16

// The uses. Without UsageExport a key never comes out again, not even wrapped: only this device can ever use it.
const (
	UsageSign    Usage = 1 << iota // TypeSign: signatures; TypeMAC: tags
	UsageDerive                    // TypeAgree, TypeMLKEM: agreement; TypeMAC: derivation of other keys
	UsageEncrypt                   // TypeAES: Seal and Open
	UsageWrap                      // TypeAES: wrapping and unwrapping of other keys
	UsageExport                    // any: may leave the device, in the clear or wrapped under another key
	allUsages    = 1<<iota - 1
)

func (u Usage) String() string {
	if u == 0 {
		return "none"
	}
	var names []string
	for i, name := range []string{"sign", "derive", "encrypt", "wrap", "export"} {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if rest := u &^ allUsages; rest != 0 {
		names = append(names, fmt.Sprintf("0x%x", uint16(rest)))
	}
	return strings.Join(names, "+")
}

// allowed are the uses that a type has.
func (t KeyType) allowed() Usage {
	switch t {
	case TypeAES:
		return UsageEncrypt | UsageWrap | UsageExport
	case TypeMAC:
		return UsageSign | UsageDerive | UsageExport
	case TypeSign:
		return UsageSign | UsageExport
	case TypeAgree, TypeMLKEM:
		return UsageDerive | UsageExport
	}
	return 0
}

// KeyInfo is what a key code says of its key. All of it is authenticated and none of it is secret.
type KeyInfo struct {
	Type    KeyType
	Usage   Usage  // at least one use other than UsageExport
	Index   uint32 // the caller's number for the key, for example a slot
	Version uint64 // of the key under this index, counting up; see MonotonicCounter
	Label   string // 1 to 255 bytes: what the key is for
}

func (k KeyInfo) String() string {
	return fmt.Sprintf("%s key %d %q version %d for %s", k.Type, k.Index, k.Label, k.Version, k.Usage)
}

func (k KeyInfo) check() error {
	switch {
	case k.Type == 0 || k.Type > lastKeyType:
		return fmt.Errorf("%w: %v is no type of key", ErrArgument, k.Type)
	case k.Usage&^UsageExport == 0 || k.Usage&^k.Type.allowed() != 0:
		return fmt.Errorf("%w: usage %v, a key of type %v is for one or more of %v", ErrArgument, k.Usage, k.Type, k.Type.allowed())
	case k.Label == "" || len(k.Label) > maxLabel:
		return fmt.Errorf("%w: label of %d bytes, want 1 to %d", ErrArgument, len(k.Label), maxLabel)
	}
	return nil
}

// The header of a key code; doc.go draws it.
const (
	codeMagic   = "SEMK"
	codeVersion = 1
	codeFixed   = 21 // up to the label
)

func (k KeyInfo) header() []byte {
	b := append(make([]byte, 0, codeFixed+len(k.Label)), codeMagic...)
	b = append(b, codeVersion, byte(k.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(k.Usage))
	b = binary.BigEndian.AppendUint32(b, k.Index)
	b = binary.BigEndian.AppendUint64(b, k.Version)
	b = append(b, byte(len(k.Label)))
	return append(b, k.Label...)
}

// parseHeader returns what a code says of its key, unauthenticated, and the length of its header.
func parseHeader(code []byte) (k KeyInfo, n int, ok bool) {
	if len(code) < codeFixed || string(code[:4]) != codeMagic || code[4] != codeVersion {
		return KeyInfo{}, 0, false
	}
	k = KeyInfo{
		Type:    KeyType(code[5]),
		Usage:   Usage(binary.BigEndian.Uint16(code[6:])),
		Index:   binary.BigEndian.Uint32(code[8:]),
		Version: binary.BigEndian.Uint64(code[12:]),
	}
	n = codeFixed + int(code[20])
	if len(code) < n {
		return KeyInfo{}, 0, false
	}
	k.Label = string(code[codeFixed:n])
	return k, n, k.check() == nil
}
