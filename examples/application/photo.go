package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // what cameras write
	_ "image/png"  // what screens and label printers' drivers write
	"io"
	"os"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/semio-iot/semio/identity"
)

const (
	maxPhoto  = 32 << 20 // bytes of a file
	maxPixels = 64 << 20 // of a photo; a phone takes 12 to 50 million
)

var errNoCode = errors.New("no QR code was found: take the photo again, nearer, straight from the front, without glare; or type what is printed under the code")

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
	longest := max(img.Bounds().Dx(), img.Bounds().Dy())
	tried := 0
	for _, size := range []int{800, 1600, 400, longest} {
		by := max(1, (longest+size-1)/size)
		if by == tried {
			continue
		}
		tried = by
		source := gozxing.NewLuminanceSourceFromImage(shrink(img, by))
		for _, binarizer := range []gozxing.Binarizer{gozxing.NewHybridBinarizer(source), gozxing.NewGlobalHistgramBinarizer(source)} {
			bitmap, err := gozxing.NewBinaryBitmap(binarizer)
			if err != nil {
				continue
			}
			found, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_TRY_HARDER: true})
			if err == nil {
				return found.GetText(), nil
			}
		}
	}
	return "", errNoCode
}

// shrink averages squares of by by pixels, in grey.
func shrink(img image.Image, by int) *image.Gray {
	b := img.Bounds()
	out := image.NewGray(image.Rect(0, 0, max(1, b.Dx()/by), max(1, b.Dy()/by)))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			sum, n := 0, 0
			for v := b.Min.Y + y*by; v < min(b.Min.Y+(y+1)*by, b.Max.Y); v++ {
				for u := b.Min.X + x*by; u < min(b.Min.X+(x+1)*by, b.Max.X); u++ {
					sum += int(color.GrayModel.Convert(img.At(u, v)).(color.Gray).Y)
					n++
				}
			}
			out.Pix[y*out.Stride+x] = uint8(sum / max(n, 1))
		}
	}
	return out
}
