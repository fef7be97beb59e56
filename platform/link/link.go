// Package link is what the gateways and the platform need of an MQTT client: the interface [Link], for a host that already runs a
// client and gives it as Config.Link, instead of the one that the parties dial themselves.
//
// # The contract
//
// Run(ctx, r) connects, stays connected and calls r until ctx ends, then returns nil once no call of r is under way; if it ends while
// connected, r.Down is the last call. It returns an error when waiting cannot help. It is called once.
//
// The calls of r come from one goroutine, one after the other, in the order in which the broker sent the messages of a topic. Up and
// Down alternate, beginning with Up. They may take their time: acknowledgements of the broker are read all the same. After Up nothing is
// subscribed, whatever was subscribed before. A Message's Ack may be called from any goroutine, at any later time, more than once, in any
// order of the messages; its payload belongs to the receiver.
//
// Publish sends with QoS 1 and returns nil when the broker acknowledged. ErrDown says that nothing was sent, a [*PublishError] that the broker
// refused, ErrUnacknowledged, or the error of ctx, that nobody knows. Subscribe (QoS 1) and Unsubscribe return nil when the broker granted
// everything, a [*SubscribeError] for the first filter that it did not; without a connection, or when it ends meanwhile, ErrDown. What is no topic
// or filter is an error and costs no connection. None of them hangs when the connection ends, and all are safe for concurrent use, before,
// during and after Run.
//
// Package linktest shows that an implementation keeps all this. examples/embed has one over Eclipse Paho's autopaho.
package link

import "github.com/semio-iot/semio/internal/link"

type (
	// Link is a client of one broker under one client ID.
	Link = link.Link
	// Receiver is what a link calls while it runs.
	Receiver = link.Receiver
	// Message is a publication that arrived.
	Message = link.Message
	// PublishError is a broker's refusal of a publication.
	PublishError = link.PublishError
	// SubscribeError is a broker's refusal of a subscription.
	SubscribeError = link.SubscribeError
)

// What the methods of a Link return.
var (
	// ErrDown reports that the link has no connection to the broker now: nothing was published or subscribed.
	ErrDown = link.ErrDown
	// ErrUnacknowledged reports that it is not known whether the broker carried the request out.
	ErrUnacknowledged = link.ErrUnacknowledged
	// ErrTooLarge reports a publication above what this link or the broker takes.
	ErrTooLarge = link.ErrTooLarge
)

// CheckTopic returns an error for what is no topic to publish on. A broker would answer a malformed one with the end of the connection.
func CheckTopic(topic string) error { return link.CheckTopic(topic) }

// CheckFilters returns an error for the first that is no filter to subscribe to.
func CheckFilters(filters ...string) error { return link.CheckFilters(filters...) }
