package tpm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

const (
	magic      = "SEMT"
	version    = 1
	hashSize   = 32
	maxPrivate = 1024

	// TPMT_PUBLIC of the sealed object: type, name algorithm, attributes, policy, scheme, unique; the policy is empty or a hash.
	plainPublic  = 2 + 2 + 4 + 2 + 2 + 2 + hashSize
	policyPublic = plainPublic + hashSize
	policyOffset = 2 + 2 + 4 + 2
)

// pcrMask is a TPMS_PCR_SELECTION's bitmap: PCR n is bit n%8 of byte n/8.
type pcrMask [maxPCR / 8]byte

func (m pcrMask) selection() tpm2.TPMLPCRSelection {
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: m[:]}}}
}

// record is what the store has, in a form that cannot be wrong: only parseRecord and seal make one.
type record struct {
	pcrs    pcrMask
	parent  [hashSize]byte // of the storage key's name
	policy  []byte         // empty or a hash
	unique  [hashSize]byte
	private []byte
}

// public is what Enroll asks the TPM to make and what Load brings back.
func (r *record) public() tpm2.TPMTPublic {
	p := template(r.policy)
	p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: r.unique[:]})
	return p
}

func template(policy []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgKeyedHash,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM:    true,
			FixedParent: true,
			// A policy that a password of no bytes gets around would be none.
			UserWithAuth: len(policy) == 0,
			// Nothing here can be guessed: a lockout of the TPM must not take the device's keys away.
			NoDA: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}}),
	}
}

func (r *record) bytes() []byte {
	public := tpm2.Marshal(r.public())
	b := append(make([]byte, 0, 44+len(public)+len(r.private)), magic...)
	b = append(b, version)
	b = append(b, r.pcrs[:]...)
	b = append(b, r.parent[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(public)))
	b = append(b, public...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.private)))
	return append(b, r.private...)
}

// parseRecord accepts what record.bytes gives, byte for byte, and nothing else. Errors: ErrMalformed.
func parseRecord(b []byte) (*record, error) {
	bad := func(what string) (*record, error) { return nil, fmt.Errorf("%w: %s", ErrMalformed, what) }
	if len(b) < 42 {
		return bad("too short")
	}
	if string(b[:4]) != magic {
		return bad("no such magic")
	}
	if b[4] != version {
		return bad(fmt.Sprintf("version %d, this software reads %d", b[4], version))
	}
	r := &record{pcrs: pcrMask(b[5:8]), parent: [hashSize]byte(b[8:40])}
	want := plainPublic
	if r.pcrs != (pcrMask{}) {
		want = policyPublic
	}
	if got := int(binary.BigEndian.Uint16(b[40:])); got != want || len(b) < 42+want+2 {
		return bad("public area of a wrong size")
	}
	public, rest := b[42:42+want], b[42+want:]
	r.policy = bytes.Clone(public[policyOffset : policyOffset+want-plainPublic])
	r.unique = [hashSize]byte(public[want-hashSize:])
	// All else in the public area is ours to say; what a TPM is told comes from us.
	if !bytes.Equal(tpm2.Marshal(r.public()), public) {
		return bad("public area of another kind of object")
	}
	n := int(binary.BigEndian.Uint16(rest))
	if n == 0 || n > maxPrivate || len(rest) != 2+n {
		return bad("private area of a wrong size")
	}
	r.private = bytes.Clone(rest[2:])
	return r, nil
}
