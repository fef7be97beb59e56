package appgw

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/secret"
)

// The vocabulary of the gateway, shared with package devicegw.
type (
	// Event is a message that is delivered at least once, in order; volatile ones at most once.
	Event = delivery.Event
	// Call is a request that runs at most once and has a reply.
	Call = delivery.Call
	// Reply is the answer to a call.
	Reply = delivery.Reply
	// RemoteError is the error that the device's handler of a call returned: the call ran.
	RemoteError = delivery.RemoteError
	// FullError is a full queue with its figures.
	FullError = delivery.FullError

	// Link is an MQTT client, for a host that has one. Receiver and Message belong to it.
	Link     = link.Link
	Receiver = link.Receiver
	Message  = link.Message

	// RefusedError is the platform's refusal of a request. It wraps one of the errors below.
	RefusedError = control.RefusedError
)

// Errors that a caller may want to tell apart.
var (
	// ErrConfig means that Open cannot work with this Config; the error names the field.
	ErrConfig = errors.New("appgw: configuration")
	// ErrNotAdmitted means that the store has no admission and Config none either: have the platform admit this application and
	// put what it answered into Config.Admission.
	ErrNotAdmitted = errors.New("appgw: application is not admitted to a platform")
	// ErrUnknownDevice means that the device is not connected with this application.
	ErrUnknownDevice = errors.New("appgw: device is not connected with this application")
	// ErrClaimCode means that the sticker has no claim code, and Config.WithoutClaimCode is not set: scan the whole sticker.
	ErrClaimCode = errors.New("appgw: sticker has no claim code")
	// ErrHandled means that an event was handled before; see Config.OnEventTx.
	ErrHandled = errors.New("appgw: event was handled before")
	// ErrNotRunning means that Run has ended, and nothing was asked of anybody: open the gateway again.
	ErrNotRunning = errors.New("appgw: gateway is not running")

	// ErrOutcomeUnknown means that the platform did not answer in time: ask again.
	ErrOutcomeUnknown = control.ErrOutcomeUnknown

	// Why the platform refuses to connect or disconnect a device.
	ErrNotRegistered      = control.ErrUnknownDevice
	ErrConnectedElsewhere = control.ErrConnectedElsewhere
	ErrClaimRefused       = control.ErrClaimRefused
	ErrTooManyGuesses     = control.ErrTooManyGuesses
	ErrRetired            = control.ErrRetired
	ErrPolicy             = control.ErrPolicy

	// From package delivery: see Send and Call.
	ErrFull           = delivery.ErrFull
	ErrTooLarge       = delivery.ErrTooLarge
	ErrUnknownOutcome = delivery.ErrUnknownOutcome
	ErrNotRun         = delivery.ErrNotRun
	ErrOffline        = delivery.ErrOffline
	ErrClosed         = delivery.ErrClosed
)

// Config says who the gateway is and what it works with. The constructor copies it. Fields are required unless they say otherwise.
type Config struct {
	secret.Opaque // a key may be within

	// Credential is the application's certificate chain and endorsement; Signer and Key are the keys that it names.
	Credential identity.Credential
	Signer     crypto.Signer
	Key        ecdh.KeyExchanger

	// Previous is what the application was before, the newest first, with the keys of each; optional. A renewed Credential, of a higher generation
	// than the one in use, is told to platform and devices, and used from when each of them knows it. Until all do, the keys of before must
	// be here where Credential has others; party.Party.Previous returns them.
	Previous []identity.Holder

	// Roots are the certificates of the authorities that certify devices and platform.
	Roots []*x509.Certificate

	// Locker encrypts what the store keeps; see [NewLocker].
	Locker Locker

	// Store is the gateway's memory; see [OpenBoltStore]. It belongs to this gateway alone. Close it after Run has returned.
	Store Store

	// Admission is the platform's answer to the admission of this application. Optional once the store has it. One of another binding, or for
	// a later credential of either side, replaces the kept one, which is renewed with them.
	Admission []byte

	// Broker is the URL of the platform's broker (mqtts or wss), dialled with the certificate and Signer. Link is
	// the host's own client instead (package platform/link has the contract), or that of platform/publicbroker. Exactly one of them is set.
	Broker string
	Link   Link

	// OnEvent handles an event of a device. The event is done when it returns nil; after an error it comes again, later. Optional:
	// without it, [Gateway.Events] delivers, and events wait until somebody ranges over it.
	OnEvent func(ctx context.Context, device identity.DeviceID, e Event) error

	// OnEventTx is OnEvent for a host that keeps his rows where Store keeps its own, and wants each event exactly once. In the
	// transaction of the event's effects he calls handled with the Store's view of it, commits, and returns nil. When handled
	// fails he undoes the transaction and returns its error: [ErrHandled] says that an earlier one, whose outcome he never
	// learned, was committed, and the gateway takes it for a success. It comes instead of OnEvent. In PostgreSQL,
	// pgstore.Store.OnEventTx does all this.
	OnEventTx func(ctx context.Context, device identity.DeviceID, e Event, handled func(Tx) error) error

	// OnCall answers a call of a device. Optional: without it calls are refused.
	OnCall func(ctx context.Context, device identity.DeviceID, c Call) (Reply, error)

	// Observe has optional functions for metrics and displays.
	Observe Observer

	// WithoutClaimCode lets stickers without a claim code connect, as in the paper. What it gives away: whoever commands platform and
	// certificate authority together can then pose as the device.
	WithoutClaimCode bool

	// Profile of the end-to-end protocol with every device; it must be the one that the devices were produced with. Default
	// e2e.ProfileEphemeral. It is part of the keys, so nobody on the way can change it.
	Profile e2e.Profile

	// Suites of the end-to-end protocol in the order of preference, offered to devices and chosen from among theirs; default
	// e2e.SuiteCTRHMAC alone. Keep it among them while there are devices that have no other.
	Suites []e2e.Suite

	// MaxQueue bounds the events that wait for one device. Default: that of package delivery.
	MaxQueue int

	// Now is the clock for the validity of certificates. Default: time.Now.
	Now func() time.Time

	Logger *slog.Logger // none: nothing is logged
}

// Observer tells what happens. The functions are optional, must return soon, and may be called from several goroutines.
type Observer struct {
	Connected    func(device identity.DeviceID)             // device and application have each other's certificates
	Disconnected func(device identity.DeviceID)             // the platform's order has ended the connection
	Link         func(up bool)                              // of the broker
	Record       func(device identity.DeviceID, rec []byte) // ciphertext of a device, as it came
}

func (c *Config) check() error {
	missing := func(field string) error { return fmt.Errorf("%w: %s is missing", ErrConfig, field) }
	switch {
	case len(c.Credential.Chain) == 0:
		return missing("Credential")
	case c.Signer == nil:
		return missing("Signer")
	case c.Key == nil:
		return missing("Key")
	case len(c.Roots) == 0:
		return missing("Roots")
	case c.Locker == nil:
		return missing("Locker")
	case c.Store == nil:
		return missing("Store")
	case slices.ContainsFunc(c.Previous, func(h identity.Holder) bool { return h.Signer == nil || h.Key == nil }):
		return missing("Signer or Key of a Previous")
	case (c.Broker == "") == (c.Link == nil):
		return fmt.Errorf("%w: set either Broker or Link", ErrConfig)
	case c.OnEvent != nil && c.OnEventTx != nil:
		return fmt.Errorf("%w: set either OnEvent or OnEventTx", ErrConfig)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
