package wsconn_test

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/wsconn"
)

// Against another implementation: bytes of any length come back, in whatever frames, with pings between.
func TestStream(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{"other", "mqtt"}, WriteBufferSize: 64} // so that messages are fragmented
		var ws *websocket.Conn
		var err error
		fips140.WithoutEnforcement(func() { ws, err = up.Upgrade(w, r, nil) }) // with SHA-1
		if err != nil {
			return
		}
		defer ws.Close()
		ws.SetPongHandler(func(s string) error { return ws.WriteMessage(websocket.BinaryMessage, []byte("pong "+s)) })
		for {
			kind, b, err := ws.ReadMessage()
			if err != nil || kind != websocket.BinaryMessage {
				return
			}
			if string(b) == "ping" {
				_ = ws.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(time.Minute))
				continue
			}
			if string(b) == "close" {
				_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, "bye"), time.Now().Add(time.Minute))
				continue
			}
			out, err := ws.NextWriter(websocket.BinaryMessage)
			if err != nil {
				return
			}
			_, _ = out.Write(b)
			_ = out.Close()
		}
	}))
	defer server.Close()
	c := dial(t, server.URL, "mqtt")
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 125, 126, 127, 128, 65535, 65536, 65537, 200_000} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(want)
			sent <- err
		}()
		got := make([]byte, n)
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.True(t, bytes.Equal(want, got), "%d bytes", n)
	}
	_, err := c.Write([]byte("ping"))
	require.NoError(t, err)
	got := make([]byte, len("pong hello"))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "pong hello", string(got))
	_, err = c.Write([]byte("close"))
	require.NoError(t, err)
	_, err = c.Read(got)
	require.ErrorIs(t, err, io.EOF)
	require.ErrorContains(t, err, "status 1001")
}

func dial(t *testing.T, server, protocol string) net.Conn {
	u, err := url.Parse(server)
	require.NoError(t, err)
	raw, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { raw.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := wsconn.Client(ctx, raw, u, protocol)
	require.NoError(t, err)
	return c
}

// answer is a server that says what it is told, with the right key in the place of KEY.
func answer(text string) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		var request []byte
		for !bytes.HasSuffix(request, []byte("\r\n\r\n")) {
			b := make([]byte, 512)
			n, err := ours.Read(b)
			if err != nil {
				return
			}
			request = append(request, b[:n]...)
		}
		_, rest, _ := strings.Cut(string(request), "Sec-WebSocket-Key: ")
		key, _, _ := strings.Cut(rest, "\r\n")
		_, _ = io.WriteString(ours, strings.ReplaceAll(text, "KEY", accept(key)))
	}()
	return theirs
}

// accept is gorilla's answer to a key, so that ours is compared with another implementation's.
func accept(key string) string {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {key}}
	h := &hijacker{ResponseRecorder: w}
	fips140.WithoutEnforcement(func() { _, _ = (&websocket.Upgrader{}).Upgrade(h, r, nil) })
	_, rest, _ := strings.Cut(h.out.String(), "Sec-WebSocket-Accept: ")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

const good = "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

func begin(t testing.TB, text string) (net.Conn, error) {
	u, err := url.Parse("ws://broker.example/mqtt?a=b c")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return wsconn.Client(ctx, answer(text), u, "mqtt")
}

func TestHandshakeRefuses(t *testing.T) {
	c, err := begin(t, good)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	for name, tc := range map[string]struct{ text, says string }{
		"nothing":            {"", "EOF"},
		"not HTTP":           {"SSH-2.0-OpenSSH\r\n", "no HTTP/1.1"},
		"old HTTP":           {strings.Replace(good, "1.1", "1.0", 1), "no HTTP/1.1"},
		"not found":          {"HTTP/1.1 404 Not Found\r\n\r\n", `"404 Not Found"`},
		"redirect":           {"HTTP/1.1 301 Moved\r\nLocation: ws://evil\r\n\r\n", "301"},
		"no upgrade":         {strings.Replace(good, "WebSocket", "h2c", 1), "does not upgrade"},
		"no connection":      {strings.Replace(good, "keep-alive, Upgrade", "close", 1), "does not upgrade"},
		"another's answer":   {strings.Replace(good, "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1), "another request"},
		"other subprotocol":  {strings.Replace(good, "mqtt", "mqttv3.1", 1), "mqtt subprotocol"},
		"no subprotocol":     {strings.Replace(good, "Sec-WebSocket-Protocol: mqtt\r\n", "", 1), "mqtt subprotocol"},
		"extension":          {strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: x\r\n\r\n", 1), "extension"},
		"broken off":         {good[:len(good)-2], "EOF"},
		"no header":          {strings.Replace(good, "upgrade:", "upgrade", 1), "malformed"},
		"very long line":     {strings.Replace(good, "keep-alive", strings.Repeat("x", 5000), 1), "above 4096 bytes"},
		"very many lines":    {strings.Replace(good, "\r\n\r\n", strings.Repeat("\r\na: b", 200)+"\r\n\r\n", 1), "more than 100 lines"},
		"accept given twice": {strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Accept: KEY\r\n\r\n", 1), "another request"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := begin(t, tc.text)
			require.ErrorContains(t, err, tc.says)
		})
	}
	t.Run("host that is not ASCII", func(t *testing.T) {
		u, err := url.Parse("ws://bröker/")
		require.NoError(t, err)
		_, err = wsconn.Client(t.Context(), answer(good), u, "mqtt")
		require.ErrorContains(t, err, "xn--")
	})
	t.Run("silence", func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, ours)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := wsconn.Client(ctx, theirs, &url.URL{Scheme: "ws", Host: "h"}, "mqtt")
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestFramesThatAreRefused(t *testing.T) {
	long := binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<63)
	for name, frame := range map[string]string{
		"text":                    "\x81\x01a",
		"masked":                  "\x82\x81mask1",
		"reserved bit":            "\xc2\x01a",
		"unknown data opcode":     "\x83\x01a",
		"unknown control":         "\x8b\x00",
		"long ping":               "\x89\x7e\x00\x80" + strings.Repeat("x", 128),
		"ping in parts":           "\x09\x01a",
		"continuation of nothing": "\x80\x01a",
		"message within another":  "\x02\x01a\x82\x01b",
		"length above 2^63":       string(long),
		"broken off":              "\x82\x05abc",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := begin(t, good+frame)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, c)
			if name == "broken off" {
				require.NoError(t, err) // the end of the stream; MQTT has lengths of its own
				return
			}
			require.Error(t, err)
			require.NotErrorIs(t, err, io.EOF)
		})
	}
	c, err := begin(t, good+"\x02\x01a\x8a\x02xx\x00\x00\x80\x01b\x82\x00\x88\x00")
	require.NoError(t, err)
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "ab", string(b), "parts, an empty one, and a pong between")
}

// Whatever a server sends, reading ends.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"\x82\x01a", "\x02\x7e\x00\x01a\x80\x01b", "\x89\x01x", "\x88\x02\x03\xe9", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frames []byte) {
		if bytes.Contains(frames, []byte("KEY")) {
			t.Skip()
		}
		c, err := begin(t, good+string(frames))
		require.NoError(t, err)
		defer c.Close()
		n, _ := io.Copy(io.Discard, c)
		require.LessOrEqual(t, n, int64(len(frames)))
	})
}
