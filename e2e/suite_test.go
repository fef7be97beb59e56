package e2e_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/mlkem"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

func withSuites(s ...e2e.Suite) func(*e2e.Config, *[]byte) {
	return func(c *e2e.Config, _ *[]byte) { c.Suites = s }
}

// suites are those that this run may use.
func suites() []e2e.Suite {
	if fips140.Enforced() {
		return []e2e.Suite{e2e.SuiteCTRHMAC, e2e.SuiteCTRHMACKEM}
	}
	return []e2e.Suite{e2e.SuiteCTRHMAC, e2e.SuiteGCM, e2e.SuiteCTRHMACKEM, e2e.SuiteGCMKEM}
}

func TestSuites(t *testing.T) {
	for _, s := range suites() {
		t.Run(fmt.Sprintf("0x%02x", byte(s)), func(t *testing.T) {
			x := newPair(t, withSuites(s))
			init, err := x.dev.Initiate(x.now, []byte("early data"))
			require.NoError(t, err)
			require.Equal(t, byte(s), init[1])
			damagedAt(t, x, x.app, init)
			ev, err := x.app.Receive(x.now, init)
			require.NoError(t, err)
			require.Equal(t, "early data", string(ev.Payload))
			want := 164
			if s == e2e.SuiteCTRHMACKEM || s == e2e.SuiteGCMKEM {
				want = 2436
			}
			require.Equal(t, want, len(init)-len("early data")+len(ev.Reply), "INIT + RESP")
			resp := ev.Reply
			require.Equal(t, byte(s), resp[1])
			damagedAt(t, x, x.dev, resp)
			ev, err = x.dev.Receive(x.now, resp)
			require.NoError(t, err)
			require.Len(t, ev.Reply, e2e.Overhead)
			_, err = x.app.Receive(x.now, ev.Reply)
			require.NoError(t, err)

			data := seal(t, x.now, x.dev, "21.5 degrees")
			require.NotContains(t, string(data), "degrees")
			damaged(t, x, x.app, data)
			ev, err = x.app.Receive(x.now, data)
			require.NoError(t, err)
			require.Equal(t, "21.5 degrees", string(ev.Payload))
			deliver(t, x.now, x.app, x.dev, "close the valve")
			e2e.SetSent(x.dev, 3<<16)
			deliver(t, x.now, x.dev, x.app, "after the ratchet")
			deliver(t, x.now, x.dev, x.app, string(make([]byte, e2e.MaxPayload)))
			x.establish(t)
		})
	}
}

// damagedAt is damaged with a bit of each byte, for records of two kilobytes whose every check costs a key agreement.
func damagedAt(t *testing.T, x *pair, to *e2e.Peer, record []byte) {
	t.Helper()
	step := max(1, len(record)/150)
	for i := 0; i < len(record); i += step {
		bad := bytes.Clone(record)
		bad[i] ^= 1 << (i % 8)
		refused(t, x.now, to, bad)
		refused(t, x.now, to, record[:i])
	}
}

// The initiator offers, the responder prefers; INIT's own payload is sealed with what everybody has.
func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		initiator, responder []e2e.Suite
		init, chosen         byte
	}{
		{nil, nil, 1, 1},
		{[]e2e.Suite{1, 2, 3, 4}, []e2e.Suite{1}, 1, 1},
		{[]e2e.Suite{1, 2, 3, 4}, []e2e.Suite{4, 1}, 1, 4},
		{[]e2e.Suite{4, 3, 2, 1}, []e2e.Suite{1, 2, 3, 4}, 1, 1},
		{[]e2e.Suite{2, 3}, []e2e.Suite{2}, 3, 2},
		{[]e2e.Suite{2, 3}, []e2e.Suite{3}, 3, 3},
		{[]e2e.Suite{4, 2}, []e2e.Suite{4, 2}, 2, 4},
		{[]e2e.Suite{4}, []e2e.Suite{1, 4}, 4, 4},
		{[]e2e.Suite{1, 3}, []e2e.Suite{2, 4}, 1, 0},
		{[]e2e.Suite{4}, []e2e.Suite{3}, 4, 0},
		{nil, []e2e.Suite{3}, 1, 0},
	} {
		t.Run(fmt.Sprintf("%v to %v", c.initiator, c.responder), func(t *testing.T) {
			if fips140.Enforced() {
				t.Skip("FIPS 140-only mode forbids suites of the table")
			}
			x := newPair(t)
			x.dev, x.app = x.devSide.open(t, x.appSide, withSuites(c.initiator...)), x.appSide.open(t, x.devSide, withSuites(c.responder...))
			init, err := x.dev.Initiate(x.now, []byte("early data"))
			require.NoError(t, err)
			require.Equal(t, c.init, init[1])
			if c.chosen == 0 {
				refused(t, x.now, x.app, init)
				require.Equal(t, uint64(1), x.app.Stats().Unsupported)
				return
			}
			ev, err := x.app.Receive(x.now, init)
			require.NoError(t, err)
			require.Equal(t, "early data", string(ev.Payload))
			require.Equal(t, c.chosen, ev.Reply[1])
			ev, err = x.dev.Receive(x.now, ev.Reply)
			require.NoError(t, err)
			require.Equal(t, c.chosen, ev.Reply[1], "DATA is of the chosen suite")
		})
	}
}

// An attacker on the network who makes either side take a weaker suite than both prefer gets no session at all.
func TestDowngrade(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("FIPS 140-only mode forbids suite 0x04")
	}
	x := newPair(t, withSuites(e2e.SuiteGCMKEM, e2e.SuiteCTRHMAC))
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	without := append(bytes.Clone(init[:59]), init[59+1184:]...)
	without[25] = 1 // 0x04 and its key are struck out
	refused(t, x.now, x.app, without)
	refused(t, x.now, x.app, e2e.Remac(x.dev, bytes.Clone(without)))
	require.Equal(t, uint64(1), x.app.Stats().BadTag, "the offer is in the transcript")

	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	require.Equal(t, byte(4), ev.Reply[1])
	lower := append(bytes.Clone(ev.Reply[:49]), ev.Reply[49+1088:]...)
	lower[1] = 1
	refused(t, x.now, x.dev, lower)
	require.Equal(t, uint64(1), x.dev.Stats().BadTag, "the choice is in the transcript")
	_, err = x.dev.Receive(x.now, ev.Reply)
	require.NoError(t, err)
}

// Who breaks P-256 has everything of the handshake but ML-KEM's secret, and so not the session.
func TestKEMSecretIsMixedIn(t *testing.T) {
	x := newPair(t, withSuites(e2e.SuiteCTRHMACKEM))
	key, err := mlkem.GenerateKey768()
	require.NoError(t, err)
	shared, ciphertext := key.EncapsulationKey().Encapsulate()
	guess := bytes.Clone(shared)
	guess[0] ^= 1
	e2e.SetKEM(x.dev, key, nil, nil)
	e2e.SetKEM(x.app, nil, guess, ciphertext)
	init, err := x.dev.Initiate(x.now, nil)
	require.NoError(t, err)
	ev, err := x.app.Receive(x.now, init)
	require.NoError(t, err)
	refused(t, x.now, x.dev, ev.Reply)
	require.Equal(t, uint64(1), x.dev.Stats().BadTag)

	x.app = x.appSide.open(t, x.devSide, withSuites(e2e.SuiteCTRHMACKEM))
	e2e.SetKEM(x.app, nil, shared, ciphertext)
	x.establish(t)
}

func TestSuitesAreChecked(t *testing.T) {
	s, r := newSide('D', "D-METER-1"), newSide('A', "A-WATER")
	cfg := e2e.Config{Key: s.key, Binding: testBinding, Epochs: s.epochs, Suites: []e2e.Suite{1, 3, 1}}
	_, err := e2e.NewPlainPeer(cfg, s.plain(), r.plain(), nil)
	require.ErrorContains(t, err, "configured twice")
	for _, suite := range []e2e.Suite{e2e.SuiteGCM, e2e.SuiteGCMKEM} {
		cfg.Suites = []e2e.Suite{e2e.SuiteCTRHMAC, suite}
		_, err := e2e.NewPlainPeer(cfg, s.plain(), r.plain(), nil)
		if fips140.Enforced() {
			require.ErrorIs(t, err, e2e.ErrNotApproved)
			require.ErrorContains(t, err, fmt.Sprintf("suite 0x%02x", byte(suite)))
			require.ErrorContains(t, err, "configure 0x01 or 0x03")
		} else {
			require.NoError(t, err)
		}
	}
}

// What FIPS 140-only mode allows and forbids shows only in a process that started in it.
func TestFIPSOnly(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("this run is in FIPS 140-only mode itself")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^(TestSuites|TestSuitesAreChecked|TestVectors)$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestSuitesAreChecked")
	require.Contains(t, string(out), "--- PASS: TestSuites/0x03")
	require.NotContains(t, string(out), "TestSuites/0x02")
}
