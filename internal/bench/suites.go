package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/e2e"
)

// sealers are the suites of package e2e whose messages are compared. Those with ML-KEM seal as these do.
func sealers() []e2e.Suite { return []e2e.Suite{e2e.SuiteCTRHMAC, e2e.SuiteGCM} }

// suites are those whose handshakes are compared.
func suites() []e2e.Suite { return append(sealers(), e2e.SuiteCTRHMACKEM, e2e.SuiteGCMKEM) }

func suiteName(s e2e.Suite) string { return fmt.Sprintf("e2e 0x%02x", byte(s)) }

var errNotEstablished = errors.New("the handshake made no session")

// sessionMessages is how many messages a session seals here, well below its limit.
const sessionMessages = 1 << 19

// session is a device that seals and an application that opens.
type session struct {
	device, app *e2e.Peer
	now         time.Time
	event       e2e.Event
	left        int // messages until new keys are due
}

func newSession(m *members, s e2e.Suite) (*session, error) {
	device, app, err := m.peers(s)
	if err != nil {
		return nil, err
	}
	return &session{device: device, app: app, now: time.Now()}, nil
}

func (s *session) handshake() error {
	from, to := s.device, s.app
	record, err := from.Initiate(s.now, nil)
	if err != nil {
		return err
	}
	established := 0
	for record != nil {
		e, err := to.Receive(s.now, record)
		if err != nil {
			return err
		}
		if e.Kind == e2e.KindEstablished {
			established++
		}
		record, from, to = e.Reply, to, from
	}
	if established != 2 {
		return errNotEstablished
	}
	s.left = sessionMessages
	return nil
}

func (s *session) ready(n int) error {
	if s.left < n {
		if err := s.handshake(); err != nil {
			return err
		}
	}
	s.left -= n
	return nil
}

func (s *session) seal(dst, plaintext []byte) ([]byte, error) {
	return s.device.Seal(s.now, dst, plaintext)
}

func (s *session) open(dst, record []byte) ([]byte, error) {
	if err := s.app.ReceiveInto(&s.event, s.now, dst, record); err != nil {
		return nil, err
	}
	return s.event.Payload, nil
}
