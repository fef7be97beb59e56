package link

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxTopic is the length in bytes of the longest topic and filter that links take. MQTT allows 65,535; those of semio have
// about 100.
const MaxTopic = 1024

// CheckTopic returns an error for what is no topic to publish on. A link asks it before the broker, which would answer a
// malformed topic with the end of the connection.
func CheckTopic(topic string) error {
	if topic == "" || len(topic) > MaxTopic || !ValidString(topic) || strings.ContainsAny(topic, "+#") {
		return fmt.Errorf("link: publish on %.80q: want a topic of 1 to %d bytes of UTF-8 without wildcards", topic, MaxTopic)
	}
	return nil
}

// CheckFilters returns an error for the first that is no filter to subscribe to.
func CheckFilters(filters ...string) error {
	for _, f := range filters {
		if !validFilter(f) {
			return fmt.Errorf("link: topic filter %.80q: want 1 to %d bytes of UTF-8, + and # alone in their level, # in the last", f, MaxTopic)
		}
	}
	return nil
}

func validFilter(f string) bool {
	if f == "" || len(f) > MaxTopic || !ValidString(f) {
		return false
	}
	levels := strings.Split(f, "/")
	for i, level := range levels {
		if strings.ContainsAny(level, "+#") && (len(level) != 1 || level == "#" && i != len(levels)-1) {
			return false
		}
	}
	return true
}

// ValidString reports whether s is what MQTT 5, 1.5.4 allows in a string, without the control characters that it lets a
// receiver refuse.
func ValidString(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }) < 0
}
