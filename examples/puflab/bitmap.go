package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/png"

	"github.com/semio-iot/semio/puf/pufstat"
)

// mapWidth is the width of a bit map in cells: a multiple of the rows that memories have, so that columns stand upright.
func mapWidth(cells int) int {
	width := 64
	for width < 1024 && 3*width*width/4 < cells {
		width *= 2
	}
	return width
}

// bitMap draws the first power-up, a pixel a cell, row by row: ones in ink, zeros clear.
func bitMap(c *pufstat.Chip) (template.HTML, error) {
	palette := color.Palette{color.NRGBA{}, color.NRGBA{0x2f, 0x7f, 0xc1, 0xff}}
	bits := pufstat.Bits(c.First())
	width := mapWidth(len(bits))
	img := image.NewPaletted(image.Rect(0, 0, width, (len(bits)+width-1)/width), palette)
	copy(img.Pix, bits)
	return picture(img, fmt.Sprintf("Start-up values, %d cells a row", width))
}

// stabilityMap draws how often a cell takes its rarer value: clear for never, full for half of the power-ups. Of a large memory a pixel is
// the least stable of four cells, so that it fits beside another figure.
func stabilityMap(c *pufstat.Chip) (template.HTML, error) {
	const shades = 16
	palette := make(color.Palette, shades)
	for i := range palette {
		palette[i] = color.NRGBA{0xd5, 0x5e, 0x00, uint8(255 * i / (shades - 1))}
	}
	cells := 8 * c.Size()
	width, zoom := mapWidth(cells), 1
	if width >= 512 {
		zoom = 2
	}
	rows := (cells + width - 1) / width
	img := image.NewPaletted(image.Rect(0, 0, width/zoom, (rows+zoom-1)/zoom), palette)
	for i := range cells {
		p := c.Chance(i)
		at := img.PixOffset(i%width/zoom, i/width/zoom)
		img.Pix[at] = max(img.Pix[at], uint8(2*min(p, 1-p)*(shades-1)+0.5))
	}
	return picture(img, "Unstable cells")
}

// picture is an image inside the page.
func picture(img *image.Paletted, what string) (template.HTML, error) {
	var b bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	if err := e.Encode(&b, img); err != nil {
		return "", fmt.Errorf("draw %s: %w", what, err)
	}
	// Few cells are blown up to squares; many keep a pixel each, where the page has the room.
	class := "large"
	if img.Rect.Dx() < 512 {
		class = "small"
	}
	src := base64.StdEncoding.EncodeToString(b.Bytes())
	return template.HTML(fmt.Sprintf(`<img class="%s" alt="%s" width="%d" height="%d" src="data:image/png;base64,%s">`,
		class, what, img.Rect.Dx(), img.Rect.Dy(), src)), nil
}
