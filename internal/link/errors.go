package link

import "fmt"

// PublishError is a broker's refusal of a publication.
type PublishError struct {
	Topic  string
	Reason byte // MQTT 5 reason code, 0x80 or above
	Text   string
}

func (e *PublishError) Error() string {
	return fmt.Sprintf("link: broker refused to publish on %s (reason 0x%02x %s)", e.Topic, e.Reason, e.Text)
}

// SubscribeError is a broker's refusal of a subscription.
type SubscribeError struct {
	Filter string
	Reason byte // MQTT 5 reason code, 0x80 or above
	Text   string
}

func (e *SubscribeError) Error() string {
	return fmt.Sprintf("link: broker refused to subscribe to %s (reason 0x%02x %s)", e.Filter, e.Reason, e.Text)
}
