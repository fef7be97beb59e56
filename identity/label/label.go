// Package label draws the sticker of a device as a QR code: on a terminal with [Terminal], as an image for a label printer with [PNG] or [SVG].
// All show the text under the code, so that a label that does not scan can be typed; identity.ParseSticker reads either.
//
// What they draw holds the claim code, if the sticker has one: send it to the printer and keep no copy.
package label

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"rsc.io/qr"

	"github.com/semio-iot/semio/identity"
)

// quiet is the light border that ISO/IEC 18004 asks for, in modules.
const quiet = 4

var errNoDevice = errors.New("label: the sticker names no device")

// Terminal writes the sticker to w in half-block characters, and its text under it. Light modules are printed and dark ones left out, so
// the code is dark on light on a terminal with light characters on a dark ground. It needs 8 columns more than the code has modules, some 45.
func Terminal(w io.Writer, s identity.Sticker) error {
	code, err := encode(s)
	if err != nil {
		return err
	}
	light := func(x, y int) bool { return !code.Black(x, y) } // outside of the code: light
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := light(x, y), light(x, y+1); {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	for _, line := range lines(s) {
		b.WriteString(strings.Repeat(" ", quiet) + line + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("label: %w", err)
	}
	return nil
}

func encode(s identity.Sticker) (*qr.Code, error) {
	text := s.Encode()
	if text == "" {
		return nil, errNoDevice
	}
	// Level M restores 15 %: labels get scratched. The text is of QR's alphanumeric set, which keeps the code small.
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	return code, nil
}

// lines breaks the text of a sticker after each ':' but the first and groups the claim code by fours, which ParseSticker forgives.
func lines(s identity.Sticker) []string {
	parts := strings.Split(s.Encode(), ":")
	out := []string{parts[0] + ":" + parts[1] + ":"}
	if len(parts) == 4 {
		out = append(out, group(parts[2])+":")
	}
	return append(out, parts[len(parts)-1])
}

func group(s string) string {
	var g []string
	for ; len(s) > 4; s = s[4:] {
		g = append(g, s[:4])
	}
	return strings.Join(append(g, s), " ")
}
