package brokerflag

import (
	"net/url"

	"github.com/semio-iot/semio/examples/internal/cli"
)

// Protection says what is protected over a broker, and what is not.
type Protection struct {
	Mode         string   `json:"mode"` // "mutual-tls" or "public"
	Protected    []string `json:"protected"`
	NotProtected []string `json:"not_protected"`
}

// Protection of the mode that the flags say.
func (b *Flags) Protection() Protection {
	if !*b.Public {
		return MutualTLS()
	}
	p := Protection{
		Mode: "public",
		Protected: []string{
			"what devices and applications say to each other, end to end: nobody on the way reads, forges or repeats it, nor changes its order",
			"who may be connected with whom: the platform's orders are signed, and believed only with certificates and evidence",
		},
		NotProtected: []string{
			"everybody on this broker sees the names of devices and applications, when they talk and how much",
			"everybody on this broker can delay and stop messages and cut connections; what was queued is delivered when he stops",
			"nobody keeps a retired device off this broker; its messages are refused all the same",
		},
	}
	if u, err := url.Parse(*b.URL); err == nil && (u.Scheme == "mqtt" || u.Scheme == "ws") {
		p.NotProtected = append(p.NotProtected, "without TLS (mqtts, wss) everybody on the way to the broker sees and can do the same")
	}
	return p
}

// MutualTLS is the protection over the platform's own broker.
func MutualTLS() Protection {
	return Protection{
		Mode: "mutual-tls",
		Protected: []string{
			"what devices and applications say to each other, end to end: not even broker and platform can read, forge or repeat it",
			"who talks with whom, from everybody outside: TLS 1.3 with certificates on both sides",
			"topics: the broker lets each certificate use its own and no others, and keeps retired devices out",
		},
		NotProtected: []string{
			"who runs the broker sees the names of devices and applications, when they talk and how much, and can stop them",
		},
	}
}

// Elsewhere is the protection over a broker with mutual TLS that the platform has no hand in.
func Elsewhere() Protection {
	p := MutualTLS()
	p.Mode = "mutual-tls, rules elsewhere"
	p.Protected = p.Protected[:len(p.Protected)-1] // the topics, which are now the broker's
	p.NotProtected = append(p.NotProtected, "this program tells another broker neither who may use which topic nor whom to cut off: "+
		"give it rules by certificate, or write an Enforcer")
	return p
}

// Tell prints the protection for a person. Programs with -json put it into their first value.
func (p Protection) Tell(t *cli.Terminal) {
	head := "Over the platform's own broker, with mutual TLS:"
	if p.Mode == "public" {
		head = "Over a public broker:"
	}
	t.Note("%s", head)
	for _, s := range p.Protected {
		t.Note("  protected      %s", s)
	}
	for _, s := range p.NotProtected {
		t.Note("  NOT protected  %s", s)
	}
}
