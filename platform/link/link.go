// Package link is what the gateways and the platform need of an MQTT client: the interface [Link], for a host that already runs a
// client and gives it as Config.Link, instead of the one that the parties dial themselves.
//
// An implementation keeps the contract that stands at [Link] and [Receiver], and shows it with package linktest.
// examples/embed has one over Eclipse Paho's autopaho.
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
