// Package cahttp lets parties ask a certificate authority over the network: HTTPS with TLS 1.3, where the client's certificate says who
// asks. So the authority can be another organisation's than the platform and the factory.
//
// The authority starts with [New] and [Server.Serve]; everybody else with [NewClient]. A [Client] is a platform's Revoker.
//
//	who asks                                  may ask
//	anybody, also without certificate         the revocation list
//	a party                                   for its own name under its own key anew, and to have itself revoked
//	a registrar                               for certificates of devices, of those names that [Config] grants it
//	a platform, as far as [Config] grants it  for certificates of its servers, and to have devices revoked
//	an operator that [Config] names           for any certificate, and to have anybody revoked
//
// That the holder of a name has asked for its first certificate is nothing that a network can tell: requests of parties come to an
// operator in another way.
//
// # Requests
//
//	POST /v1/certificate   request of identity.NewCSR, DER    → chain, as identity.Credential without endorsement
//	POST /v1/server        PKCS #10, DER: hosts and key       → chain, likewise
//	POST /v1/revoke        the name                           → revocation lists that name it, see identity.CRLBundle
//	GET  /v1/crl                                              → revocation lists, likewise
//
// Answers that are errors are JSON: {"code": …, "error": …}. Every request may be repeated. What comes back is signed by the authority, and the
// client has it checked before it relies on it.
package cahttp
