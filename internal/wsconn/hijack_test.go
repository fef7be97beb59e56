package wsconn_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http/httptest"
	"time"
)

// hijacker lets an upgrader write its answer into a buffer.
type hijacker struct {
	*httptest.ResponseRecorder
	out bytes.Buffer
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := &bufferConn{&h.out}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

type bufferConn struct{ *bytes.Buffer }

func (*bufferConn) Close() error                     { return nil }
func (*bufferConn) LocalAddr() net.Addr              { return nil }
func (*bufferConn) RemoteAddr() net.Addr             { return nil }
func (*bufferConn) SetDeadline(time.Time) error      { return nil }
func (*bufferConn) SetReadDeadline(time.Time) error  { return nil }
func (*bufferConn) SetWriteDeadline(time.Time) error { return nil }
