package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

// application is an application provider's back-end with its gateway.
type application struct {
	party
	gw       *appgw.Gateway
	storeKey []byte
	read     chan reading
	close    func()
}

// reading is what the back-end sees: degrees.
type reading struct {
	device identity.DeviceID
	text   string
}

// startApplication certifies an application, has the platform admit it, and runs its gateway.
func (s *stage) startApplication(ctx context.Context, name string) (*application, error) {
	p, err := s.certify(mustID(name), identity.CSROptions{}, ca.IssueOptions{})
	if err != nil {
		return nil, err
	}
	admission, err := s.platform.Admit(ctx, p.cred)
	if err != nil {
		return nil, err
	}
	key := make([]byte, appgw.LockerKeySize)
	rand.Read(key)
	locker, err := appgw.NewLocker(key)
	if err != nil {
		return nil, err
	}
	store, err := appgw.OpenBoltStore(filepath.Join(s.dir, name+".db"))
	if err != nil {
		return nil, err
	}
	a := &application{party: p, storeKey: key, read: make(chan reading, 256)}
	online := make(chan struct{}, 1)
	a.gw, err = appgw.Open(ctx, appgw.Config{
		Credential: p.cred, Signer: p.signer, Key: p.agreement, Roots: s.roots,
		Locker: locker, Store: store, Admission: admission, Broker: s.broker.URL(),
		OnEvent: func(ctx context.Context, dev identity.DeviceID, e appgw.Event) error {
			a.read <- reading{dev, string(e.Body)}
			return nil
		},
		Observe: appgw.Observer{Link: func(up bool) {
			select {
			case online <- struct{}{}:
			default:
			}
		}},
		Logger: s.log.With("party", name),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	s.live(ctx, name, func(ctx context.Context) error {
		defer close(ended)
		return a.gw.Run(ctx)
	})
	a.close = func() {
		cancel()
		<-ended
		store.Close()
	}
	s.apps = append(s.apps, a)
	select {
	case <-online:
		return a, nil
	case <-ended:
		return nil, errors.New("the gateway has ended: see -v")
	case <-ctx.Done():
		return nil, fmt.Errorf("connect with the broker: %w", ctx.Err())
	}
}

// expect waits for the next n readings, and returns them.
func (a *application) expect(ctx context.Context, n int) ([]reading, error) {
	var got []reading
	for len(got) < n {
		select {
		case r := <-a.read:
			got = append(got, r)
		case <-ctx.Done():
			return got, fmt.Errorf("application %s read %d of %d messages: %w", a.id, len(got), n, ctx.Err())
		}
	}
	return got, nil
}

// quiet fails if a further reading comes within d.
func (a *application) quiet(d time.Duration) error {
	select {
	case r := <-a.read:
		return fmt.Errorf("application %s read %q once more", a.id, r.text)
	case <-time.After(d):
		return nil
	}
}
