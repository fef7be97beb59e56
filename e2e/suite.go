package e2e

import (
	"crypto/fips140"
	"fmt"
	"slices"
)

// Suite names the algorithms of a session.
type Suite byte

// The suites; all of them agree on keys over P-256. Those not listed are refused.
const (
	// SuiteCTRHMAC is AES-256-CTR and HMAC-SHA-256 cut to 128 bits, encrypt-then-MAC: the paper's SEK and SAK. The default.
	SuiteCTRHMAC Suite = 0x01

	// SuiteGCM is AES-256-GCM, for speed. GODEBUG=fips140=only forbids it: its nonces are counted, which Go's module
	// allows to TLS alone.
	SuiteGCM Suite = 0x02

	// SuiteCTRHMACKEM and SuiteGCMKEM also mix an ML-KEM-768 secret into the session: what is recorded today stays
	// secret from a quantum computer of tomorrow, except early data. The handshake is longer by 2,272 bytes.
	SuiteCTRHMACKEM Suite = 0x03
	SuiteGCMKEM     Suite = 0x04
)

const (
	lastSuite = SuiteGCMKEM
	kemOffers = uint16(1<<(SuiteCTRHMACKEM-1) | 1<<(SuiteGCMKEM-1))
	allOffers = uint16(1<<lastSuite - 1)
)

func (s Suite) implemented() bool { return s >= SuiteCTRHMAC && s <= lastSuite }
func (s Suite) gcm() bool         { return s == SuiteGCM || s == SuiteGCMKEM }
func (s Suite) kem() bool         { return s == SuiteCTRHMACKEM || s == SuiteGCMKEM }

// offer is the bit of a suite in INIT's offered suites.
func (s Suite) offer() uint16 { return 1 << (s - 1) }

// checkSuites returns what a Config asks for, or why it cannot be had.
func checkSuites(suites []Suite) ([]Suite, error) {
	if len(suites) == 0 {
		return []Suite{SuiteCTRHMAC}, nil
	}
	for i, s := range suites {
		switch {
		case !s.implemented():
			return nil, fmt.Errorf("e2e: suite 0x%02x is not supported", byte(s))
		case s.gcm() && fips140.Enforced():
			return nil, fmt.Errorf("e2e: suite 0x%02x: %w: configure 0x01 or 0x03", byte(s), ErrNotApproved)
		case slices.Contains(suites[:i], s):
			return nil, fmt.Errorf("e2e: suite 0x%02x is configured twice", byte(s))
		}
	}
	return slices.Clone(suites), nil
}

func offersOf(suites []Suite) (offered uint16) {
	for _, s := range suites {
		offered |= s.offer()
	}
	return offered
}

// initSuite is the suite in INIT's header, whose cipher seals INIT's own payload, before the responder has chosen: CTR and
// HMAC wherever a suite with them is offered. Everybody has those, so a responder that shares any suite with the
// initiator can open INIT, also where it has no GCM.
func initSuite(offered uint16) Suite {
	for _, s := range [...]Suite{SuiteCTRHMAC, SuiteCTRHMACKEM, SuiteGCM, SuiteGCMKEM} {
		if offered&s.offer() != 0 {
			return s
		}
	}
	return 0
}

// choose returns the first of suites that was offered, 0 for none.
func choose(suites []Suite, offered uint16) Suite {
	for _, s := range suites {
		if offered&s.offer() != 0 {
			return s
		}
	}
	return 0
}
