// Package mosquittotest runs a real Mosquitto for a test: this machine's, on free loopback ports, with its files in a temporary folder.
// [Anonymous] is a broker that knows nobody, as a public one; [Start] takes any configuration. A test skips where Mosquitto (Debian's
// package mosquitto) is missing.
package mosquittotest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is for a machine that does much else at the time.
const patience = time.Minute

// Server is a Mosquitto of one test.
type Server struct {
	Ports []int
	Log   *Log
}

// URL returns the address of the n-th listener.
func (s *Server) URL(scheme string, n int) string {
	return fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.Ports[n])
}

// Anonymous starts a broker with one listener, for MQTT without TLS, that lets everybody do everything.
func Anonymous(t testing.TB) *Server {
	t.Helper()
	return Start(t, 1, nil, func(_ string, ports []int) string {
		return fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", ports[0])
	})
}

// Start starts a broker, which ends with the test. configure writes its configuration for so many ports, and a folder that has files.
func Start(t testing.TB, ports int, files map[string][]byte, configure func(dir string, ports []int) string) *Server {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed: apt-get install mosquitto")
		}
	}
	// As root mosquitto becomes a user of its own, who must be able to read this: t.TempDir lies under a folder of mode 0700.
	dir, err := os.MkdirTemp("", "semio-mosquitto-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	for name, b := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644)) // keys are for this test alone
	}
	// Another process may take a free port before mosquitto does; then it ends, and others are tried.
	for range 5 {
		s := &Server{Ports: freePorts(t, ports), Log: new(Log)}
		conf := filepath.Join(dir, "mosquitto.conf")
		require.NoError(t, os.WriteFile(conf, []byte(configure(dir, s.Ports)), 0o644))
		if s.start(t, bin, conf) {
			return s
		}
		t.Logf("mosquitto did not start: %s", s.Log)
	}
	require.FailNow(t, "mosquitto does not start")
	return nil
}

func freePorts(t testing.TB, n int) (ports []int) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close() // after the last one is found: they are different
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// start reports whether all ports are served.
func (s *Server) start(t testing.TB, bin, conf string) bool {
	cmd := exec.Command(bin, "-c", conf)
	cmd.Stderr = s.Log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ended by a signal, which is its error
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	for _, port := range s.Ports {
		if !served(port, ended) {
			stop()
			return false
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("mosquitto: %s", s.Log)
		}
	})
	return true
}

func served(port int, ended <-chan struct{}) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return c.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// Log is what a Mosquitto writes to stderr. Safe for concurrent use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all of it so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
