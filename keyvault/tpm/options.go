package tpm

import (
	"crypto/fips140"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/keyvault"
)

var (
	// ErrEnrolled says that a sealed secret is stored already. Call Open.
	ErrEnrolled = errors.New("tpm: a sealed secret is stored already; open it")
	// ErrNotEnrolled says that the store has no sealed secret. Enrol a new device; for one enrolled before, restore it from a copy.
	ErrNotEnrolled = errors.New("tpm: no sealed secret stored; enrol a new device, or restore the record of an enrolled one")
	// ErrWrongTPM says that the stored secret was sealed by another TPM, or by this one before it was cleared, or under another
	// Options.StorageKey.
	ErrWrongTPM = errors.New("tpm: stored secret was sealed under another storage key; it opens on its own TPM alone, and not after that was cleared")
	// ErrPolicy says that the PCRs are not what they were at enrolment: something else was booted. Boot what was enrolled.
	ErrPolicy = errors.New("tpm: PCRs are not those of the enrolment; boot the system that was enrolled")
	// ErrMalformed says that the stored record was changed, damaged, or is none. Restore it from a copy.
	ErrMalformed = errors.New("tpm: stored record is malformed or was changed; restore it from a copy")
	// ErrStorageKey says that the TPM gave no storage key: a password protects its owner hierarchy, or it has no such key.
	ErrStorageKey = errors.New("tpm: no storage key; remove the owner password, or give Options.StorageKey of a persistent one")
	// ErrUnproved says that the TPM did not give back, at enrolment, what it had sealed; nothing was stored.
	ErrUnproved = errors.New("tpm: TPM does not give back what it sealed, nothing was stored; check the TPM and its bus")
	// ErrNoDevice says that OpenDevice found no TPM that it can open.
	ErrNoDevice = errors.New("tpm: no TPM device")
)

// DefaultName is the name of the record in the store.
const DefaultName = "tpm"

// maxPCR is one more than the greatest PCR of a PC Client TPM.
const maxPCR = 24

// Options change Enroll and Open; nil or zero fields mean the defaults. They are not modified.
type Options struct {
	// Name of the record in the store; default "tpm".
	Name string

	// PCRs, 0 to 23 of the SHA-256 bank, bind the secret to the values that they have at enrolment. None: no policy. Open
	// takes them from the record.
	PCRs []int

	// StorageKey is the handle of a persistent storage key without password, 0x81000001 by the TCG's convention. Zero: the
	// ECC P-256 key of the TCG's template is made for the call in the owner hierarchy, the same each time, which takes a fraction
	// of a second and an owner without password. A persistent key of that template is the same key.
	StorageKey uint32
}

// The handles that persistent objects have (TPM 2.0 Library, Part 2, table 28).
const (
	minPersistent uint32 = 0x81000000
	maxPersistent uint32 = 0x81ffffff
)

type options struct {
	Options
	mask pcrMask
}

func (o *Options) orDefault() (options, error) {
	var c options
	if o != nil {
		c.Options = *o
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	// Go panics at the first encrypted parameter otherwise.
	if fips140.Enforced() {
		return c, fmt.Errorf("%w: GODEBUG=fips140=only forbids AES-CFB, in which a TPM's sessions encrypt; use fips140=on", errors.ErrUnsupported)
	}
	for _, n := range c.PCRs {
		if n < 0 || n >= maxPCR {
			return c, fmt.Errorf("%w: PCR %d, want 0 to %d", keyvault.ErrArgument, n, maxPCR-1)
		}
		c.mask[n/8] |= 1 << (n % 8)
	}
	if c.StorageKey != 0 && (c.StorageKey < minPersistent || c.StorageKey > maxPersistent) {
		return c, fmt.Errorf("%w: storage key %#x, persistent handles are %#x to %#x", keyvault.ErrArgument, c.StorageKey, minPersistent, maxPersistent)
	}
	return c, nil
}
