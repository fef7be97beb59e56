// Package cahttp lets parties ask a certificate authority over the network: HTTPS with TLS 1.3, where the client's certificate says who
// asks. So the authority can be another organisation's than the platform and the factory.
//
// The authority starts with [New] and [Server.Serve]; everybody else with [NewClient]. A [Client] is a platform's Revoker.
//
//	who asks                                  may ask
//	anybody, also without certificate         the revocation list; a certificate for the key that the name has, or that this key vouches for
//	a party                                   for its own name under its own key anew, and to have itself revoked
//	a registrar                               for certificates of devices, of those names that [Config] grants it
//	a platform, as far as [Config] grants it  for certificates of its servers, and to have devices revoked
//	an operator that [Config] names           for any certificate, and to have anybody revoked
//
// That the holder of a name has asked for its first certificate is nothing that a network can tell: requests of parties come to an
// operator in another way.
//
// # Renewal
//
// A certificate that is over must not lock its holder out, and a certificate is public and of use to the holder of its key alone. So whoever brings a
// request by the key that the name is certified with gets a certificate for it, whoever he is (renew); and one that this key has signed
// over gets the name to the new key (rekey), which devices cannot. Callers who are no platform are limited for each address, [ErrBusy]. What is
// revoked stays so.
//
// # Requests
//
//	POST /v1/certificate   request of identity.NewCSR, DER    → chain, as identity.Credential without endorsement
//	POST /v1/renew         request of identity.NewCSR, DER    → chain, likewise
//	POST /v1/rekey         request of identity.NewRekey       → chain, likewise
//	POST /v1/server        PKCS #10, DER: hosts and key       → chain, likewise
//	POST /v1/revoke        the name                           → revocation lists that name it, see identity.CRLBundle
//	GET  /v1/crl                                              → revocation lists, likewise
//
// Answers that are errors are JSON: {"code": …, "error": …}. Every request may be repeated. What comes back is signed by the authority, and the
// client has it checked before it relies on it.
package cahttp
