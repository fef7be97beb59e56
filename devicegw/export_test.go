package devicegw

import (
	"context"
	"log/slog"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/atomicfile"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/internal/delivery"
)

// What the tests of this package reach behind the API.

const (
	NameHelper   = nameHelper
	NameIdentity = nameIdentity
	OutboxSlots  = outboxSlots
)

func AllNames() []string { return allNames() }

func OpenFileNVMOn(fsys atomicfile.FS, dir string) (*FileNVM, error) { return openFileNVM(fsys, dir) }

func NewOutbox(root Root, nvm NVM, b e2e.BindingID) delivery.Store {
	return newOutbox(locked{root, nvm}, b, slog.New(slog.DiscardHandler))
}

func ClearBinding(nvm NVM) error { return clearBinding(context.Background(), nvm) }

func OpenEpochs(root Root, nvm NVM, b e2e.BindingID) (e2e.Epochs, error) {
	e, _, err := openEpochs(context.Background(), locked{root, nvm}, nameApp, b)
	return e, err
}

func ParseAnyRecord(data []byte) (again [][]byte) {
	keep := func(r record, err error) {
		if err != nil {
			return
		}
		b, err := r.marshal()
		if err != nil {
			panic(err)
		}
		again = append(again, b)
	}
	id, err := parseIdentityRecord(data)
	keep(id, err)
	p, err := parseProductionRecord(data)
	keep(p, err)
	s, err := parseStateRecord(data)
	keep(s, err)
	e, err := parseEpochRecord(data)
	keep(e, err)
	m, err := parseMarksRecord(data)
	keep(m, err)
	f, err := parseFrameRecord(data)
	keep(f, err)
	l, err := parseListRecord(data)
	keep(l, err)
	return again
}

func DecodeFile(name string, raw []byte) ([]byte, bool) { return decodeFile(name, raw) }
func EncodeFile(name string, value []byte) []byte       { return encodeFile(name, value) }

var ErrNotOurs = errNotOurs

// Apply gives an order as the control client does, after its signature was verified.
func Apply(g *Gateway, o control.Order) error { return g.apply(context.Background(), o) }

// KeepTime tells the platform's time.
func KeepTime(g *Gateway, t time.Time) { g.keepTime(t) }

// Now is the time that certificates are checked against.
func Now(g *Gateway) time.Time { return g.verifier.Now() }

// CRLNumbers are those of the lists in force.
func CRLNumbers(g *Gateway) []identity.CRLNumber { return g.verifier.CRLNumbers() }

// TakeCRL gives a revocation list as the control client does.
func TakeCRL(g *Gateway, der []byte) error {
	if err := g.verifier.AddCRL(der); err != nil {
		return err
	}
	return g.keepCRL()
}

// What a renewal needs, as the control client calls it.
func Request(g *Gateway) []byte                  { return g.request() }
func TakeChain(g *Gateway, chain [][]byte)       { g.takeChain(chain) }
func Offer(g *Gateway) identity.Credential       { return g.offer() }
func TakeAdmission(g *Gateway, b []byte) bool    { return g.takeAdmission(b) != nil }
func PeerGeneration(g *Gateway) uint32           { return g.peerGeneration() }
func TakePeer(g *Gateway, c identity.Credential) { g.takePeer(c) }
func Self(g *Gateway) *identity.Verified         { return g.self }

// LateSender sends over the connection of now, whatever becomes of it.
func LateSender(g *Gateway) func(body []byte) error {
	c := g.conn
	return func(body []byte) error {
		_, err := c.channel.Send(context.Background(), Event{Body: body})
		return err
	}
}
