package e2e_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

var sizes = []int{64, 1 << 10, 16 << 10}

// fresh renews the session before its limit, outside the clock.
func (x *pair) fresh(b *testing.B, n int) {
	if n%(1<<19) == 0 {
		b.StopTimer()
		x.establish(b)
		b.StartTimer()
	}
}

func perSuite(b *testing.B, run func(b *testing.B, suite e2e.Suite, size int)) {
	for _, suite := range suites() {
		if suite > e2e.SuiteGCM {
			continue // its records are those of a suite without ML-KEM
		}
		for _, size := range sizes {
			b.Run(fmt.Sprintf("suite=0x%02x/size=%d", byte(suite), size), func(b *testing.B) { run(b, suite, size) })
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	perSuite(b, func(b *testing.B, suite e2e.Suite, size int) {
		x := newPair(b, withSuites(suite))
		msg, out := make([]byte, size), make([]byte, 0, size+e2e.Overhead)
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			x.fresh(b, n)
			if _, err := x.dev.Seal(x.now, out, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	perSuite(b, func(b *testing.B, suite e2e.Suite, size int) {
		x := newPair(b, withSuites(suite))
		msg, in := make([]byte, size), make([]byte, 0, size+e2e.Overhead)
		var records [][]byte
		var e e2e.Event
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			x.fresh(b, n)
			if n%256 == 0 {
				b.StopTimer()
				records = records[:0]
				for range 256 {
					r, err := x.dev.Seal(x.now, nil, msg)
					if err != nil {
						b.Fatal(err)
					}
					records = append(records, r)
				}
				b.StartTimer()
			}
			if err := x.app.ReceiveInto(&e, x.now, in, records[n%256]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBare is what suite 0x01 costs without a protocol around it.
func BenchmarkBare(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			block, err := aes.NewCipher(make([]byte, 32))
			require.NoError(b, err)
			mac := hmac.New(sha256.New, make([]byte, 32))
			mac.Reset()
			msg, out, iv, sum := make([]byte, size), make([]byte, size), make([]byte, 16), make([]byte, 0, 32)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				cipher.NewCTR(block, iv).XORKeyStream(out, msg)
				mac.Reset()
				mac.Write(out)
				sum = mac.Sum(sum[:0])
			}
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	for _, suite := range suites() {
		b.Run(fmt.Sprintf("suite=0x%02x", byte(suite)), func(b *testing.B) {
			x := newPair(b, withSuites(suite))
			b.ReportAllocs()
			for b.Loop() {
				x.establish(b)
			}
		})
	}
}

func BenchmarkExchange(b *testing.B) {
	p, plat, _ := platformPair(b, newSide('D', "D-METER-1"))
	b.ReportAllocs()
	for b.Loop() {
		x, init := ask(b, p, "poll")
		req, err := plat.OpenRequest(init)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := req.Reply(nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := x.Open(resp); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJunkInit refuses an INIT that has everything right but the outer MAC.
func BenchmarkJunkInit(b *testing.B) {
	for _, suite := range []e2e.Suite{e2e.SuiteCTRHMAC, e2e.SuiteCTRHMACKEM} {
		b.Run(fmt.Sprintf("suite=0x%02x", byte(suite)), func(b *testing.B) {
			x := newPair(b, withSuites(suite))
			init, err := x.dev.Initiate(x.now, nil)
			require.NoError(b, err)
			init[len(init)-1] ^= 1
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.app.Receive(x.now, init); err != e2e.ErrUnauthentic {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	for _, suite := range suites() {
		t.Run(fmt.Sprintf("0x%02x", byte(suite)), func(t *testing.T) {
			allowed := 1.0 // NewCTR
			if suite == e2e.SuiteGCM || suite == e2e.SuiteGCMKEM {
				allowed = 0
			}
			x := newPair(t, withSuites(suite)).establish(t)
			msg, out, in := make([]byte, 64), make([]byte, 0, 200), make([]byte, 0, 200)
			var rec []byte
			var e e2e.Event
			n := testing.AllocsPerRun(1000, func() {
				var err error
				if rec, err = x.dev.Seal(x.now, out, msg); err != nil {
					t.Fatal(err)
				}
			})
			require.LessOrEqual(t, n, allowed, "Seal")
			n = testing.AllocsPerRun(1000, func() {
				var err error
				if rec, err = x.dev.Seal(x.now, out, msg); err != nil {
					t.Fatal(err)
				}
				if err = x.app.ReceiveInto(&e, x.now, in, rec); err != nil {
					t.Fatal(err)
				}
			})
			require.LessOrEqual(t, n, 2*allowed, "Seal and ReceiveInto")
		})
	}
}

// BenchmarkEarlyData is INIT and RESP of a device with one message, both sides, with and without a prekey.
func BenchmarkEarlyData(b *testing.B) {
	for _, prekey := range []bool{false, true} {
		b.Run(fmt.Sprintf("prekey=%v", prekey), func(b *testing.B) {
			keys := memPrekeys{7: prekey7}
			x := newPair(b, func(c *e2e.Config, _ *[]byte) { c.Prekeys = keys })
			if prekey {
				require.NoError(b, x.dev.UsePrekey(prekeyOf(x, 7, prekey7)))
			}
			msg := []byte("21.5 degrees")
			b.ReportAllocs()
			for b.Loop() {
				init, err := x.dev.Initiate(x.now, msg)
				if err != nil {
					b.Fatal(err)
				}
				ev, err := x.app.Receive(x.now, init)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := x.dev.Receive(x.now, ev.Reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
