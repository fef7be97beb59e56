// Package registry is the life cycle of devices as a pure state machine, and the routing that follows from it. It does no I/O, reads no
// clock and draws no random numbers: package platform keeps what it decides.
//
// Start with [Apply]: a [State] and an [Event] give the next State and the [Effects] that must become durable with it. [Routing]
// answers, from a State, who may use which topic.
//
//	registered ──Connect──▶ connected ──Disconnect, ApplicationRevoked──▶ registered
//	registered, connected ──Retire, DeviceRevoked──▶ retired, for ever; Disconnect still ends a connection that no list has ended
//
// A change commits at once. What the two peers have to do is queued as orders in the device's record, each with the device's
// life-cycle number: a peer that is offline or broken holds up nobody, and a peer that comes back applies what it
// missed in sequence. An order that destroys something refers to its evidence: the application's own signed request, or a list of the
// certificate authority. See docs/lifecycle.md.
package registry
