//go:build race

package keyvault_test

// underRace: the race detector's shadow memory is terabytes of the address space, which no test can search.
const underRace = true
