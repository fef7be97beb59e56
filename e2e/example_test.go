package e2e_test

import (
	"fmt"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
)

// A device and an application, both with credentials of one CA, start a session and exchange a message each way. The network
// between them is a function call.
func Example() {
	members := enlist("D-METER-1", "A-WATER")
	device, application := members[0], members[1]
	binding := e2e.NewBindingID()                                            // from the platform, at commissioning
	psk := must(identity.NewPSK([]byte("32 bytes out of the claim code.."))) // from the sticker
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	dev := must(e2e.NewPeer(e2e.Config{
		Self: device.verified, Key: device.key, Remote: application.verified,
		Binding: binding, PSK: psk, RequirePSK: true, Epochs: &memEpochs{},
	}))
	app := must(e2e.NewPeer(e2e.Config{
		Self: application.verified, Key: application.key, Remote: device.verified,
		Binding: binding, PSK: psk, RequirePSK: true, Epochs: &memEpochs{},
	}))

	// Whoever receives a record publishes the reply, if there is one.
	record := must(dev.Initiate(now, []byte("21.4 degrees")))
	for from, to := dev, app; record != nil; from, to = to, from {
		event := must(to.Receive(now, record))
		switch event.Kind {
		case e2e.KindEarlyData:
			fmt.Printf("early data: %s\n", event.Payload)
		case e2e.KindEstablished:
			fmt.Println("session established")
		}
		record = event.Reply
	}

	record = must(dev.Seal(now, nil, []byte("21.5 degrees")))
	fmt.Printf("%d bytes on the wire\n", len(record))
	fmt.Printf("application reads: %s\n", must(app.Receive(now, record)).Payload)

	_, err := app.Receive(now, record)
	fmt.Println(err)

	record = must(app.Seal(now, nil, []byte("close the valve")))
	fmt.Printf("device reads: %s\n", must(dev.Receive(now, record)).Payload)
	// Output:
	// early data: 21.4 degrees
	// session established
	// session established
	// 44 bytes on the wire
	// application reads: 21.5 degrees
	// e2e: record was received before
	// device reads: close the valve
}
