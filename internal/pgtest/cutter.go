package pgtest

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Cut says where a [Cutter] cuts.
type Cut int

// Where to cut a connection.
const (
	Nowhere      Cut = iota
	BeforeCommit     // COMMIT does not reach the server
	AfterCommit      // the server carries COMMIT out, its answer does not come back
	Silence          // as AfterCommit, but the connection stays open
)

// Cutter stands between client and server and cuts connections at a COMMIT.
type Cutter struct {
	dir    string
	server string

	mu    sync.Mutex // guards all below
	cut   Cut
	conns []net.Conn
}

// NewCutter returns one that cuts nowhere yet.
func (s *Server) NewCutter(t testing.TB) *Cutter {
	t.Helper()
	dir, err := os.MkdirTemp("", "semio-pg-")
	require.NoError(t, err)
	c := &Cutter{dir: dir, server: filepath.Join(s.dir, socket)}
	listener, err := net.Listen("unix", filepath.Join(dir, socket))
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.mu.Lock()
		for _, conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		running.Wait()
		require.NoError(t, os.RemoveAll(dir))
	})
	return c
}

// DSN connects a driver through the cutter.
func (c *Cutter) DSN() string { return DSN(c.dir, userName) }

// Next sets where the next COMMIT is cut. After it the cutter cuts nowhere again.
func (c *Cutter) Next(cut Cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

func (c *Cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	c.mu.Lock()
	c.conns = append(c.conns, client, server)
	c.mu.Unlock()

	var mute sync.Mutex // guards silent: the answers that the client does not get
	silent := false
	var back sync.WaitGroup
	answered := make(chan struct{}, 1)
	back.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			mute.Lock()
			drop := silent
			mute.Unlock()
			if drop {
				select {
				case answered <- struct{}{}:
				default:
				}
				continue
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	defer back.Wait()
	defer server.Close()

	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		cut := c.take(buf[:n])
		if cut == BeforeCommit {
			return
		}
		if cut != Nowhere {
			mute.Lock()
			silent = true
			mute.Unlock()
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if cut == AfterCommit {
			<-answered
			return
		}
	}
}

// take says what to do with bytes of the client. pgx sends COMMIT as a simple query, in one write.
func (c *Cutter) take(b []byte) Cut {
	if !bytes.Contains(b, []byte("commit\x00")) {
		return Nowhere
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := c.cut
	c.cut = Nowhere
	return cut
}
