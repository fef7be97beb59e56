// Package pgtest runs a real PostgreSQL for a test: this machine's, with a database of its own in a temporary directory, on a Unix
// socket only. [Start] is where to start. Any driver connects with [Server.DSN].
//
// It wants initdb and postgres of Debian's package postgresql, or any other's; a test skips without them. The server does
// not sync its files, so it survives its own violent death, which [Server.Kill] brings, but not that of the machine.
package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Server is a PostgreSQL server of one test.
type Server struct {
	dir    string // holds data and the socket
	bin    string
	asUser []string // what makes a command run as a user whom PostgreSQL accepts

	process  *exec.Cmd
	lifeline io.Closer
	log      *tail
}

// patience is for a machine that does much else at the time.
const patience = time.Minute

// Start makes a database and starts a server for it, which ends with the test. It takes about two seconds, so tests of a package
// share one and have a table each.
func Start(t testing.TB) *Server {
	t.Helper()
	bin := find()
	if bin == "" {
		t.Skip("no PostgreSQL here: install initdb and postgres (Debian: apt-get install postgresql)")
	}
	// Not t.TempDir: its path is long, a socket's may have 107 bytes, and it belongs to us alone.
	dir, err := os.MkdirTemp("", "semio-pg-")
	require.NoError(t, err)
	s := &Server{dir: dir, bin: bin}
	t.Cleanup(func() {
		s.stop()
		require.NoError(t, os.RemoveAll(dir))
	})
	if os.Getuid() == 0 {
		s.becomePostgres(t)
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", userName, "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync",
		"--no-instructions").CombinedOutput()
	require.NoError(t, err, "initdb: %s", out)
	s.Restart(t)
	return s
}

// PostgreSQL refuses to run as root.
func (s *Server) becomePostgres(t testing.TB) {
	const name = "postgres"
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("PostgreSQL does not run as root, and there is no user %s: %v", name, err)
	}
	for _, program := range []string{"runuser", "sh"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("PostgreSQL does not run as root, and to become %s takes %s: %v", name, program, err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(u.Gid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(s.dir, uid, gid))
	s.asUser = []string{"runuser", "-u", name, "--"}
}

const (
	userName = "semio"
	database = "postgres"
	socket   = ".s.PGSQL.5432"
)

// DSN connects a driver to the server, as a superuser.
func (s *Server) DSN() string { return DSN(s.dir, userName) }

// DSN connects a driver to a server whose socket lies in dir, for example behind a [Cutter].
func DSN(dir, user string) string {
	return fmt.Sprintf("host=%s user=%s dbname=%s sslmode=disable", dir, user, database)
}

// Dir is where the server's socket lies.
func (s *Server) Dir() string { return s.dir }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	line := append(append([]string{}, s.asUser...), filepath.Join(s.bin, name))
	line = append(line, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// untilEOF runs its arguments as long as its standard input is open: with us dies the server, however we die.
const untilEOF = `"$@" & read -r _; kill -QUIT $!; wait $!`

// Restart starts the server after [Server.Kill].
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = s.start(t); err == nil {
			return
		}
		s.stop()
		if !errors.Is(err, errBusy) {
			break
		}
	}
	require.NoError(t, err)
}

// errBusy is what a start says while processes of the one before are still ending.
var errBusy = errors.New("shared memory is still in use")

func (s *Server) start(t testing.TB) error {
	server := s.command("postgres", "-D", s.data(), "-k", s.dir, "-h", "", "-F",
		"-c", "full_page_writes=off", "-c", "lc_messages=C", "-c", "log_min_messages=log",
		"-c", "max_connections=60", "-c", "shared_buffers=16MB")
	server.Args = append(append(append([]string{}, s.asUser...), "sh", "-c", untilEOF, "pgtest"), server.Args[len(s.asUser):]...)
	path, err := exec.LookPath(server.Args[0])
	require.NoError(t, err)
	server.Path = path
	in, err := server.StdinPipe()
	require.NoError(t, err)
	log, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	s.process, s.lifeline, s.log = server, in, new(tail)

	verdict := make(chan error, 1)
	s.log.ended.Go(func() { s.log.follow(log, verdict) })
	select {
	case err := <-verdict:
		if err != nil {
			return fmt.Errorf("%w\n%s", err, s.log)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("postgres is not ready after %v\n%s", patience, s.log)
	}
}

func (s *Server) stop() {
	if s.process == nil {
		return
	}
	s.lifeline.Close()
	s.log.wait()
	s.process.Wait() // ended by a signal, which is its error
	s.process = nil
}

// Kill ends the server and all its processes at once (SIGKILL): nothing is written any more, nobody is told.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(pid), "\n")
	main, err := strconv.Atoi(first)
	require.NoError(t, err)
	// The main process first: it would start others in the place of those that died.
	children := childrenOf(main)
	for _, p := range append([]int{main}, children...) {
		process, err := os.FindProcess(p)
		require.NoError(t, err)
		if err := process.Kill(); !errors.Is(err, os.ErrProcessDone) {
			require.NoError(t, err)
		}
	}
	s.stop()
}

// childrenOf needs /proc. Elsewhere the processes notice by themselves that the main one is gone, and end.
func childrenOf(parent int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name, with anything in it) state ppid
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			out = append(out, pid)
		}
	}
	return out
}

// find returns the directory of initdb and postgres: in PATH, or where Debian puts the newest version.
func find() string {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil && isFile(filepath.Join(filepath.Dir(p), "postgres")) {
			return filepath.Dir(p)
		}
	}
	best, version := "", 0.0
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, p := range found {
		dir := filepath.Dir(p)
		v, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		if err == nil && v > version && isFile(filepath.Join(dir, "postgres")) {
			best, version = dir, v
		}
	}
	return best
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// tail follows the server's log, keeps its end and tells when the server is ready or has given up.
type tail struct {
	mu    sync.Mutex // guards lines
	lines []string
	ended sync.WaitGroup
}

func (l *tail) follow(log io.Reader, verdict chan<- error) {
	tell := func(err error) {
		select {
		case verdict <- err:
		default:
		}
	}
	for lines := bufio.NewScanner(log); lines.Scan(); {
		line := lines.Text()
		l.mu.Lock()
		l.lines = append(l.lines[max(0, len(l.lines)-50):], line)
		l.mu.Unlock()
		switch {
		case strings.Contains(line, "ready to accept connections"):
			tell(nil)
		case strings.Contains(line, "shared memory block") && strings.Contains(line, "still in use"):
			tell(errBusy)
		case strings.Contains(line, "FATAL:") && !strings.Contains(line, "the database system is"): // that is to a client
			tell(errors.New("postgres did not start"))
		}
	}
	tell(errors.New("postgres ended"))
}

func (l *tail) wait() { l.ended.Wait() }

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
