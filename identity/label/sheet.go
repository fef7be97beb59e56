package label

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"

	"github.com/semio-iot/semio/identity"
)

// A sheet is a page of A4 at 300 dpi.
const (
	sheetWidth  = 2480
	sheetHeight = 3508
	margin      = 118 // 10 mm, which printers cannot print on
	gap         = 48  // 4 mm between labels, to cut through
	perMetre    = 11811
)

// Sheets returns pages of A4 with the stickers in their order, row by row, to print at full size and to cut along the dots.
func Sheets(stickers []identity.Sticker, o Options) (pages [][]byte, err error) {
	if len(stickers) == 0 {
		return nil, errors.New("label: no stickers for a sheet")
	}
	var labels []drawing
	cell := image.Point{}
	for _, s := range stickers {
		d, err := layout(s, o)
		if err != nil {
			return nil, err
		}
		labels = append(labels, d)
		cell.X, cell.Y = max(cell.X, d.width+gap), max(cell.Y, d.height+gap)
	}
	columns, rows := (sheetWidth-2*margin)/cell.X, (sheetHeight-2*margin)/cell.Y
	if columns == 0 || rows == 0 {
		return nil, fmt.Errorf("label: stickers of %d x %d pixels do not fit on a sheet: want a smaller scale", cell.X-gap, cell.Y-gap)
	}
	for len(labels) > 0 {
		n := min(len(labels), columns*rows)
		page, err := sheet(labels[:n], cell, columns)
		if err != nil {
			return nil, err
		}
		pages, labels = append(pages, page), labels[n:]
	}
	return pages, nil
}

func sheet(labels []drawing, cell image.Point, columns int) ([]byte, error) {
	page := canvas(sheetWidth, sheetHeight)
	for i, d := range labels {
		at := image.Pt(margin+i%columns*cell.X, margin+i/columns*cell.Y)
		d.paint(page, at.Add(cell.Sub(image.Pt(d.width, d.height)).Div(2)))
		dots(page, image.Rectangle{at, at.Add(cell)})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, page); err != nil {
		return nil, fmt.Errorf("label: %w", err)
	}
	return withResolution(b.Bytes()), nil
}

// dots draws the border of r, dotted.
func dots(page *image.Paletted, r image.Rectangle) {
	const step = 12
	for x := r.Min.X; x <= r.Max.X; x += step {
		page.SetColorIndex(x, r.Min.Y, 1)
		page.SetColorIndex(x, r.Max.Y, 1)
	}
	for y := r.Min.Y; y <= r.Max.Y; y += step {
		page.SetColorIndex(r.Min.X, y, 1)
		page.SetColorIndex(r.Max.X, y, 1)
	}
}

// withResolution adds the chunk pHYs (PNG, 11.3.4.3) behind the header, which the encoder does not write: with it a page prints in its size.
func withResolution(b []byte) []byte {
	const header = 8 + 4 + 4 + 13 + 4 // signature, and the chunk IHDR
	chunk := []byte("pHYs")
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = append(chunk, 1) // per metre
	out := append([]byte{}, b[:header]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(chunk)-4))
	out = append(out, chunk...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(chunk))
	return append(out, b[header:]...)
}
