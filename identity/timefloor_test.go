package identity_test

import (
	"crypto/x509"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestTimeFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := identity.NewTimeFloor(testNow)
		require.Equal(t, testNow, f.Now())
		time.Sleep(time.Hour)
		require.Equal(t, testNow.Add(time.Hour), f.Now(), "the monotonic clock goes on")
		require.False(t, f.Advance(testNow.Add(time.Minute)), "never back")
		require.False(t, f.Advance(time.Time{}))
		require.Equal(t, testNow.Add(time.Hour), f.Now())
		require.True(t, f.Advance(testNow.AddDate(1, 0, 0)))
		time.Sleep(time.Second)
		require.Equal(t, testNow.AddDate(1, 0, 0).Add(time.Second), f.Now())
	})
}

func TestTimeFloorConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := identity.NewTimeFloor(testNow)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 100 {
					f.Advance(testNow.Add(time.Duration(i*100+j) * time.Second))
					f.Now()
				}
			})
		}
		wg.Wait()
		require.Equal(t, testNow.Add(799*time.Second), f.Now())
	})
}

// A device without a clock: what has not begun raises the floor, what is over is refused, and what raised the floor makes
// older things over.
func TestVerifierWithFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t) // begins a year before testNow
		build := testNow.AddDate(-3, 0, 0)
		floor := identity.NewTimeFloor(build)
		v, err := identity.NewVerifier(identity.VerifierConfig{Roots: []*x509.Certificate{p.root}, Floor: floor})
		require.NoError(t, err)
		k, dh := newKey(t), newAgreement(t)
		signed := func(name string, from, to time.Time) identity.Credential {
			c := leafTemplate(name)
			c.NotBefore, c.NotAfter = from, to
			return p.credential(t, p.sign(t, c, k.Public()), k, dh)
		}
		long := signed("D-1", testNow, testNow.AddDate(9, 0, 0))
		short := signed("A-1", testNow, testNow.AddDate(0, 1, 0))
		later := signed("P-1", testNow.AddDate(0, 2, 0), testNow.AddDate(1, 0, 0))

		// A stranger's certificate from the future moves nothing.
		stranger := newPKI(t)
		c := leafTemplate("P-1")
		c.NotBefore, c.NotAfter = testNow.AddDate(20, 0, 0), testNow.AddDate(21, 0, 0)
		_, err = v.Verify(stranger.credential(t, stranger.sign(t, c, k.Public()), k, dh), 0)
		require.ErrorIs(t, err, identity.ErrUntrusted)
		// Nor does a good certificate with another's endorsement.
		_, err = v.Verify(identity.Credential{Chain: later.Chain, Endorsement: long.Endorsement}, 0)
		require.ErrorIs(t, err, identity.ErrEndorsement)
		require.Equal(t, build, floor.Now())

		_, err = v.Verify(long, 0)
		require.NoError(t, err)
		require.Equal(t, testNow, floor.Now())
		_, err = v.Verify(short, 0)
		require.NoError(t, err)
		_, err = v.VerifyChain([]*x509.Certificate{parseCert(t, later.Chain[0])})
		require.NoError(t, err)
		require.Equal(t, testNow.AddDate(0, 2, 0), floor.Now())
		_, err = v.Verify(short, 0)
		require.ErrorIs(t, err, identity.ErrExpired)
		_, err = v.Verify(long, 0)
		require.NoError(t, err)

		// The date of a revocation list counts too.
		require.NoError(t, v.AddCRL(p.crlWith(t, 1, func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = testNow.AddDate(2, 0, 0), testNow.AddDate(2, 1, 0)
		})))
		require.Equal(t, testNow.AddDate(2, 0, 0), v.Now())
		_, err = v.Verify(later, 0)
		require.ErrorIs(t, err, identity.ErrExpired)

		// An endorsement that begins later than its certificate is good, but its date is the peer's word alone: with it a peer could
		// make the device take everybody else's certificate for expired.
		for _, from := range []time.Time{testNow.AddDate(3, 0, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
			e, err := identity.Endorse(k, long.Chain[0], dh.PublicKey(), identity.EndorseOptions{NotBefore: from, NotAfter: from.Add(time.Hour)})
			require.NoError(t, err)
			_, err = v.Verify(identity.Credential{Chain: long.Chain, Endorsement: e}, 0)
			require.NoError(t, err)
			require.Equal(t, testNow.AddDate(2, 0, 0), floor.Now())
		}
	})
}
