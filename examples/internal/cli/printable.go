package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// Printable returns text that came from outside as it is, or quoted if something in it would steer the terminal or break the line.
func Printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
