package bench

// What tests reach into.
var (
	Quantile       = quantile
	MedianInterval = medianInterval
)

// Channel is a channel of the contender Name, with its methods open to tests.
type Channel struct {
	Name string
	Make func() (Channel, error)

	Ready func(n int) error
	Seal  func(dst, plaintext []byte) ([]byte, error)
	Open  func(dst, record []byte) ([]byte, error)
}

// Channels lists every contender that seals and opens.
func Channels() ([]Channel, error) {
	m, err := newMembers()
	if err != nil {
		return nil, err
	}
	name, err := tlsName(m)
	if err != nil {
		return nil, err
	}
	var out []Channel
	for _, n := range channels(name) {
		out = append(out, Channel{Name: n.name, Make: func() (Channel, error) {
			c, err := n.make(m)
			if err != nil {
				return Channel{}, err
			}
			return Channel{Name: n.name, Ready: c.ready, Seal: c.seal, Open: c.open}, nil
		}})
	}
	return out, nil
}

// SessionMessages is when a session of ours is renewed.
const SessionMessages = sessionMessages
