// Package adversary plays the network, and worse, between peers of package e2e, and judges what they do.
//
// A [World] is a cast of parties and some bindings between them, chosen at its start: profile, suites, pre-shared key, receive window, and
// perhaps a thief who holds the agreement key of one of them. Each [World.Step] is one act of the adversary or of a party: a record is
// delivered, repeated, reflected, truncated, changed, spliced, or given to another binding; a party sends, starts a session, closes one,
// loses power at the worst moment, or comes back from an old backup. What to do next comes from a [Chooser]: a generator of pseudo-random
// numbers in the command beside this package, the fuzzer's bytes in FuzzAdversary.
//
// The rules, which a [Violation] names:
//
//   - no key seals twice under a nonce (seen through e2e/internal/seam, not guessed from the wire);
//   - nothing is accepted that the other party of the binding did not send, and nothing is delivered twice;
//   - a session has the same two ends, binding and exported keys on both sides, and a message arrives in the session it was sealed in, in
//     order unless the receiver is windowed;
//   - once the adversary rests, a session comes back, whatever happened before;
//   - whoever stole a party's own agreement key cannot pose as another to it, but for what the protocol says of early data;
//   - a request to a platform takes effect once, and a reply belongs to its request.
package adversary

import "fmt"

// Chooser makes the adversary's decisions.
type Chooser interface {
	// Choose returns a number from 0 to n-1. n is at least 1.
	Choose(n int) int
}

// Violation is a broken rule.
type Violation struct {
	Rule, Detail string
}

func (v *Violation) Error() string { return fmt.Sprintf("%s: %s", v.Rule, v.Detail) }

func violation(rule, format string, args ...any) error {
	return &Violation{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// The rules.
const (
	RuleNonce     = "a key sealed twice under one nonce"
	RuleForged    = "what was not sent was accepted"
	RuleRepeated  = "something was delivered twice"
	RuleOrder     = "order within a session"
	RuleAgreement = "both sides agree"
	RuleReturn    = "a session comes back"
	RuleThief     = "a stolen key serves its owner's peers alone"
	RuleOnce      = "a request takes effect once"
	RuleAPI       = "contract of the interface"
)
