package main

import (
	"context"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/platform"
)

// What ties platform, broker and certificate authority together in one process. Between organisations these are network calls.

// authorizer lets the broker ask the platform, which is made after it and may be made anew.
type authorizer struct{ s *stage }

func (a authorizer) Authenticate(id identity.ID, clientID string) error {
	return a.s.asked.Load().Authenticate(id, clientID)
}

func (a authorizer) Allow(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.s.asked.Load().Allow(id, clientID, action, topic)
}

func (a authorizer) AuthenticateLapsed(id identity.ID, clientID string, certificate [32]byte) error {
	return a.s.asked.Load().AuthenticateLapsed(id, clientID, certificate)
}

func (a authorizer) AllowLapsed(id identity.ID, clientID string, action platform.Action, topic string) bool {
	return a.s.asked.Load().AllowLapsed(id, clientID, action, topic)
}

// revoker lets the platform ask the certificate authority.
type revoker struct{ authority *ca.Authority }

func (r revoker) Revoke(_ context.Context, id identity.ID) ([]byte, error) {
	return r.authority.Revoke(id)
}
