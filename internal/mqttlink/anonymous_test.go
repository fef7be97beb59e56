package mqttlink_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/mqttlink"
)

func anonymous(c *mqttlink.Config) { c.Anonymous, c.ClientID = true, "" }

// Whoever has learned a client ID and takes the connection over has learned nothing about the next one.
func TestAnonymousClientIDsAreNewEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takeovers = 5
		ids := make(chan string, takeovers+1)
		f := &fake{serve: func(n int, s *server) {
			c := s.connack(0, nil)
			ids <- c.ClientID
			require.True(t, c.CleanStart)
			require.Nil(t, c.Properties.SessionExpiryInterval, "nothing of a connection is left for whoever comes with its client ID")
			if n < takeovers {
				s.send(&packets.Disconnect{ReasonCode: 0x8e, Properties: &packets.Properties{}})
				return
			}
			s.idle()
		}}
		r := start(t, f, anonymous, func(c *mqttlink.Config) { c.MaxBackoff = time.Minute })
		for range takeovers {
			<-r.ups
			require.ErrorContains(t, <-r.downs, "session taken over")
		}
		<-r.ups
		r.stop()
		seen := map[string]bool{}
		for range takeovers + 1 {
			id := <-ids
			require.Regexp(t, `^[0-9A-Za-z]{23}$`, id, "every server must take it")
			seen[id] = true
		}
		require.Len(t, seen, takeovers+1)
		at := f.attempts()
		for i := 2; i < len(at); i++ {
			wait, least := at[i].Sub(at[i-1]), time.Second/2<<(i-1)
			require.GreaterOrEqual(t, wait, least, "attempt %d: who is thrown out must not come back in a loop", i)
			require.LessOrEqual(t, wait, time.Minute)
		}
	})
}

func TestAnonymousRefusals(t *testing.T) {
	for code, want := range map[byte]string{
		0x85: "refused a random client ID of 23 letters and digits",
		0x87: "wants a user name and password or a certificate",
		0x84: "must speak MQTT 5, and TLS 1.2 or newer",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{serve: func(_ int, s *server) { s.connack(code, nil) }}
			r := start(t, f, anonymous)
			err := <-r.ended
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "our certificate", "there is none")
			require.NotContains(t, err.Error(), " as ", "there is no name to tell")
		})
	}
}
