package identity_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// A device gets its identity, and an application that trusts the CA finds out who it is.
func Example() {
	// The CA. Its store is durable elsewhere: ca.OpenFileStore.
	rootKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	authority, err := ca.New(ca.Config{Name: "example root", Signer: rootKey, Store: &ca.MemStore{}})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The device. Its keys come from the vault elsewhere: keyvault.
	signing, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	agreement, _ := ecdh.P256().GenerateKey(rand.Reader)
	id, _ := identity.ParseDeviceID("D-7F3K2")
	csr, err := identity.NewCSR(signing, id.ID, identity.CSROptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	chain, err := authority.Issue(csr, ca.IssueOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	endorsement, err := identity.Endorse(signing, chain[0], agreement.PublicKey(), identity.EndorseOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	credential := identity.Credential{Chain: chain, Endorsement: endorsement}

	// The application.
	verifier, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{authority.Certificate()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer, err := verifier.Verify(credential, identity.RoleDevice)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(peer.ID(), "is a", peer.Role())

	_, err = verifier.Verify(credential, identity.RolePlatform)
	fmt.Println("as a platform:", errors.Is(err, identity.ErrRole))

	crl, err := authority.Revoke(id.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := verifier.AddCRL(crl); err != nil {
		fmt.Println(err)
		return
	}
	_, err = verifier.Verify(credential, identity.RoleDevice)
	fmt.Println("revoked:", errors.Is(err, identity.ErrRevoked))
	// Output:
	// D-7F3K2 is a device
	// as a platform: true
	// revoked: true
}

func ExampleParseSticker() {
	// As a mechanic may type it: lower case, in groups, o for 0. The last character is wrong.
	s, err := identity.ParseSticker("semio1:d-7f3k2: o000 0000 0000 0000 0000 0001 : m3c8")
	fmt.Println(s, err)

	s, err = identity.ParseSticker("semio1:d-7f3k2: o000 0000 0000 0000 0000 0001 : m3co")
	fmt.Println(s, err)
	// Output:
	// no device identity: sticker: check characters: they do not fit the rest: a character is wrong or two are exchanged; compare with the label
	// D-7F3K2 with claim code [redacted] <nil>
}

func ExampleSticker() {
	id, _ := identity.ParseDeviceID("D-7F3K2")
	code, _ := identity.NewClaimCode([]byte("0123456789abcde")) // elsewhere: derived from the vault
	fmt.Println(identity.Sticker{Device: id, Claim: code}.Encode())
	fmt.Println(identity.Sticker{Device: id}.Encode(), "(name only, as in the paper)")
	fmt.Println(identity.Sticker{Device: id, Claim: code})
	// Output:
	// SEMIO1:D-7F3K2:60RK4CSM6MV3EE1SC5H66S35:T4QB
	// SEMIO1:D-7F3K2:9V10 (name only, as in the paper)
	// D-7F3K2 with claim code [redacted]
}
