package platform_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// A gateway that got no answer asks again in another INIT. A broker that kept the first one must not connect the device with it
// after the application has disconnected it.
func TestHeldBackRequestDoesNotComeTrue(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		app.link.SetOffline(true)
		r := control.Request{ID: control.NewRequestID(), Op: control.OpConnect, App: app.appID(), Device: dev.dev()}
		message := func(r control.Request) func([32]byte) control.Message {
			return func(th1 [32]byte) control.Message {
				s, err := r.Sign(th1, app.signer, dev.claim)
				require.NoError(t, err)
				return control.Message{Request: &s}
			}
		}
		_, held := app.init(message(r))
		x, init := app.init(message(r))
		require.Equal(t, control.CodeOK, app.open(x, app.send(init)[0]).Result.Code)
		end := control.Request{ID: control.NewRequestID(), Op: control.OpDisconnect, App: app.appID(), Device: dev.dev(), Binding: w.record(dev).Binding}
		x, init = app.init(message(end))
		require.Equal(t, control.CodeOK, app.open(x, app.send(init)[0]).Result.Code)

		app.send(held)
		require.Equal(t, registry.Registered, w.record(dev).Status)
	})
}
