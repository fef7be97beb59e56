//go:build goexperiment.runtimesecret

package secret

import "runtime/secret"

// Erases says whether Do erases what it promises to: the program was built with GOEXPERIMENT=runtimesecret, on a platform where
// the runtime has it.
const Erases = true

// Do runs f and erases what f left in registers and on its stack, at once, and what it allocated, when the garbage collector finds it
// unreachable. Not covered are goroutines that f starts.
func Do(f func()) { secret.Do(f) }
