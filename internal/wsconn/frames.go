package wsconn

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A frame (RFC 6455, 5.2):
//
//	fin 1 bit ‖ reserved 3 ‖ opcode 4 ‖ masked 1 ‖ length 7 ‖ [length u16 after 126, u64 after 127] ‖ [mask 4] ‖ payload
//
// Frames of a client are masked, those of a server are not.

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	fin        = 0x80
	reserved   = 0x70
	masked     = 0x80
	maxControl = 125 // bytes of a control frame
)

// errFrame reports what the server may not send.
var errFrame = errors.New("WebSocket: malformed frame")

// conn is a WebSocket as a stream. One goroutine reads; writing is safe for concurrent use.
type conn struct {
	net.Conn
	r    *bufio.Reader
	left uint64 // of the data frame that is read
	more bool   // its message goes on in another frame

	mu  sync.Mutex // guards writing, and buf
	buf []byte
}

func (c *conn) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.nextFrame(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(uint64(len(p)), c.left)])
	c.left -= uint64(n)
	return n, err
}

// nextFrame reads the header of a data frame, or a whole control frame.
func (c *conn) nextFrame() error {
	var h [2]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return err
	}
	op, final := h[0]&0x0f, h[0]&fin != 0
	length := uint64(h[1] &^ masked)
	if h[0]&reserved != 0 || h[1]&masked != 0 {
		return fmt.Errorf("%w: reserved or mask bits are set", errFrame)
	}
	if op >= opClose {
		if !final || length > maxControl {
			return fmt.Errorf("%w: a control frame in parts, or of more than %d bytes", errFrame, maxControl)
		}
		return c.control(op, int(length))
	}
	switch length {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return err
		}
		length = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return err
		}
		if length = binary.BigEndian.Uint64(b[:]); length>>63 != 0 {
			return fmt.Errorf("%w: a length above 2⁶³", errFrame)
		}
	}
	switch {
	case op == opText:
		return errors.New("WebSocket: the server sends a message that is not binary")
	case op > opBinary:
		return fmt.Errorf("%w: opcode %d", errFrame, op)
	case (op == opContinuation) != c.more:
		return fmt.Errorf("%w: a message begins before the last one has ended, or goes on after its end", errFrame)
	}
	c.left, c.more = length, !final
	return nil
}

func (c *conn) control(op byte, length int) error {
	b := make([]byte, length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	switch op {
	case opPong:
		return nil
	case opPing:
		// Whoever writes sets a deadline; the last one may be long past.
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		return c.write(opPong, b)
	case opClose:
		if length >= 2 {
			return fmt.Errorf("WebSocket: the server closed it with status %d: %w", binary.BigEndian.Uint16(b), io.EOF)
		}
		return io.EOF
	}
	return fmt.Errorf("%w: opcode %d", errFrame, op)
}

// Write sends p as one binary message.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.write(opBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *conn) write(op byte, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := append(c.buf[:0], fin|op)
	switch n := len(p); {
	case n <= maxControl:
		b = append(b, masked|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), uint64(n))
	}
	var mask [4]byte
	rand.Read(mask[:])
	b = append(b, mask[:]...)
	for i, x := range p {
		b = append(b, x^mask[i%4])
	}
	if c.buf = b; cap(b) > 16<<10 {
		c.buf = nil
	}
	_, err := c.Conn.Write(b)
	return err
}
