package mqttlink

import "crypto/rand"

// randomClientID is of the form that every server must take (MQTT 5, 3.1.3.1): at most 23 letters and digits.
func randomClientID() string { return rand.Text()[:23] }

// What a reason means where the broker knows nobody.
var anonymousTexts = map[Reason]string{
	ReasonIdentity: "broker wants a user name and password or a certificate, or has banned this address: it is not a public broker for everybody, " +
		"so take another one",
	ReasonClientID: "broker refused a random client ID of 23 letters and digits: it is not a public broker for everybody, so take another one",
	ReasonProtocol: "no common protocol: the broker must speak MQTT 5, and TLS 1.2 or newer where TLS is used: check scheme and port",
}
