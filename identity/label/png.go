package label

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"rsc.io/qr"

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
	d, err := layout(s, o)
	if err != nil {
		return nil, err
	}
	img := canvas(d.width, d.height)
	d.paint(img, image.Point{})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	return b.Bytes(), nil
}

// drawing is a sticker laid out: what is where, in pixels.
type drawing struct {
	code          *qr.Code
	text          []string
	scale, dot    int
	side          int // of the code with its border
	width, height int
}

func layout(s identity.Sticker, o Options) (drawing, error) {
	if o.Scale == 0 {
		o.Scale = 8
	}
	if o.Scale < 1 || o.Scale > 64 {
		return drawing{}, fmt.Errorf("label: scale %d, want 1 to 64", o.Scale)
	}
	code, err := encode(s)
	if err != nil {
		return drawing{}, err
	}
	d := drawing{code: code, scale: o.Scale, side: (code.Size + 2*quiet) * o.Scale}
	if !o.NoText {
		d.text = lines(s)
	}
	// The text is drawn in dots of half a module at most: the longest line has 41 characters of 6 dots.
	d.dot = max(1, o.Scale/2)
	for _, l := range d.text {
		for d.dot > 1 && len(l)*advance*d.dot > d.side-2*o.Scale {
			d.dot--
		}
	}
	d.width, d.height = d.side, d.side+len(d.text)*lineHeight*d.dot
	for _, l := range d.text {
		d.width = max(d.width, len(l)*advance*d.dot)
	}
	return d, nil
}

// paint draws with the upper left corner at a point of the image.
func (d drawing) paint(img *image.Paletted, at image.Point) {
	fill := func(x, y, size int) {
		for dy := range size {
			for dx := range size {
				img.SetColorIndex(at.X+x+dx, at.Y+y+dy, 1)
			}
		}
	}
	left := (d.width - d.side) / 2
	for y := range d.code.Size {
		for x := range d.code.Size {
			if d.code.Black(x, y) {
				fill(left+(x+quiet)*d.scale, (y+quiet)*d.scale, d.scale)
			}
		}
	}
	for i, l := range d.text {
		x0 := (d.width - len(l)*advance*d.dot) / 2
		for j := range len(l) {
			for y, row := range glyph(l[j]) {
				for x := range glyphWidth {
					if row>>(glyphWidth-1-x)&1 == 1 {
						fill(x0+(j*advance+x)*d.dot, d.side+(i*lineHeight+y)*d.dot, d.dot)
					}
				}
			}
		}
	}
}

// canvas is a white image.
func canvas(width, height int) *image.Paletted {
	return image.NewPaletted(image.Rect(0, 0, width, height), color.Palette{color.White, color.Black})
}
