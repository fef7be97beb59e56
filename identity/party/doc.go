// Package party keeps a peer that has no chip for its identity in a folder: a platform, an application, a factory's registrar, an
// operator. A device has its keys from its root of trust; see package devicegw.
//
// Start with [Create], once, which makes the keys and the request for a certificate. Carry request.pem to the certificate authority, and
// what it answers to [Party.Install], with the root certificates to trust. From then on [Open], whose [Party] has what the gateways and
// the platform ask for:
//
//	p, err := party.Open("water")
//	credential, err := p.Credential()
//	admission, err := p.Admission()
//	gw, err := appgw.Open(ctx, appgw.Config{Credential: credential, Signer: p.Signer(), Key: p.Key(), Previous: p.Previous(), Roots: p.Roots(), Admission: admission, …})
//
// # The folder
//
//	signing.key       PKCS #8, PEM, mode 0600: the key that the authority certifies
//	agreement.key     the same, of applications and platforms: the key that the first one endorses
//	request.pem       PKCS #10: the name and the public key. Its presence says that the folder is complete
//	credential.pem    certificates, leaf first, then the endorsement ("SEMIO ENDORSEMENT"). Public
//	roots.pem         certificates of the authorities that the party trusts. Public; whoever can change it decides whom the party believes
//	admission.pem     what the platform answered when it admitted an application ("SEMIO ADMISSION"). Public
//	server.key        key of the party's TLS server, if it has one
//	server.pem        its certificates
//	NAME.secret       32 random bytes, see [Party.Secret]
//	next.key          keys whose certificate has been asked for ([Party.Rekey]), PKCS #8, mode 0600: signing key, then agreement key
//	previous.pem      credentials of before a renewal, the oldest first, of applications and platforms
//	previous.key      keys of those that are not for today's, in pairs as in next.key, mode 0600
//
// # Renewal
//
// A certificate is renewed by asking again with [Party.Request] (cahttp.Client.Renew, also when it has ended) and [Party.Install].
// New keys begin with [Party.Rekey], whose request cahttp.Client.Rekey takes; Install puts the answer into force in one step, so
// that a power cut leaves the old party or the new one. Those who know the party by its credential of before have to be understood
// until they have heard of the new one: hand [Party.Previous] on to the gateway or platform, until [Party.DropPrevious].
//
// Every file is replaced as a whole, so that a power cut leaves the old or the new one. Who can read a key is the party: the folder has mode
// 0700, and [Open] refuses keys that others can read. Whoever keeps keys in hardware has no use for this package: all that it returns
// are interfaces of the standard library.
package party
