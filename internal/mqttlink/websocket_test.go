package mqttlink_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/link"
	"github.com/semio-iot/semio/internal/mqttlink"
)

// overWebSocket answers CONNECT, then echoes each message, in WebSocket messages that are not packets: the echo shares
// one with half of the PUBACK.
func overWebSocket(ws *websocket.Conn) {
	defer ws.Close()
	var in bytes.Buffer
	read := func() any {
		for {
			p, err := packets.ReadPacket(bytes.NewReader(in.Bytes()))
			if err == nil {
				var size bytes.Buffer
				_, _ = p.WriteTo(&size)
				in.Next(size.Len())
				return p.Content
			}
			_, b, err := ws.ReadMessage()
			if err != nil {
				return nil
			}
			in.Write(b)
		}
	}
	bytesOf := func(p interface {
		WriteTo(io.Writer) (int64, error)
	}) []byte {
		var b bytes.Buffer
		_, _ = p.WriteTo(&b)
		return b.Bytes()
	}
	for {
		switch p := read().(type) {
		case *packets.Connect:
			b := bytesOf(&packets.Connack{Properties: &packets.Properties{}})
			for i := range b { // a byte each
				_ = ws.WriteMessage(websocket.BinaryMessage, b[i:i+1])
			}
		case *packets.Publish:
			if string(p.Payload) == "text" {
				_ = ws.WriteMessage(websocket.TextMessage, []byte("not MQTT"))
				continue
			}
			ack := bytesOf(puback(p.PacketID, 0))
			echo := bytesOf(&packets.Publish{Topic: p.Topic, QoS: 1, PacketID: 1, Payload: p.Payload, Properties: &packets.Properties{}})
			_ = ws.WriteMessage(websocket.BinaryMessage, append(echo, ack[:2]...))
			_ = ws.WriteMessage(websocket.BinaryMessage, nil)
			_ = ws.WriteMessage(websocket.BinaryMessage, ack[2:])
		case nil:
			return
		}
	}
}

func TestWebSocket(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		switch r.URL.Path {
		case "/mqtt":
			up.Subprotocols = []string{"mqtt"}
		case "/other":
		default:
			http.NotFound(w, r)
			return
		}
		var ws *websocket.Conn
		var err error
		fips140.WithoutEnforcement(func() { ws, err = up.Upgrade(w, r, nil) }) // with SHA-1
		if err == nil {
			overWebSocket(ws)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	begin := func(t *testing.T, broker string, roots *x509.CertPool) (*running, chan error) {
		cfg := mqttlink.Config{Broker: broker, ClientID: "D-1", Patience: -1, MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond}
		if roots != nil {
			cfg.TLS = &tls.Config{RootCAs: roots}
		}
		l, err := mqttlink.New(cfg)
		require.NoError(t, err)
		r := &running{Link: l, t: t, ups: make(chan struct{}, 10), downs: make(chan error, 10), msgs: make(chan link.Message, 10)}
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		t.Cleanup(cancel)
		ended := make(chan error, 1)
		go func() {
			ended <- l.Run(ctx, link.Receiver{
				Up: func() { r.ups <- struct{}{} }, Down: func(err error) { r.downs <- err },
				Message: func(m link.Message) { r.msgs <- m },
			})
		}()
		r.cancel = cancel
		return r, ended
	}
	for name, c := range map[string]struct {
		url   string
		roots *x509.CertPool
	}{
		"ws":  {"ws" + strings.TrimPrefix(plain.URL, "http") + "/mqtt", nil},
		"wss": {"wss" + strings.TrimPrefix(secure.URL, "https") + "/mqtt", roots},
	} {
		t.Run(name, func(t *testing.T) {
			r, ended := begin(t, c.url, c.roots)
			<-r.ups
			payload := bytes.Repeat([]byte("x"), 10_000)
			require.NoError(t, r.Publish(context.Background(), "t", payload))
			m := <-r.msgs
			m.Ack()
			require.Equal(t, payload, m.Payload)
			require.Error(t, r.Publish(context.Background(), "t", []byte("text")))
			require.ErrorContains(t, <-r.downs, "not binary")
			<-r.ups
			r.cancel()
			require.NoError(t, <-ended)
		})
	}
	t.Run("untrusted server", func(t *testing.T) {
		_, ended := begin(t, "wss"+strings.TrimPrefix(secure.URL, "https")+"/mqtt", x509.NewCertPool())
		var e *mqttlink.ConnectError
		require.ErrorAs(t, <-ended, &e)
		require.Equal(t, mqttlink.ReasonServerCA, e.Reason)
	})
	for _, path := range []string{"/other", "/nothing"} {
		t.Run("no MQTT at "+path, func(t *testing.T) {
			r, _ := begin(t, "ws"+strings.TrimPrefix(plain.URL, "http")+path, nil)
			require.Eventually(t, func() bool { return r.LastError() != nil }, 60*time.Second, time.Millisecond)
			require.ErrorContains(t, r.LastError(), map[string]string{"/other": "subprotocol", "/nothing": "404"}[path])
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		r, _ := begin(t, "ws://"+l.Addr().String(), nil)
		require.Eventually(t, func() bool { return r.LastError() != nil }, 60*time.Second, time.Millisecond)
		var e *mqttlink.ConnectError
		require.ErrorAs(t, r.LastError(), &e)
		require.Equal(t, mqttlink.ReasonUnreachable, e.Reason)
	})
}
