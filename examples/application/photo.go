package main

import (
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // what cameras write
	_ "image/png"  // what screens and label printers' drivers write
	"io"
	"os"
	"slices"

	"github.com/makiuchi-d/gozxing"
	multi "github.com/makiuchi-d/gozxing/multi/qrcode"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/semio-iot/semio/identity"
)

const (
	maxPhoto  = 32 << 20 // bytes of a file
	maxPixels = 64 << 20 // of a photo; a phone takes 12 to 50 million
)

var errNoCode = errors.New("no QR code was found: take the photo again, nearer, straight from the front, without glare; or type what is printed under the code")

// errSeveral keeps the reader from choosing for the person with the camera.
var errSeveral = errors.New("several QR codes are in it: take a photo of the one sticker alone")

// stickerOf finds the QR code of a sticker in the photo with this file name: JPEG or PNG.
func stickerOf(name string) (identity.Sticker, error) {
	f, err := os.Open(name)
	if err != nil {
		return identity.Sticker{}, err
	}
	defer f.Close()
	s, err := readPhoto(f)
	if err != nil {
		return identity.Sticker{}, fmt.Errorf("photo %s: %w", name, err)
	}
	return s, nil
}

func readPhoto(r io.ReadSeeker) (identity.Sticker, error) {
	// Before memory is allocated for the picture.
	conf, _, err := image.DecodeConfig(io.LimitReader(r, maxPhoto))
	if err != nil {
		return identity.Sticker{}, fmt.Errorf("want a JPEG or PNG: %w", err)
	}
	if conf.Width < 1 || conf.Height < 1 || conf.Width > maxPixels/conf.Height {
		return identity.Sticker{}, fmt.Errorf("it has %d by %d pixels, at most %d million in all are read: make it smaller", conf.Width, conf.Height, maxPixels>>20)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return identity.Sticker{}, err
	}
	img, _, err := image.Decode(io.LimitReader(r, maxPhoto))
	if err != nil {
		return identity.Sticker{}, err
	}
	text, err := decode(img)
	if err != nil {
		return identity.Sticker{}, err
	}
	return identity.ParseSticker(text)
}

// decode tries several sizes: the noise of a large photo looks like modules, and a small one has none to lose.
func decode(img image.Image) (text string, err error) {
	// The reader is a translation from another language, and the photo comes from anywhere.
	defer func() {
		if r := recover(); r != nil {
			text, err = "", fmt.Errorf("%w (the QR reader broke down: %v)", errNoCode, r)
		}
	}()
	picture := grey(img)
	longest := max(picture.Rect.Dx(), picture.Rect.Dy())
	tried := 0
	for _, size := range []int{800, 1600, 400, longest} {
		by := max(1, (longest+size-1)/size)
		if by == tried {
			continue
		}
		tried = by
		for _, b := range bitmaps(shrink(picture, by)) {
			found, err := qrcode.NewQRCodeReader().Decode(b, harder)
			if err != nil {
				continue
			}
			if several(b, found.GetText()) {
				return "", errSeveral
			}
			return found.GetText(), nil
		}
	}
	// Codes side by side confuse the reader for one.
	for _, b := range bitmaps(shrink(picture, max(1, longest/1600))) {
		if several(b, "") {
			return "", errSeveral
		}
	}
	return "", errNoCode
}

var harder = map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true}

// bitmaps are two ways to tell black from white: one for uneven light, one for little contrast.
func bitmaps(img *image.Gray) (out []*gozxing.BinaryBitmap) {
	source := gozxing.NewLuminanceSourceFromImage(img)
	for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
		if b, err := gozxing.NewBinaryBitmap(binarizer); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// several reports codes with another text; empty: more than one code. The reader for many is worse at finding one, so it is not asked first.
func several(b *gozxing.BinaryBitmap, text string) bool {
	all, _ := multi.NewQRCodeMultiReader().DecodeMultiple(b, harder) // an error says that there is none
	if text == "" {
		return len(all) > 1
	}
	return slices.ContainsFunc(all, func(r *gozxing.Result) bool { return r.GetText() != text })
}

// grey is the picture without its colours.
func grey(img image.Image) *image.Gray {
	switch img := img.(type) {
	case *image.Gray:
		return img
	case *image.YCbCr: // what a camera's JPEG is decoded to
		return &image.Gray{Pix: img.Y, Stride: img.YStride, Rect: img.Rect}
	}
	b := img.Bounds()
	out := image.NewGray(b)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}

// shrink averages squares of by by pixels.
func shrink(img *image.Gray, by int) *image.Gray {
	b := img.Bounds()
	out := image.NewGray(image.Rect(0, 0, max(1, b.Dx()/by), max(1, b.Dy()/by)))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			sum, n := 0, 0
			for v := y * by; v < min((y+1)*by, b.Dy()); v++ {
				row := img.Pix[v*img.Stride:]
				for u := x * by; u < min((x+1)*by, b.Dx()); u++ {
					sum += int(row[u])
					n++
				}
			}
			out.Pix[y*out.Stride+x] = uint8(sum / max(n, 1))
		}
	}
	return out
}
