package label

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/semio-iot/semio/identity"
)

// Sizes of the text in modules of the code.
const (
	svgFont    = 2.4
	svgAdvance = 0.6 * svgFont // of the monospaced fonts that there are, the widest
	svgLine    = 3
)

// SVG returns the sticker as a vector graphic, width millimetres wide, for a printer or a page. With noText the text under the code is
// left out. Errors: a sticker without a device, and a width outside 10 to 1,000.
func SVG(s identity.Sticker, width float64, noText bool) ([]byte, error) {
	if !(width >= 10 && width <= 1000) {
		return nil, fmt.Errorf("label: width %v mm, want 10 to 1000", width)
	}
	code, err := encode(s)
	if err != nil {
		return nil, err
	}
	var text []string
	if !noText {
		text = lines(s)
	}
	side := float64(code.Size + 2*quiet)
	total := side
	for _, l := range text {
		total = max(total, svgAdvance*float64(len(l))+2)
	}
	height := side + float64(len(text))*svgLine
	left := (total - side) / 2

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.2fmm" height="%.2fmm" viewBox="0 0 %.2f %.2f">`+"\n", width, width*height/total, total, height)
	fmt.Fprintf(&b, `<rect width="%.2f" height="%.2f" fill="#fff"/>`+"\n", total, height)
	// One path, a rectangle for each run of dark modules: no hairlines between neighbours.
	fmt.Fprintf(&b, `<path transform="translate(%.2f %d)" shape-rendering="crispEdges" d="`, left+quiet, quiet)
	for y := range code.Size {
		for x := 0; x < code.Size; {
			run := 0
			for x+run < code.Size && code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x, y, run, run)
			}
			x += run + 1
		}
	}
	b.WriteString("\"/>\n")
	for i, l := range text {
		fmt.Fprintf(&b, `<text x="%.2f" y="%.2f" font-family="monospace" font-size="%.1f" text-anchor="middle">`, total/2, side+svgLine*(float64(i)+0.5), svgFont)
		if err := xml.EscapeText(&b, []byte(l)); err != nil {
			return nil, fmt.Errorf("label: %w", err)
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String()), nil
}
