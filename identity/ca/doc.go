// Package ca is a certificate authority for the peers of package identity: it turns their requests into certificates of the
// profile of their role, and keeps the numbered revocation list.
//
// Start with [New], over a signer and a [Store]; [Authority.Issue] answers a request of identity.NewCSR,
// [Authority.IssueServer] certifies the TLS server of a broker or platform, [Authority.Revoke] ends a name. Devices do not link this package.
// Whoever runs the platform should not run the CA too (docs/threat-model.md).
//
// A root certifies issuing CAs ([NewCARequest], [Authority.CertifyCA], then New with Config.Root and Config.Chain), so that its own key is
// needed for nothing else, and other roots. [RollOver] gives an authority a new key.
//
// # Rules
//
//   - A device's name has one key, ever: a request with another key is refused with [ErrOtherKey], also after the device was wiped or
//     revoked, so a name cannot be enrolled again on another chip. Other roles may change keys when the operator says so, or when the key of
//     before has signed the request for the next one ([Authority.Rekey]).
//   - Whoever has the key that a name is certified with gets the next certificate for it, also long after the end of the last: [Authority.Renew].
//   - A key has one name, so that a revoked peer does not come back under another one: [ErrKeyInUse].
//   - The same request again gets the same certificate, so a production step may be repeated.
//   - A revoked device never gets a certificate again: [ErrRevoked].
//   - The number of the revocation list grows with every list, and nothing is taken off it. Each key of an authority has a list of its own.
//   - What an earlier key of the authority has signed is never handed out again.
//
// # Profiles
//
//	root    CN = Config.Name; basicConstraints CA, critical; keyUsage keyCertSign, cRLSign, critical; no expiry
//	issuing the same with pathlen 0; ten years; of another root, the same without pathlen
//	peer    as package identity says; a device without expiry (99991231235959Z), others a year
//	server  as package identity says; 90 days
//	service the authority's own server, which no peer takes for a platform's: CN = Config.Name, then host names and IP addresses;
//	        extKeyUsage serverAuth; 7 days
//
// Nothing outlives the CA that signed it. Serial numbers are 128 random bits. Certificates begin five minutes before they are made, for peers whose clock is a little slow.
//
// # What it does not promise
//
// The package knows who asks from nothing but the request: that the request comes from the factory, and not from somebody who
// invented a name, is for the caller to know and for [Config].Policy to check. Restoring an old copy of the store takes back revocations and repeats
// list numbers, which verifiers refuse; do not restore one without counting up.
package ca
