package cahttp

import (
	"net/netip"
	"sync"
	"time"
)

// Each address has this many requests of others than platforms at once, and gets one back in that time.
const (
	addressBurst = 30
	addressEvery = time.Second
	maxAddresses = 4096
)

// addresses counts requests by where they come from. The zero value is ready.
type addresses struct {
	mu     sync.Mutex                 // guards what follows
	full   map[netip.Prefix]time.Time // when an address has its whole allowance again; absent: it has
	others time.Time                  // the same for all addresses that find no room in full
}

// take reports whether an address may ask now.
func (a *addresses) take(remote string) bool { return a.takeAt(network(remote), time.Now()) }

func (a *addresses) takeAt(from netip.Prefix, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	full, known := a.full[from]
	if !known && len(a.full) >= maxAddresses {
		for p, t := range a.full {
			if !t.After(now) {
				delete(a.full, p)
			}
		}
	}
	crowded := !known && len(a.full) >= maxAddresses
	if crowded {
		full = a.others
	}
	if full.Before(now) {
		full = now
	}
	if full = full.Add(addressEvery); full.Sub(now) > addressBurst*addressEvery {
		return false
	}
	if crowded {
		a.others = full
		return true
	}
	if a.full == nil {
		a.full = map[netip.Prefix]time.Time{}
	}
	a.full[from] = full
	return true
}

// network is what one subscriber has: an IPv4 address, or 64 bits of an IPv6 one.
func network(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
