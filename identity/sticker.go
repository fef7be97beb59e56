package identity

import (
	"fmt"
	"strings"
)

// Sticker is what the label of a device says: its name and, unless claim codes are not used (as in the paper, whose sticker has
// the name only), the claim code. Printing a Sticker shows the name; [Sticker.Encode] alone shows the code.
type Sticker struct {
	Device DeviceID
	Claim  ClaimCode // zero: none
}

// Text form, in the characters of QR codes' alphanumeric mode:
//
//	SEMIO1:<name>:<code, 24 base32 characters>:<check, 4 base32 characters>
//	SEMIO1:<name>:<check>
const (
	stickerScheme = "SEMIO1"
	codeChars     = ClaimCodeSize * 8 / 5
	maxSticker    = 256 // bytes of text to look at, spaces included
)

// Encode returns the text of the sticker. It holds the claim code: print it on the label and nowhere else. The zero Device
// gives "".
func (s Sticker) Encode() string {
	if s.Device.Role() != RoleDevice {
		return ""
	}
	word := s.Device.String()
	if !s.Claim.IsZero() {
		word += ":" + encode32(s.Claim.b.Expose())
	}
	return stickerScheme + ":" + word + ":" + checkChars(word)
}

// HasClaim reports whether the sticker has a claim code.
func (s Sticker) HasClaim() bool { return !s.Claim.IsZero() }

// String returns the name and whether there is a claim code, not the code.
func (s Sticker) String() string {
	if s.Device.IsZero() {
		return "no device"
	}
	if s.HasClaim() {
		return s.Device.String() + " with claim code " + s.Claim.String()
	}
	return s.Device.String() + " without claim code"
}

// A StickerError says where the text of a sticker is wrong. It never shows what stands there, which may be a claim code.
type StickerError struct {
	Part   string // "sticker", "scheme", "name", "claim code" or "check characters"
	Reason string // what is wrong and what to do
}

func (e *StickerError) Error() string { return "identity: sticker: " + e.Part + ": " + e.Reason }

// ParseSticker reads the text of a sticker, scanned or typed. It forgives lower case, white space around the text, around ':' and
// within code and check characters, and O for 0, I for 1 and L for 1 wherever that cannot mean something else. In the name,
// where O, 0, I and 1 all occur, it finds out which was meant from the check characters, if it can.
//
// A text with any other single wrong character, or with two neighbours exchanged, is never taken for another sticker: it is a
// [*StickerError].
func ParseSticker(text string) (Sticker, error) {
	if len(text) > maxSticker {
		return Sticker{}, &StickerError{"sticker", "the text is too long; scan or type one label only"}
	}
	parts := strings.Split(upperASCII(strings.TrimSpace(text)), ":")
	if scheme := foldAll(strings.TrimSpace(parts[0])); scheme != foldAll(stickerScheme) {
		if strings.HasPrefix(scheme, foldAll(stickerScheme[:5])) {
			return Sticker{}, &StickerError{"scheme", "the label is of another version; update the program that reads it"}
		}
		return Sticker{}, &StickerError{"scheme", "the text does not begin with SEMIO1: ; it is no label of ours"}
	}
	if len(parts) != 3 && len(parts) != 4 {
		return Sticker{}, &StickerError{"sticker", "want two or three parts after SEMIO1, parted by ':'; type the whole line"}
	}
	// Not the white space after the name: taken away, it would let a shorter name pass for a name whose last character was
	// replaced by a space. Before the name there is nothing to confuse, since names begin with D.
	name := strings.TrimLeft(parts[1], " \t\r\n")
	check, err := decode32(parts[len(parts)-1], "check characters", checkSize)
	if err != nil {
		return Sticker{}, err
	}
	code := ""
	if len(parts) == 4 {
		v, err := decode32(parts[2], "claim code", codeChars)
		if err != nil {
			return Sticker{}, err
		}
		defer clear(v)
		code = ":" + chars32(v)
	}
	if name, err = correctName(name, code, check); err != nil {
		return Sticker{}, err
	}
	dev, err := ParseDeviceID(name)
	if err != nil {
		return Sticker{}, &StickerError{"name", "it is not the name of a device (D-…)"}
	}
	s := Sticker{Device: dev}
	if code != "" {
		b := pack32(code[1:])
		defer clear(b)
		if s.Claim, err = NewClaimCode(b); err != nil {
			return Sticker{}, &StickerError{"claim code", "all zero, which no device has; the label is a dummy"}
		}
	}
	return s, nil
}

// upperASCII leaves other letters alone: strings.ToUpper would turn some of them into ASCII.
func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func badChar(part string) error {
	return &StickerError{part, fmt.Sprintf("a character that cannot occur there (%s is 0-9 and A-Z without U); look at the label again", part)}
}
