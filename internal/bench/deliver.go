package bench

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// transport makes two connected ends.
type transport struct {
	name string
	dial func() (near, far net.Conn, err error)
}

func transports() []transport {
	return []transport{
		{"net.Pipe", func() (net.Conn, net.Conn, error) { a, b := net.Pipe(); return a, b, nil }},
		{"loopback", loopback},
	}
}

func loopback() (near, far net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = l.Accept(); err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	return near, far, nil
}

// stream is one way to carry messages over two connected ends.
type stream struct {
	send func(msg []byte) error
	// receive fills msg with the next message. It runs on another goroutine than send.
	receive func(msg []byte) error
	ready   func(n int) error // as channel.ready
}

// framed puts a length of four bytes before what seal makes of a message; nil stands for the message itself. One Write sends
// both, and the reader asks the kernel for as much as there is.
func framed(near, far net.Conn, c channel) stream {
	in := bufio.NewReaderSize(far, 2*maxSize)
	out := make([]byte, 0, maxSize+room)
	s := stream{ready: func(int) error { return nil }}
	if c != nil {
		s.ready = c.ready
	}
	s.send = func(msg []byte) error {
		b := out[:4]
		var err error
		if c != nil {
			b, err = c.seal(b, msg)
		} else {
			b = append(b, msg...)
		}
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		_, err = near.Write(b)
		return err
	}
	s.receive = func(msg []byte) error {
		length, err := in.Peek(4)
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(length))
		if n > maxSize+room {
			return fmt.Errorf("a record of %d bytes", n)
		}
		// A record is opened where the reader has it, as TLS does, and not copied first.
		whole, err := in.Peek(4 + n)
		if err != nil {
			return err
		}
		var got []byte
		if c == nil {
			got = append(msg[:0], whole[4:]...)
		} else {
			got, err = c.open(msg[:0], whole[4:])
		}
		if _, discarded := in.Discard(len(whole)); err == nil {
			err = discarded
		}
		if err == nil && len(got) != len(msg) {
			err = errMismatch
		}
		return err
	}
	return s
}

func tlsStream(m *members, near, far net.Conn) (stream, error) {
	client, server, err := tlsPair(m, near, far)
	return stream{
		send:    func(msg []byte) error { _, err := client.Write(msg); return err },
		receive: func(msg []byte) error { _, err := io.ReadFull(server, msg); return err },
		ready:   func(int) error { return nil },
	}, err
}

// deliverCase sends a message and waits until the other goroutine has it, for one message after another.
func deliverCase(name string, ours bool, size int, t transport, over func(near, far net.Conn) (stream, error)) (*Case, error) {
	near, far, err := t.dial()
	if err != nil {
		return nil, err
	}
	s, err := over(near, far)
	if err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	msg, got := message(size), make([]byte, size, size+room) // room: Seal and Open of e2e want that of a tag
	arrived, closed := make(chan error), make(chan struct{})
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for {
			err := s.receive(got)
			select {
			case arrived <- err:
			case <-closed:
				return
			}
			if err != nil {
				return
			}
		}
	})
	do := func(int) error {
		if err := s.send(msg); err != nil {
			return err
		}
		return <-arrived
	}
	return &Case{
		Name: name, Ours: ours, Batch: maxBatch,
		Check: func() error {
			if err := s.ready(1); err != nil {
				return err
			}
			clear(got)
			if err := do(0); err != nil {
				return err
			}
			if !bytes.Equal(got, msg) {
				return errMismatch
			}
			return nil
		},
		Prepare: s.ready,
		Do:      do,
		Close: func() error {
			close(closed)
			err := errors.Join(near.Close(), far.Close())
			receiver.Wait()
			return err
		},
	}, nil
}
