package label_test

import (
	"bytes"
	"encoding/xml"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/label"
)

// Drawn by an independent renderer and read by an independent reader.
func TestSVGScans(t *testing.T) {
	needZbar(t)
	if _, err := exec.LookPath("rsvg-convert"); err != nil {
		t.Skip("rsvg-convert is not installed (Debian: librsvg2-bin); the drawing is not rendered")
	}
	for name, s := range stickers(t) {
		for _, noText := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				b, err := label.SVG(s, 40, noText)
				require.NoError(t, err)
				file := filepath.Join(t.TempDir(), "label.svg")
				require.NoError(t, os.WriteFile(file, b, 0o600))
				png, err := exec.Command("rsvg-convert", "--width", "500", file).Output()
				require.NoError(t, err)
				require.Equal(t, s.Encode(), scan(t, png))
			})
		}
	}
}

// It is XML, and the text in it can be typed.
func TestSVGTextParses(t *testing.T) {
	for name, s := range stickers(t) {
		t.Run(name, func(t *testing.T) {
			b, err := label.SVG(s, 40, false)
			require.NoError(t, err)
			var svg struct {
				XMLName xml.Name `xml:"svg"`
				Width   string   `xml:"width,attr"`
				Text    []string `xml:"text"`
			}
			require.NoError(t, xml.Unmarshal(b, &svg))
			require.Equal(t, "40.00mm", svg.Width)
			got, err := identity.ParseSticker(strings.Join(svg.Text, "\n"))
			require.NoError(t, err)
			require.Equal(t, s.Encode(), got.Encode())
			without, err := label.SVG(s, 40, true)
			require.NoError(t, err)
			require.False(t, bytes.Contains(without, []byte("<text")))
		})
	}
}

func TestSVGRefused(t *testing.T) {
	_, err := label.SVG(identity.Sticker{}, 40, false)
	require.Error(t, err)
	for _, width := range []float64{0, -1, 9, 1001, math.NaN()} {
		_, err := label.SVG(stickers(t)["D-1"], width, false)
		require.Error(t, err)
	}
}
