package linktest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/internal/link/linktest"
)

// The broker in memory keeps the contract too: what is tested over it holds over a real one.
func TestMemory(t *testing.T) {
	var clients [3]*linkmem.Client
	b := linkmem.New(linkmem.Options{
		Allow: func(_ string, a linkmem.Action, topic string) bool { return topic != "denied" },
		Connect: func(client string) error {
			if client == "refused" {
				return errors.New("not registered")
			}
			return nil
		},
	})
	linktest.TestLink(t, linktest.Broker{
		New: func(_ *testing.T, n int) link.Link {
			clients[n] = b.Client(fmt.Sprintf("client-%d", n))
			return clients[n]
		},
		Prefix:       "linktest/",
		DeniedTopic:  "denied",
		DeniedFilter: "denied",
		Cut:          func(n int) { clients[n].Cut() },
		Refused:      func(*testing.T) link.Link { return b.Client("refused") },
	})
}
