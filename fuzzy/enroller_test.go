package fuzzy_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
)

func TestEnrollerRefusesASecondTime(t *testing.T) {
	for _, c := range []struct {
		ones, rate float64
		first      fuzzy.Params
	}{
		{0.5, 0.06, fuzzy.SRAM1K()}, {0.5, 0.14, fuzzy.SRAM1K()}, {0.7, 0.10, fuzzy.SRAM1K()},
		{0.5, 0.10, fuzzy.SRAM1K().WithStride(32)}, {0.6, 0.10, fuzzy.SRAM1K320().WithStride(4096)},
	} {
		t.Run(fmt.Sprintf("%v ones, %v errors, first with %s", c.ones, c.rate, c.first), func(t *testing.T) {
			chip := fuzzy.NewChip(300, fuzzy.Balanced(c.ones, c.rate))
			_, earlier, err := fuzzy.Enroll(c.first, nil, chip.Read())
			require.NoError(t, err)
			e, err := fuzzy.NewEnroller(fuzzy.SRAM1K())
			require.NoError(t, err)
			require.NoError(t, e.Remember(earlier))
			key, helper, err := e.Enroll(nil, chip.Read())
			require.ErrorIs(t, err, fuzzy.ErrEnrolled)
			require.Nil(t, key)
			require.Zero(t, helper)
			require.True(t, earlier.MadeFrom(chip.Read()))
		})
	}
}

func TestEnrollerTakesEveryNewChip(t *testing.T) {
	fuzzy.SkipUnderRace(t)
	for _, p := range fuzzy.Sets() {
		e, err := fuzzy.NewEnroller(p)
		require.NoError(t, err)
		for seed := range uint64(6) {
			chip := fuzzy.NewChipFor(p, 310+seed, fuzzy.Balanced(0.65, 0.06))
			_, helper, err := e.Enroll(nil, chip.Read(), chip.Read(), chip.Read())
			require.NoError(t, err, "%s, chip %d", p, seed)
			_, _, err = e.Enroll(nil, chip.Read())
			require.ErrorIs(t, err, fuzzy.ErrEnrolled)
			require.True(t, helper.MadeFrom(chip.Read()))
			require.False(t, helper.MadeFrom(fuzzy.NewChipFor(p, 400+seed, fuzzy.Balanced(0.65, 0.06)).Read()))
		}
	}
}

// A chip that was refused for another reason may be enrolled later.
func TestEnrollerForgetsFailures(t *testing.T) {
	e, err := fuzzy.NewEnroller(fuzzy.SRAM1K())
	require.NoError(t, err)
	chip := fuzzy.NewChip(320, fuzzy.Balanced(0.5, 0.06))
	_, _, err = e.Enroll(nil, chip.Read(), chip.Read())
	require.ErrorIs(t, err, fuzzy.ErrReadings)
	_, _, err = e.Enroll(nil, chip.Read()[:10])
	require.ErrorIs(t, err, fuzzy.ErrResponseSize)
	_, _, err = e.Enroll(nil, make([]byte, 1024))
	require.ErrorIs(t, err, fuzzy.ErrResponseConstant)
	_, _, err = e.Enroll(nil, chip.Read())
	require.NoError(t, err)

	_, err = fuzzy.NewEnroller(fuzzy.Params{})
	require.ErrorIs(t, err, fuzzy.ErrParams)
	require.ErrorIs(t, e.Remember(fuzzy.HelperData{}), fuzzy.ErrHelperMalformed)
	require.False(t, fuzzy.HelperData{}.MadeFrom(chip.Read()))
}

// Of many stations that take one chip at once, one enrols it.
func TestEnrollerIsForMany(t *testing.T) {
	e, err := fuzzy.NewEnroller(fuzzy.SRAM1K())
	require.NoError(t, err)
	response := fuzzy.NewChip(330, fuzzy.Balanced(0.5, 0.06)).Enrolled()
	var wg sync.WaitGroup
	results := make(chan error, 4)
	for range cap(results) {
		wg.Go(func() {
			_, _, err := e.Enroll(nil, response)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	enrolled := 0
	for err := range results {
		if err == nil {
			enrolled++
		} else {
			require.ErrorIs(t, err, fuzzy.ErrEnrolled)
		}
	}
	require.Equal(t, 1, enrolled)
}
