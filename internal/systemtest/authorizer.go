package systemtest

import (
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform"
)

// Authorizer lets a broker ask the platform, which is started after it.
type Authorizer struct{ S *System }

// Authenticate asks the platform.
func (a Authorizer) Authenticate(id identity.ID, clientID string) error {
	return a.S.Platform.Authenticate(id, clientID)
}

// Allow asks the platform.
func (a Authorizer) Allow(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.S.Platform.Allow(id, clientID, action, topic)
}

// AuthenticateLapsed asks the platform.
func (a Authorizer) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	return a.S.Platform.AuthenticateLapsed(id, clientID, certificate)
}

// AllowLapsed asks the platform.
func (a Authorizer) AllowLapsed(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.S.Platform.AllowLapsed(id, clientID, action, topic)
}
