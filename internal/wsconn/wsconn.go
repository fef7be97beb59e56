// Package wsconn is the client's side of a WebSocket (RFC 6455) as a stream of bytes, which is what MQTT over WebSocket needs and no more:
// binary messages, whose borders mean nothing, no extensions, no redirects, no proxies, no cookies. [Client] begins it over a connection that
// the caller has dialled, with TLS if he wants TLS.
//
// The libraries for Go all stand on net/http, whose parts add a tenth to the program of a small device; docs/decisions/0032 has the
// figures. The server is not trusted: whatever it sends, memory stays bounded and the connection ends with an error.
package wsconn

import (
	"bufio"
	"context"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// ErrHandshake reports a server that does not begin a WebSocket as it should. The error's text says how.
var ErrHandshake = errors.New("WebSocket handshake")

const (
	maxLine  = 4096 // bytes of a line in the server's answer
	maxLines = 100
)

// acceptGUID is that of RFC 6455, 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Client asks the server at the other end of c for a WebSocket at u under a subprotocol, and returns c as a stream through it. ctx bounds the
// handshake. If it fails, c is closed.
func Client(ctx context.Context, c net.Conn, u *url.URL, protocol string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	ws, err := handshake(c, u, protocol)
	if !stop() || err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrHandshake, ctx.Err())
		}
		return nil, err
	}
	return ws, nil
}

func handshake(c net.Conn, u *url.URL, protocol string) (net.Conn, error) {
	for _, b := range []byte(u.Host) {
		if b <= ' ' || b >= 0x7f {
			return nil, fmt.Errorf("%w: host %q: write it in ASCII (xn--…)", ErrHandshake, u.Host)
		}
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n", u.RequestURI(), u.Host, key, protocol)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(c, maxLine)
	status, err := readLine(r)
	if err != nil {
		return nil, err
	}
	version, status, _ := strings.Cut(status, " ")
	if !strings.HasPrefix(version, "HTTP/1.1") {
		return nil, fmt.Errorf("%w: the server speaks no HTTP/1.1", ErrHandshake)
	}
	if code, _, _ := strings.Cut(status, " "); code != "101" {
		return nil, fmt.Errorf("%w: the server answers with %.80q", ErrHandshake, status)
	}
	header := map[string]string{}
	for n := 0; ; n++ {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || n == maxLines {
			return nil, fmt.Errorf("%w: the server's answer is malformed or has more than %d lines", ErrHandshake, maxLines)
		}
		name = strings.ToLower(name)
		if _, again := header[name]; again {
			value = header[name] + "," + value
		}
		header[name] = strings.TrimSpace(value)
	}
	// The RFC's hash, which GODEBUG=fips140=only would end the program for; it protects nothing but against a cache that answers.
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum([]byte(key + acceptGUID)) })
	switch {
	case !hasToken(header["upgrade"], "websocket") || !hasToken(header["connection"], "upgrade"):
		return nil, fmt.Errorf("%w: the server does not upgrade", ErrHandshake)
	case header["sec-websocket-accept"] != base64.StdEncoding.EncodeToString(sum[:]):
		return nil, fmt.Errorf("%w: the answer is to another request", ErrHandshake)
	case header["sec-websocket-protocol"] != protocol:
		return nil, fmt.Errorf("%w: the server does not speak the %s subprotocol", ErrHandshake, protocol)
	case header["sec-websocket-extensions"] != "":
		return nil, fmt.Errorf("%w: the server uses an extension that nobody offered", ErrHandshake)
	}
	return &conn{Conn: c, r: r}, nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: the server's answer has a line above %d bytes", ErrHandshake, maxLine)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

func hasToken(list, token string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(t), token) {
			return true
		}
	}
	return false
}
