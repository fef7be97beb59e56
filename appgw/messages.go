package appgw

import (
	"context"
	"errors"
	"iter"

	"github.com/semio-iot/semio/identity"
)

// Send puts an event for a device into its outbox and returns the event's number. The event is durable on return and is delivered
// when the device can be reached. A full outbox is a [*FullError]. A volatile event is sent now or never and has the number 0.
func (g *Gateway) Send(ctx context.Context, device identity.DeviceID, e Event) (uint64, error) {
	c, err := g.open(device)
	if err != nil {
		return 0, err
	}
	return c.Send(ctx, e)
}

// Call asks the device and waits for its reply, at the latest until ctx's deadline, which the device observes too. The device runs the
// call at most once. [ErrNotRun] says that it did not and will not, [ErrUnknownOutcome] that nobody can tell, [*RemoteError] is
// the device's own error.
func (g *Gateway) Call(ctx context.Context, device identity.DeviceID, contentType string, body []byte) (Reply, error) {
	c, err := g.open(device)
	if err != nil {
		return Reply{}, err
	}
	return c.Call(ctx, contentType, body)
}

// Flush waits until the device has acknowledged every event that Send accepted before.
func (g *Gateway) Flush(ctx context.Context, device identity.DeviceID) error {
	c, err := g.open(device)
	if err != nil {
		return err
	}
	return c.Flush(ctx)
}

// Received is an event and the device that sent it.
type Received struct {
	Device identity.DeviceID
	Event  Event
}

type inbound struct {
	Received
	done chan<- error // capacity 1
}

// errNotTaken makes an event come again that the loop over Events broke off at.
var errNotTaken = errors.New("appgw: event was not taken")

// Events delivers the events of all devices to a range loop, where Config.OnEvent is not set. An event is done when the loop asks for
// the next one; a break leaves the last one undone, and it comes again. The loop ends with ctx. Several loops share the events.
func (g *Gateway) Events(ctx context.Context) iter.Seq[Received] {
	return func(yield func(Received) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case in := <-g.inbound:
				if !in.offer(yield) {
					return
				}
			}
		}
	}
}

// offer gives the event to the loop. It is answered also when the loop's body panics: its handler waits.
func (in inbound) offer(yield func(Received) bool) (more bool) {
	outcome := errNotTaken
	defer func() { in.done <- outcome }()
	if more = yield(in.Received); more {
		outcome = nil
	}
	return more
}

func (g *Gateway) handleEvent(ctx context.Context, device identity.DeviceID, e Event, box outbox) error {
	switch {
	case g.cfg.OnEvent != nil:
		return g.cfg.OnEvent(ctx, device, e)
	case g.cfg.OnEventTx != nil:
		return g.handleEventTx(ctx, device, e, box)
	}
	done := make(chan error, 1)
	select {
	case g.inbound <- inbound{Received{device, e}, done}:
	case <-ctx.Done():
		return ctx.Err()
	}
	// The loop has the event: whether it is done is only known when the loop's body has returned.
	return <-done
}

// errNotMarked makes the fault of a handler visible, at the price of the event's repetition: without the mark a crash would repeat it too.
var errNotMarked = errors.New("appgw: OnEventTx returned nil and handled has not succeeded: call it within the transaction")

// handleEventTx leaves the mark to the host's transaction.
func (g *Gateway) handleEventTx(ctx context.Context, device identity.DeviceID, e Event, box outbox) error {
	marked := e.Volatile // has no number, so there is nothing to mark
	err := g.cfg.OnEventTx(ctx, device, e, func(tx Tx) error {
		if e.Volatile {
			return nil
		}
		err := box.mark(tx, e.Seq)
		marked = err == nil
		return err
	})
	switch {
	case errors.Is(err, ErrHandled):
		return nil
	case err == nil && !marked:
		return errNotMarked
	}
	return err
}
