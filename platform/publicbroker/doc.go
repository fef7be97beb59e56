// Package publicbroker connects device, application and platform over an MQTT broker that belongs to a stranger: without client
// certificates, accounts, or rules about who may use which topic.
//
// Start with [New], and give what it returns as Link to devicegw.Config, appgw.Config and platform.Config. The platform has a
// topic prefix besides, [RandomPrefix] once and the same ever after; devices and applications learn it at their admission:
//
//	link, err := publicbroker.New(publicbroker.Config{Broker: "mqtts://broker.example:8883"})
//	gw, err := devicegw.Open(ctx, devicegw.Config{Root: vault, NVM: nvm, Link: link})
//
// # What is protected then, and what is not
//
// Confidentiality, authenticity, order and freshness of what device, application and platform say to each other come from
// package e2e between certified peers; no broker has a part in them. The broker, and everybody who is connected to it, can
//
//   - see who talks with whom, when, and how much: names of devices and applications are in the topics;
//   - withhold, delay, repeat and inject messages, which costs availability, not security: records that are forged or were seen
//     before are dropped;
//   - end connections. Each connection has a client ID of its own, drawn at random, so that whoever takes one over must learn the
//     next one too. Attempts are spaced with back-off and jitter, at most a minute apart: service comes back when he stops.
//
// The platform cannot keep a retired device off such a broker. The device is refused all the same: by its application, which holds the
// authority's revocation list, and by the platform.
package publicbroker
