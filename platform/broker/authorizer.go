package broker

import (
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform/registry"
)

// Action is what an identity asks to do with a topic.
type Action = registry.Action

// The actions.
const (
	ActionPublish   = registry.ActionPublish   // publish on the topic
	ActionSubscribe = registry.ActionSubscribe // subscribe to the filter, wildcards as written
	ActionReceive   = registry.ActionReceive   // be sent a message of the topic
)

// Authorizer decides who may do what. Its methods are called for every packet, from many goroutines: they answer from
// memory and do not block. The platform's Service is one.
type Authorizer interface {
	// Authenticate returns nil when id may be connected under clientID, which is id's name or that of an instance of it.
	// The reason goes to the log; the client learns only that it was refused.
	Authenticate(id identity.ID, clientID string) error

	// Allow reports whether id may. topic is a filter for [ActionSubscribe], otherwise without wildcards.
	Allow(id identity.ID, clientID string, a Action, topic string) bool
}

// RenewalAuthorizer is what an [Authorizer] may be besides. Then a client gets in whose certificate is over, or whose CA has been revoked, if it
// was good before and is the very one that the authorizer knows: to have it renewed. The platform's Service is one.
type RenewalAuthorizer interface {
	// AuthenticateLapsed goes in the place of Authenticate. certificate is the SHA-256 of the client's, in DER. It is asked in the TLS
	// handshake and again at CONNECT.
	AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error

	// AllowLapsed goes in the place of Allow.
	AllowLapsed(id identity.ID, clientID string, a Action, topic string) bool
}
