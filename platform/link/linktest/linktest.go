// Package linktest shows that an implementation of [link.Link] keeps the contract. Start with [TestLink], over a broker that the
// caller runs:
//
//	linktest.TestLink(t, linktest.Broker{
//		New:    func(t *testing.T, n int) link.Link { return myLink(brokerURL, fmt.Sprintf("client-%d", n)) },
//		Prefix: "linktest/",
//	})
package linktest

import (
	"testing"

	"github.com/semio-iot/semio/internal/link/linktest"
)

// Broker is what the suite needs of its caller. What an optional field would be needed for is skipped, and said so.
type Broker = linktest.Broker

// TestLink runs the suite, which takes about a second.
func TestLink(t *testing.T, b Broker) { linktest.TestLink(t, b) }
