// Package e2e is the end-to-end protocol of semio: what a device gateway and an application gateway say to one another
// through a platform and a broker that read nothing, and how both talk to the platform itself. It extends section III.E.3 of
// Schrijen et al. 2019 and keeps its words: master key, session encryption key (SEK), session authentication key (SAK),
// session ID, message counter. docs/protocol.md is its specification, byte by byte.
//
// # Where to start
//
// [NewPeer] makes one side of one binding (one commissioning of a pair) from two verified credentials. It is sans-I/O: give it
// what the transport received and publish what it returns.
//
//	p, err := e2e.NewPeer(e2e.Config{Self: me, Key: key, Remote: peer, Binding: id, PSK: psk, RequirePSK: true, Epochs: store})
//	init, err := p.Initiate(now, nil)          // publish init; again p.Pending() until established
//	ev, err := p.Receive(now, record)          // every record; on an error drop it, and publish a ChallengeError's Record
//	if ev.Reply != nil { publish(ev.Reply) }   // whatever ev.Kind is
//	record, err := p.Seal(now, nil, message)   // after KindEstablished
//	if p.RenewDue(now) { p.Initiate(now, nil) }
//
// Either side may initiate, also both at once. Early data travels in the INIT; a device that sleeps most of the time needs no round
// trip to deliver a measurement. [Peer.UsePrekey] and Config.RequirePrekey make that as safe as what follows it.
//
// Config chooses the rest: the profile (the paper's [ProfileStatic] is weaker, and says how), the suites to negotiate, a receiver that
// tolerates reordering, limits.
//
// With a platform on the other side there are no sessions but one-shot exchanges: [Peer.Begin], [Exchange.Init] and
// [Exchange.Open] at the gateway, [Peer.OpenRequest] and [Request.Reply] at the platform.
//
// # A session's life
//
// The initiator seals after RESP ([KindEstablished]), and its Event.Reply, an empty DATA record, tells the responder so. The
// responder keeps sealing on the session before until the first DATA of the new one arrives (KindEstablished, or KindData
// with Switched); before its first session it has none. Keys live in RAM only: after a restart there is no session, and what
// was under way has to be sent again by the layer above, which numbers its messages. Only two numbers are durable ([Epochs]); a side
// that lost them comes back by CHALLENGE and echo ([ChallengeError], [RestorableEpochs]).
//
// # Records
//
// Big-endian. DATA and CLOSE:
//
//	 0        1        2        3        4                 12        16          16+n       32+n
//	+--------+--------+--------+--------+-----------------+---------+-----------+----------+
//	|ver type| suite  | flags  |  gen   |   session ID    | counter | ciphertext|   tag    |
//	+--------+--------+--------+--------+-----------------+---------+-----------+----------+
//
// INIT and RESP, with the binding's hint in the place of the session ID and zero for generation and counter:
//
//	INIT  header 16 | epoch 8 | offered suites 2 | [echo 16] | [prekey 4] | point 33 | [ML-KEM key 1184] | enc(caps 4 | early data) | tag 16 | mac1 16
//	RESP  header 16 | point 33 | [ML-KEM ciphertext 1088] | enc(caps 4 | data) | tag 16
//	CHALLENGE  header 16 | SHA-256(INIT) 16 | nonce 16 | highest epoch 8 | mac 16
//
// # What it promises, and what not
//
// In ProfileEphemeral: confidentiality, authenticity in both directions, no replay, forward secrecy for everything but early data, and,
// from RESP on, no impersonation towards whose agreement key was stolen. With a pre-shared key all of it holds although the certificate authority
// helps the attacker.
//
// Early data without a [Prekey] and one-shot requests have no forward secrecy, are open to whoever stole the responder's agreement key
// (and knows the pre-shared key), and are protected from replay by the epoch alone: a request that changes something carries a signature over
// [Exchange.Transcript]. Lengths, times and the binding's hint are visible. Delivery is not promised; a record is lost or
// delivered once.
package e2e
