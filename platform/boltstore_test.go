package platform_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/platform"
)

// Callers close what is not nil.
func TestOpenBoltStoreFailsWithoutAStore(t *testing.T) {
	s, err := platform.OpenBoltStore(t.TempDir())
	require.Error(t, err)
	require.True(t, s == nil, "got %#v", s) // require.Nil would pass for a nil pointer in it
}
