package identity

import (
	"fmt"
	"strings"
)

const (
	maxName     = 2 + 32 // role letter, '-', the rest
	maxInstance = 8
	maxClientID = maxName + 2 + maxInstance
)

// ID is the name of a peer: its role's letter, '-', and 1 to 32 of the characters 0-9, A-Z and '-', where no two '-' stand
// together and none stands at the end ("D-7F3K2", "A-WATER"). The common name and the DNS name of its certificate, its MQTT client ID and its
// level of a topic are exactly the name. IDs compare with == and serve as map keys. The zero ID is no identity.
type ID struct{ name string }

// ParseID returns the ID of name s. It accepts no other spelling: a lower-case letter is an error, not the same name.
func ParseID(s string) (ID, error) {
	switch {
	case len(s) < 3 || len(s) > maxName:
		return ID{}, badName(s, "want a role letter, '-' and 1 to 32 characters")
	case !Role(s[0]).valid():
		return ID{}, badName(s, "the role letter must be D, A, P, R or O")
	case s[1] != '-':
		return ID{}, badName(s, "the second character must be '-'")
	case strings.Contains(s, "--"):
		return ID{}, badName(s, "\"--\" parts the name from an instance and may not stand in it")
	case s[len(s)-1] == '-':
		return ID{}, badName(s, "the last character may not be '-'")
	}
	for i := 2; i < len(s); i++ {
		if c := s[i]; !isDigit(c) && !isUpper(c) && c != '-' {
			return ID{}, badName(s, "want 0-9, A-Z and '-' only")
		}
	}
	return ID{s}, nil
}

func badName(s, why string) error {
	if len(s) > maxClientID {
		s = s[:maxClientID] + "…"
	}
	return fmt.Errorf("%w %q: %s", ErrName, s, why)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// String returns the name; "" for the zero ID.
func (id ID) String() string { return id.name }

// IsZero reports whether id is no identity.
func (id ID) IsZero() bool { return id.name == "" }

// Role returns the role that the name states, 0 for the zero ID.
func (id ID) Role() Role {
	if id.name == "" {
		return 0
	}
	return Role(id.name[0])
}

// MarshalText implements [encoding.TextMarshaler]. The zero ID is the empty text.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.name), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. The empty text is the zero ID.
func (id *ID) UnmarshalText(b []byte) error { return unmarshalName(id, 0, b) }

func unmarshalName(id *ID, want Role, b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	p, err := parseRole(string(b), want)
	if err != nil {
		return err
	}
	*id = p
	return nil
}

func parseRole(s string, want Role) (ID, error) {
	id, err := ParseID(s)
	if err != nil {
		return ID{}, err
	}
	if want != 0 && id.Role() != want {
		return ID{}, badName(s, fmt.Sprintf("want the name of a role %s (%c-…)", want, byte(want)))
	}
	return id, nil
}

// ParseClientID splits the client ID of one of several instances, "A-WATER--2", into the name that authorisation asks for
// and the instance, 1 to 8 of 0-9 and A-Z. A plain name has the instance "". Only applications and platforms have
// instances.
func ParseClientID(s string) (id ID, instance string, err error) {
	name, instance, found := strings.Cut(s, "--")
	if id, err = ParseID(name); err != nil {
		return ID{}, "", err
	}
	if !found {
		return id, "", nil
	}
	if err := checkInstance(id, instance); err != nil {
		return ID{}, "", badName(s, err.Error())
	}
	return id, instance, nil
}

func checkInstance(id ID, instance string) error {
	if r := id.Role(); r != RoleApplication && r != RolePlatform {
		return fmt.Errorf("a %s has no instances", r)
	}
	if len(instance) < 1 || len(instance) > maxInstance {
		return fmt.Errorf("want an instance of 1 to %d characters after \"--\"", maxInstance)
	}
	for i := range len(instance) {
		if !isDigit(instance[i]) && !isUpper(instance[i]) {
			return fmt.Errorf("want 0-9 and A-Z only in the instance")
		}
	}
	return nil
}

// clientID is the inverse of ParseClientID.
func clientID(id ID, instance string) string {
	if instance == "" {
		return id.name
	}
	return id.name + "--" + instance
}
