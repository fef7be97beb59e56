package cli

import (
	"strings"

	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/identity"
)

// Split returns the parts of a list with commas, without white space and empty parts.
func Split(list string) (out []string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// Operators parses the value of -operators.
func Operators(list string) (out []identity.OperatorID, err error) {
	for _, name := range Split(list) {
		id, err := identity.ParseOperatorID(name)
		if err != nil {
			return nil, Usage("-operators: %v", err)
		}
		out = append(out, id)
	}
	return out, nil
}

// WriteOut writes what -out names: a file as a whole, or stdout for "-".
func (t *Terminal) WriteOut(path string, b []byte) error {
	if path == "-" {
		_, err := t.Out.Write(b)
		return err
	}
	return files.Write(path, b, false)
}
