package ihex_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/puf/internal/ihex"
)

// rec makes a record with the right checksum.
func rec(kind byte, address uint16, data ...byte) string {
	b := append([]byte{byte(len(data)), byte(address >> 8), byte(address), kind}, data...)
	sum := byte(0)
	for _, x := range b {
		sum -= x
	}
	return ":" + strings.ToUpper(hex.EncodeToString(append(b, sum))) + "\r\n"
}

const end = ":00000001FF\r\n"

func parse(text string, opts ihex.Options) (ihex.Image, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 16
	}
	return ihex.Parse(strings.NewReader(text), opts)
}

func fill(b byte) *byte { return &b }

func TestRecordHelper(t *testing.T) {
	// Records as other tools write them, so that rec and Parse are not wrong alike.
	require.Equal(t, ":020000042000DA\r\n", rec(4, 0, 0x20, 0x00))
	require.Equal(t, ":0300300002337A1E\r\n", rec(0, 0x30, 0x02, 0x33, 0x7a))
	require.Equal(t, end, rec(1, 0))
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		opts ihex.Options
		want ihex.Image
	}{
		"one record":         {rec(0, 0x30, 2, 0x33, 0x7a) + end, ihex.Options{}, ihex.Image{Base: 0x30, Data: []byte{2, 0x33, 0x7a}}},
		"lower case, LF":     {":0300300002337a1e\n:00000001ff", ihex.Options{}, ihex.Image{Base: 0x30, Data: []byte{2, 0x33, 0x7a}}},
		"blanks":             {"\r\n" + rec(0, 0, 1) + " \t\r\n\n" + ":00000001FF \t\n\n", ihex.Options{}, ihex.Image{Data: []byte{1}}},
		"linear":             {rec(4, 0, 0x20, 0x00) + rec(0, 0x10, 1, 2) + end, ihex.Options{}, ihex.Image{Base: 0x20000010, Data: []byte{1, 2}}},
		"linear on":          {rec(0, 0xffff, 1) + rec(4, 0, 0, 1) + rec(0, 0, 2) + end, ihex.Options{}, ihex.Image{Base: 0xffff, Data: []byte{1, 2}}},
		"linear over 64 KB":  {rec(4, 0, 1, 0) + rec(0, 0xffff, 1, 2) + end, ihex.Options{}, ihex.Image{Base: 0x0100ffff, Data: []byte{1, 2}}},
		"top of the space":   {rec(4, 0, 0xff, 0xff) + rec(0, 0xfffe, 1, 2) + end, ihex.Options{}, ihex.Image{Base: 0xfffffffe, Data: []byte{1, 2}}},
		"segment":            {rec(2, 0, 0x12, 0x34) + rec(0, 0x10, 1) + end, ihex.Options{}, ihex.Image{Base: 0x12350, Data: []byte{1}}},
		"linear after seg":   {rec(2, 0, 0x12, 0x34) + rec(4, 0, 0, 1) + rec(0, 0, 1) + end, ihex.Options{}, ihex.Image{Base: 0x10000, Data: []byte{1}}},
		"out of order":       {rec(0, 2, 3, 4) + rec(0, 0, 1, 2) + rec(0, 4, 5) + end, ihex.Options{}, ihex.Image{Data: []byte{1, 2, 3, 4, 5}}},
		"start segment":      {rec(3, 0, 0x12, 0x34, 0, 0x10) + rec(0, 0, 1) + end, ihex.Options{}, ihex.Image{Data: []byte{1}, Start: 0x12340010, Entry: true}},
		"start linear":       {rec(0, 0, 1) + rec(5, 0, 0x20, 0, 0, 1) + end, ihex.Options{}, ihex.Image{Data: []byte{1}, Start: 0x20000001, Entry: true}},
		"empty data record":  {rec(0, 9) + rec(0, 0, 1) + end, ihex.Options{}, ihex.Image{Data: []byte{1}}},
		"end with address":   {rec(0, 0, 1) + rec(1, 0x100), ihex.Options{}, ihex.Image{Data: []byte{1}}},
		"gap filled":         {rec(0, 0, 1) + rec(0, 4, 5) + end, ihex.Options{Fill: fill(0xff)}, ihex.Image{Data: []byte{1, 0xff, 0xff, 0xff, 5}}},
		"wrap in a segment":  {rec(2, 0, 0, 0) + rec(0, 0xfffe, 1, 2, 3) + end, ihex.Options{Fill: fill(0)}, ihex.Image{Data: append(append([]byte{3}, make([]byte, 0xfffd)...), 1, 2)}},
		"exactly the limit":  {rec(0, 0, 1, 2, 3, 4) + end, ihex.Options{MaxBytes: 4}, ihex.Image{Data: []byte{1, 2, 3, 4}}},
		"longest record":     {rec(0, 0, bytes.Repeat([]byte{7}, 255)...) + end, ihex.Options{}, ihex.Image{Data: bytes.Repeat([]byte{7}, 255)}},
		"unused linear base": {rec(4, 0, 0x20, 0) + rec(4, 0, 0, 0) + rec(0, 0, 1) + end, ihex.Options{}, ihex.Image{Data: []byte{1}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(c.text, c.opts)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestRefused(t *testing.T) {
	good := rec(0, 0, 1, 2, 3)
	for name, c := range map[string]struct {
		text string
		opts ihex.Options
		want error
	}{
		"empty":                    {"", ihex.Options{}, ihex.ErrSyntax},
		"end alone":                {end, ihex.Options{}, ihex.ErrSyntax},
		"no end":                   {good, ihex.Options{}, ihex.ErrSyntax},
		"after the end":            {good + end + rec(0, 3, 4), ihex.Options{}, ihex.ErrSyntax},
		"two ends":                 {good + end + end, ihex.Options{}, ihex.ErrSyntax},
		"no colon":                 {good[1:] + end, ihex.Options{}, ihex.ErrSyntax},
		"text before":              {" " + good + end, ihex.Options{}, ihex.ErrSyntax},
		"comment":                  {"; dump\n" + good + end, ihex.Options{}, ihex.ErrSyntax},
		"only a colon":             {":\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"not hexadecimal":          {strings.Replace(good, "0102", "01G2", 1) + end, ihex.Options{}, ihex.ErrSyntax},
		"half a byte":              {good[:len(good)-3] + "\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"cut by a byte":            {good[:len(good)-4] + "\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"length too large":         {":04000000010203F6\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"length too small":         {":02000000010203F8\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"checksum":                 {":03000000010203F8\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"checksum of the end":      {good + ":00000001FE\n", ihex.Options{}, ihex.ErrSyntax},
		"type 06":                  {rec(6, 0, 1) + end, ihex.Options{}, ihex.ErrSyntax},
		"type ff":                  {rec(0xff, 0) + end, ihex.Options{}, ihex.ErrSyntax},
		"end with data":            {good + rec(1, 0, 1), ihex.Options{}, ihex.ErrSyntax},
		"segment of 1 byte":        {rec(2, 0, 1) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"segment at an address":    {rec(2, 1, 0, 0) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"linear of 3 bytes":        {rec(4, 0, 1, 2, 3) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"linear of none":           {rec(4, 0) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"start segment of 2":       {rec(3, 0, 1, 2) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"start linear of 5":        {rec(5, 0, 1, 2, 3, 4, 5) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"two starts":               {rec(5, 0, 1, 2, 3, 4) + rec(3, 0, 1, 2, 3, 4) + good + end, ihex.Options{}, ihex.ErrSyntax},
		"same address twice":       {good + rec(0, 0, 1, 2, 3) + end, ihex.Options{}, ihex.ErrSyntax},
		"overlap by a byte":        {good + rec(0, 2, 9) + end, ihex.Options{Fill: fill(0)}, ihex.ErrSyntax},
		"overlap from before":      {rec(0, 5, 1) + rec(0, 3, 1, 2, 3) + end, ihex.Options{}, ihex.ErrSyntax},
		"overlap of a wrap":        {rec(2, 0, 0, 0) + rec(0, 0, 1) + rec(0, 0xffff, 1, 2) + end, ihex.Options{Fill: fill(0)}, ihex.ErrSyntax},
		"past the space":           {rec(4, 0, 0xff, 0xff) + rec(0, 0xffff, 1, 2) + end, ihex.Options{}, ihex.ErrSyntax},
		"line too long":            {":" + strings.Repeat("0", 700) + "\n" + end, ihex.Options{}, ihex.ErrSyntax},
		"endless line":             {strings.Repeat("\x00", 1<<20), ihex.Options{}, ihex.ErrSyntax},
		"over the limit":           {rec(0, 0, 1, 2, 3, 4, 5) + end, ihex.Options{MaxBytes: 4}, ihex.ErrTooLarge},
		"gap over the limit":       {rec(0, 0, 1) + rec(4, 0, 0x20, 0) + rec(0, 0, 1) + end, ihex.Options{MaxBytes: 1 << 20, Fill: fill(0)}, ihex.ErrTooLarge},
		"gap of a byte too many":   {rec(0, 0, 1) + rec(0, 4, 1) + end, ihex.Options{MaxBytes: 4, Fill: fill(0)}, ihex.ErrTooLarge},
		"records without data":     {strings.Repeat(rec(0, 0), 6000) + good + end, ihex.Options{MaxBytes: 4}, ihex.ErrTooLarge},
		"a byte order mark before": {"\ufeff" + good + end, ihex.Options{}, ihex.ErrSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := parse(c.text, c.opts)
			require.ErrorIs(t, err, c.want)
			require.Empty(t, img)
		})
	}
}

func TestEveryFlippedDigitIsSeen(t *testing.T) {
	text := rec(4, 0, 0x20, 0) + rec(0, 0x100, 0xde, 0xad, 0xbe, 0xef) + end
	for i := range text {
		if text[i] == '\r' || text[i] == '\n' {
			continue
		}
		changed := []byte(text)
		changed[i] ^= 1
		_, err := parse(string(changed), ihex.Options{Fill: fill(0)})
		require.ErrorIs(t, err, ihex.ErrSyntax, "character %d of %q", i, text)
	}
}

func TestGap(t *testing.T) {
	_, err := parse(rec(4, 0, 0x20, 0)+rec(0, 0x10, 1)+rec(0, 0x18, 2)+end, ihex.Options{})
	var gap *ihex.GapError
	require.ErrorAs(t, err, &gap)
	require.Equal(t, ihex.GapError{Address: 0x20000011, Length: 7}, *gap)
	require.ErrorContains(t, err, "7 bytes are missing at address 0x20000011")
}

func TestTooManyPieces(t *testing.T) {
	var text strings.Builder
	for i := range 1<<16 + 1 {
		if i&0x7fff == 0 {
			text.WriteString(rec(4, 0, 0, byte(i>>15)))
		}
		text.WriteString(rec(0, uint16(i<<1), 1))
	}
	_, err := parse(text.String()+end, ihex.Options{MaxBytes: 1 << 20, Fill: fill(0)})
	require.ErrorIs(t, err, ihex.ErrTooLarge)
	require.ErrorContains(t, err, "pieces")
}

func TestReaderErrorIsPassedOn(t *testing.T) {
	broken := errors.New("medium broken")
	_, err := ihex.Parse(io.MultiReader(strings.NewReader(rec(0, 0, 1)), errReader{broken}), ihex.Options{MaxBytes: 100})
	require.ErrorIs(t, err, broken)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// encode writes data as records of random lengths in random order.
func encode(r *rand.Rand, base uint32, data []byte) string {
	var records []string
	for i := 0; i < len(data); {
		n := min(1+r.IntN(255), len(data)-i)
		a := base + uint32(i)
		records = append(records, rec(4, 0, byte(a>>24), byte(a>>16))+rec(0, uint16(a), data[i:i+n]...))
		i += n
	}
	r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return strings.Join(records, "") + end
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		data := make([]byte, 1+r.IntN(5000))
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		base := r.Uint32() >> 1
		got, err := parse(encode(r, base, data), ihex.Options{})
		require.NoError(t, err, "round %d", i)
		require.Equal(t, ihex.Image{Base: base, Data: data}, got)
	}
}

// The raw files beside the Intel HEX ones hold the same bytes.
func TestRealDumps(t *testing.T) {
	dir := os.Getenv("SEMIO_SRAM")
	if dir == "" {
		t.Skip("SEMIO_SRAM names no folder of dumps; see github.com/TimothyClaeys/SramAnalyzer")
	}
	files, err := filepath.Glob(filepath.Join(dir, "..", "intel-hex", "*-01.hex"))
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("no Intel HEX files beside the dumps of SEMIO_SRAM")
	}
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		img, err := ihex.Parse(f, ihex.Options{MaxBytes: 1 << 20})
		require.NoError(t, err, file)
		board := strings.TrimSuffix(filepath.Base(file), "-01.hex")
		want, err := os.ReadFile(filepath.Join(dir, board, "01.bin"))
		require.NoError(t, err)
		require.Equal(t, uint32(0x20000000), img.Base)
		require.True(t, bytes.Equal(want, img.Data), file)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(rec(0, 0, 1, 2, 3)+end), false)
	f.Add([]byte(rec(4, 0, 0x20, 0)+rec(0, 0x10, 1)+rec(0, 0x18, 2)+end), true)
	f.Add([]byte(rec(2, 0, 0xf0, 0)+rec(0, 0xfffe, 1, 2, 3)+end), true)
	f.Add([]byte(rec(5, 0, 1, 2, 3, 4)+rec(0, 0xffff, 1)+rec(4, 0, 0, 1)+rec(0, 0, 2)+end), false)
	f.Add([]byte(":00000001FF"), true)
	f.Fuzz(func(t *testing.T, text []byte, filled bool) {
		opts := ihex.Options{MaxBytes: 1 << 12}
		if filled {
			opts.Fill = fill(0xa5)
		}
		img, err := ihex.Parse(bytes.NewReader(text), opts)
		if err != nil {
			require.Empty(t, img)
			return
		}
		require.NotEmpty(t, img.Data)
		require.LessOrEqual(t, len(img.Data), opts.MaxBytes)
		require.LessOrEqual(t, uint64(img.Base)+uint64(len(img.Data)), uint64(1)<<32)
		// What was read and is written again reads the same.
		again, err := ihex.Parse(strings.NewReader(encode(rand.New(rand.NewPCG(1, 2)), img.Base, img.Data)), opts)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(img.Base, img.Data), fmt.Sprint(again.Base, again.Data))
	})
}

func TestParsePieces(t *testing.T) {
	text := rec(0, 0x20, 5, 6) + rec(0, 2, 3) + rec(0, 0, 1, 2) + rec(4, 0, 0x20, 0x00) + rec(0, 0, 9) + end
	got, err := ihex.ParsePieces(strings.NewReader(text), ihex.Options{MaxBytes: 6})
	require.NoError(t, err)
	require.Equal(t, []ihex.Piece{{Address: 0, Data: []byte{1, 2, 3}}, {Address: 0x20, Data: []byte{5, 6}}, {Address: 0x20000000, Data: []byte{9}}}, got)
	_, err = ihex.ParsePieces(strings.NewReader(text), ihex.Options{MaxBytes: 5})
	require.ErrorIs(t, err, ihex.ErrTooLarge)
	_, err = ihex.ParsePieces(strings.NewReader(rec(0, 0, 1, 2)+rec(0, 1, 1)+end), ihex.Options{MaxBytes: 5})
	require.ErrorIs(t, err, ihex.ErrSyntax)
}
