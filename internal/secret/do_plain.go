//go:build !goexperiment.runtimesecret

package secret

// Erases says whether Do erases what it promises to: the program was built with GOEXPERIMENT=runtimesecret, on a platform where
// the runtime has it.
const Erases = false

// Do runs f. Built with GOEXPERIMENT=runtimesecret it would erase what f left in registers, on its stack, and in what it allocated.
func Do(f func()) { f() }
