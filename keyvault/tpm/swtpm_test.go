//go:build linux

package tpm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/keyvault/tpm"
)

// machine is a TPM in software (swtpm), on a connected socket and no port. It counts and keeps what goes over the bus.
type machine struct {
	dir string
	cmd *exec.Cmd
	bus *os.File

	commands int
	traffic  bytes.Buffer
	// Called with the number of each command, from 1: an error takes its place; a result is what its response becomes.
	fail  func(n int) error
	spoil func(n int, response []byte) []byte
}

// newMachine is a TPM fresh from the factory.
func newMachine(t testing.TB) *machine {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("no swtpm: install it to run this test (Debian: apt-get install swtpm)")
	}
	m := &machine{dir: t.TempDir()}
	m.boot(t)
	t.Cleanup(func() { m.powerCut(t) })
	return m
}

func (m *machine) boot(t testing.TB) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	theirs := os.NewFile(uintptr(fds[1]), "swtpm")
	defer theirs.Close()
	require.NoError(t, syscall.SetNonblock(fds[0], true))
	m.bus = os.NewFile(uintptr(fds[0]), "bus")
	log := filepath.Join(m.dir, "log")
	m.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+m.dir, "--fd", "3",
		"--flags", "not-need-init,startup-clear", "--log", "file="+log)
	m.cmd.ExtraFiles = []*os.File{theirs}
	require.NoError(t, m.cmd.Start())
}

// exchange is the TPM's protocol on a stream: a command, then its response, whose header says how long it is.
func (m *machine) exchange(command []byte) ([]byte, error) {
	// A TPM that hangs fails the test and does not hold it up.
	if err := m.bus.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := m.bus.Write(command); err != nil {
		return nil, err
	}
	header := make([]byte, 10)
	if _, err := io.ReadFull(m.bus, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size < 10 || size > 4096 {
		return nil, fmt.Errorf("response of %d bytes", size)
	}
	response := append(header, make([]byte, size-10)...)
	_, err := io.ReadFull(m.bus, response[10:])
	return response, err
}

// powerCut ends the TPM without a word.
func (m *machine) powerCut(t testing.TB) {
	t.Helper()
	require.NoError(t, m.cmd.Process.Kill())
	_ = m.cmd.Wait()
	require.NoError(t, m.bus.Close())
}

func (m *machine) reboot(t testing.TB) {
	t.Helper()
	m.powerCut(t)
	m.boot(t)
}

func (m *machine) Send(command []byte) ([]byte, error) {
	m.commands++
	if m.fail != nil {
		if err := m.fail(m.commands); err != nil {
			return nil, err
		}
	}
	m.traffic.Write(command)
	response, err := m.exchange(command)
	m.traffic.Write(response)
	if err == nil && m.spoil != nil {
		response = m.spoil(m.commands, response)
	}
	return response, err
}

// reset forgets what was counted and what was to go wrong.
func (m *machine) reset() {
	m.commands, m.fail, m.spoil = 0, nil, nil
	m.traffic.Reset()
}

// memory is a store that can be told to fail.
type memory struct {
	mu     sync.Mutex // guards what follows
	values map[string][]byte
	// Called before each operation; an error is its result.
	fail func(op string) error
	// forget drops what is put, spoil changes it.
	forget, spoil bool
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) check(op string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op)
}

func (m *memory) Get(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("get"); err != nil {
		return nil, err
	}
	b, ok := m.values[name]
	if !ok {
		return nil, &fs.PathError{Op: "get", Path: name, Err: fs.ErrNotExist}
	}
	return bytes.Clone(b), nil
}

func (m *memory) Put(_ context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("put"); err != nil {
		return err
	}
	if m.forget {
		return nil
	}
	m.values[name] = bytes.Clone(value)
	if m.spoil {
		m.values[name][0] ^= 1
	}
	return nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("delete"); err != nil {
		return err
	}
	delete(m.values, name)
	return nil
}

func enroll(t testing.TB, m *machine, store keyvault.Store, o *tpm.Options) *keyvault.Vault {
	t.Helper()
	v, err := tpm.Enroll(context.Background(), m, store, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func open(t testing.TB, m *machine, store keyvault.Store, o *tpm.Options) *keyvault.Vault {
	t.Helper()
	v, err := tpm.Open(context.Background(), m, store, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// refused shows that a record does not open, with one of the errors given.
func refused(t testing.TB, m *machine, record []byte, want ...error) {
	t.Helper()
	v, err := tpm.Open(context.Background(), m, &memory{values: map[string][]byte{tpm.DefaultName: record}}, nil)
	require.Nil(t, v)
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	require.Fail(t, "another answer", "got %v, want one of %v", err, want)
}
