package label

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"github.com/semio-iot/semio/identity"
)

// Options are the choices of [PNG]. The zero value is good for a label printer at 300 dpi.
type Options struct {
	// Scale is the width of a module in pixels, 1 to 64; 0 means 8.
	Scale int
	// NoText leaves out the text under the code.
	NoText bool
}

// PNG returns the sticker as a black and white image.
func PNG(s identity.Sticker, o Options) ([]byte, error) {
	img, err := draw(s, o)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	return b.Bytes(), nil
}

func draw(s identity.Sticker, o Options) (*image.Paletted, error) {
	if o.Scale == 0 {
		o.Scale = 8
	}
	if o.Scale < 1 || o.Scale > 64 {
		return nil, fmt.Errorf("label: scale %d, want 1 to 64", o.Scale)
	}
	code, err := encode(s)
	if err != nil {
		return nil, err
	}
	var text []string
	if !o.NoText {
		text = lines(s)
	}
	// The text is drawn in dots of half a module at most: the longest line has 41 characters of 6 dots.
	side := (code.Size + 2*quiet) * o.Scale
	dot := max(1, o.Scale/2)
	for _, l := range text {
		for dot > 1 && len(l)*advance*dot > side-2*o.Scale {
			dot--
		}
	}
	width := side
	for _, l := range text {
		width = max(width, len(l)*advance*dot)
	}
	img := image.NewPaletted(image.Rect(0, 0, width, side+len(text)*lineHeight*dot), color.Palette{color.White, color.Black})
	fill := func(x, y, size int) {
		for dy := range size {
			for dx := range size {
				img.SetColorIndex(x+dx, y+dy, 1)
			}
		}
	}
	left := (width - side) / 2
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fill(left+(x+quiet)*o.Scale, (y+quiet)*o.Scale, o.Scale)
			}
		}
	}
	for i, l := range text {
		x0 := (width - len(l)*advance*dot) / 2
		for j := range len(l) {
			for y, row := range glyph(l[j]) {
				for x := range glyphWidth {
					if row>>(glyphWidth-1-x)&1 == 1 {
						fill(x0+(j*advance+x)*dot, side+(i*lineHeight+y)*dot, dot)
					}
				}
			}
		}
	}
	return img, nil
}
