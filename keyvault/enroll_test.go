package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
	"github.com/semio-iot/semio/puf/pufsim"
)

func TestEnrollStoresHelperDataAlone(t *testing.T) {
	v, _, store := enroll(t, 1)
	require.Equal(t, 1, store.puts)
	require.Len(t, store.values, 1)
	helper, err := fuzzy.ParseHelperData(store.values[keyvault.DefaultName])
	require.NoError(t, err)
	require.LessOrEqual(t, len(helper.Bytes()), 1024)
	require.Equal(t, helper.Hash(), v.HelperHash())
	require.Positive(t, v.Report().Used, "the proof at enrolment leaves a report")
	require.Positive(t, v.Report().Corrected)
}

func TestEnrollOnce(t *testing.T) {
	_, c, store := enroll(t, 1)
	before := store.values[keyvault.DefaultName]
	ups := c.PowerUps()
	for _, src := range []puf.Source{c, chip(2)} {
		_, err := keyvault.Enroll(t.Context(), src, store, nil)
		require.ErrorIs(t, err, keyvault.ErrEnrolled)
	}
	require.Equal(t, ups, c.PowerUps(), "no reading is taken for nothing")
	require.Equal(t, before, store.values[keyvault.DefaultName])

	// Whatever lies there, even junk, was an enrolment.
	for _, junk := range [][]byte{nil, {}, []byte("junk")} {
		store := newMemory()
		store.values[keyvault.DefaultName] = junk
		_, err := keyvault.Enroll(t.Context(), c, store, nil)
		require.ErrorIs(t, err, keyvault.ErrEnrolled)
	}
}

func TestEnrollRefuses(t *testing.T) {
	static := pufsim.New(1, pufsim.Config{Noise: -1})
	for name, c := range map[string]struct {
		src   puf.Source
		store *memory
		opts  *keyvault.Options
		want  error
	}{
		"first reading fails":      {src: &script{Chip: chip(1), steps: []func([]byte) error{broken}}, want: errBroken},
		"no reading":               {src: &script{Chip: chip(1), steps: []func([]byte) error{exhausted}}, want: puf.ErrExhausted},
		"constant":                 {src: &script{Chip: chip(1), steps: []func([]byte) error{constant}}, want: puf.ErrRepeating},
		"biased":                   {src: pufsim.New(1, pufsim.Config{Ones: 0.9}), want: puf.ErrBias},
		"replayed":                 {src: static, want: puf.ErrIdentical},
		"proof fails to read":      {src: &script{Chip: chip(1), steps: []func([]byte) error{nil, broken}}, want: errBroken},
		"proof is constant":        {src: &script{Chip: chip(1), steps: []func([]byte) error{nil, constant}}, want: puf.ErrRepeating},
		"proof from another chip":  {src: &script{Chip: chip(1), steps: []func([]byte) error{nil, from(chip(2))}}, want: puf.ErrDistance},
		"unstable":                 {src: pufsim.New(1, pufsim.Config{Noise: 1}), want: puf.ErrDistance},
		"unstable, wide profile":   {src: pufsim.New(1, pufsim.Config{Noise: 5}), opts: &keyvault.Options{Limits: puf.Limits{MaxDistance: 0.6}}, want: keyvault.ErrUnproved},
		"readings of two chips":    {src: &script{Chip: chip(1), steps: []func([]byte) error{nil, from(chip(2))}}, opts: &keyvault.Options{Readings: 3}, want: puf.ErrDistance},
		"replayed among readings":  {src: static, opts: &keyvault.Options{Readings: 3}, want: puf.ErrIdentical},
		"too few readings":         {src: &script{Chip: chip(1), steps: []func([]byte) error{nil, exhausted}}, opts: &keyvault.Options{Readings: 3}, want: puf.ErrExhausted},
		"profile of little":        {src: chip(1), opts: &keyvault.Options{Params: fuzzy.SRAM1K().WithSymbolEntropy(0.5)}, want: fuzzy.ErrEntropy},
		"bad profile":              {src: chip(1), opts: &keyvault.Options{Params: fuzzy.SRAM1K().WithStride(3)}, want: fuzzy.ErrParams},
		"even readings":            {src: chip(1), opts: &keyvault.Options{Readings: 2}, want: keyvault.ErrArgument},
		"negative readings":        {src: chip(1), opts: &keyvault.Options{Readings: -1}, want: keyvault.ErrArgument},
		"endless readings":         {src: chip(1), opts: &keyvault.Options{Readings: 101}, want: keyvault.ErrArgument},
		"negative attempts":        {src: chip(1), opts: &keyvault.Options{Attempts: -1}, want: keyvault.ErrArgument},
		"store cannot be read":     {src: chip(1), store: &memory{fail: func(op, _ string) error { return errBroken }}, want: errBroken},
		"store cannot be written":  {src: chip(1), store: &memory{fail: func(op, _ string) error { return map[string]error{"put": errBroken}[op] }}, want: errBroken},
		"store forgets":            {src: chip(1), store: &memory{forget: true}, want: keyvault.ErrStore},
		"store spoils":             {src: chip(1), store: &memory{spoil: true}, want: keyvault.ErrStore},
		"missing, told otherwise ": {src: chip(1), store: &memory{fail: func(op, _ string) error { return os.ErrPermission }}, want: os.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			if c.store == nil {
				c.store = newMemory()
			}
			if c.store.values == nil {
				c.store.values = map[string][]byte{}
			}
			v, err := keyvault.Enroll(t.Context(), c.src, c.store, c.opts)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, "enroll vault: ")
			require.Nil(t, v)
			if !c.store.spoil {
				require.Empty(t, c.store.values, "helper data of an enrolment that failed")
			}
		})
	}
}

func TestWrongSizeOfSource(t *testing.T) {
	_, _, store := enroll(t, 1)
	for _, size := range []int{512, 1023, 1025, 4096} {
		src := pufsim.New(1, pufsim.Config{Size: size})
		var wrong *puf.SizeError
		_, err := keyvault.Enroll(t.Context(), src, newMemory(), nil)
		require.ErrorAs(t, err, &wrong)
		require.ErrorContains(t, err, "puf.Window")
		_, err = keyvault.Open(t.Context(), src, store, nil)
		require.ErrorAs(t, err, &wrong)
		require.Zero(t, src.PowerUps())
	}
}

func TestEnrollWithoutProof(t *testing.T) {
	c := chip(1)
	store := newMemory()
	v, err := keyvault.Enroll(t.Context(), &script{Chip: c, steps: []func([]byte) error{nil, exhausted}}, store, nil)
	require.NoError(t, err)
	require.Zero(t, v.Report())
	require.Equal(t, v.Signer().Public(), open(t, c, store).Signer().Public())
}

func TestEnrollMajority(t *testing.T) {
	c, store := chip(1), newMemory()
	v, err := keyvault.Enroll(t.Context(), c, store, &keyvault.Options{Readings: 5})
	require.NoError(t, err)
	require.Equal(t, uint64(6), c.PowerUps())
	one, _, _ := enroll(t, 1)
	require.Less(t, v.Report().Errors, one.Report().Errors, "a majority of five is nearer to later readings than one reading")
}

func TestCancelled(t *testing.T) {
	_, c, store := enroll(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := keyvault.Enroll(ctx, c, newMemory(), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = keyvault.Open(ctx, c, store, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenAttempts(t *testing.T) {
	_, c, store := enroll(t, 1)
	other := chip(2)
	for name, x := range map[string]struct {
		steps []func([]byte) error
		opts  *keyvault.Options
		want  error
		calls int
	}{
		"at once":                 {nil, nil, nil, 1},
		"third time":              {[]func([]byte) error{broken, constant}, nil, nil, 3},
		"another chip once":       {[]func([]byte) error{from(other)}, nil, nil, 2},
		"three times broken":      {[]func([]byte) error{broken, broken, broken}, nil, errBroken, 3},
		"three times constant":    {[]func([]byte) error{constant, constant, constant}, nil, puf.ErrRepeating, 3},
		"another chip":            {[]func([]byte) error{from(other), from(other), from(other)}, nil, fuzzy.ErrReconstruct, 3},
		"one attempt":             {[]func([]byte) error{broken}, &keyvault.Options{Attempts: 1}, errBroken, 1},
		"five attempts":           {[]func([]byte) error{broken, broken, broken, broken}, &keyvault.Options{Attempts: 5}, nil, 5},
		"nothing to read":         {[]func([]byte) error{exhausted}, nil, puf.ErrExhausted, 1},
		"the last was not enough": {[]func([]byte) error{from(other), exhausted}, nil, fuzzy.ErrReconstruct, 2},
		"too many attempts":       {nil, &keyvault.Options{Attempts: 101}, keyvault.ErrArgument, 0},
	} {
		t.Run(name, func(t *testing.T) {
			src := &script{Chip: c, steps: x.steps}
			v, err := keyvault.Open(t.Context(), src, store, x.opts)
			require.Equal(t, x.calls, src.calls)
			require.ErrorIs(t, err, x.want)
			require.Equal(t, x.want == nil, v != nil)
			if x.want != nil {
				require.ErrorContains(t, err, "open vault: ")
			} else {
				require.NoError(t, v.Close())
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	enrolled, c, store := enroll(t, 1)
	good := store.values[keyvault.DefaultName]
	changed := func(at int) []byte {
		b := append([]byte(nil), good...)
		b[at] ^= 1
		return b
	}
	for name, x := range map[string]struct {
		helper []byte
		want   []error // one of them
	}{
		"junk":             {[]byte("junk"), []error{fuzzy.ErrHelperMalformed}},
		"empty":            {[]byte{}, []error{fuzzy.ErrHelperMalformed}},
		"cut":              {good[:len(good)-1], []error{fuzzy.ErrHelperMalformed}},
		"lengthened":       {append(append([]byte(nil), good...), 0), []error{fuzzy.ErrHelperMalformed}},
		"huge":             {make([]byte, 1<<20), []error{fuzzy.ErrHelperMalformed}},
		"newer version":    {changed(4), []error{fuzzy.ErrUnknownSet}},
		"another salt":     {changed(20), []error{fuzzy.ErrReconstruct}},
		"another codeword": {changed(len(good) - 100), []error{fuzzy.ErrReconstruct}},
		"another tag":      {changed(len(good) - 1), []error{fuzzy.ErrReconstruct}},
		"another mask":     {changed(100), []error{fuzzy.ErrReconstruct, fuzzy.ErrHelperMalformed}},
	} {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			store.values[keyvault.DefaultName] = x.helper
			v, err := keyvault.Open(t.Context(), c, store, nil)
			require.Error(t, err)
			require.Nil(t, v)
			found := false
			for _, w := range x.want {
				found = found || errors.Is(err, w)
			}
			require.True(t, found, err)

			// With the certificate's hash nothing of it is decoded.
			_, err = keyvault.Open(t.Context(), c, store, &keyvault.Options{HelperHash: enrolled.HelperHash()})
			require.Error(t, err)
			if !errors.Is(err, fuzzy.ErrHelperMalformed) && !errors.Is(err, fuzzy.ErrUnknownSet) {
				require.ErrorIs(t, err, keyvault.ErrHelperHash)
			}
		})
	}
	t.Run("nothing stored", func(t *testing.T) {
		_, err := keyvault.Open(t.Context(), c, newMemory(), nil)
		require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
	})
	t.Run("another name", func(t *testing.T) {
		_, err := keyvault.Open(t.Context(), c, store, &keyvault.Options{Name: "other"})
		require.ErrorIs(t, err, keyvault.ErrNotEnrolled)
	})
	t.Run("store broken", func(t *testing.T) {
		_, err := keyvault.Open(t.Context(), c, &memory{fail: func(string, string) error { return errBroken }}, nil)
		require.ErrorIs(t, err, errBroken)
		require.NotErrorIs(t, err, keyvault.ErrNotEnrolled)
	})
	t.Run("helper data of another chip", func(t *testing.T) {
		_, other, _ := enroll(t, 2)
		_, err := keyvault.Open(t.Context(), other, store, nil)
		require.ErrorIs(t, err, fuzzy.ErrReconstruct)
	})
	t.Run("another enrolment of this chip", func(t *testing.T) {
		second, err := keyvault.Enroll(t.Context(), c, newMemory(), nil)
		require.NoError(t, err)
		ups := c.PowerUps()
		_, err = keyvault.Open(t.Context(), c, store, &keyvault.Options{HelperHash: second.HelperHash()})
		require.ErrorIs(t, err, keyvault.ErrHelperHash)
		require.Equal(t, ups, c.PowerUps(), "refused before a reading")
		again, err := keyvault.Open(t.Context(), c, store, &keyvault.Options{HelperHash: enrolled.HelperHash()})
		require.NoError(t, err)
		require.Equal(t, enrolled.HelperHash(), again.HelperHash())
	})
}

func TestTwoRegionsInOneStore(t *testing.T) {
	whole := pufsim.New(1, pufsim.Config{Size: 4096})
	store := newMemory()
	a, b := puf.Window(whole, 0, 1024), puf.Window(whole, 3072, 1024)
	va, err := keyvault.Enroll(t.Context(), a, store, nil)
	require.NoError(t, err)
	vb, err := keyvault.Enroll(t.Context(), b, store, &keyvault.Options{Name: "second"})
	require.NoError(t, err)
	require.NotEqual(t, va.Signer().Public(), vb.Signer().Public())
	again, err := keyvault.Open(t.Context(), b, store, &keyvault.Options{Name: "second"})
	require.NoError(t, err)
	require.Equal(t, vb.Signer().Public(), again.Signer().Public())
	_, err = keyvault.Open(t.Context(), a, store, &keyvault.Options{Name: "second"})
	require.ErrorIs(t, err, fuzzy.ErrReconstruct)
}

func TestOptionsAreNotModified(t *testing.T) {
	o := keyvault.Options{}
	_, err := keyvault.Enroll(t.Context(), chip(1), newMemory(), &o)
	require.NoError(t, err)
	require.Equal(t, keyvault.Options{}, o)
}

// On real memory: enrolled from the first dump, the same key from all others.
func TestRealDumps(t *testing.T) {
	root := os.Getenv("SEMIO_SRAM")
	if root == "" {
		t.Skip("SEMIO_SRAM names no folder of dumps; see github.com/TimothyClaeys/SramAnalyzer")
	}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		for _, offset := range []int{0, 40960} {
			t.Run(fmt.Sprint(e.Name(), " at ", offset), func(t *testing.T) {
				dumps, err := puf.OpenDir(filepath.Join(root, e.Name()))
				require.NoError(t, err)
				src, store := puf.Window(dumps, offset, 1024), newMemory()
				v, err := keyvault.Enroll(t.Context(), src, store, nil)
				require.NoError(t, err)
				for n := 2; n < dumps.Len(); n++ {
					again, err := keyvault.Open(t.Context(), src, store, &keyvault.Options{Attempts: 1})
					require.NoError(t, err)
					require.Equal(t, v.Signer().Public(), again.Signer().Public())
				}
				_, err = keyvault.Open(t.Context(), src, store, nil)
				require.ErrorIs(t, err, puf.ErrExhausted)
			})
		}
	}
}
