// Package link is the small MQTT vocabulary that the gateways and the platform share: what they need of a client, and no
// more. Package mqttlink implements it over Eclipse Paho's client; an integrator who already runs an MQTT client implements it himself
// and shows with linktest.TestLink that he kept the contract.
package link

import (
	"context"
	"errors"
)

// ErrDown reports that the link has no connection to the broker now. Nothing was published or subscribed; try again after
// the next Up.
var ErrDown = errors.New("link: not connected to the broker")

// ErrUnacknowledged reports that the connection ended, or that time ran out, before the broker acknowledged: the request may
// or may not have been carried out. Publish again after the next Up; receivers know how to drop a repetition.
var ErrUnacknowledged = errors.New("link: no acknowledgement from the broker")

// ErrTooLarge reports a publication above what this link or the broker takes. Trying again does not help.
var ErrTooLarge = errors.New("link: message too large")

// Message is a publication that arrived on a subscribed filter.
type Message struct {
	Topic   string
	Payload []byte // owned by the receiver

	// Ack tells the broker (PUBACK) that it may forget the message. It may be called from any goroutine, at any later
	// time, more than once. A message without Ack is delivered again after a reconnect, where the broker keeps sessions.
	Ack func()
}

// Receiver is what a link calls while it runs. The calls come from one goroutine, one after the other, in the order in
// which the broker sent the messages of a topic. They must return soon; they must not call the link's Publish or Subscribe
// (hand over to another goroutine). Up and Down alternate, beginning with Up.
type Receiver struct {
	Up      func()          // connected; nothing is subscribed yet, whatever was subscribed before
	Down    func(err error) // the connection is gone
	Message func(m Message)
}

// Link is a client of one broker under one client ID. All methods but Run are safe for concurrent use, before, during and
// after Run: without a connection they return [ErrDown].
type Link interface {
	// Run connects, stays connected (with back-off and jitter) and calls r until ctx ends, then disconnects and returns
	// nil once no call of r is under way. It returns an error when connecting cannot succeed by waiting: the broker
	// refused the identity, the server's certificate is not trusted. If it ends while connected, Down is the last call. Run is
	// called once.
	Run(ctx context.Context, r Receiver) error

	// Publish sends payload with QoS 1 and returns nil when the broker acknowledged it. An acknowledgement with reason
	// code 0x80 or above is a [*PublishError]; [ErrUnacknowledged], and an error that is that of ctx, leave open whether
	// the broker has the message. topic has no wildcards. payload is not kept after the return.
	Publish(ctx context.Context, topic string, payload []byte) error

	// Subscribe adds filters with QoS 1 and returns nil when the broker granted all of them, else a [*SubscribeError]. They last
	// until the connection ends.
	Subscribe(ctx context.Context, filters ...string) error

	// Unsubscribe removes filters. An unknown filter is no error.
	Unsubscribe(ctx context.Context, filters ...string) error
}
