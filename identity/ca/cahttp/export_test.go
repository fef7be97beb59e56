package cahttp

import "time"

// Addresses and its limits, for tests.
type Addresses = addresses

const (
	AddressBurst = addressBurst
	AddressEvery = addressEvery
	MaxAddresses = maxAddresses
)

func (a *addresses) TakeAt(remote string, now time.Time) bool { return a.takeAt(network(remote), now) }

func (a *addresses) Known() int { return len(a.full) }
