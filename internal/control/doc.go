// Package control holds what the gateways and the platform say to each other: topic names, the registration of a device, the
// admission of a peer, requests, orders, acknowledgements and replies, and the gateways' client of the control service.
// [Client] is where a gateway starts; the platform uses the message types directly.
//
// Every exchange is a one-shot exchange of package e2e: a gateway's INIT carries a [Message], the platform's RESP a [Reply].
// The platform never begins. To reach a peer it publishes [Nudge], which says nothing, and the peer asks.
//
//	registrar ──Registration──▶ platform ──Admission──▶ device       once, at initial commissioning
//	application gateway ──Message(Request)──▶ platform ──Reply(Result)──▶
//	gateway   ──Message(Acks)──▶ platform ──Reply(Orders, CRL)──▶ gateway
//	gateway   ──Message(CSR, Credential)──▶ platform ──Reply(Chain, Admission, PeerCredential)──▶ gateway      renewal
//
// What INIT proves alone is open to whoever holds the platform's agreement key. Therefore requests, orders and
// acknowledgements carry signatures of their own, and an order that destroys carries [Evidence] that is signed by the
// certificate authority or by the peer whose connection ends.
//
// All formats are big-endian; LP8 and LP24 are a byte string behind its length in one or three bytes. A format
// begins with its version, 1. Parsers accept one encoding of a value only, check lengths before they allocate, and never keep
// the slice they were given.
package control
