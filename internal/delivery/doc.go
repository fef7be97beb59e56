// Package delivery carries events and calls between the two gateways of a binding so that nothing is lost and nothing is
// handled twice, although session keys live in RAM, brokers drop queued messages, devices sleep and gateways restart. It
// stands above package e2e: message numbers outlive sessions, a frame is sealed when it is published, under the session of
// that moment, and it leaves the outbox when the other gateway, not the broker, acknowledged it.
//
// Start with [Open], once for each binding, and run [Channel.Run]. Give it what the link brings with [Channel.LinkUp],
// [Channel.LinkDown] and [Channel.Receive]; send with [Channel.Send] and [Channel.Call].
//
// # What is promised
//
//   - Events are kept in the [Store] before Send returns, and are handled by the other side in their order, each at least
//     once; twice only if the receiver died between its handler and the mark that follows. A handler that writes the mark in
//     the transaction of its own effects ([Config].HandlerKeepsMark) handles each exactly once.
//   - Volatile events touch no store, and are lost with the session, the link or either process.
//   - Calls run at most once: the receiver notes the number of a call before it begins. A repeated call gets the same reply
//     from RAM. When it cannot be known whether a call ran, the error is [ErrUnknownOutcome]; when it is known that it did
//     not and never will, [ErrNotRun].
//   - A call runs before its deadline or not at all, although no clock is shared: the deadline is told in the receiver's
//     own clock, see below.
//   - No promise is made on the time that delivery takes, nor against an endpoint that breaks the protocol on purpose, except
//     that it can neither make this side use unbounded memory nor stop other bindings.
//
// # Frames
//
// A frame is the plaintext of one DATA record, or of early data (then always a single event). Integers are big-endian.
//
//	0   1  version 1 in the high nibble; kind in the low: 1 event, 2 ack, 3 call, 4 reply
//	1   1  flags: b0 ack, b1 clock, b2 clock wanted; the others are 0
//	   [8] ack: highest event number that the sender of this frame has handled, durably; all up to it are done
//	   [8] clock: the sender's clock in milliseconds, any origin, never running backwards within a session
//	       then, by kind:
//	event  number u64 (0: volatile) ‖ low u64 ‖ type length u8 ‖ content type ‖ body
//	ack    nothing (b0 is set)
//	call   number u64 ‖ low u64 ‖ deadline u64 ‖ type length u8 ‖ content type ‖ body
//	reply  number u64 ‖ status u8 ‖ type length u8 ‖ content type ‖ body
//
// Numbers begin at 1 and are never used again; events and calls have a space each, in each direction. low is the oldest
// event still queued, or the oldest call still waited for, when the frame was sealed. The receiver takes a number only if it
// is the next one after those that it took, or if it is low itself, which says that all before it were given up; anything
// else waits to be sent again (go back N). The body of a reply of status 1 (the handler returned an error) is the error's
// text in UTF-8; those of status 2 (unknown outcome) and 3 (expired, not run) have neither type nor body.
//
// An outbox entry at rest is an event frame without flags whose low is its own number.
//
// # Deadlines without a common clock
//
// A receiver tells its clock in an ack frame when a session begins and when it is asked (b2). The frame took some time to
// arrive, so the caller's idea of that clock is never ahead, and a deadline computed from it is never late, whoever delays
// messages in between; the worst is that a call expires too soon. What was learnt in one session is not used in the next, since the
// other side may have restarted, and it is asked for again after ten minutes, because clocks drift.
package delivery
