package identity

import "strings"

// The check characters of a sticker. The word is what they protect: the name and, if there is one, ':' and the claim code.
// Each of its characters has a value, '0'…'9' 0…9, 'A'…'Z' 10…35, '-' 36, ':' 37; position i counts from 1. With p = 1021, a prime:
//
//	plain  = sum of i · value(i) mod p, as two base32 characters, high one first
//	folded = sum of i² · value(i) mod p over the word, where O counts as 0 and I as 1, and over the two characters of plain at the places
//	         that follow, where their value is that of the base32 digit, as two more
//
// A wrong character that is no look-alike changes folded, because i² · d is not a multiple of p for 0 < i, |d| < p; so do two
// exchanged neighbours. So when folded holds, all that one typing mistake can have done is to confuse O with 0 or I
// with 1, and plain tells which reading was meant.
const (
	checkSize = 4
	checkP    = 1021
	// maxAmbiguous bounds the readings that are tried, to 2^10. A name with more look-alikes has to be typed as it stands.
	maxAmbiguous = 10
)

func checkChars(word string) string {
	p := plainSum(word)
	f := foldedSum(word, p)
	return string([]byte{alphabet[p>>5], alphabet[p&31], alphabet[f>>5], alphabet[f&31]})
}

func plainSum(word string) int {
	sum := 0
	for i := range len(word) {
		sum += (i + 1) * checkValue(word[i])
	}
	return sum % checkP
}

func foldedSum(word string, plain int) int {
	n := len(word)
	// Digits, not values of the table above: with those some exchanges of a character of plain with one of folded go unseen.
	sum := (n+1)*(n+1)*(plain>>5) + (n+2)*(n+2)*(plain&31)
	for i := range len(word) {
		sum += (i + 1) * (i + 1) % checkP * checkValue(fold(word[i]))
	}
	return sum % checkP
}

func checkValue(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case isUpper(c):
		return int(c-'A') + 10
	case c == '-':
		return 36
	}
	return 37 // ':'
}

// fold reads a letter that looks like a digit as that digit.
func fold(c byte) byte {
	switch c {
	case 'O':
		return '0'
	case 'I':
		return '1'
	}
	return c
}

func foldAll(s string) string {
	return strings.NewReplacer("O", "0", "I", "1").Replace(s)
}

// correctName returns the name that was meant. tail is what follows it in the word: nothing, or ':' and the claim code.
func correctName(name, tail string, check []byte) (string, error) {
	mismatch := &StickerError{"check characters", "they do not fit the rest: a character is wrong or two are exchanged; compare with the label"}
	if len(name) > maxName || strings.Trim(name, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return "", &StickerError{"name", "it is not the name of a device (D-…)"}
	}
	plain, folded := int(check[0])<<5|int(check[1]), int(check[2])<<5|int(check[3])
	if foldedSum(name+tail, plain) != folded {
		return "", mismatch
	}
	if plainSum(name+tail) == plain {
		return name, nil
	}
	var at []int
	for i := range len(name) {
		if strings.IndexByte("O0I1", name[i]) >= 0 {
			at = append(at, i)
		}
	}
	if len(at) > maxAmbiguous {
		return "", &StickerError{"name", "O and 0, or I and 1, are confused; type the name exactly as the label shows it"}
	}
	found, n := "", 0
	for flips := 1; flips < 1<<len(at); flips++ {
		b := []byte(name)
		for j, i := range at {
			if flips>>j&1 == 1 {
				b[i] = lookAlike(b[i])
			}
		}
		if plainSum(string(b)+tail) == plain {
			found, n = string(b), n+1
		}
	}
	switch n {
	case 0:
		return "", mismatch
	case 1:
		return found, nil
	}
	return "", &StickerError{"name", "O and 0, or I and 1, are confused, and it cannot be told which was meant; compare with the label"}
}

func lookAlike(c byte) byte {
	switch c {
	case 'O':
		return '0'
	case '0':
		return 'O'
	case 'I':
		return '1'
	}
	return 'I'
}
