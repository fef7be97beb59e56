package devicegw

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// apply is control.ClientConfig.Apply: sender, receiver and platform signature are verified. Every way out but a failing
// memory writes what became of the order, in the same record as its effect.
func (g *Gateway) apply(ctx context.Context, o control.Order) error {
	g.changes.Lock()
	defer g.changes.Unlock()
	g.mu.Lock()
	s, conn := g.state.clone(), g.conn
	g.mu.Unlock()

	if o.Number <= s.LastOrder {
		return s.again(o)
	}
	if s.Retired {
		return fmt.Errorf("%w: the device is being wiped", control.ErrOrderSuperseded)
	}
	var effect func(result error) // what follows in RAM, whether the write succeeded or not
	var err error
	switch {
	case o.Device != g.id:
		err = refuse("it is for %s", o.Device)
	case o.Lifecycle <= s.Lifecycle:
		err = fmt.Errorf("%w: life-cycle number %d, have %d", control.ErrOrderSuperseded, o.Lifecycle, s.Lifecycle)
	case o.Op == control.OrderInstall:
		effect, err = g.install(ctx, o, &s)
	case o.Op == control.OrderRemove:
		effect, err = g.remove(o, &s, conn)
	case o.Op == control.OrderWipe:
		effect, err = g.wipe(o, &s)
	default:
		err = refuse("operation %s is unknown", o.Op)
	}
	result := control.AckDone
	switch {
	case err == nil:
		s.Lifecycle = o.Lifecycle
	case errors.Is(err, control.ErrOrderRefused):
		result = control.AckRefused
	case errors.Is(err, control.ErrOrderSuperseded):
		result = control.AckSuperseded
	default:
		return err // the memory failed: nothing was decided
	}
	s.LastOrder = o.Number
	s.note(outcome{o.Number, o.Lifecycle, o.Op, result})
	putErr := save(ctx, g.nvm, nameState, noBinding, s)
	if effect != nil {
		effect(putErr)
	}
	if putErr != nil {
		return fmt.Errorf("write order %d: %w", o.Number, putErr)
	}
	g.update(func() { g.state = s })
	if err == nil && o.Op == control.OrderRemove {
		// The state says already that the binding is gone; what cannot be deleted now is deleted at the next Open.
		if err := clearBinding(ctx, g.nvm.nvm); err != nil {
			g.log.Warn("delete what is left of a removed connection", "err", err)
		}
	}
	return err
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", control.ErrOrderRefused, fmt.Errorf(format, args...))
}

// again answers an order that was dealt with before.
func (s stateRecord) again(o control.Order) error {
	for _, k := range s.Outcomes {
		switch {
		case k.Order != o.Number:
		case k.Lifecycle != o.Lifecycle || k.Op != o.Op:
			return refuse("number %d was another order", o.Number)
		case k.Result == control.AckDone:
			return nil
		case k.Result == control.AckRefused:
			return refuse("it was refused before")
		}
	}
	return fmt.Errorf("%w: order %d, have %d", control.ErrOrderSuperseded, o.Number, s.LastOrder)
}

// install takes an application as the peer. Nothing but an order of remove, with evidence, makes room for one.
func (g *Gateway) install(ctx context.Context, o control.Order, s *stateRecord) (func(error), error) {
	switch {
	case s.Peer != nil:
		return nil, refuse("the device is connected with %s, which has to be removed first", s.Peer.app)
	case s.buried(o.Binding) || o.Binding == g.platformBinding:
		return nil, refuse("binding %s was used before", o.Binding)
	}
	// Nothing of value is there; what a removal left must not be in the way.
	if err := clearBinding(ctx, g.nvm.nvm); err != nil {
		return nil, err
	}
	rec := appRecord{Binding: o.Binding, Credential: o.Credential}
	conn, err := g.newConnection(ctx, rec)
	switch {
	case errors.Is(err, errMemory):
		return nil, err // nothing is decided: the order comes again
	case err != nil:
		return nil, refuse("%w", err)
	}
	if conn.app.ID != o.Peer {
		conn.discard()
		return nil, refuse("it names %s and carries the certificate of %s", o.Peer, conn.app)
	}
	rec.app, rec.generation = conn.app, conn.verified.Generation()
	s.Peer = &rec
	return func(putErr error) {
		if putErr != nil {
			conn.discard()
			return
		}
		g.update(func() { g.conn, g.suspended = conn, nil })
	}, nil
}

// remove ends the connection, if the application itself or the certificate authority wants it.
func (g *Gateway) remove(o control.Order, s *stateRecord, conn *connection) (func(error), error) {
	if s.Peer == nil {
		return nil, nil // nothing to remove: an install that was refused, for example
	}
	if s.Peer.Binding != o.Binding || s.Peer.app.ID != o.Peer {
		return nil, refuse("the device is connected with %s under another binding", s.Peer.app)
	}
	app, err := g.recall(s.Peer.Credential)
	if err != nil {
		return nil, refuse("%w", err)
	}
	if err := g.permits(o, app); err != nil {
		return nil, err
	}
	epoch := uint64(0)
	if conn != nil {
		// Before the write, so that no message is taken that the write would lose.
		conn.freeze()
		epoch = conn.epochs.accepted()
	}
	s.bury(o.Binding, epoch)
	s.Peer = nil
	return func(putErr error) {
		switch {
		case putErr == nil:
			g.update(func() { g.conn, g.suspended = nil, nil })
		case conn != nil:
			conn.thaw()
		}
	}, nil
}

// wipe marks the end of the device's life. Run acknowledges it and then erases; Open does, if the power goes before.
func (g *Gateway) wipe(o control.Order, s *stateRecord) (func(error), error) {
	if err := g.permits(o, nil); err != nil {
		return nil, err
	}
	s.Retired = true
	return func(putErr error) {
		if putErr == nil {
			g.update(func() { g.retiring = true })
		}
	}, nil
}

func (g *Gateway) permits(o control.Order, app *identity.Verified) error {
	e, err := control.ParseEvidence(o.Evidence)
	if err == nil {
		err = e.Permits(o, g.verifier, control.Parties{Device: g.self.Credential(), Application: app})
	}
	if err != nil {
		return refuse("%w", err)
	}
	return nil
}

// recall makes the installed application's identity again from the device's own memory, revoked or expired as it may be: it must
// still be possible to judge evidence about it. The authority's signature is checked all the same.
func (g *Gateway) recall(c identity.Credential) (*identity.Verified, error) {
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: g.verifier.Roots(), Floor: identity.NewTimeFloor(time.Time{})})
	if err != nil {
		return nil, err
	}
	return v.Verify(c, identity.RoleApplication)
}

// keepCRL is control.ClientConfig.KeepCRL: the verifier has taken the list.
func (g *Gateway) keepCRL([]byte) error {
	g.changes.Lock()
	defer g.changes.Unlock()
	for i, list := range g.verifier.CRLs() {
		hash := sha256.Sum256(list)
		if g.revoked[i] == hash {
			continue
		}
		if err := save(context.Background(), g.nvm, revokedName(i), noBinding, listRecord(list)); err != nil {
			return fmt.Errorf("keep revocation list: %w", err)
		}
		g.revoked[i] = hash
	}
	if g.due() {
		g.client.Ask() // the list may be the reason
	}
	g.mu.Lock()
	peer, conn := g.state.Peer, g.conn
	g.mu.Unlock()
	if peer == nil || conn == nil {
		return nil
	}
	if _, err := g.verifier.Verify(peer.Credential, identity.RoleApplication); err != nil {
		err = fmt.Errorf("%w: %w", ErrSuspended, err)
		g.log.Error("connection with the application", "err", err)
		conn.freeze() // what a handler leaves to be written must not meet the next connection's values
		g.update(func() { g.conn, g.suspended = nil, err })
	}
	return nil
}

// floorStep is how far the time floor rises between two writes: NVM wears.
const floorStep = 24 * time.Hour

// keepTime is control.ClientConfig.Time: the platform's time, authenticated. It counts up to the end of the platform's certificate: a wrong
// clock there must not put the device beyond everything that the authority has dated.
func (g *Gateway) keepTime(t time.Time) {
	if g.floor == nil {
		return
	}
	if end := g.platform.NotAfter(); t.After(end) {
		g.log.Warn("the platform's time lies behind the end of its certificate", "time", t, "end", end)
		t = end
	}
	g.changes.Lock()
	defer g.changes.Unlock()
	before := g.due()
	g.floor.Advance(t)
	if !before && g.due() {
		g.client.Ask() // the device has learnt only now that its certificate is over
	}
	g.mu.Lock()
	s := g.state.clone()
	g.mu.Unlock()
	now := g.floor.Now().Truncate(time.Millisecond)
	if now.Sub(s.Floor) < floorStep || s.Retired {
		return
	}
	s.Floor = now
	if err := save(context.Background(), g.nvm, nameState, noBinding, s); err != nil {
		g.log.Warn("keep the time", "err", err)
		return
	}
	g.update(func() { g.state = s })
}
