package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/puf/pufsim"
)

func TestMain(m *testing.M) { clitest.Main(m, program) }

// world is an authority, a platform and a factory station.
type world struct {
	*clitest.Authority
	t        *testing.T
	platform *clitest.Platform
	station  *party.Party
	dir      string
}

func newWorld(t *testing.T) *world {
	a := clitest.NewAuthority(t, 0)
	return &world{Authority: a, t: t, platform: clitest.NewPlatform(t, a), station: a.Party("R-LINE1"), dir: filepath.Join(t.TempDir(), "line")}
}

func (w *world) args(more ...string) []string {
	return append([]string{"run", "-party", w.station.Dir(), "-dir", w.dir, "-ca", w.URL, "-platform", w.platform.URL, "-patience", "0"}, more...)
}

// reports are what a run with -json has printed, by device, and its summary.
func (w *world) reports(out string) (map[string]report, summary) {
	all := map[string]report{}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines[:len(lines)-1] {
		var r report
		require.NoError(w.t, json.Unmarshal([]byte(line), &r), line)
		all[r.Device.String()] = r
	}
	var sum summary
	require.NoError(w.t, json.Unmarshal([]byte(lines[len(lines)-1]), &sum))
	return all, sum
}

func (w *world) sticker(name string) identity.Sticker {
	b, err := os.ReadFile(filepath.Join(w.dir, "stickers", name+".txt"))
	require.NoError(w.t, err)
	s, err := identity.ParseSticker(string(b))
	require.NoError(w.t, err)
	return s
}

// works wakes a device up as its main does.
func (w *world) works(name string) {
	w.t.Helper()
	u, err := unit.Open(filepath.Join(w.dir, "units", name))
	require.NoError(w.t, err)
	defer u.Close()
	vault, err := u.PowerUp(w.t.Context())
	require.NoError(w.t, err)
	defer vault.Close()
	gw, err := devicegw.Open(w.t.Context(), devicegw.Config{Root: vault, NVM: u.NVM, Broker: "mqtts://broker.invalid", Now: time.Now})
	require.NoError(w.t, err)
	require.Equal(w.t, name, gw.ID().String())
}

func (w *world) registered() int {
	all, err := w.platform.Devices(w.t.Context())
	require.NoError(w.t, err)
	return len(all)
}

func tree(t *testing.T, dir string) map[string]string {
	m := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		m[path] = string(b)
		return err
	}))
	return m
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	all, sum := w.reports(clitest.OK(t, program, w.args("-n", "5", "-name", "D-THERMO", "-json")...))
	require.Equal(t, summary{Done: 5, Sheets: 1}, sum)
	require.Len(t, all, 5)
	for name, r := range all {
		require.Equal(t, "done", r.Status, r.Reason)
		require.Positive(t, r.ErrorRate)
		require.Greater(t, r.Rated, r.ErrorRate)
		w.works(name)
		require.Equal(t, name, w.sticker(name).Device.String())
		require.True(t, w.sticker(name).HasClaim())
	}
	require.Equal(t, 5, w.registered())
	if runtime.GOOS != "windows" {
		for _, name := range []string{"D-THERMO-0001.txt", "sheet-001.png"} {
			st, err := os.Stat(filepath.Join(w.dir, "stickers", name))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), st.Mode().Perm(), name)
		}
	}

	// The same again changes nothing; a larger number goes on.
	before := tree(t, w.dir)
	out := clitest.OK(t, program, w.args("-n", "5", "-name", "D-THERMO")...)
	require.Contains(t, out, "D-THERMO-0005")
	require.Contains(t, out, "5 done, 0 rejected, 0 failed, 0 open")
	require.Equal(t, before, tree(t, w.dir))
	_, sum = w.reports(clitest.OK(t, program, w.args("-n", "7", "-name", "D-THERMO", "-json")...))
	require.Equal(t, 7, sum.Done)
	w.works("D-THERMO-0007")
	require.Equal(t, 7, w.registered())
	require.Contains(t, clitest.OK(t, program, "reports", "-dir", w.dir), "D-THERMO-0007            done")

	// The claim codes are on the stickers and nowhere else.
	for path, content := range tree(t, w.dir) {
		if filepath.Dir(path) != filepath.Join(w.dir, "stickers") {
			for name := range all {
				require.NotContains(t, content, strings.Split(w.sticker(name).Encode(), ":")[2], path)
			}
		}
	}
}

// A sticker that was lost or spoilt comes from the device again; a spoilt one is not printed.
func TestSticker(t *testing.T) {
	w := newWorld(t)
	clitest.OK(t, program, w.args("-n", "1")...)
	file := filepath.Join(w.dir, "stickers", "D-UNIT-0001.txt")
	want := w.sticker("D-UNIT-0001").Encode()
	mistyped := strings.Replace(want, "UNIT", "UNLT", 1)
	require.NoError(t, os.WriteFile(file, []byte(mistyped), 0o600))
	said := clitest.Fails(t, program, w.args("-n", "1")...)
	require.Contains(t, said, "identity: sticker: ")
	require.Contains(t, said, "the command sticker writes it anew")
	require.NotContains(t, said, strings.Split(want, ":")[2], "the claim code is not shown")
	out := clitest.OK(t, program, "sticker", "-dir", w.dir, "D-UNIT-0001")
	require.Contains(t, out, "SEMIO1:D-UNIT-0001:")
	require.Equal(t, want, w.sticker("D-UNIT-0001").Encode())
	require.NoError(t, os.Remove(file))
	require.Contains(t, clitest.OK(t, program, w.args("-n", "1")...), "Stickers: 0 sheets", "printed and deleted")
	require.NoFileExists(t, filepath.Join(w.dir, "stickers", "sheet-001.png"))
	require.Contains(t, clitest.Fails(t, program, "sticker", "-dir", w.dir, "D-NONE"), "no device in this folder")
}

// Killed at each of its steps and started again, the line makes the devices that it was to make, each once.
func TestKilledAtAnyStep(t *testing.T) {
	w := newWorld(t)
	args := w.args("-n", "2", "-workers", "1")
	killed := 0
	for done := false; !done; {
		require.Less(t, killed, 500)
		cmd := clitest.Command(0, args...)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		// A step is a change of the files. Each time one step further: what is done is not done again.
		was, changes := fingerprint(w.dir), 0
		for running := true; running; {
			select {
			case err := <-ended:
				require.NoError(t, err)
				running, done = false, true
			default:
				if now := fingerprint(w.dir); now != was {
					was = now
					changes++
				}
				if changes > killed {
					_ = cmd.Process.Kill() // an error says that it has ended
					done = <-ended == nil  // it may have been faster
					running = false
				}
			}
		}
		killed++
	}
	t.Logf("killed %d times", killed)
	require.Greater(t, killed, 5)
	_, sum := w.reports(clitest.OK(t, program, append(args, "-json")...))
	require.Equal(t, summary{Done: 2, Sheets: 1}, sum)
	require.Equal(t, 2, w.registered())
	entries, err := os.ReadDir(filepath.Join(w.dir, "reports"))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".json")
		w.works(name)
		require.Equal(t, name, w.sticker(name).Device.String())
	}
}

// fingerprint changes with the names of the files below dir, temporary ones included.
func fingerprint(dir string) string {
	var b strings.Builder
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			b.WriteString(path + "\n")
		}
		return nil
	})
	return b.String()
}

// dumps writes power-ups of a simulated chip into a folder, changed.
func dumps(t *testing.T, dir string, seed uint64, n, size int, change func([]byte)) {
	require.NoError(t, os.MkdirAll(dir, 0o700))
	chip := pufsim.New(seed, pufsim.Config{Size: size})
	for i := range n {
		b := make([]byte, size)
		require.NoError(t, chip.Measure(context.Background(), b))
		if change != nil {
			change(b)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".bin"), b, 0o600))
	}
}

// Bad SRAM is sorted out with the reason, and the rest of the batch is made.
func TestBadChips(t *testing.T) {
	w := newWorld(t)
	sram := t.TempDir()
	dumps(t, filepath.Join(sram, "0-good"), 1, 4, 2048, nil)
	dumps(t, filepath.Join(sram, "1-zero"), 2, 4, 2048, func(b []byte) { clear(b) })
	dumps(t, filepath.Join(sram, "2-once"), 3, 1, 2048, nil)
	dumps(t, filepath.Join(sram, "3-small"), 4, 4, 512, nil)
	dumps(t, filepath.Join(sram, "4-written"), 5, 4, 2048, func(b []byte) { copy(b, strings.Repeat("written before!!", 40)) })
	again := pufsim.New(1, pufsim.Config{Size: 2048})
	again.SetPowerUps(100)
	require.NoError(t, os.MkdirAll(filepath.Join(sram, "5-same as 0"), 0o700))
	for _, name := range []string{"a.bin", "b.bin"} {
		b := make([]byte, 2048)
		require.NoError(t, again.Measure(t.Context(), b))
		require.NoError(t, os.WriteFile(filepath.Join(sram, "5-same as 0", name), b, 0o600))
	}
	i := 0
	dumps(t, filepath.Join(sram, "6-noisy"), 6, 4, 2048, func(b []byte) {
		i++
		fresh := pufsim.New(uint64(100+i), pufsim.Config{Size: len(b)})
		require.NoError(t, fresh.Measure(context.Background(), b))
	})
	dumps(t, filepath.Join(sram, "7-good"), 7, 4, 2048, nil)

	r := clitest.Run(t, program, w.args("-dumps", sram, "-json")...)
	require.Equal(t, cli.ExitDone, r.Code, r.Stderr)
	all, sum := w.reports(r.Stdout)
	require.Equal(t, summary{Done: 2, Rejected: 6, Sheets: 1}, sum)
	for name, want := range map[string]string{
		"D-UNIT-0001": "", "D-UNIT-0008": "",
		"D-UNIT-0002": "all bits are equal; check supply, wiring and address of the memory",
		"D-UNIT-0003": "one power-up, want two or more: enrolment compares two, and each boot reads the next",
		"D-UNIT-0004": "dumps of 512 bytes, want 1024",
		"D-UNIT-0005": "part of the region was written",
		"D-UNIT-0006": "the folder holds power-ups of a chip that has its device already; put them into one folder: " + filepath.Join(sram, "0-good"),
		"D-UNIT-0007": "two readings differ too much for one chip",
	} {
		if want == "" {
			require.Equal(t, "done", all[name].Status, all[name].Reason)
			w.works(name)
			continue
		}
		require.Equal(t, "rejected", all[name].Status, name)
		require.Contains(t, all[name].Reason, want, name)
		require.NoFileExists(t, filepath.Join(w.dir, "stickers", name+".txt"))
	}
	require.Equal(t, 2, w.registered())

	// Rejected is rejected, until somebody deletes the report; and the second window of the good chips makes two more devices.
	_, sum = w.reports(clitest.OK(t, program, w.args("-dumps", sram, "-json", "-per-chip", "2")...))
	require.Equal(t, 5, sum.Done) // what was written before lies in the first window
	require.Equal(t, 11, sum.Rejected)
}

// Real chips of the laboratory become devices.
func TestRealChips(t *testing.T) {
	sram := os.Getenv("SEMIO_SRAM")
	if sram == "" {
		t.Skip("set SEMIO_SRAM to a folder of real power-up dumps")
	}
	w := newWorld(t)
	all, sum := w.reports(clitest.OK(t, program, w.args("-dumps", sram, "-per-chip", "2", "-json")...))
	require.Equal(t, len(all), sum.Done)
	require.GreaterOrEqual(t, len(all), 4)
	for name := range all {
		w.works(name)
	}
}

// What authority or platform refuse concerns its unit; the others are made, and the program says that it is not done.
func TestRefusedUnit(t *testing.T) {
	w := newWorld(t)
	_, err := w.Issue(deviceRequest(t, "D-UNIT-0002"), ca.IssueOptions{})
	require.NoError(t, err)
	r := clitest.Run(t, program, w.args("-n", "3", "-json")...)
	require.Equal(t, cli.ExitFailed, r.Code)
	require.Contains(t, r.Stderr, "1 units failed: see their reports, and run it again")
	all, sum := w.reports(r.Stdout)
	require.Equal(t, summary{Done: 2, Failed: 1, Sheets: 1}, sum)
	require.Contains(t, all["D-UNIT-0002"].Reason, "the name is certified with another key")
}

func TestWrongInput(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	empty := t.TempDir()
	chip := filepath.Join(t.TempDir(), "chip")
	dumps(t, chip, 1, 2, 1024, nil)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no folder":            {w.args("-n", "1", "-party", empty), "the command init makes one, and -party names the folder"},
		"no registrar":         {w.args("-n", "1", "-party", w.Party("A-WATER").Dir()), "is A-WATER, want registrar (R-…)"},
		"no chips":             {w.args(), "no chips: say with -n how many are simulated, or name a folder of real ones with -dumps"},
		"no dumps":             {w.args("-dumps", empty), "no sub-folder has .bin or .hex files: make one for each chip, with a file for each power-up"},
		"a chip's dumps":       {w.args("-dumps", chip), "it is a chip itself: name the folder above it"},
		"missing dumps":        {w.args("-dumps", filepath.Join(empty, "none")), "-dumps: "},
		"authority is away":    {w.args("-n", "1", "-ca", "https://127.0.0.1:1"), "Nobody listens there: start the server, or correct host and port."},
		"platform is away":     {w.args("-n", "1", "-platform", "https://127.0.0.1:1"), "Nobody listens there: start the server, or correct host and port."},
		"authority of others":  {w.args("-n", "1", "-ca", other.URL), "compare roots.pem with the root of the authority that both should trust"},
		"registry of other CA": {w.args("-n", "1", "-platform", other.platform.URL), "compare roots.pem with the root of the authority that both should trust"},
		"no line":              {[]string{"reports"}, "reports of the line in "},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(slices.Clone(c.args), "-dir", filepath.Join(t.TempDir(), "line"))
			if args[0] == "run" { // another line, other names
				args = append(args, "-name", "D-"+strings.ToUpper(strings.NewReplacer(" ", "-", "'", "").Replace(name)))
			}
			require.Contains(t, clitest.Fails(t, program, args...), c.want)
		})
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"name":      {w.args("-n", "1", "-name", "thermo"), "-name: "},
		"negative":  {w.args("-n", "-1"), "want positive numbers"},
		"no https":  {w.args("-n", "1", "-ca", "http://x"), "-ca: "},
		"no server": {[]string{"run", "-n", "1"}, "-ca (or SEMIO_CA) is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			r := clitest.Run(t, program, c.args...)
			require.Equal(t, cli.ExitUsage, r.Code, r.Stderr)
			require.Contains(t, r.Stderr, c.want)
		})
	}

	// A unit whose platform was away is made once it is there.
	clitest.Fails(t, program, w.args("-n", "1", "-platform", "https://127.0.0.1:1")...)
	_, sum := w.reports(clitest.OK(t, program, w.args("-n", "1", "-json")...))
	require.Equal(t, 1, sum.Done)

	t.Run("revoked station", func(t *testing.T) {
		crl, err := w.Revoke(w.station.ID())
		require.NoError(t, err)
		require.NoError(t, w.platform.AddCRL(t.Context(), crl))
		r := clitest.Run(t, program, w.args("-n", "2")...)
		require.Equal(t, cli.ExitFailed, r.Code)
		require.Contains(t, r.Stderr, "certificate is revoked")
	})
	t.Run("damaged report", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(w.dir, "reports", "D-UNIT-0001.json"), []byte("{"), 0o600))
		require.Contains(t, clitest.Fails(t, program, w.args("-n", "1")...), "delete it, the next run writes it anew")
	})
}

// The disk is full: the run ends, says so, and goes on with room again.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no RLIMIT_FSIZE")
	}
	w := newWorld(t)
	out, err := clitest.Command(512, w.args("-n", "2")...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "make room and start again. What was stored before is unharmed.")
	require.NotContains(t, string(out), "goroutine")
	_, sum := w.reports(clitest.OK(t, program, w.args("-n", "2", "-json")...))
	require.Equal(t, 2, sum.Done)
	require.Equal(t, 2, w.registered())
}

// A clock that is wrong is told from a certificate that is.
func TestClockWrong(t *testing.T) {
	ahead := clitest.NewAuthority(t, 0)
	w := &world{Authority: ahead, t: t, platform: clitest.NewPlatform(t, ahead), station: ahead.Party("R-LINE1"), dir: t.TempDir()}
	past := clitest.NewAuthority(t, 48*time.Hour)
	require.Contains(t, clitest.Fails(t, program, w.args("-n", "1", "-party", pretend(t, past))...), "A certificate is not valid yet. This machine's clock says 2")
}

// A second run on one line is refused while the first one works.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	clitest.OK(t, program, w.args("-n", "1")...)
	lock := lockLine(t, w.dir)
	defer lock.Close()
	require.Contains(t, clitest.Fails(t, program, w.args("-n", "1")...), "in use by another process: end it first")
}
