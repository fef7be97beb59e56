// Package storetest shows that an implementation of [appgw.Store] keeps the contract.
package storetest

import (
	"testing"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/internal/kv/kvtest"
)

// TestStore runs the suite. open returns the same store each time it is called with the same name, since the suite closes stores and
// opens them again; forgets says that nothing survives closing.
func TestStore(t *testing.T, open func(t *testing.T, name string) appgw.Store, forgets bool) {
	kvtest.TestStore(t, open, forgets)
}
