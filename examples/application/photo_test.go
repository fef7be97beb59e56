package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/label"
)

func someSticker(t testing.TB) identity.Sticker {
	t.Helper()
	code, err := identity.NewClaimCode([]byte("0123456789abcde"))
	require.NoError(t, err)
	dev, err := identity.ParseDeviceID("D-THERMO-0001")
	require.NoError(t, err)
	return identity.Sticker{Device: dev, Claim: code}
}

// printed is the sticker as the label printer gets it.
func printed(t testing.TB, s identity.Sticker) image.Image {
	t.Helper()
	b, err := label.PNG(s, label.Options{})
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
	return img
}

// shot is how somebody takes a photo of it.
type shot struct {
	width, height int     // of the photo
	fills         float64 // share of the width that the sticker takes
	turn          float64 // degrees
	tilt          float64 // perspective: how much smaller the far edge looks
	shadow        float64 // darkness of the darker side
	blur          int     // pixels
	noise         float64 // of the sensor, in grey levels
	quality       int     // JPEG
}

// take renders the photo: sticker on a table, light from one side, lens, sensor, JPEG.
func (s shot) take(t testing.TB, sticker image.Image) []byte {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	side := float64(sticker.Bounds().Dx())
	scale := side / (s.fills * float64(s.width))
	sin, cos := math.Sincos(s.turn * math.Pi / 180)
	at := func(x, y float64) float64 { // grey of the scene
		u, v := (x-float64(s.width)/2)*scale, (y-float64(s.height)/2)*scale
		u, v = u*cos-v*sin, u*sin+v*cos
		depth := 1 + s.tilt*v/side
		u, v = u/depth+side/2, v/depth+float64(sticker.Bounds().Dy())/2
		grey := 110.0 // the table
		if p := image.Pt(int(math.Floor(u)), int(math.Floor(v))); p.In(sticker.Bounds()) {
			grey = float64(color.GrayModel.Convert(sticker.At(p.X, p.Y)).(color.Gray).Y)*0.8 + 20
		}
		return grey * (1 - s.shadow*x/float64(s.width))
	}
	img := image.NewGray(image.Rect(0, 0, s.width, s.height))
	for y := range s.height {
		for x := range s.width {
			sum, n := 0.0, 0.0
			for dy := -s.blur; dy <= s.blur; dy++ {
				for dx := -s.blur; dx <= s.blur; dx++ {
					sum += at(float64(x+dx), float64(y+dy))
					n++
				}
			}
			img.Pix[y*img.Stride+x] = uint8(min(255, max(0, sum/n+rng.NormFloat64()*s.noise)))
		}
	}
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, img, &jpeg.Options{Quality: s.quality}))
	return b.Bytes()
}

func TestReadPhoto(t *testing.T) {
	want := someSticker(t)
	paper := printed(t, want)
	for name, s := range map[string]shot{
		"straight":             {width: 640, height: 480, fills: 0.5, quality: 90},
		"upside down":          {width: 640, height: 480, fills: 0.5, turn: 180, quality: 90},
		"turned":               {width: 700, height: 700, fills: 0.5, turn: 33, noise: 6, quality: 75},
		"from below":           {width: 700, height: 700, fills: 0.5, turn: 8, tilt: 0.15, noise: 6, quality: 75},
		"in the shadow":        {width: 700, height: 600, fills: 0.4, shadow: 0.7, noise: 6, quality: 75},
		"out of focus":         {width: 700, height: 600, fills: 0.7, blur: 1, noise: 6, quality: 75},
		"large, at dusk":       {width: 1300, height: 1000, fills: 0.6, turn: 12, shadow: 0.5, noise: 25, quality: 60},
		"small on the picture": {width: 1200, height: 900, fills: 0.2, turn: 3, noise: 4, quality: 85},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := readPhoto(bytes.NewReader(s.take(t, paper)))
			require.NoError(t, err)
			require.Equal(t, want.Encode(), got.Encode())
		})
	}
}

func TestStickerOfFile(t *testing.T) {
	want := someSticker(t)
	name := filepath.Join(t.TempDir(), "sticker.png")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, png.Encode(f, printed(t, want)))
	require.NoError(t, f.Close())
	got, err := stickerOf(name)
	require.NoError(t, err)
	require.Equal(t, want.Encode(), got.Encode())

	_, err = stickerOf(name + ".jpg")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A sheet as it comes from the factory's printer names no device.
func TestSeveralStickers(t *testing.T) {
	s := someSticker(t)
	for _, n := range []int{2, 3} {
		var sheet *image.Gray
		for i := range n {
			dev, err := identity.ParseDeviceID(fmt.Sprintf("D-THERMO-%04d", i+1))
			require.NoError(t, err)
			b, err := label.PNG(identity.Sticker{Device: dev, Claim: s.Claim}, label.Options{Scale: 4})
			require.NoError(t, err)
			img, err := png.Decode(bytes.NewReader(b))
			require.NoError(t, err)
			size := img.Bounds().Size()
			if sheet == nil {
				sheet = image.NewGray(image.Rect(0, 0, n*size.X, size.Y))
			}
			draw.Draw(sheet, image.Rect(i*size.X, 0, (i+1)*size.X, size.Y), img, image.Point{}, draw.Src)
		}
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, sheet))
		_, err := readPhoto(bytes.NewReader(b.Bytes()))
		require.ErrorContains(t, err, "several QR codes are in it: take a photo of the one sticker alone", "%d", n)
	}
}

func TestReadPhotoRefuses(t *testing.T) {
	encode := func(img image.Image) []byte {
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, img))
		return b.Bytes()
	}
	blank := encode(image.NewGray(image.Rect(0, 0, 300, 300)))
	huge := bytes.Clone(blank)
	copy(huge[16:], []byte{0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0}) // 100,000 by 100,000, as the header says
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	for name, c := range map[string]struct {
		photo []byte
		want  string
	}{
		"no picture":    {[]byte("SEMIO1:D-1"), "want a JPEG or PNG"},
		"empty":         {nil, "want a JPEG or PNG"},
		"no code in it": {blank, "take the photo again, nearer"},
		"cut off":       {blank[:len(blank)-30], "not enough pixel data"},
		"a bomb":        {huge, "at most 64 million in all are read: make it smaller"},
		"one pixel":     {encode(image.NewGray(image.Rect(0, 0, 1, 1))), "take the photo again"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readPhoto(bytes.NewReader(c.photo))
			require.ErrorContains(t, err, c.want)
		})
	}
}
