package e2e_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/mlkem"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/stretchr/testify/require"
)

//go:generate go test . -run ^TestVectorFile$ -update
var update = flag.Bool("update", false, "write testdata/*.json anew from the reference in reference_test.go")

const vectorFile = "testdata/protocol-v1.json"

// negative is a record that one side must refuse in one state of a handshake of the file.
type negative struct {
	Name   string   `json:"name"`
	Vector string   `json:"vector"`
	At     string   `json:"at"`    // "A" or "B"
	State  string   `json:"state"` // "new", "initiated" (A or B has sent INIT), "established"
	Record hexBytes `json:"record"`
	Error  string   `json:"error"` // "unauthentic", "replay", "stale epoch", "unknown prekey"
}

// sequence is what B receives, in this order, after the handshake of a vector.
type sequence struct {
	Name     string `json:"name"`
	Vector   string `json:"vector"`
	Windowed bool   `json:"windowed"`
	Steps    []step `json:"steps"`
}

type step struct {
	Record hexBytes `json:"record"`
	Error  string   `json:"error,omitempty"` // none: delivered
	Plain  hexBytes `json:"plaintext,omitempty"`
}

type vectors struct {
	Comment   string     `json:"comment"`
	Positive  []*vector  `json:"positive"`
	Negative  []negative `json:"negative"`
	Sequences []sequence `json:"sequences"`

	Challenges []*challenge    `json:"challenges"`
	Prekeys    []*prekeyBundle `json:"prekeys"`
}

func party(role, id string) refParty {
	h := sha256.Sum256([]byte("vector certificate " + id))
	return refParty{Role: role, ID: id, CertHash: h[:], Agreement: fixedKey("vector agreement " + id).Bytes()}
}

func positive() []*vector {
	dev, app, plat := party("D", "D-METER-1"), party("A", "A-WATER"), party("P", "P-CITY")
	psk := sha256.Sum256([]byte("vector psk"))
	base := func(name, initiator string, a, b refParty) *vector {
		binding := sha256.Sum256([]byte("vector binding " + name))
		return &vector{
			Name: name, Binding: binding[:16], A: a, B: b, Initiator: initiator, Epoch: 1, Offered: 1, Suite: 1,
			EphemeralI: fixedKey("vector e_I " + name).Bytes(), EphemeralR: fixedKey("vector e_R " + name).Bytes(),
		}
	}
	session := func(v *vector) *vector {
		v.Messages = []refMessage{
			{From: v.Initiator, Type: 0, Counter: 0},
			{From: "A", Type: 0, Counter: 1, Plain: []byte("21.5 degrees")},
			{From: "B", Type: 0, Counter: 1, Plain: []byte("close the valve")},
			{From: "A", Type: 0, Counter: 2, Flags: 2, Plain: []byte("21.6 degrees, and renew please")},
			{From: "A", Type: 0, Counter: 65535, Plain: bytes.Repeat([]byte{0xa5}, 100)},
			{From: "A", Type: 0, Counter: 65536, Plain: []byte("generation 1")},
			{From: "B", Type: 0, Counter: 5<<16 | 7, Plain: []byte("generation 5, four skipped")},
			{From: "A", Type: 0, Counter: 1<<20 - 1, Plain: []byte("the last message")},
			{From: "A", Type: 3, Counter: 1 << 20, Plain: []byte{7}},
		}
		return v
	}
	one := session(base("device initiates, PSK, early data", "A", dev, app))
	one.PSK, one.PSKRequired, one.Early = psk[:], true, []byte("21.4 degrees")
	two := session(base("application initiates, no PSK", "B", dev, app))
	two.Epoch = 1 << 32
	three := base("one-shot, device to platform", "A", dev, plat)
	three.Early, three.Reply = []byte("poll"), []byte("no orders")
	four := base("one-shot, application to platform", "A", app, plat)
	four.Early, four.Reply = []byte("connect D-METER-1"), []byte("done")
	four.Epoch = 77
	all := []*vector{one, two, three, four}
	for suite := byte(2); suite <= 4; suite++ {
		all = append(all, variant(fmt.Sprintf("suite 0x%02x", suite), dev, app, psk[:], 1<<(suite-1), suite))
	}
	all = append(all,
		variant("suites 0x01-0x04 offered, 0x04 chosen", dev, app, psk[:], 0xf, 4),
		variant("suites 0x02 and 0x03 offered, 0x02 chosen", dev, app, nil, 6, 2),
	)
	for suite := byte(2); suite <= 4; suite++ {
		v := variant(fmt.Sprintf("one-shot, suite 0x%02x", suite), dev, plat, nil, 1<<(suite-1), suite)
		v.Early, v.Reply, v.Messages = []byte("poll"), []byte("no orders"), nil
		all = append(all, v)
	}
	for suite := byte(1); suite <= 4; suite++ {
		all = append(all, static(variant(fmt.Sprintf("static profile, suite 0x%02x", suite), dev, app, psk[:], 1<<(suite-1), suite)))
	}
	five := static(variant("one-shot, static profile", app, plat, nil, 1, 1))
	five.Early, five.Reply, five.Messages = []byte("connect D-METER-1"), []byte("done"), nil
	all = append(all, five)
	for _, suite := range []byte{1, 4} {
		v := variant(fmt.Sprintf("prekey, suite 0x%02x", suite), dev, app, psk[:], 1<<(suite-1), suite)
		v.PrekeyN, v.Prekey = 7, fixedKey("vector prekey 7").Bytes()
		all = append(all, v)
	}
	six := variant("capabilities", dev, app, nil, 1, 1)
	six.CapsI, six.CapsR = 0x00010000, 0x80020000
	all = append(all, six)
	for _, v := range []*vector{one, all[5], all[len(all)-8]} {
		all = append(all, echoed(v))
	}
	return all
}

func bundles() []*prekeyBundle {
	b := &prekeyBundle{
		Name: "prekey 7 of A-WATER", ID: "A-WATER", CertHash: party("A", "A-WATER").CertHash, SigningKey: fixedKey("vector signing A-WATER").Bytes(),
		Number: 7, Expires: 1800000000, Private: fixedKey("vector prekey 7").Bytes(),
	}
	b.compute()
	return []*prekeyBundle{b}
}

// echoed is the INIT of v once more, after a CHALLENGE.
func echoed(v *vector) *vector {
	e := *v
	e.Name += ": with an echo"
	e.Epoch, e.Early, e.Echo, e.Messages = v.Epoch+40, nil, nonceFor(v), v.Messages[:1]
	e.Messages = slices.Clone(e.Messages)
	if v.Profile == 1 {
		static(&e)
	} else {
		e.EphemeralI, e.EphemeralR = fixedKey("vector e_I "+e.Name).Bytes(), fixedKey("vector e_R "+e.Name).Bytes()
	}
	return &e
}

func nonceFor(v *vector) []byte { return refHash([]byte("vector nonce " + v.Name))[:16] }

// challengesTo the vectors that have an answer.
func challengesTo(vs []*vector) []*challenge {
	var out []*challenge
	for _, v := range vs {
		i := slices.IndexFunc(vs, func(e *vector) bool { return e.Name == v.Name+": with an echo" })
		if i < 0 {
			continue
		}
		stale := &challenge{Name: v.Name + ": epoch is stale", Seen: vs[i].Epoch - 1, Highest: vs[i].Epoch - 1}
		marked := &challenge{Name: v.Name + ": the responder was restored", Marked: true}
		for _, c := range []*challenge{stale, marked} {
			c.Vector, c.Nonce, c.Answer = v.Name, nonceFor(v), vs[i].Name
			c.compute(v)
			out = append(out, c)
		}
	}
	return out
}

// static turns v into a vector of ProfileStatic.
func static(v *vector) *vector {
	i, r := sha256.Sum256([]byte("vector n_I "+v.Name)), sha256.Sum256([]byte("vector n_R "+v.Name))
	v.Profile, v.EphemeralI, v.EphemeralR, v.NonceI, v.NonceR = 1, nil, nil, i[:], r[:]
	return v
}

// variant is a session that A starts, with early data, and a few messages.
func variant(name string, a, b refParty, psk []byte, offered uint16, suite byte) *vector {
	binding, seed, m := sha256.Sum256([]byte("vector binding "+name)), sha512.Sum512([]byte("vector seed "+name)), sha256.Sum256([]byte("vector m "+name))
	v := &vector{
		Name: name, Binding: binding[:16], PSK: psk, PSKRequired: psk != nil, A: a, B: b, Initiator: "A", Epoch: 9, Offered: offered, Suite: suite,
		EphemeralI: fixedKey("vector e_I " + name).Bytes(), EphemeralR: fixedKey("vector e_R " + name).Bytes(), Early: []byte("21.4 degrees"),
		Messages: []refMessage{
			{From: "A", Type: 0, Counter: 0},
			{From: "A", Type: 0, Counter: 1, Plain: []byte("21.5 degrees")},
			{From: "B", Type: 0, Counter: 1, Plain: []byte("close the valve")},
			{From: "A", Type: 0, Counter: 65536, Plain: []byte("generation 1")},
			{From: "B", Type: 3, Counter: 2, Plain: []byte{7}},
		},
	}
	if offered&0xc != 0 {
		v.KEMSeed, v.KEMRandom = seed[:], m[:]
	}
	return v
}

func negatives(vs []*vector) []negative {
	v, v2 := vs[0], vs[1]
	var out []negative
	add := func(name, at, state, err string, record []byte) {
		out = append(out, negative{Name: name, Vector: v.Name, At: at, State: state, Record: record, Error: err})
	}
	flip := func(b []byte, i int, mask byte) []byte {
		b = bytes.Clone(b)
		b[i] ^= mask
		return b
	}
	// remac changes a clear byte of INIT as its author could: the outer MAC fits again.
	remac := func(b []byte) []byte {
		b = bytes.Clone(b[:len(b)-16])
		return append(b, refHMAC(v.Mac1K, b)[:16]...)
	}
	const un = "unauthentic"
	init, resp, data := []byte(v.Init), []byte(v.Resp), []byte(v.Messages[1].Record)

	add("INIT truncated by one byte", "B", "new", un, init[:len(init)-1])
	add("INIT without payload and MACs", "B", "new", un, init[:59])
	add("INIT with a byte behind", "B", "new", un, append(bytes.Clone(init), 0))
	add("INIT of version 2", "B", "new", un, flip(init, 0, 0x30))
	add("INIT of suite 0", "B", "new", un, flip(init, 1, 0x01))
	add("INIT under the static profile", "B", "new", un, flip(init, 2, 0x10))
	add("INIT with a reserved flag", "B", "new", un, flip(init, 2, 0x80))
	add("INIT with generation", "B", "new", un, flip(init, 3, 1))
	add("INIT with another hint", "B", "new", un, flip(init, 4, 1))
	add("INIT with a counter", "B", "new", un, flip(init, 15, 1))
	add("INIT with another epoch", "B", "new", un, flip(init, 23, 2))
	add("INIT with another epoch, outer MAC right", "B", "new", un, remac(flip(init, 23, 2)))
	add("INIT with ciphertext changed, outer MAC right", "B", "new", un, remac(flip(init, 60, 1)))
	add("INIT with tag changed, outer MAC right", "B", "new", un, remac(flip(init, len(init)-17, 1)))
	add("INIT with a suite offered that is not used, outer MAC right", "B", "new", un, remac(flip(init, 25, 0x02)))
	add("INIT without offers, outer MAC right", "B", "new", un, remac(flip(init, 25, 0x01)))
	add("INIT with the negative point, outer MAC right", "B", "new", un, remac(flip(init, 26, 1)))
	add("INIT with no point, outer MAC right", "B", "new", un, remac(append(append(bytes.Clone(init[:26]), make([]byte, 33)...), init[59:]...)))
	add("INIT with outer MAC changed", "B", "new", un, flip(init, len(init)-1, 1))
	add("INIT reflected", "A", "initiated", un, init)
	add("INIT of the wrong role", "B", "new", un, remac(flip(init, 2, 1)))
	add("INIT of another binding", "B", "new", un, v2.Init)
	add("INIT of an old session", "B", "established", "stale epoch", init)
	noPSK := *v
	noPSK.Messages = nil
	noPSK.PSK = nil
	noPSK.compute()
	add("INIT of a false peer without the PSK", "B", "new", un, noPSK.Init)
	renamed := *v
	renamed.Messages = nil
	renamed.A.ID = "D-METER-2"
	renamed.compute()
	add("INIT of an endorsed stranger's key under another name", "B", "new", un, renamed.Init)
	copyHint := bytes.Clone(renamed.Init)
	copy(copyHint[4:12], v.Hint)
	add("the same with the hint copied", "B", "new", un, copyHint)

	add("RESP to nothing", "A", "new", un, resp)
	add("RESP repeated", "A", "established", un, resp)
	add("RESP reflected", "B", "new", un, resp)
	add("RESP truncated by one byte", "A", "initiated", un, resp[:len(resp)-1])
	add("RESP with suite not offered", "A", "initiated", un, flip(resp, 1, 3))
	add("RESP under the static profile", "A", "initiated", un, flip(resp, 2, 0x10))
	add("RESP of the wrong role", "A", "initiated", un, flip(resp, 2, 1))
	add("RESP with another hint", "A", "initiated", un, flip(resp, 11, 0x80))
	add("RESP with the negative point", "A", "initiated", un, flip(resp, 16, 1))
	add("RESP with ciphertext changed", "A", "initiated", un, flip(resp, 49, 1))
	add("RESP with tag changed", "A", "initiated", un, flip(resp, len(resp)-1, 0x80))
	other := *v
	other.Messages = nil
	other.Early = []byte("21.3 degrees")
	other.compute()
	add("RESP to another INIT", "A", "initiated", un, other.Resp)

	add("DATA before a session", "B", "new", un, data)
	add("DATA truncated by one byte", "B", "established", un, data[:len(data)-1])
	add("DATA with header alone", "B", "established", un, data[:16])
	add("DATA of version 0", "B", "established", un, flip(data, 0, 0x10))
	add("DATA as CLOSE", "B", "established", un, flip(data, 0, 3))
	add("DATA as CHALLENGE", "B", "established", un, flip(data, 0, 4))
	add("DATA of another suite", "B", "established", un, flip(data, 1, 3))
	add("DATA with renew-please added", "B", "established", un, flip(data, 2, 2))
	add("DATA with profile bits", "B", "established", un, flip(data, 2, 0x10))
	add("DATA of the wrong generation", "B", "established", un, flip(data, 3, 1))
	add("DATA of another session", "B", "established", un, flip(data, 4, 1))
	add("DATA with another counter", "B", "established", un, flip(data, 15, 2))
	add("DATA with ciphertext changed", "B", "established", un, flip(data, 16, 1))
	add("DATA with tag changed", "B", "established", un, flip(data, len(data)-1, 1))
	add("DATA with tag cut to nothing", "B", "established", un, data[:len(data)-16])
	add("DATA reflected", "A", "established", un, data)
	add("DATA turned round", "A", "established", un, flip(data, 2, 1))
	add("DATA repeated", "B", "established", "replay", v.Messages[0].Record)
	foreign := bytes.Clone(v2.Messages[1].Record)
	copy(foreign[4:12], v.SID)
	add("DATA of another binding with the session ID copied", "B", "established", un, foreign)
	beyond := refMessage{From: "A", Counter: 1<<20 + 1, Plain: []byte("x")}
	v.seal(&beyond)
	add("DATA with a counter above 2^20", "B", "established", un, beyond.Record)
	challenge := append(append([]byte{0x14, 1, 1, 0}, v.Hint...), make([]byte, 4+16+16+8+16)...)
	add("CHALLENGE to another INIT", "A", "initiated", un, challenge)
	for _, reason := range [][]byte{nil, {7, 7}} {
		odd := refMessage{From: "A", Type: 3, Counter: 9, Plain: reason}
		v.seal(&odd)
		add(fmt.Sprintf("CLOSE of %d bytes", len(reason)), "B", "established", un, odd.Record)
	}
	for _, v := range vs[4:] {
		out = append(out, refusals(v)...)
	}
	c := challengesTo(vs)[0]
	good := []byte(c.Record)
	add("CHALLENGE truncated by one byte", "A", "initiated", un, good[:71])
	add("CHALLENGE with a byte behind", "A", "initiated", un, append(bytes.Clone(good), 0))
	add("CHALLENGE of another suite", "A", "initiated", un, flip(good, 1, 3))
	add("CHALLENGE with a reserved flag", "A", "initiated", un, flip(good, 2, 4))
	add("CHALLENGE under the static profile", "A", "initiated", un, flip(good, 2, 0x10))
	add("CHALLENGE of the wrong role", "A", "initiated", un, flip(good, 2, 1))
	add("CHALLENGE with another hint", "A", "initiated", un, flip(good, 4, 1))
	add("CHALLENGE with another digest", "A", "initiated", un, flip(good, 16, 1))
	add("CHALLENGE with another nonce", "A", "initiated", un, flip(good, 32, 1))
	add("CHALLENGE with another epoch", "A", "initiated", un, flip(good, 55, 1))
	add("CHALLENGE with its MAC changed", "A", "initiated", un, flip(good, 71, 1))
	add("CHALLENGE reflected", "B", "new", un, good)
	add("CHALLENGE without an INIT", "A", "new", un, good)
	add("CHALLENGE after the session is there", "A", "established", un, good)
	foreignChallenge := *c
	foreignChallenge.compute(&other)
	add("CHALLENGE to another INIT of the binding", "A", "initiated", un, foreignChallenge.Record)
	return out
}

// sequences show the strict and the windowed receiver.
func sequences(vs []*vector) []sequence {
	var out []sequence
	v := vs[0]
	add := func(name string, windowed bool, steps ...any) { // counter, error, counter, error, …
		s := sequence{Name: name, Vector: v.Name, Windowed: windowed}
		for i := 0; i < len(steps); i += 2 {
			m := refMessage{From: "A", Counter: uint32(steps[i].(int)), Plain: fmt.Appendf(nil, "message %d", steps[i])}
			v.seal(&m)
			st := step{Record: m.Record, Error: steps[i+1].(string)}
			if st.Error == "" {
				st.Plain = m.Plain
			}
			s.Steps = append(s.Steps, st)
		}
		out = append(out, s)
	}
	const ok, replay, un = "", "replay", "unauthentic"
	add("strict: gaps are taken, nothing older than the newest", false, 2, ok, 1, replay, 2, replay, 70, ok, 69, replay, 71, ok)
	add("strict: the keys of an earlier generation are gone", false, 5, ok, 65536, ok, 65535, un, 65536, replay)
	add("windowed: up to 63 behind, once", true, 2, ok, 1, ok, 1, replay, 65, ok, 2, replay, 3, ok, 66, ok, 4, ok, 67, ok, 4, replay, 131, ok, 68, ok, 67, replay)
	add("windowed: over a ratchet step", true, 65530, ok, 65540, ok, 65535, ok, 65535, replay, 65536, ok, 65598, ok, 65534, replay, 65599, ok, 65534, un)
	add("windowed: generations skipped, the one before the newest is kept", true, 1, ok, 3<<16+2, ok, 3<<16-1, ok, 3<<16-61, ok, 3<<16-62, replay, 2<<16-1, un)
	add("windowed: at most 16 generations ahead", true, 1<<20, ok, 1<<20-1, ok)
	return out
}

// refusals are the records that are refused whatever profile and suite v has.
func refusals(v *vector) []negative {
	var out []negative
	add := func(name, at, state string, record []byte) {
		out = append(out, negative{Name: v.Name + ": " + name, Vector: v.Name, At: at, State: state, Record: record, Error: "unauthentic"})
	}
	flip := func(b []byte, i int, mask byte) []byte {
		b = bytes.Clone(b)
		b[i] ^= mask
		return b
	}
	remac := func(b []byte) []byte {
		b = bytes.Clone(b[:len(b)-16])
		return append(b, refHMAC(v.Mac1K, b)[:16]...)
	}
	odd := func(change func(*vector)) vector {
		o := *v
		o.Messages = nil
		change(&o)
		o.compute()
		return o
	}
	init, resp := []byte(v.Init), []byte(v.Resp)
	if v.Echo != nil { // its state is that of TestChallengeVectors, all but the INITs that nobody may take
		add("INIT with another echo, outer MAC right", "B", "new", remac(flip(init, 26, 1)))
		add("INIT with its echo cut out, outer MAC right", "B", "new", remac(flip(slices.Delete(bytes.Clone(init), 26, 42), 2, 4)))
		add("INIT with its echo flag cleared, outer MAC right", "B", "new", remac(flip(init, 2, 4)))
		return out
	}
	point := len(init) - len(v.Early) - 36 // behind the clear part
	add("INIT truncated by one byte", "B", "new", init[:len(init)-1])
	add("INIT with ciphertext changed, outer MAC right", "B", "new", remac(flip(init, point, 1)))
	add("INIT with tag changed, outer MAC right", "B", "new", remac(flip(init, len(init)-17, 1)))
	add("INIT with another suite offered, outer MAC right", "B", "new", remac(flip(init, 25, 0x01)))
	other := odd(func(o *vector) { o.oddInit = func(b []byte) []byte { b[1] ^= 3; return b } })
	add("INIT whose header names another suite than the rule", "B", "new", other.Init)
	add("RESP truncated by one byte", "A", "initiated", resp[:len(resp)-1])
	add("RESP with tag changed", "A", "initiated", flip(resp, len(resp)-1, 1))
	add("RESP of another suite", "A", "initiated", flip(resp, 1, 5))
	other = odd(func(o *vector) { o.Early = []byte("21.3 degrees") })
	add("RESP to another INIT", "A", "initiated", other.Resp)
	if v.PrekeyN != 0 {
		out = append(out, negative{
			Name: v.Name + ": INIT with another prekey's number, outer MAC right", Vector: v.Name, At: "B", State: "new",
			Record: remac(flip(init, 29, 1)), Error: "unknown prekey",
		})
		add("INIT with its prekey cut out, outer MAC right", "B", "new", remac(flip(slices.Delete(bytes.Clone(init), 26, 30), 2, 8)))
		add("INIT with its prekey flag cleared, outer MAC right", "B", "new", remac(flip(init, 2, 8)))
		other = odd(func(o *vector) { o.Prekey = fixedKey("vector prekey 6").Bytes() })
		add("INIT under another prekey with this one's number", "B", "new", other.Init)
		other = odd(func(o *vector) { o.oddInit = func(b []byte) []byte { copy(b[26:30], make([]byte, 4)); return b } })
		add("INIT under prekey 0, sealed by its author", "B", "new", other.Init)
	}
	if v.Profile == 1 {
		add("INIT with another nonce, outer MAC right", "B", "new", remac(flip(init, 26, 1)))
		add("INIT under the ephemeral profile", "B", "new", remac(flip(init, 2, 0x10)))
		add("RESP with another nonce", "A", "initiated", flip(resp, 47, 1))
		add("RESP under the ephemeral profile", "A", "initiated", flip(resp, 2, 0x10))
		other = odd(func(o *vector) {
			o.Profile, o.EphemeralI, o.EphemeralR = 0, fixedKey("vector e_I "+o.Name).Bytes(), fixedKey("vector e_R "+o.Name).Bytes()
		})
		add("INIT of the same pair in the ephemeral profile", "B", "new", other.Init)
	}
	if v.Offered&0xc != 0 {
		key := point - 1184
		add("INIT with another ML-KEM key, outer MAC right", "B", "new", remac(flip(init, key, 1)))
		other = odd(func(o *vector) { o.oddInit = func(b []byte) []byte { copy(b[key:], "\xff\xff\xff"); return b } })
		if v.Suite > 2 {
			add("INIT with no ML-KEM key, sealed by its author", "B", "new", other.Init)
		}
		add("INIT without its ML-KEM key, outer MAC right", "B", "new", remac(slices.Delete(bytes.Clone(init), key, point)))
	}
	if v.Suite > 2 {
		clear := len(resp) - len(v.Reply) - 20
		add("RESP with another ML-KEM ciphertext", "A", "initiated", flip(resp, clear-1, 1))
		add("RESP without its ML-KEM ciphertext", "A", "initiated", slices.Delete(bytes.Clone(resp), clear-1088, clear))
	}
	if len(v.Messages) == 0 {
		return out
	}
	data := []byte(v.Messages[1].Record)
	add("DATA truncated by one byte", "B", "established", data[:len(data)-1])
	add("DATA of another suite", "B", "established", flip(data, 1, 3))
	add("DATA with another counter", "B", "established", flip(data, 15, 2))
	add("DATA with ciphertext changed", "B", "established", flip(data, 16, 1))
	add("DATA with tag changed", "B", "established", flip(data, len(data)-1, 1))
	add("DATA turned round", "A", "established", flip(data, 2, 1))
	out = append(out, negative{Name: v.Name + ": DATA repeated", Vector: v.Name, At: "B", State: "established", Record: v.Messages[0].Record, Error: "replay"})
	return out
}

// vectorPeers makes both sides of v.
func vectorPeers(t *testing.T, v *vector, change ...func(*e2e.Config)) (a, b *e2e.Peer) {
	t.Helper()
	plain := func(p refParty) e2e.PlainParty {
		return e2e.PlainParty{Role: p.Role[0], Name: p.ID, Cert: [32]byte(p.CertHash), Agree: refKey(p.Agreement).PublicKey()}
	}
	open := func(self, other refParty, initiator bool) *e2e.Peer {
		cfg := e2e.Config{
			Key: refKey(self.Agreement), Binding: e2e.BindingID(v.Binding), RequirePSK: v.PSKRequired,
			Profile: e2e.Profile(v.Profile), Suites: []e2e.Suite{e2e.Suite(v.Suite)}, Epochs: &memEpochs{next: v.Epoch - 1},
		}
		if initiator {
			cfg.Suites = nil
			for s := e2e.Suite(1); s <= 4; s++ {
				if v.Offered>>(s-1)&1 == 1 {
					cfg.Suites = append(cfg.Suites, s)
				}
			}
		}
		if cfg.Capabilities = v.CapsR; initiator {
			cfg.Capabilities = v.CapsI
		}
		if v.PrekeyN != 0 && !initiator {
			cfg.Prekeys = memPrekeys{v.PrekeyN: refKey(v.Prekey)}
		}
		for _, c := range change {
			c(&cfg)
		}
		p, err := e2e.NewPlainPeer(cfg, plain(self), plain(other), v.PSK)
		require.NoError(t, err)
		ephemeral := v.EphemeralR
		if initiator {
			ephemeral = v.EphemeralI
		}
		e2e.SetEphemeral(p, func() (*ecdh.PrivateKey, error) { return refKey(ephemeral), nil })
		if v.PrekeyN != 0 && initiator {
			require.NoError(t, p.UsePrekey(e2e.PlainPrekey(plain(other), v.PrekeyN, start.Add(time.Hour), refKey(v.Prekey).PublicKey())))
		}
		e2e.SetNonce(p, v.NonceR)
		if initiator {
			e2e.SetNonce(p, v.NonceI)
		}
		if v.Offered&0xc != 0 {
			dk, err := mlkem.NewDecapsulationKey768(v.KEMSeed)
			require.NoError(t, err)
			var ciphertext []byte
			if n := len(v.Resp) - len(v.Reply) - 20; v.Suite > 2 {
				ciphertext = v.Resp[n-1088 : n]
			}
			e2e.SetKEM(p, dk, v.KEMSS, ciphertext)
		}
		return p
	}
	return open(v.A, v.B, v.Initiator == "A"), open(v.B, v.A, v.Initiator == "B")
}

// computable says whether this run may compute v: FIPS 140-only mode forbids AES-GCM to us.
func computable(v *vector) bool { return v.initSuite()%2 == 1 && v.Suite%2 == 1 || !fips140.Enforced() }

func load(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	var vs vectors
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&vs))
	require.NotEmpty(t, vs.Positive)
	require.Greater(t, len(vs.Negative), 2*len(vs.Positive))
	return vs
}

// The file is what the reference makes of its inputs. With -update it is written.
func TestVectorFile(t *testing.T) {
	if fips140.Enforced() {
		t.Skip("the reference computes AES-GCM and ML-KEM from given randomness, which FIPS 140-only mode forbids")
	}
	want := vectors{Comment: "Vectors of docs/protocol.md, made by go test ./e2e -run TestVectorFile -update from reference_test.go; bytes in hexadecimal."}
	want.Positive = positive()
	for _, v := range want.Positive {
		v.compute()
	}
	want.Negative = negatives(want.Positive)
	want.Sequences = sequences(want.Positive)
	want.Challenges = challengesTo(want.Positive)
	want.Prekeys = bundles()
	b, err := json.MarshalIndent(want, "", "  ")
	require.NoError(t, err)
	b = append(b, '\n')
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(vectorFile, b, 0o644))
	}
	got, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	require.Equal(t, string(b), string(got))
}

func TestVectors(t *testing.T) {
	for _, v := range load(t).Positive {
		t.Run(v.Name, func(t *testing.T) {
			if !computable(v) {
				t.Skip("FIPS 140-only mode forbids the suite")
			}
			a, b := vectorPeers(t, v)
			require.Equal(t, []byte(v.Hint), func() []byte { h := a.Hint(); return h[:] }())
			if v.Echo != nil {
				return // see TestChallengeVectors
			}
			if v.B.Role == "P" {
				x, err := a.Begin(start)
				require.NoError(t, err)
				require.Equal(t, [32]byte(v.TH1), x.Transcript())
				init, err := x.Init(v.Early)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Init), init)
				req, err := b.OpenRequest(v.Init)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Early), req.Body())
				resp, err := req.Reply(v.Reply)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Resp), resp)
				body, err := x.Open(v.Resp)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Reply), body)
				return
			}
			establishVector(t, v, a, b)
			told := map[*e2e.Peer]uint32{a: v.CapsR, b: v.CapsI}
			if v.Initiator == "B" {
				told = map[*e2e.Peer]uint32{a: v.CapsI, b: v.CapsR}
			}
			for p, want := range told {
				id, _ := p.Session()
				out, err := p.Export(id, "vector", 40)
				require.NoError(t, err)
				require.Equal(t, []byte(v.Exported), out)
				caps, ok := p.RemoteCapabilities()
				require.True(t, ok)
				require.Equal(t, want, caps)
			}
			peers := map[string]*e2e.Peer{"A": a, "B": b}
			other := map[string]string{"A": "B", "B": "A"}
			for _, m := range v.Messages[1:] {
				from, to := peers[m.From], peers[other[m.From]]
				e2e.SetSent(from, m.Counter)
				if m.Type == 3 {
					rec, err := from.CloseSession(m.Plain[0])
					require.NoError(t, err)
					require.Equal(t, []byte(m.Record), rec)
					ev, err := to.Receive(start, rec)
					require.NoError(t, err)
					require.Equal(t, e2e.KindClosed, ev.Kind)
					require.Equal(t, m.Plain[0], ev.Reason)
					continue
				}
				// Flag and counters near the limit depend on the sender's state, which the test moved; so
				// the receiver's half is checked with the vector, the sender's where it would set the same flag.
				if !from.RenewDue(start) && m.Flags == 0 {
					rec, err := from.Seal(start, nil, m.Plain)
					require.NoError(t, err)
					require.Equal(t, []byte(m.Record), rec, "counter %d", m.Counter)
				}
				ev, err := to.Receive(start, m.Record)
				require.NoError(t, err, "counter %d", m.Counter)
				require.Equal(t, e2e.KindData, ev.Kind)
				require.Equal(t, []byte(m.Plain), ev.Payload)
			}
		})
	}
}

// establishVector runs the handshake of v, comparing every record.
func establishVector(t *testing.T, v *vector, a, b *e2e.Peer) {
	t.Helper()
	from, to := a, b
	if v.Initiator == "B" {
		from, to = b, a
	}
	init, err := from.Initiate(start, v.Early)
	require.NoError(t, err)
	require.Equal(t, []byte(v.Init), init)
	ev, err := to.Receive(start, v.Init)
	require.NoError(t, err)
	require.Equal(t, string(v.Early), string(ev.Payload))
	require.Equal(t, []byte(v.Resp), ev.Reply)
	ev, err = from.Receive(start, v.Resp)
	require.NoError(t, err)
	require.Equal(t, []byte(v.SID), ev.Session[:])
	require.Equal(t, []byte(v.Messages[0].Record), ev.Reply)
	_, err = to.Receive(start, ev.Reply)
	require.NoError(t, err)
}

var errorNamed = map[string]error{"unauthentic": e2e.ErrUnauthentic, "replay": e2e.ErrReplay, "stale epoch": e2e.ErrStaleEpoch, "unknown prekey": e2e.ErrUnknownPrekey}

func TestNegativeVectors(t *testing.T) {
	vs := load(t)
	byName := map[string]*vector{}
	for _, v := range vs.Positive {
		byName[v.Name] = v
	}
	for _, n := range vs.Negative {
		t.Run(n.Name, func(t *testing.T) {
			v := byName[n.Vector]
			require.NotNil(t, v)
			if !computable(v) {
				t.Skip("FIPS 140-only mode forbids the suite")
			}
			a, b := vectorPeers(t, v)
			if v.B.Role == "P" {
				refuseOneShot(t, n, v, a, b)
				return
			}
			switch n.State {
			case "initiated":
				_, err := a.Initiate(start, v.Early)
				require.NoError(t, err)
			case "established":
				establishVector(t, v, a, b)
			default:
				require.Equal(t, "new", n.State)
			}
			to := a
			if n.At == "B" {
				to = b
			}
			ev, err := to.Receive(start, n.Record)
			want := errorNamed[n.Error]
			require.NotNil(t, want)
			require.ErrorIs(t, err, want)
			require.Equal(t, e2e.Event{}, ev)

			// And the refusal spoilt nothing.
			if n.State == "initiated" {
				ev, err := a.Receive(start, v.Resp)
				require.NoError(t, err)
				require.Equal(t, e2e.KindEstablished, ev.Kind)
			}
			if n.State == "established" {
				_, err := b.Receive(start, v.Messages[1].Record)
				require.NoError(t, err)
			}
		})
	}
}

func TestSequences(t *testing.T) {
	vs := load(t)
	for _, s := range vs.Sequences {
		t.Run(s.Name, func(t *testing.T) {
			i := slices.IndexFunc(vs.Positive, func(v *vector) bool { return v.Name == s.Vector })
			a, b := vectorPeers(t, vs.Positive[i], func(c *e2e.Config) { c.Windowed = s.Windowed })
			establishVector(t, vs.Positive[i], a, b)
			for n, st := range s.Steps {
				ev, err := b.Receive(start, st.Record)
				if st.Error != "" {
					require.Equal(t, errorNamed[st.Error], err, "step %d", n)
					continue
				}
				require.NoError(t, err, "step %d", n)
				require.Equal(t, string(st.Plain), string(ev.Payload), "step %d", n)
			}
		})
	}
}

func TestChallengeVectors(t *testing.T) {
	vs := load(t)
	named := func(name string) *vector {
		return vs.Positive[slices.IndexFunc(vs.Positive, func(v *vector) bool { return v.Name == name })]
	}
	require.NotEmpty(t, vs.Challenges)
	for _, c := range vs.Challenges {
		t.Run(c.Name, func(t *testing.T) {
			v, answer := named(c.Vector), named(c.Answer)
			if !computable(v) {
				t.Skip("FIPS 140-only mode forbids the suite")
			}
			own := &memEpochs{next: v.Epoch - 1}
			a, _ := vectorPeers(t, v, func(c *e2e.Config) { c.Epochs = own })
			_, b := vectorPeers(t, answer, func(cfg *e2e.Config) { cfg.Epochs = &memEpochs{seen: c.Seen, restored: c.Marked} })
			e2e.SetChallenge(b, c.Nonce)
			init, err := a.Initiate(start, v.Early)
			require.NoError(t, err)
			require.Equal(t, []byte(v.Init), init)
			_, err = b.Receive(start, init)
			if c.Marked {
				require.ErrorIs(t, err, e2e.ErrEchoRequired)
			} else {
				require.ErrorIs(t, err, e2e.ErrStaleEpoch)
			}
			ce, ok := errors.AsType[*e2e.ChallengeError](err)
			require.True(t, ok)
			require.Equal(t, []byte(c.Record), ce.Record)

			if c.Marked { // it does not tell the initiator how far it was
				own.next = answer.Epoch - 1
			}
			reuse(t, a, answer)
			ev, err := a.Receive(start, c.Record)
			require.NoError(t, err)
			require.Equal(t, []byte(answer.Init), ev.Reply)
			require.Equal(t, string(v.Early), string(ev.Returned))
			ev, err = b.Receive(start, ev.Reply)
			require.NoError(t, err)
			require.Equal(t, []byte(answer.Resp), ev.Reply)
			ev, err = a.Receive(start, ev.Reply)
			require.NoError(t, err)
			require.Equal(t, []byte(answer.Messages[0].Record), ev.Reply)
		})
	}
}

// reuse lets the initiator p go on with v's keys.
func reuse(t *testing.T, p *e2e.Peer, v *vector) {
	t.Helper()
	if v.Profile == 1 {
		e2e.SetNonce(p, v.NonceI)
	} else {
		e2e.SetEphemeral(p, func() (*ecdh.PrivateKey, error) { return refKey(v.EphemeralI), nil })
	}
}

func refuseOneShot(t *testing.T, n negative, v *vector, a, b *e2e.Peer) {
	if n.State == "new" {
		require.Equal(t, "B", n.At)
		_, err := b.OpenRequest(n.Record)
		require.Equal(t, e2e.ErrUnauthentic, err)
		return
	}
	require.Equal(t, "initiated", n.State)
	x, err := a.Begin(start)
	require.NoError(t, err)
	_, err = x.Init(v.Early)
	require.NoError(t, err)
	_, err = x.Open(n.Record)
	require.Equal(t, e2e.ErrUnauthentic, err)
	_, err = x.Open(v.Resp)
	require.NoError(t, err, "the refusal spoilt nothing")
}
