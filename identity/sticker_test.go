package identity_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

// alphanumeric is the set of QR codes' alphanumeric mode (ISO/IEC 18004, table 5).
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// stickerNames have look-alikes at the ends, beside each other, and none.
var stickerNames = []string{"D-1", "D-7F3K2", "D-0O1", "D-I1-O0", "D-WATER-METER-9", "D-ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"}

var stickerCodes = [][]byte{
	[]byte("0123456789abcde"),
	{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	{0x84, 0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0x08, 0x42, 0x10},
}

func newClaim(t testing.TB, b []byte) identity.ClaimCode {
	t.Helper()
	c, err := identity.NewClaimCode(b)
	require.NoError(t, err)
	return c
}

// allStickers returns every name with every code and without one.
func allStickers(t testing.TB) []identity.Sticker {
	t.Helper()
	var all []identity.Sticker
	for _, name := range stickerNames {
		d := parseDevice(t, name)
		all = append(all, identity.Sticker{Device: d})
		for _, c := range stickerCodes {
			all = append(all, identity.Sticker{Device: d, Claim: newClaim(t, c)})
		}
	}
	return all
}

func sameSticker(a, b identity.Sticker) bool { return a.Device == b.Device && a.Claim.Equal(b.Claim) }

func TestStickerRoundTrip(t *testing.T) {
	for _, s := range allStickers(t) {
		text := s.Encode()
		require.Empty(t, strings.Trim(text, alphanumeric), "%s is not of QR's alphanumeric set", text)
		require.Equal(t, 7+len(s.Device.String())+1+4+map[bool]int{true: 25}[s.HasClaim()], len(text))
		got, err := identity.ParseSticker(text)
		require.NoError(t, err, text)
		require.True(t, sameSticker(s, got), text)
		require.Equal(t, s.HasClaim(), got.HasClaim())
	}
	require.Empty(t, identity.Sticker{}.Encode())
	app := identity.DeviceID{ID: parseID(t, "A-1")} // only by force
	require.Empty(t, identity.Sticker{Device: app}.Encode())
}

// parseWrong parses a text that one mistake was made in. It may be refused, or understood; it may not be taken for another sticker.
func parseWrong(t *testing.T, s identity.Sticker, text string) (understood bool) {
	t.Helper()
	got, err := identity.ParseSticker(text)
	if err != nil {
		var e *identity.StickerError
		require.ErrorAs(t, err, &e)
		return false
	}
	require.True(t, sameSticker(s, got), "%q, made from %q, was taken for %q", text, s.Encode(), got.Encode())
	return true
}

// lookAlike reports whether ParseSticker forgives b in place of a.
func lookAlike(a, b byte) bool {
	class := func(c byte) byte {
		switch c {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return c
	}
	return class(a) == class(b)
}

// Every single substitution, at every place, by every character of QR's set, lower-case letters and line ends: refused, unless the character looks like the right one,
// and never taken for another sticker.
func TestStickerSubstitutions(t *testing.T) {
	set := alphanumeric + "abcdefghijklmnopqrstuvwxyz\n\t_"
	n, understood := 0, 0
	for _, s := range allStickers(t) {
		text := s.Encode()
		for i := range len(text) {
			for _, c := range []byte(set) {
				if c == text[i] || upper(c) == text[i] {
					continue
				}
				wrong := text[:i] + string(c) + text[i+1:]
				n++
				if parseWrong(t, s, wrong) {
					understood++
					require.True(t, lookAlike(text[i], upper(c)), "%q was accepted for %q", wrong, text)
				}
			}
		}
	}
	t.Logf("%d substitutions, %d of them look-alikes that were understood", n, understood)
	require.Greater(t, n, 50_000)
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 32
	}
	return c
}

// Every exchange of two neighbours.
func TestStickerExchanges(t *testing.T) {
	n := 0
	for _, s := range allStickers(t) {
		text := s.Encode()
		for i := range len(text) - 1 {
			if text[i] == text[i+1] {
				continue
			}
			n++
			wrong := text[:i] + text[i+1:i+2] + text[i:i+1] + text[i+2:]
			if parseWrong(t, s, wrong) {
				require.True(t, lookAlike(text[i], text[i+1]), "%q was accepted for %q", wrong, text)
			}
		}
	}
	require.Greater(t, n, 800)
}

// The tests above take some words; this one takes all. The sums are linear, so whether a mistake is seen depends on the place and on
// the difference of values alone: all of them, over the longest word, in arithmetic written out a second time.
func TestCheckArithmetic(t *testing.T) {
	const p, longest = 1021, 34 + 1 + 24
	for i := 1; i <= longest+2; i++ {
		for d := 1; d <= 37; d++ {
			require.NotZero(t, i*d%p, "plain, place %d, difference %d", i, d)
			require.NotZero(t, i*i%p*d%p, "folded, place %d, difference %d", i, d)
			// Exchanged neighbours: +d at one, -d at the next.
			require.NotZero(t, ((i+1)-i)*d%p, "plain, places %d and %d", i, i+1)
			require.NotZero(t, ((i+1)*(i+1)-i*i)*d%p, "folded, places %d and %d", i, i+1)
		}
	}
	// Exchange of the last character of plain, at place i, with the first of folded: the sum changes by i² times the
	// difference of the digits, the transmitted sum by -32 times that.
	for i := 3 + 2; i <= longest+2; i++ {
		for d := 1; d < 32; d++ {
			require.NotZero(t, (i*i+32)*d%p, "place %d, difference %d", i, d)
		}
	}
	// Within a pair: the number changes by 31·d, less than p, so a number below p is another residue.
	for d := 1; d < 32; d++ {
		require.Less(t, 31*d, p)
	}
}

func TestParseStickerForgives(t *testing.T) {
	s := identity.Sticker{Device: parseDevice(t, "D-0O1-I7"), Claim: newClaim(t, stickerCodes[1])} // code 000…001
	text := s.Encode()
	parts := strings.Split(text, ":")
	for name, typed := range map[string]string{
		"lower case":         strings.ToLower(text),
		"space around":       "\r\n " + text + "\t ",
		"space after colons": strings.ReplaceAll(text, ":", ": "),
		"space before code":  parts[0] + " :" + parts[1] + ":\n" + parts[2] + " : " + parts[3],
		"groups of four":     parts[0] + ":" + parts[1] + ":" + group(parts[2]) + ":" + parts[3][:2] + " " + parts[3][2:],
		"letters for digits": parts[0] + ":" + parts[1] + ":" + strings.NewReplacer("0", "o", "1", "l").Replace(parts[2]) + ":" + parts[3],
		"0 in the scheme":    strings.Replace(text, "SEMIO1", "SEMI01", 1),
		"I in the scheme":    strings.Replace(text, "SEMIO1", "SEM1OI", 1),
		"one look-alike":     strings.Replace(text, "D-0O1", "D-001", 1),
		"all digits":         strings.Replace(text, "D-0O1-I7", "D-001-17", 1),
		"all letters":        strings.Replace(text, "D-0O1-I7", "D-OOI-I7", 1),
		"all the other way":  strings.Replace(text, "D-0O1-I7", "D-O0I-17", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := identity.ParseSticker(typed)
			require.NoError(t, err, "%q", typed)
			require.True(t, sameSticker(s, got), "%q gave %s", typed, got.Device)
		})
	}
}

func group(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestParseStickerRefuses(t *testing.T) {
	s := identity.Sticker{Device: parseDevice(t, "D-7F3K2"), Claim: newClaim(t, stickerCodes[0])}
	text := s.Encode()
	code := strings.Split(text, ":")[2]
	bare := identity.Sticker{Device: s.Device}.Encode()
	for name, d := range map[string]struct{ text, part string }{
		"nothing":                  {"", "scheme"},
		"the name alone":           {"D-7F3K2", "scheme"},
		"another scheme":           {"https://example.org/D-7F3K2", "scheme"},
		"a later version":          {strings.Replace(text, "SEMIO1", "SEMIO2", 1), "scheme"},
		"no check":                 {"SEMIO1:D-7F3K2", "sticker"},
		"too many parts":           {text + ":", "sticker"},
		"code left out":            {strings.Replace(text, code+":", "", 1), "check characters"},
		"code emptied":             {strings.Replace(text, code, "", 1), "claim code"},
		"code cut":                 {strings.Replace(text, code, code[1:], 1), "claim code"},
		"code too long":            {strings.Replace(text, code, code+"0", 1), "claim code"},
		"U in the code":            {strings.Replace(text, code, "U"+code[1:], 1), "claim code"},
		"check of another sticker": {text[:len(text)-4] + bare[len(bare)-4:], "check characters"},
		"check cut":                {text[:len(text)-1], "check characters"},
		"space in the name":        {strings.Replace(text, "D-7F3K2", "D-7F 3K2", 1), "name"},
		"an application":           {strings.Replace(text, "D-7F3K2", "A-7F3K2", 1), "check characters"},
		"not ASCII":                {strings.Replace(text, "K", "\u212a", 1), "name"}, // the Kelvin sign, which upper-cases to K
		"very long":                {text + strings.Repeat(" ", 300), "sticker"},
		"code of zeros":            {"SEMIO1:D-1:" + strings.Repeat("0", 24) + ":" + zeroCheck(t), "claim code"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := identity.ParseSticker(d.text)
			var e *identity.StickerError
			require.ErrorAs(t, err, &e)
			require.Equal(t, d.part, e.Part, "%v", err)
			require.True(t, sameSticker(identity.Sticker{}, got))
		})
	}
}

// zeroCheck finds the check characters of D-1 with a code of zeros, which Encode never makes, from the definition.
func zeroCheck(t *testing.T) string {
	t.Helper()
	const set = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	value := map[byte]int{'D': 13, '-': 36, '1': 1, ':': 37, '0': 0}
	word := "D-1:" + strings.Repeat("0", 24)
	plain, folded := 0, 0
	for i := range len(word) {
		plain += (i + 1) * value[word[i]]
		folded += (i + 1) * (i + 1) * value[word[i]]
	}
	plain %= 1021
	for i, d := range []int{plain / 32, plain % 32} {
		folded += (len(word) + 1 + i) * (len(word) + 1 + i) * d
	}
	folded %= 1021
	return fmt.Sprintf("%c%c%c%c", set[plain/32], set[plain%32], set[folded/32], set[folded%32])
}

// An error must not repeat what was typed: most of a wrong claim code is a right one.
func TestStickerErrorsShowNothing(t *testing.T) {
	s := identity.Sticker{Device: parseDevice(t, "D-7F3K2"), Claim: newClaim(t, stickerCodes[0])}
	text := s.Encode()
	code := strings.Split(text, ":")[2]
	for i := range len(text) {
		for _, wrong := range []string{text[:i] + "?" + text[i+1:], text[:i] + text[i+1:], text[:i]} {
			_, err := identity.ParseSticker(wrong)
			require.Error(t, err, wrong)
			for j := range len(code) - 5 {
				require.NotContains(t, err.Error(), code[j:j+6])
			}
		}
	}
}

func FuzzParseSticker(f *testing.F) {
	for _, s := range allStickers(f) {
		f.Add(s.Encode())
		f.Add(strings.ToLower(s.Encode()))
	}
	f.Add("SEMIO1:D-OIOIOIOIOIOIOI:0000")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := identity.ParseSticker(text)
		if err != nil {
			var e *identity.StickerError
			require.True(t, errors.As(err, &e))
			return
		}
		again, err := identity.ParseSticker(s.Encode())
		require.NoError(t, err, "%q gave %q", text, s.Encode())
		require.True(t, sameSticker(s, again))
	})
}
