package party_test

import (
	"crypto/x509"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/atomicfile/crashfs"
)

// working checks that everything that the party hands out fits together, also the earlier ones, and returns the newest.
func working(t *testing.T, p *party.Party) identity.Credential {
	t.Helper()
	c, err := p.Credential()
	require.NoError(t, err)
	v, err := p.Verifier()
	require.NoError(t, err)
	got, err := v.Verify(c, 0)
	require.NoError(t, err)
	require.True(t, got.SigningKey().Equal(p.Signer().Public()))
	csr, err := identity.ParseCSR(p.Request())
	require.NoError(t, err)
	require.True(t, csr.PublicKey.Equal(p.Signer().Public()))
	generation := got.Generation()
	for _, h := range p.Previous() {
		leaf, err := x509.ParseCertificate(h.Credential.Chain[0])
		require.NoError(t, err)
		past, err := identity.NewVerifier(identity.VerifierConfig{Roots: p.Roots(), Now: func() time.Time { return leaf.NotBefore }})
		require.NoError(t, err)
		old, err := past.Verify(h.Credential, 0)
		require.NoError(t, err)
		require.True(t, old.SigningKey().Equal(h.Signer.Public()))
		require.True(t, old.Agreement().Equal(h.Key.PublicKey()))
		require.Less(t, old.Generation(), generation)
		generation = old.Generation()
	}
	return c
}

// clocked is an authority whose clock a test moves; it begins so long ago that the present is reached by moving it.
func clocked(t *testing.T) (a *ca.Authority, roots []*x509.Certificate, pass func(time.Duration)) {
	now := time.Now().Add(-5 * 365 * 24 * time.Hour)
	a, roots = newCA(t, func() time.Time { return now })
	return a, roots, func(d time.Duration) { now = now.Add(d) }
}

const long = 30 * 365 * 24 * time.Hour

func TestRenewedPartyKeepsItsKeys(t *testing.T) {
	a, roots, pass := clocked(t)
	p := create(t, "A-WATER")
	chain, err := a.Issue(p.Request(), ca.IssueOptions{Validity: long / 5})
	require.NoError(t, err)
	require.NoError(t, p.Install(chain, roots))
	first, signer, key := working(t, p), p.Signer(), p.Key()
	require.NoError(t, p.Install(chain, nil))
	require.Equal(t, first, working(t, p), "the same again is the same")
	require.Empty(t, p.Previous())

	pass(4*365*24*time.Hour + 200*24*time.Hour)
	chain, err = a.Renew(p.Request())
	require.NoError(t, err)
	require.NoError(t, p.Install(chain, nil))
	p, err = party.Open(p.Dir())
	require.NoError(t, err)
	second := working(t, p)
	require.NotEqual(t, first.Chain, second.Chain)
	require.Equal(t, first.Generation()+1, second.Generation())
	require.Equal(t, signer, p.Signer())
	require.Equal(t, key, p.Key())
	require.Len(t, p.Previous(), 1)
	require.Equal(t, first, p.Previous()[0].Credential)

	require.NoError(t, p.DropPrevious())
	require.NoError(t, p.DropPrevious(), "nothing to drop is no error")
	require.Empty(t, p.Previous())
	p, err = party.Open(p.Dir())
	require.NoError(t, err)
	require.Empty(t, p.Previous())
	require.Equal(t, second, working(t, p))
}

func TestRekeyedParty(t *testing.T) {
	a, roots := newCA(t, nil)
	for _, name := range []string{"A-WATER", "P-SEMIO", "R-LINE1", "O-ALICE"} {
		t.Run(name, func(t *testing.T) {
			p := create(t, name)
			_, err := p.Rekey()
			require.ErrorIs(t, err, party.ErrNotCertified)
			require.NoError(t, p.Install(issue(t, a, p), roots))
			first, signer := working(t, p), p.Signer()

			request, err := p.Rekey()
			require.NoError(t, err)
			require.Equal(t, first, working(t, p), "until the answer is there nothing has changed")
			p, err = party.Open(p.Dir())
			require.NoError(t, err)
			again, err := p.Rekey()
			require.NoError(t, err)
			require.Equal(t, request, again, "one pair of keys waits, however often it is asked for")

			chain, err := a.Rekey(request)
			require.NoError(t, err)
			require.NoError(t, p.Install(chain, nil))
			require.NoFileExists(t, filepath.Join(p.Dir(), "next.key"))
			for range 2 {
				second := working(t, p)
				require.NotEqual(t, first.Chain, second.Chain)
				require.NotEqual(t, signer, p.Signer())
				if p.Key() == nil {
					require.Empty(t, p.Previous(), "who only signs needs no earlier keys")
				} else {
					require.Equal(t, uint32(1), second.Generation())
					require.Len(t, p.Previous(), 1)
					require.Equal(t, signer, p.Previous()[0].Signer)
					require.NotEqual(t, p.Key(), p.Previous()[0].Key)
				}
				p, err = party.Open(p.Dir())
				require.NoError(t, err)
			}
			// What the authority answered before the change is not for this party any more.
			require.ErrorIs(t, p.Install(first.Chain, nil), party.ErrForeign)
		})
	}
}

func TestEarlierCredentialsAreBounded(t *testing.T) {
	a, roots := newCA(t, nil)
	p := create(t, "P-SEMIO")
	require.NoError(t, p.Install(issue(t, a, p), roots))
	next := func() error {
		request, err := p.Rekey()
		require.NoError(t, err)
		chain, err := a.Rekey(request)
		require.NoError(t, err)
		return p.Install(chain, nil)
	}
	for i := range party.MaxPrevious {
		require.NoError(t, next())
		require.Len(t, p.Previous(), i+1)
	}
	working(t, p)
	require.ErrorIs(t, next(), party.ErrPrevious)
	working(t, p)
	require.NoError(t, p.DropPrevious())
	require.NoError(t, next(), "the new keys are still there")
	working(t, p)
	require.Len(t, p.Previous(), 1)
}

// The power is cut at every operation of a rekeying: the folder is the old party or the new one, whole, and goes on from where it was.
func TestRekeyPowerCut(t *testing.T) {
	for _, name := range []string{"A-WATER", "O-ALICE"} {
		t.Run(name, func(t *testing.T) {
			a, roots := newCA(t, nil)
			fsys := crashfs.New()
			p, err := party.CreateOn(fsys, "/p", id(t, name))
			require.NoError(t, err)
			require.NoError(t, p.Install(issue(t, a, p), roots))
			first := working(t, p)
			begin := fsys.Ops()
			request, err := p.Rekey()
			require.NoError(t, err)
			requested := fsys.Ops()
			chain, err := a.Rekey(request)
			require.NoError(t, err)
			require.NoError(t, p.Install(chain, nil))
			second := working(t, p)
			require.NoError(t, p.DropPrevious())
			end := fsys.Ops()

			old, fresh := 0, 0
			for c := range fsys.Crashes() {
				if c.After < begin {
					continue
				}
				p, err := party.OpenOn(c.FS, "/p")
				require.NoError(t, err, c)
				got := working(t, p)
				if string(got.Chain[0]) == string(first.Chain[0]) {
					old++
					require.Equal(t, first, got, c)
					again, err := p.Rekey()
					require.NoError(t, err, c)
					if c.After < requested {
						continue // other keys are made, and this authority has answered for those
					}
					require.Equal(t, request, again, c)
					require.NoError(t, p.Install(chain, nil), c)
				} else {
					fresh++
				}
				require.Equal(t, second, working(t, p), c)
				if c.After < end && p.Key() != nil && len(p.Previous()) > 0 {
					require.Equal(t, first, p.Previous()[0].Credential, c)
				}
				// It goes on: what was left half done is completed by the next change.
				require.NoError(t, p.DropPrevious(), c)
				p, err = party.OpenOn(c.FS, "/p")
				require.NoError(t, err, c)
				require.Equal(t, second, working(t, p), c)
			}
			require.Positive(t, old)
			require.Positive(t, fresh)
		})
	}
}

// The earlier credential is never lost while the new one is not yet in place, nor before it is dropped.
func TestPreviousSurvivesPowerCut(t *testing.T) {
	a, roots := newCA(t, nil)
	fsys := crashfs.New()
	p, err := party.CreateOn(fsys, "/p", id(t, "P-SEMIO"))
	require.NoError(t, err)
	require.NoError(t, p.Install(issue(t, a, p), roots))
	first := working(t, p)
	request, err := p.Rekey()
	require.NoError(t, err)
	begin := fsys.Ops()
	chain, err := a.Rekey(request)
	require.NoError(t, err)
	require.NoError(t, p.Install(chain, nil))
	n := 0
	for c := range fsys.Crashes() {
		if c.After < begin {
			continue
		}
		p, err := party.OpenOn(c.FS, "/p")
		require.NoError(t, err, c)
		if got := working(t, p); string(got.Chain[0]) != string(first.Chain[0]) {
			n++
			require.Len(t, p.Previous(), 1, c)
			require.Equal(t, first, p.Previous()[0].Credential, c)
		}
	}
	require.Positive(t, n)
}

// What others know of a party decides how its next credential counts, when its folder does not know that any more.
func TestInstallAfter(t *testing.T) {
	a, roots := newCA(t, nil)
	p := create(t, "A-WATER")
	chain := issue(t, a, p)
	require.NoError(t, p.InstallAfter(6, chain, roots))
	require.EqualValues(t, 7, working(t, p).Generation())
	require.NoError(t, p.InstallAfter(9, chain, roots))
	require.EqualValues(t, 7, working(t, p).Generation(), "the same certificate is the same credential")

	for i, known := range []uint32{0, 263, math.MaxUint32 - 1, math.MaxUint32} {
		request, err := p.Rekey()
		require.NoError(t, err)
		chain, err := a.Rekey(request)
		require.NoError(t, err)
		err = p.InstallAfter(known, chain, nil)
		if i == 3 {
			require.Error(t, err)
			break
		}
		require.NoError(t, err)
		require.Equal(t, max(known, 7)+1, working(t, p).Generation())
	}
}
