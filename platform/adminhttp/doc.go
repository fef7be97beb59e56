// Package adminhttp is a platform's administration over the network: HTTPS with TLS 1.3, where the client's certificate says who
// asks.
//
// The platform starts with [New] and [Server.Serve]; factories, operators and applications with [NewClient].
//
//	who asks                               may ask
//	a registrar                            to register devices, by a record that it has signed
//	an application that is admitted        for its admission once more
//	an operator that [Config] names        to admit, to retire, to bring a revocation list, to list devices, applications, the audit log
//
// # Requests
//
//	POST /v1/devices        signed registration                → admission
//	POST /v1/applications   identity.Credential                → admission
//	GET  /v1/admission                                         → admission of the caller
//	POST /v1/retire         the device's name
//	POST /v1/crl            revocation lists, see identity.CRLBundle
//	GET  /v1/devices, /v1/applications, /v1/audit              → JSON, one value a line; the audit log is verified first
//
// Answers that are errors are JSON: {"code": …, "error": …}. Every request may be repeated. An admission is signed by the platform, and
// whoever gets it has it verified before he relies on it.
package adminhttp
