// Package identity says who is who: the names of peers, their certificates, what they sign, and the sticker of a device
// (Schrijen et al. 2019, sections III.D.3 and III.E.1).
//
// Where to start:
//
//   - A peer gets its identity with [NewCSR], has a CA (package identity/ca, or any that follows the profile) sign the request, and
//     calls [Endorse] so that the certified signing key vouches for its agreement key. Chain and endorsement are its [Credential].
//   - Whoever meets the peer makes a [Verifier] from the CA's certificate and calls [Verifier.Verify]: only a [Verified] is to be
//     believed. TLS connections are checked with [Verifier.VerifyTLS] and [Verifier.VerifyTLSServer].
//   - A device's label is a [Sticker]; [ParseSticker] reads it, typed or scanned.
//
// # Certificates
//
// Every key is on P-256, every signature ECDSA with SHA-256. The role is the first letter of the name, so no certificate serves two
// roles.
//
//	peer    CN = DNS name = the name, no other alternative name; not a CA; keyUsage digitalSignature; extKeyUsage clientAuth.
//	        A device's has the SHA-256 of its helper data in the private extension [OIDHelperHash], and no expiry.
//	        "A-WATER--2" as name: the TLS certificate of one of several instances, not good for a credential.
//	server  CN = first DNS name = the name of a platform, then host names and IP addresses; extKeyUsage serverAuth. Not good for a
//	        credential, nor as a client's.
//	CA      basicConstraints CA, keyUsage keyCertSign and cRLSign; an issuing CA under a root with pathlen 0.
//
// A chain leads from the certificate over issuing CAs to a root that the verifier trusts, and may go on to other roots. Revocation lists are
// complete lists of one CA (RFC 5280), numbered; an older one never replaces a newer one. They travel with the certificates of their issuer
// ([CRLBundle]).
//
// # What it does not promise
//
// A credential is public and proves nothing about its sender; package e2e does that. An endorsement does not prove that the endorser has
// the agreement key. The package holds the claim code so that it cannot be printed, not so that it cannot be found in memory.
//
// Byte layouts: docs/identity.md, with vectors in testdata.
package identity
