package mqttlink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/semio-iot/semio/identity"
)

// Reason is why a connection attempt failed.
type Reason byte

// The reasons. Those from [ReasonServerCA] on are refusals, which end [Link.Run] after [Config.Patience].
const (
	ReasonUnreachable   Reason = iota + 1 // no TCP connection: name lookup, routing, nobody listening, time-out
	ReasonDropped                         // the connection broke before CONNACK, without a reason
	ReasonUnavailable                     // a CONNACK that may be better next time: busy, shutting down, quota, …
	ReasonServerCA                        // the broker's certificate is not from a trusted CA, or not acceptable
	ReasonServerName                      // the broker's certificate is for another host
	ReasonServerExpired                   // the broker's certificate is expired or not yet valid
	ReasonIdentity                        // the broker refused our certificate, user name or password
	ReasonClientID                        // the broker refused our client ID
	ReasonProtocol                        // no common version of TLS or MQTT
)

var reasonTexts = map[Reason]string{
	ReasonUnreachable: "broker not reachable",
	ReasonDropped:     "broker dropped the connection before answering",
	ReasonUnavailable: "broker cannot take the connection now",
	ReasonServerCA: "broker's certificate is not trusted: check that the roots are those of the CA that issued it, and that nothing " +
		"on the way intercepts TLS",
	ReasonServerName:    "broker's certificate is for another host: check the broker URL, or have the certificate issued with this name",
	ReasonServerExpired: "broker's certificate is not valid now: check this machine's clock, then renew the certificate",
	ReasonIdentity: "broker refused our identity: check that our certificate is from the CA that the broker trusts, valid and not revoked, and " +
		"that this peer is registered with the platform",
	ReasonClientID: "broker refused our client ID: it must be the name in our certificate, or for an application or platform " +
		"that name, two hyphens and an instance",
	ReasonProtocol: "no common protocol: the broker must speak MQTT 5, and TLS 1.3 where TLS is used",
}

func (r Reason) String() string {
	if s, ok := reasonTexts[r]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", byte(r))
}

func (r Reason) refusal() bool { return r >= ReasonServerCA }

// ConnectError is why a connection attempt failed.
type ConnectError struct {
	Broker   string
	ClientID string // empty where it was drawn at random
	Reason   Reason
	Code     byte // the CONNACK reason code, 0 when there was no CONNACK
	Err      error
}

func (e *ConnectError) Error() string {
	as, text := " as "+e.ClientID, e.Reason.String()
	if e.ClientID == "" {
		as = ""
		if t, ok := anonymousTexts[e.Reason]; ok {
			text = t
		}
	}
	code := ""
	if e.Code != 0 {
		code = fmt.Sprintf("CONNACK 0x%02x: ", e.Code)
	}
	return fmt.Sprintf("mqttlink: connect to %s%s: %s (%s%v)", e.Broker, as, text, code, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// DisconnectError is the DISCONNECT packet with which the broker ended a connection.
type DisconnectError struct {
	Code byte // MQTT 5 reason code
}

var disconnectTexts = map[byte]string{
	0x87: "not authorised",
	0x89: "server busy",
	0x8b: "server shutting down",
	0x8d: "keep-alive time-out",
	0x8e: "session taken over: another connection uses this client ID",
	0x93: "receive maximum exceeded",
	0x95: "packet too large",
	0x97: "quota exceeded",
	0x98: "administrative action",
	0x9a: "retained messages not supported",
	0x9b: "QoS not supported",
}

func (e *DisconnectError) Error() string {
	if s, ok := disconnectTexts[e.Code]; ok {
		return fmt.Sprintf("mqttlink: broker ended the connection (0x%02x %s)", e.Code, s)
	}
	return fmt.Sprintf("mqttlink: broker ended the connection (0x%02x)", e.Code)
}

// handshakeError marks a TLS failure, so that what our own verification said is told apart from a broken connection.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// dialError marks a failure before there was a TCP connection.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (l *Link) connectError(err error) *ConnectError {
	e := &ConnectError{Broker: l.url.Redacted(), ClientID: l.cfg.ClientID, Err: err}
	e.Reason, e.Code = classify(err)
	return e
}

func classify(err error) (Reason, byte) {
	var connack *connackError
	if errors.As(err, &connack) {
		return classifyConnack(connack.code), connack.code
	}
	var dial *dialError
	if errors.As(err, &dial) {
		return ReasonUnreachable, 0
	}
	// An alert may come instead of CONNACK: under TLS 1.3 the server judges our certificate after our side is done.
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return classifyAlert(op.Err), 0
	}
	var hs *handshakeError
	if errors.As(err, &hs) && !broken(hs.err) {
		return classifyVerify(hs.err), 0
	}
	return ReasonDropped, 0
}

func classifyConnack(code byte) Reason {
	switch code {
	case 0x84, 0x8c:
		return ReasonProtocol
	case 0x85:
		return ReasonClientID
	case 0x86, 0x87, 0x8a:
		return ReasonIdentity
	}
	return ReasonUnavailable
}

// classifyAlert compares texts because crypto/tls exports the alert of a TCP connection as nothing else.
func classifyAlert(alert error) Reason {
	for code, reason := range map[tls.AlertError]Reason{
		40:  ReasonProtocol, // handshake_failure
		42:  ReasonIdentity, // bad_certificate
		43:  ReasonIdentity, // unsupported_certificate
		44:  ReasonIdentity, // certificate_revoked
		45:  ReasonIdentity, // certificate_expired
		46:  ReasonIdentity, // certificate_unknown
		48:  ReasonIdentity, // unknown_ca
		49:  ReasonIdentity, // access_denied
		70:  ReasonProtocol, // protocol_version
		71:  ReasonProtocol, // insufficient_security
		112: ReasonServerName,
		116: ReasonIdentity, // certificate_required
		120: ReasonProtocol, // no_application_protocol
	} {
		if alert != nil && alert.Error() == code.Error() {
			return reason
		}
	}
	return ReasonDropped
}

func classifyVerify(err error) Reason {
	var host x509.HostnameError
	if errors.As(err, &host) {
		return ReasonServerName
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired || errors.Is(err, identity.ErrExpired) || errors.Is(err, identity.ErrNotYetValid) {
		return ReasonServerExpired
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return ReasonProtocol
	}
	return ReasonServerCA
}

// broken reports an error of the transport, as opposed to one of ours about what came over it.
func broken(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
