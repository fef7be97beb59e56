//go:build !race

package keyvault_test

const underRace = false
