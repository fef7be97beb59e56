package registry

import (
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// Event is something that happened and was verified: signatures, claim proofs and policy are the caller's business.
type Event interface{ isEvent() }

// Register makes a device known. Of Device, ID, Credential, CertificateHash, Generation, PlatformBinding
// and ClaimKey count. Registering the
// same certificate and claim key again changes nothing; the first binding stays.
type Register struct {
	Device   Device
	Actor    identity.ID // the registrar
	Evidence [32]byte    // hash of the registration
}

// AdmitApplication makes an application known. Of Application, ID, Credential, CertificateHash, Generation and PlatformBinding count.
type AdmitApplication struct {
	Application Application
	Evidence    [32]byte // hash of the credential
}

// Offered says that a peer has a new credential, which was found good: of the same name, of a higher generation. The one in use stays so until
// [Renewed].
type Offered struct {
	Peer identity.ID
	Next Successor
}

// Renewed says that a peer was heard under the credential that it has offered, which is now the one in use.
type Renewed struct {
	Peer            identity.ID
	CertificateHash [32]byte // of the successor that the caller means
	Evidence        [32]byte // hash of the credential
}

// Connect connects a device with an application under a fresh binding. A device that is connected with that application already
// stays as it is.
type Connect struct {
	App      identity.AppID
	Device   identity.DeviceID
	Binding  e2e.BindingID
	Request  control.RequestID
	Revision uint64   // expected, 0: any
	Evidence [32]byte // hash of the signed request
}

// Disconnect ends a connection at the application's own request, which is the evidence.
type Disconnect struct {
	App      identity.AppID
	Device   identity.DeviceID
	Binding  e2e.BindingID // the one that ends
	Request  control.RequestID
	Revision uint64   // expected, 0: any
	Evidence [32]byte // hash of the signed request
}

// Retire ends the life of a device at the operator's wish. Its peers hear of it with the evidence, see DeviceRevoked.
type Retire struct{ Device identity.DeviceID }

// DeviceRevoked says that a revocation list of the authority names the device. It retires the device if nobody did.
type DeviceRevoked struct {
	Device   identity.DeviceID
	Evidence [32]byte // hash of the revocation list
}

// ApplicationRevoked says that a revocation list of the authority names the application: its devices are free.
type ApplicationRevoked struct {
	App      identity.AppID
	Evidence [32]byte // hash of the revocation list
}

// Sent says that an order is being handed out: from now on the peer may have applied it.
type Sent struct {
	Device identity.DeviceID // whose life cycle it is
	To     identity.ID
	Number uint64
}

// Acked says that a peer dealt with an order.
type Acked struct {
	Device   identity.DeviceID // whose life cycle it is
	From     identity.ID
	Number   uint64
	Result   control.AckResult
	Evidence [32]byte // hash of the signed acknowledgement
}

func (Register) isEvent()           {}
func (AdmitApplication) isEvent()   {}
func (Offered) isEvent()            {}
func (Renewed) isEvent()            {}
func (Connect) isEvent()            {}
func (Disconnect) isEvent()         {}
func (Retire) isEvent()             {}
func (DeviceRevoked) isEvent()      {}
func (ApplicationRevoked) isEvent() {}
func (Sent) isEvent()               {}
func (Acked) isEvent()              {}

// Effects are what has to become durable, in one transaction with the new state, and then be carried out. The zero value is the
// effect of a repetition: nothing.
type Effects struct {
	Devices      []identity.DeviceID // whose record changed
	Applications []identity.AppID    // whose record changed
	Queued       []QueuedOrder       // orders to keep until they are acknowledged
	Dropped      []QueuedOrder       // orders to forget: acknowledged or superseded
	Audit        []Entry
	Evict        []identity.ID // live connections to cut
	Nudge        []identity.ID // peers with something to ask for
}

// QueuedOrder is an order with the device whose life cycle it is.
type QueuedOrder struct {
	Device identity.DeviceID
	Order  Order
}

// Changed says whether there is anything to store.
func (e Effects) Changed() bool { return len(e.Devices)+len(e.Applications) > 0 }

// Kind names what an audit entry tells.
type Kind uint8

// The kinds of audit entries that Apply makes. Refused is package platform's.
const (
	KindRegistered Kind = iota + 1
	KindAdmitted
	KindConnected
	KindDisconnected
	KindRetired
	KindDeviceRevoked
	KindApplicationRevoked
	KindOrderDone
	KindOrderSuperseded
	KindOrderRefused
	KindRefused
	KindRenewed
)

var kindNames = [...]string{
	KindRegistered: "registered", KindAdmitted: "admitted", KindConnected: "connected", KindDisconnected: "disconnected",
	KindRetired: "retired", KindDeviceRevoked: "device revoked", KindApplicationRevoked: "application revoked",
	KindOrderDone: "order done", KindOrderSuperseded: "order superseded", KindOrderRefused: "order refused by peer",
	KindRefused: "request refused", KindRenewed: "renewed",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "unknown"
}

// Entry is what Apply has to say about a change for the audit log.
type Entry struct {
	Kind      Kind
	Device    identity.DeviceID
	App       identity.AppID
	Actor     identity.ID // who asked or acknowledged; zero: the platform's operator or the authority
	Lifecycle uint64
	Revision  uint64
	Binding   e2e.BindingID
	Order     uint64 // acknowledgements
	Evidence  Evidence
}
