package label_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/label"
)

func stickers(t testing.TB) map[string]identity.Sticker {
	t.Helper()
	code, err := identity.NewClaimCode([]byte("0123456789abcde"))
	require.NoError(t, err)
	m := make(map[string]identity.Sticker)
	for _, name := range []string{"D-1", "D-7F3K2-0O1", "D-ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"} {
		dev, err := identity.ParseDeviceID(name)
		require.NoError(t, err)
		m[name+" with code"] = identity.Sticker{Device: dev, Claim: code}
		m[name] = identity.Sticker{Device: dev}
	}
	return m
}

// split parts what Terminal wrote into the drawing and the text.
func split(out string) (rows []string, text string) {
	for _, line := range strings.SplitAfter(out, "\n") {
		if strings.ContainsAny(line, "█▀▄") {
			rows = append(rows, strings.TrimSuffix(line, "\n"))
		} else {
			text += line
		}
	}
	return rows, text
}

func TestTerminalTextParses(t *testing.T) {
	for name, s := range stickers(t) {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, label.Terminal(&b, s))
			_, text := split(b.String())
			got, err := identity.ParseSticker(text)
			require.NoError(t, err, text)
			require.Equal(t, s.Encode(), got.Encode())
		})
	}
}

func TestTerminalScans(t *testing.T) {
	needZbar(t)
	for name, s := range stickers(t) {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, label.Terminal(&b, s))
			rows, _ := split(b.String())
			// A terminal with light characters on a dark ground, eight by eight dots for half a character.
			const dot = 8
			width := len([]rune(rows[0]))
			img := image.NewGray(image.Rect(0, 0, width*dot, 2*len(rows)*dot))
			for y, row := range rows {
				require.Len(t, []rune(row), width)
				for x, r := range []rune(row) {
					for i, lit := range []bool{r == '█' || r == '▀', r == '█' || r == '▄'} {
						for p := range dot * dot {
							if lit {
								img.SetGray(x*dot+p%dot, (2*y+i)*dot+p/dot, color.Gray{Y: 255})
							}
						}
					}
				}
			}
			var p bytes.Buffer
			require.NoError(t, png.Encode(&p, img))
			require.Equal(t, s.Encode(), scan(t, p.Bytes()))
		})
	}
}

func TestPNGScans(t *testing.T) {
	needZbar(t)
	for name, s := range stickers(t) {
		for _, o := range []label.Options{{}, {Scale: 3}, {Scale: 4, NoText: true}} {
			t.Run(name, func(t *testing.T) {
				b, err := label.PNG(s, o)
				require.NoError(t, err)
				require.Equal(t, s.Encode(), scan(t, b))
			})
		}
	}
}

// The text is part of the image: without it the image is lower, and what is left of it is the same.
func TestPNGText(t *testing.T) {
	for name, s := range stickers(t) {
		t.Run(name, func(t *testing.T) {
			with, err := label.PNG(s, label.Options{})
			require.NoError(t, err)
			without, err := label.PNG(s, label.Options{NoText: true})
			require.NoError(t, err)
			a, err := png.Decode(bytes.NewReader(with))
			require.NoError(t, err)
			b, err := png.Decode(bytes.NewReader(without))
			require.NoError(t, err)
			require.Greater(t, a.Bounds().Dy(), b.Bounds().Dy())
			rows := 0 // rows of the text that have ink
			for y := b.Bounds().Dy(); y < a.Bounds().Dy(); y++ {
				for x := range a.Bounds().Dx() {
					if r, _, _, _ := a.At(x, y).RGBA(); r == 0 {
						rows++
						break
					}
				}
			}
			require.Greater(t, rows, (a.Bounds().Dy()-b.Bounds().Dy())/2)
			for y := range b.Bounds().Dy() {
				r, _, _, _ := a.At(0, y).RGBA()
				require.NotZero(t, r, "no quiet zone")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	require.Error(t, label.Terminal(&bytes.Buffer{}, identity.Sticker{}))
	_, err := label.PNG(identity.Sticker{}, label.Options{})
	require.Error(t, err)
	s := stickers(t)["D-1 with code"]
	for _, scale := range []int{-1, 65, 1 << 30} {
		_, err := label.PNG(s, label.Options{Scale: scale})
		require.Error(t, err)
	}
	err = label.Terminal(fullDisk{}, s)
	require.ErrorIs(t, err, errFull)
	require.NotContains(t, err.Error(), s.Encode())
}

var errFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func needZbar(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Skip("zbarimg is not installed (Debian: zbar-tools); the drawing is not scanned")
	}
}

func scan(t *testing.T, image []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "label.png")
	require.NoError(t, os.WriteFile(file, image, 0o600))
	out, err := exec.Command("zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", file).Output()
	require.NoError(t, err, "zbarimg found no code")
	return strings.TrimSpace(string(out))
}

// Each sticker of a sheet is the label that PNG draws, in its place; a page scans as a whole.
func TestSheets(t *testing.T) {
	code, err := identity.NewClaimCode([]byte("0123456789abcde"))
	require.NoError(t, err)
	var all []identity.Sticker
	for i := range 70 {
		dev, err := identity.ParseDeviceID(fmt.Sprintf("D-THERMO-%04d", i))
		require.NoError(t, err)
		all = append(all, identity.Sticker{Device: dev, Claim: code})
	}
	pages, err := label.Sheets(all, label.Options{})
	require.NoError(t, err)
	require.Len(t, pages, 2)
	// Margin 10 mm, gap 4 mm, as many in a row and on a page as there is room for.
	const margin, gap = 118, 48
	seen := 0
	for _, page := range pages {
		require.Equal(t, []byte("pHYs"), page[37:41])
		img, err := png.Decode(bytes.NewReader(page))
		require.NoError(t, err)
		require.Equal(t, image.Pt(2480, 3508), img.Bounds().Size())
		for i := 0; seen < len(all); i++ {
			b, err := label.PNG(all[seen], label.Options{})
			require.NoError(t, err)
			want, err := png.Decode(bytes.NewReader(b))
			require.NoError(t, err)
			cell := want.Bounds().Size().Add(image.Pt(gap, gap))
			columns, rows := (2480-2*margin)/cell.X, (3508-2*margin)/cell.Y
			if i == columns*rows {
				break
			}
			at := image.Pt(margin+i%columns*cell.X+gap/2, margin+i/columns*cell.Y+gap/2)
			require.True(t, same(img.(*image.Paletted), want.(*image.Paletted), at), "sticker %d", seen)
			seen++
		}
	}
	require.Equal(t, len(all), seen)

	_, err = label.Sheets(nil, label.Options{})
	require.Error(t, err)
	_, err = label.Sheets(all[:1], label.Options{Scale: 64})
	require.ErrorContains(t, err, "do not fit on a sheet")
	_, err = label.Sheets([]identity.Sticker{{}}, label.Options{})
	require.Error(t, err)
}

func TestSheetScans(t *testing.T) {
	needZbar(t)
	var want []string
	var all []identity.Sticker
	for _, s := range stickers(t) {
		all, want = append(all, s), append(want, s.Encode())
	}
	pages, err := label.Sheets(all, label.Options{})
	require.NoError(t, err)
	require.Len(t, pages, 1)
	require.ElementsMatch(t, want, strings.Fields(scan(t, pages[0])))
}

func same(b, s *image.Paletted, at image.Point) bool {
	size := s.Bounds().Size()
	for y := range size.Y {
		o := b.PixOffset(at.X, at.Y+y)
		if !bytes.Equal(b.Pix[o:o+size.X], s.Pix[y*s.Stride:y*s.Stride+size.X]) {
			return false
		}
	}
	return true
}
