package registry

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// Status is where a device is in its life.
type Status uint8

// The states of a device.
const (
	Registered Status = iota + 1 // known, with no application
	Connected                    // with exactly one application
	Retired                      // never again
)

func (s Status) String() string {
	switch s {
	case Registered:
		return "registered"
	case Connected:
		return "connected"
	case Retired:
		return "retired"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Device is the registry's record of a device. Do not change its slices.
type Device struct {
	ID              identity.DeviceID
	Credential      identity.Credential
	CertificateHash [32]byte
	Generation      uint32    // of the credential's endorsement
	Next            Successor // of the credential
	PlatformBinding e2e.BindingID
	ClaimKey        []byte // compressed P-256 point; empty: the sticker has no claim code

	Status Status
	// App and Binding are set while the device is connected, and after Retire until there is evidence to end the connection with: a revocation
	// list that names the device, or the application's request. They come back if the application refuses the list.
	App     identity.AppID
	Binding e2e.BindingID
	Listed  bool // the authority's revocation list names the certificate

	Lifecycle   uint64 // grows with each change of status; orders carry it
	Revision    uint64 // grows with each change that an application may have to know of, not with the progress of orders
	LastRequest control.RequestID
	LastOrder   uint64  // highest number of an order to this device
	Orders      []Order // to the device and its applications, not acknowledged yet, oldest first
}

// Order is one thing that one peer of a device has to do.
type Order struct {
	Number    uint64 // of To's orders
	To        identity.ID
	Op        OrderOp
	Lifecycle uint64
	Binding   e2e.BindingID // install, remove
	Peer      identity.ID   // install, remove: the other side
	Evidence  Evidence      // remove, wipe
	Again     bool          // install of a binding that the receiver has: the peer was renewed
	Sent      bool          // handed out at least once: the peer may have applied it
}

// OrderOp says what an order does.
type OrderOp = control.OrderOp

// The operations of orders.
const (
	Install = control.OrderInstall
	Remove  = control.OrderRemove
	Wipe    = control.OrderWipe
)

// Evidence refers to signed bytes by their SHA-256. Of a request and a list it is the encoded control.Evidence, which entitles a peer to
// destroy.
type Evidence struct {
	Kind EvidenceKind
	Hash [32]byte
}

// EvidenceKind says who signed the evidence.
type EvidenceKind uint8

// The kinds of evidence; the zero value is none.
const (
	EvidenceRequest      EvidenceKind = iota + 1 // the application asked
	EvidenceCRL                                  // the certificate authority revoked one side
	EvidenceRegistration                         // audit only: the registrar's signed record
	EvidenceAck                                  // audit only: the peer's signed acknowledgement
	EvidenceCredential                           // audit only: the peer's credential from then on
)

// Successor is a peer's next credential: accepted, and to be used once the peer is heard under it. The zero value is none.
type Successor struct {
	Credential      identity.Credential
	CertificateHash [32]byte
	Generation      uint32
}

// IsZero says that there is none.
func (n Successor) IsZero() bool { return n.CertificateHash == [32]byte{} }

// Application is the registry's record of an application. Do not change its slices.
type Application struct {
	ID              identity.AppID
	Credential      identity.Credential
	CertificateHash [32]byte
	Generation      uint32
	Next            Successor
	PlatformBinding e2e.BindingID
	Revoked         bool
	Revision        uint64
	LastOrder       uint64 // highest number of an order to this application
}

// Pending returns the unacknowledged orders to one peer.
func (d Device) Pending(to identity.ID) []Order {
	var out []Order
	for _, o := range d.Orders {
		if o.To == to {
			out = append(out, o)
		}
	}
	return out
}

// Order returns an unacknowledged order.
func (d Device) Order(to identity.ID, number uint64) (Order, bool) {
	i := d.find(to, number)
	if i < 0 {
		return Order{}, false
	}
	return d.Orders[i], true
}

func (d Device) find(to identity.ID, number uint64) int {
	return slices.IndexFunc(d.Orders, func(o Order) bool { return o.To == to && o.Number == number })
}

// Finished says that there is nothing left to tell a retired device.
func (d Device) Finished() bool {
	return d.Status == Retired && d.Listed && len(d.Pending(d.ID.ID)) == 0
}

// sameEnrolment says whether registering e again is a repetition. The binding and endorsement may differ: a factory station that
// was interrupted draws and signs them anew, and gets those that are kept.
func (d Device) sameEnrolment(e Device) bool {
	return d.CertificateHash == e.CertificateHash && bytes.Equal(d.ClaimKey, e.ClaimKey)
}
