package adversary_test

import (
	"testing"

	"github.com/semio-iot/semio/e2e/internal/adversary"
	"github.com/stretchr/testify/require"
)

func cast(t *testing.T) *adversary.Cast {
	t.Helper()
	c, err := adversary.NewCast()
	require.NoError(t, err)
	return c
}

func TestNothingBreaks(t *testing.T) {
	s, err := adversary.Run(cast(t), 1, 0, 40_000, adversary.Faults{}, nil)
	require.NoError(t, err)
	t.Logf("%+v", s)
	for name, n := range map[string]int{
		"delivered": s.Delivered, "early": s.Early, "established": s.Established, "refused": s.Refused, "crashes": s.Crashes, "restores": s.Restores,
		"challenged": s.Challenged, "requests": s.Requests, "forged": s.Forged, "returns": s.Returns,
	} {
		require.Greater(t, n, 10, "%s: a run that does not come to it shows nothing about it", name)
	}
}

// The adversary finds bugs that are planted.
func TestPlantedBugsAreFound(t *testing.T) {
	c := cast(t)
	for name, b := range map[string]struct {
		faults adversary.Faults
		rule   string
	}{
		"seen written after delivery":        {adversary.Faults{SeenWrittenLate: true}, adversary.RuleRepeated},
		"a restored store does not say so":   {adversary.Faults{RestoredUnmarked: true}, adversary.RuleRepeated},
		"a restored store uses epochs again": {adversary.Faults{NoLeap: true}, adversary.RuleRepeated},
		"a nonce serves two messages":        {adversary.Faults{NonceTwice: true}, adversary.RuleNonce},
		"the static profile resists a thief": {adversary.Faults{StaticResists: true}, adversary.RuleThief},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adversary.Run(c, 1, 0, 400_000, b.faults, nil)
			var v *adversary.Violation
			require.ErrorAs(t, err, &v)
			require.Equal(t, b.rule, v.Rule, "%v", err)
			t.Log(err)
		})
	}
}

// A finding can be seen again from its seed and episode.
func TestFindingRepeats(t *testing.T) {
	c, bug := cast(t), adversary.Faults{NonceTwice: true}
	_, err := adversary.Run(c, 5, 0, 100_000, bug, nil)
	var first, second *adversary.Finding
	require.ErrorAs(t, err, &first)
	_, err = adversary.Run(c, first.Seed, first.Episode, 100_000, bug, nil)
	require.ErrorAs(t, err, &second)
	require.Equal(t, first.Episode, second.Episode)
	require.Equal(t, first.Step, second.Step)
}
