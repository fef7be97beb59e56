package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
	"github.com/semio-iot/semio/puf/pufstat"
)

// words is a design whose words of 32 cells alternate in their bias.
func words(offset float64) []float64 {
	out := make([]float64, 64)
	for i := range out {
		out[i] = offset
		if i >= 32 {
			out[i] = -offset
		}
	}
	return out
}

func TestCharacterizeFindsTheDesign(t *testing.T) {
	dir := dumps(t, 3, 5, pufsim.Config{Size: 8192, Noise: 0.12, Columns: words(0.3)})
	found := decode[characterization](t, "characterize", dir, "-report", "")
	require.Len(t, found.Chips, 3)
	require.Empty(t, found.Report)
	// What the simulator is known to give.
	within := math.Acos(1/(1+0.12*0.12)) / math.Pi
	for i, c := range found.Chips {
		require.Equal(t, "chip-"+string(rune('0'+i)), c.Name)
		require.Equal(t, 5, c.PowerUps)
		require.Equal(t, 8192, c.Bytes)
		require.InDelta(t, within, c.Within.Mean, 0.006)
		require.Equal(t, 8*4, c.Within.N, "8 windows of 4 later power-ups")
		require.InDelta(t, 0.5, c.Ones.Mean, 0.02)
		require.Empty(t, c.Faults)
		require.NotEmpty(t, c.Correlated)
		require.InEpsilon(t, 0.12, c.Model.Config.Noise, 0.06)
		require.Len(t, c.Model.Config.Columns, 64)
		require.InDelta(t, c.Within.Mean, c.Model.Within.Mean, 0.006)
		require.InDelta(t, c.Stable, c.Model.Stable, 0.02)
		require.Len(t, c.Model.Counts, 6)
	}
	require.InDelta(t, 0.5, found.Between.Mean, 0.05)
	require.Equal(t, 3*8, found.Between.N, "8 windows of 3 pairs of chips")
	require.Equal(t, 3*28, found.BetweenWindows.N)
	require.Len(t, found.Strides, 13)
	require.Less(t, found.Strides[5].Entropy, 0.7, "pairs of unlike words")
	require.Greater(t, found.BestStride.Entropy, 0.9)
	require.GreaterOrEqual(t, found.BestStride.Stride, 64)
}

func TestCharacterizeTells(t *testing.T) {
	dir := dumps(t, 2, 4, pufsim.Config{Size: 2048})
	report := filepath.Join(t.TempDir(), "page.html")
	var out, wrong bytes.Buffer
	require.Equal(t, cli.ExitDone, run(t.Context(), []string{"characterize", dir, "-report", report, "-window", "512"}, &out, &wrong), wrong.String())
	for _, want := range []string{"2 chips of 2048 bytes, windows of 512", "chip-0", "chip-1", "model", "90B 6.3.3", "<- highest", "Report: " + report} {
		require.Contains(t, out.String(), want)
	}
	st, err := os.Stat(report)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), "the page holds start-up values")
}

// The drift that the chip has is the one that is found, and the model comes as far from room temperature as the chip.
func TestCharacterizeAtAnotherTemperature(t *testing.T) {
	root := t.TempDir()
	room, cold := filepath.Join(root, "room"), filepath.Join(root, "cold")
	sim := pufsim.New(3, pufsim.Config{Size: 16384, TemperatureDrift: 0.006})
	record(t, room, sim, 4)
	sim.SetTemperature(-20)
	record(t, cold, sim, 3)
	found := decode[characterization](t, "characterize", room, "-report", "", "-at", "-20="+cold)
	at := found.Chips[0].At
	require.Equal(t, -20., at.Celsius)
	require.InEpsilon(t, 0.006, at.Drift, 0.06)
	require.Equal(t, 12, at.Apart.N, "4 and 3 power-ups")
	require.InDelta(t, at.Apart.Mean, at.Model.Apart.Mean, 0.004)
	require.Less(t, at.Pairs.Mean, found.Chips[0].Pairs.Mean, "the cold has less noise")
	require.InDelta(t, at.Pairs.Mean, at.Model.Pairs.Mean, 0.004)

	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"no temperature": {[]string{room, "-at", cold}, cli.ExitUsage},
		"below zero":     {[]string{room, "-at", "-300=" + cold}, cli.ExitUsage},
		"no folder":      {[]string{room, "-at", "-20=" + filepath.Join(root, "none")}, cli.ExitUsage},
		"two chips":      {[]string{root, "-at", "-20=" + cold}, cli.ExitUsage},
		"same condition": {[]string{room, "-at", "80=" + room}, cli.ExitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.code, run(t.Context(), append([]string{"characterize", "-report", ""}, c.args...), io.Discard, io.Discard))
		})
	}
}

// The page stands alone, its drawings are well formed, and names from outside are text in it.
func TestReport(t *testing.T) {
	chips, err := loadChips(t.Context(), []string{dumps(t, 2, 4, pufsim.Config{Size: 4096, Columns: words(0.3)})}, newProgress(io.Discard, ""))
	require.NoError(t, err)
	chips[0].name = `<script>alert("x")</script>`
	c, err := characterize(t.Context(), chips, 1024, newProgress(io.Discard, ""))
	require.NoError(t, err)
	b, err := c.page()
	require.NoError(t, err)
	page := string(b)
	require.NotContains(t, page, "<script")
	require.Contains(t, page, "&lt;script&gt;")
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]{0,30})|url\(([^)]{0,30})|@import`).FindAllStringSubmatch(page, -1) {
		require.True(t, strings.HasPrefix(m[1], "data:image/png;base64,"), "the page fetches %q", m[0])
	}
	require.Contains(t, page, "prefers-color-scheme: dark")
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	require.Len(t, drawings, 2+2*5)
	for _, svg := range drawings {
		require.NotContains(t, svg, "NaN")
		require.NotContains(t, svg, "Inf")
		require.Contains(t, svg, "aria-label=")
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err, svg)
		}
	}
	require.Equal(t, 4, strings.Count(page, "<img "))

	again, err := characterize(t.Context(), chips, 1024, newProgress(io.Discard, ""))
	require.NoError(t, err)
	same, err := again.page()
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, same), "the same dumps make the same page")
}

// Little to look at: one power-up of one window of one chip.
func TestCharacterizeOneReading(t *testing.T) {
	chips, err := loadChips(t.Context(), []string{dumps(t, 1, 1, pufsim.Config{})}, newProgress(io.Discard, ""))
	require.NoError(t, err)
	c, err := characterize(t.Context(), chips, 1024, newProgress(io.Discard, ""))
	require.NoError(t, err)
	require.Nil(t, c.Between)
	require.Nil(t, c.Chips[0].Model)
	b, err := c.page()
	require.NoError(t, err)
	require.Contains(t, string(b), "record more")
	require.NotContains(t, string(b), "NaN")
	var out bytes.Buffer
	require.NoError(t, c.WriteText(&out))
	require.Contains(t, out.String(), "1 chip of 1024 bytes")
}

// A chip that fails the checks is told, in the figures as in the exit code.
func TestCharacterizeFaults(t *testing.T) {
	dir := dumps(t, 1, 4, pufsim.Config{Size: 2048})
	path := filepath.Join(dir, "chip-0", "02.bin")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	clear(b[100:200])
	require.NoError(t, os.WriteFile(path, b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "chip-0", "09.bin"), make([]byte, 2048), 0o600))
	report := filepath.Join(t.TempDir(), "r.html")
	var out, wrong bytes.Buffer
	require.Equal(t, cli.ExitFailed, run(t.Context(), []string{"characterize", dir, "-report", report}, &out, &wrong))
	require.Contains(t, wrong.String(), "3 readings fail the checks")
	require.Contains(t, out.String(), "FAULT")
	require.Contains(t, out.String(), "power-up 3: "+puf.ErrRepeating.Error())
	require.Contains(t, out.String(), puf.ErrConstant.Error())
	page, err := os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(page), "fails the checks")
}

func TestCharacterizeRefuses(t *testing.T) {
	dir := dumps(t, 1, 2, pufsim.Config{})
	other := dumps(t, 1, 2, pufsim.Config{Size: 2048})
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no folder":       {nil, cli.ExitUsage, "name a folder"},
		"window too big":  {[]string{dir, "-window", "2048"}, cli.ExitUsage, "smaller than a window"},
		"odd window":      {[]string{dir, "-window", "1000"}, cli.ExitUsage, "no power of two"},
		"two kinds":       {[]string{dir, other}, cli.ExitUsage, "one kind of chip at a time"},
		"no firmware":     {[]string{dir, "-elf", filepath.Join(dir, "none")}, cli.ExitUsage, "look up section"},
		"report nowhere":  {[]string{dir, "-report", filepath.Join(dir, "none", "r.html")}, cli.ExitFailed, "report: write "},
		"report a folder": {[]string{dir, "-report", dir}, cli.ExitFailed, "report: write "},
	} {
		t.Run(name, func(t *testing.T) {
			var wrong bytes.Buffer
			require.Equal(t, c.code, run(t.Context(), append([]string{"characterize", "-report", ""}, c.args...), io.Discard, &wrong))
			require.Contains(t, wrong.String(), c.says)
		})
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".new-*"))
	require.NoError(t, err)
	require.Empty(t, left, "a report that failed leaves no file behind")
}

// pufstat debiases on its own; what it counts is what an enrolment uses.
func TestSymbolsAreThoseOfFuzzy(t *testing.T) {
	for _, stride := range []int{1, 8, 64, 4096} {
		reading := make([]byte, 1024)
		require.NoError(t, pufsim.New(uint64(stride), pufsim.Config{}).Measure(t.Context(), reading))
		_, helper, err := fuzzy.Enroll(fuzzy.SRAM1K().WithStride(stride), nil, reading)
		require.NoError(t, err)
		symbols, err := pufstat.Symbols(reading, stride)
		require.NoError(t, err)
		passes := map[int]int{}
		for _, x := range symbols {
			passes[x.Pass]++
		}
		pass2, pass1 := helper.Symbols()
		require.Equal(t, pass2, passes[2], "stride %d", stride)
		require.Equal(t, pass1, min(passes[1], 2048-pass2), "stride %d: pass 1 is cut off at the length of the code", stride)
	}
}

func TestTicks(t *testing.T) {
	require.InDeltaSlice(t, []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, ticks(0, 0.6, 6), 1e-12)
	require.InDeltaSlice(t, []float64{-0.05, 0, 0.05}, ticks(-0.07, 0.07, 4), 1e-12)
	require.Equal(t, []float64{3}, ticks(3, 3, 5))
	require.Equal(t, "12.5 %", asPercent(0.125))
	require.Equal(t, "0", asNumber(-0.0001))
}
