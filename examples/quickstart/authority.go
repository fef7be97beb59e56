package main

import (
	"github.com/semio-iot/semio/identity"
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
