// Package bench puts semio's sessions beside what one would use instead, in one run on one machine: the standard library's
// primitives without a protocol, Noise (github.com/flynn/noise) and TLS 1.3 (crypto/tls).
//
// Start with the command, which prints ratios:
//
//	go run ./internal/bench/ratios
//
// [Groups] makes everything that is compared, [Measure] compares it. For figures that benchstat reads there is
//
//	go test -bench . ./internal/bench
//
// # How it measures
//
// A [Group] holds the contenders for one operation at one size. They take turns of half a millisecond, forwards in one round
// and backwards in the next. A ratio is taken within each round, between two turns a few milliseconds apart, and the report gives
// the median of these ratios, how sure it is, and the middle half of them. What slows the whole machine down for a second hits both sides of
// a ratio; what hits a single turn moves one ratio out of two hundred. Two separate runs of a benchmark can say neither.
//
// # What is compared with what
//
//	seal, open   one message, one goroutine, no I/O; records to open are made off the clock
//	             bare: the primitives alone, over the same input, buffers reused as well as the standard library allows
//	             Noise: a transport message; it has no header, so a lossy transport would have to add one
//	             TLS: a record through tls.Conn, which copies it into and out of a net.Conn
//	deliver      one message from a goroutine to another one, who opens it, before the next one is sent
//	handshake    the work of both sides, up to where both may seal
//
// The cryptography differs where a peer does not offer ours: Noise runs on Curve25519, since it knows no P-256, and TLS 1.3
// in Go chooses its own cipher, which the contender's name tells. The handshake of TLS carries and verifies certificates and makes two
// signatures; e2e did that when the peer was made. Noise KK computes four Diffie-Hellman values on each side, e2e three.
//
// # What it does not promise
//
// Times hold for the machine that printed them, and for a computer rather than a device. The clock of a message is the caller's: time.Now is
// not part of what e2e's Seal costs here.
package bench
