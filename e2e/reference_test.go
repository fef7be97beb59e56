package e2e_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// A second implementation of docs/protocol.md, in a straight line, from the primitives alone: it shares no code with the package. It
// makes the vectors in testdata, which the package then has to meet.

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type refParty struct {
	Role      string   `json:"role"`
	ID        string   `json:"id"`
	CertHash  hexBytes `json:"certificate_sha256"`
	Agreement hexBytes `json:"agreement_private"`
}

type refMessage struct {
	From    string   `json:"from"` // "A" or "B"
	Type    byte     `json:"type"`
	Flags   byte     `json:"flags"`
	Counter uint32   `json:"counter"`
	Plain   hexBytes `json:"plaintext"`
	Record  hexBytes `json:"record"`

	odd func(header []byte) []byte
}

// vector is one handshake with everything that comes of it.
type vector struct {
	Name string `json:"name"`

	// Inputs.
	Profile     byte     `json:"profile"`
	PSKRequired bool     `json:"psk_required"`
	Binding     hexBytes `json:"binding_id"`
	PSK         hexBytes `json:"psk"`
	A           refParty `json:"a"`
	B           refParty `json:"b"`
	Initiator   string   `json:"initiator"` // "A" or "B"
	Epoch       uint64   `json:"epoch"`
	Offered     uint16   `json:"offered_suites"`
	Echo        hexBytes `json:"echo,omitempty"`
	Suite       byte     `json:"suite"`
	EphemeralI  hexBytes `json:"ephemeral_private_initiator"`
	EphemeralR  hexBytes `json:"ephemeral_private_responder"`
	NonceI      hexBytes `json:"nonce_initiator,omitempty"` // profile 1, in the place of the ephemeral keys
	NonceR      hexBytes `json:"nonce_responder,omitempty"`
	PrekeyN     uint32   `json:"prekey_number,omitempty"`
	Prekey      hexBytes `json:"prekey_private,omitempty"`
	KEMSeed     hexBytes `json:"mlkem_seed_initiator,omitempty"`   // d ‖ z of FIPS 203
	KEMRandom   hexBytes `json:"mlkem_random_responder,omitempty"` // m of FIPS 203
	CapsI       uint32   `json:"capabilities_initiator,omitempty"`
	CapsR       uint32   `json:"capabilities_responder,omitempty"`
	Early       hexBytes `json:"init_payload"`
	Reply       hexBytes `json:"resp_payload"`

	// What a sender of another mind does to the clear part of INIT, and to the header of RESP, before keys and tags are computed.
	oddInit, oddResp func(b []byte) []byte

	// Intermediate values.
	TH0    hexBytes `json:"th0"`
	MK     hexBytes `json:"mk"`
	Hint   hexBytes `json:"hint"`
	Mac1K  hexBytes `json:"mac1k"`
	TH1    hexBytes `json:"th1"`
	CK1    hexBytes `json:"ck1"`
	CK1P   hexBytes `json:"ck1_with_prekey,omitempty"`
	K1     hexBytes `json:"k1"`
	KEMSS  hexBytes `json:"mlkem_shared,omitempty"`
	CK2    hexBytes `json:"ck2"`
	CK3    hexBytes `json:"ck3"`
	TH2    hexBytes `json:"th2"`
	K2     hexBytes `json:"k2"`
	TH3    hexBytes `json:"th3"`
	SID    hexBytes `json:"session_id"`
	ChainA hexBytes `json:"g0_a_to_b"`
	ChainB hexBytes `json:"g0_b_to_a"`

	Exporter hexBytes `json:"exporter"`
	Exported hexBytes `json:"exported_vector_40"` // 40 bytes for the label "vector"

	// What is sent.
	Init     hexBytes     `json:"init"`
	Resp     hexBytes     `json:"resp"`
	Messages []refMessage `json:"messages"`
}

func refHMAC(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

func refHash(parts ...[]byte) []byte {
	h := sha256.Sum256(bytes.Join(parts, nil))
	return h[:]
}

func refExpand(key []byte, label string, context []byte, n int) []byte {
	var t, out []byte
	for i := byte(1); len(out) < n; i++ {
		t = refHMAC(key, t, []byte(label), context, []byte{i})
		out = append(out, t...)
	}
	return out[:n]
}

func refPoint(k *ecdh.PrivateKey) []byte {
	u := k.PublicKey().Bytes() // 04 x y
	return append([]byte{2 + u[64]%2}, u[1:33]...)
}

func refDH(k, other *ecdh.PrivateKey) []byte {
	s, err := k.ECDH(other.PublicKey())
	if err != nil {
		panic(err)
	}
	return s
}

func refKey(b []byte) *ecdh.PrivateKey {
	k, err := ecdh.P256().NewPrivateKey(b)
	if err != nil {
		panic(err)
	}
	return k
}

func lp(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }

// refSeal seals under the suite that header names: keys is SEK ‖ SAK ‖ IV.
func refSeal(keys []byte, counter uint32, header, plain []byte) []byte {
	nonce := append(bytes.Clone(keys[64:76]), 0, 0, 0, 0)
	for i := range 4 {
		nonce[8+i] ^= byte(counter >> (24 - 8*i))
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		panic(err)
	}
	if header[1]%2 == 0 {
		g, err := cipher.NewGCM(block)
		if err != nil {
			panic(err)
		}
		return g.Seal(nil, nonce[:12], plain, header)
	}
	ct := make([]byte, len(plain))
	cipher.NewCTR(block, nonce).XORKeyStream(ct, plain)
	return append(ct, refHMAC(keys[32:64], header, ct)[:16]...)
}

// compute fills in everything but the inputs; of a message it wants From, Type, Flags, Counter and Plain.
func (v *vector) compute() {
	a, b := refKey(v.A.Agreement), refKey(v.B.Agreement)
	var eI, eR *ecdh.PrivateKey
	shareI, shareR := []byte(v.NonceI), []byte(v.NonceR)
	if v.Profile == 0 {
		eI, eR = refKey(v.EphemeralI), refKey(v.EphemeralR)
		shareI, shareR = refPoint(eI), refPoint(eR)
	}
	sI, sR, flagI, flagR := a, b, byte(0), byte(1)
	if v.Initiator == "B" {
		sI, sR, flagI, flagR = b, a, 1, 0
	}
	required := byte(0)
	if v.PSKRequired {
		required = 1
	}
	side := func(p refParty, k *ecdh.PrivateKey) []byte {
		return bytes.Join([][]byte{lp([]byte(p.Role)), lp([]byte(p.ID)), lp(p.CertHash), lp(refPoint(k))}, nil)
	}
	v.TH0 = refHash([]byte("semio-e2e/1 th0"), []byte{v.Profile, required}, lp(v.Binding), side(v.A, a), side(v.B, b))
	v.MK = refHMAC(v.TH0, refDH(a, b), v.PSK)
	v.Hint = refHash([]byte("semio-e2e/1 hint"), v.TH0)[:8]
	v.Mac1K = refExpand(v.MK, "semio-e2e/1 mac1", nil, 32)

	header := func(typ, suite, flags byte) []byte {
		return append(append([]byte{0x10 | typ, suite, flags | v.Profile<<4, 0}, v.Hint...), 0, 0, 0, 0)
	}
	hI := header(1, v.initSuite(), flagI)
	initClear := binary.BigEndian.AppendUint64(bytes.Clone(hI), v.Epoch)
	initClear = binary.BigEndian.AppendUint16(initClear, v.Offered)
	if v.Echo != nil {
		initClear[2] |= 4
		hI[2] |= 4
	}
	initClear = append(initClear, v.Echo...)
	if v.PrekeyN != 0 {
		initClear[2] |= 8
		hI[2] |= 8
		initClear = binary.BigEndian.AppendUint32(initClear, v.PrekeyN)
	}
	initClear = append(initClear, shareI...)
	var ciphertext []byte
	if v.Offered&0xc != 0 {
		dk, err := mlkem.NewDecapsulationKey768(v.KEMSeed)
		if err != nil {
			panic(err)
		}
		initClear = append(initClear, dk.EncapsulationKey().Bytes()...)
		if v.Suite > 2 {
			if v.KEMSS, ciphertext, err = mlkemtest.Encapsulate768(dk.EncapsulationKey(), v.KEMRandom); err != nil {
				panic(err)
			}
		}
	}
	if v.oddInit != nil {
		initClear = v.oddInit(initClear)
		hI = initClear[:16:16]
	}
	v.TH1 = refHash(v.TH0, initClear)
	if v.Profile == 0 {
		v.CK1 = refHMAC(v.MK, refDH(eI, sR))
	} else {
		v.CK1 = refHMAC(v.MK, v.NonceI)
	}
	ck1 := v.CK1
	if v.PrekeyN != 0 {
		pk := refKey(v.Prekey)
		v.CK1P = refHMAC(v.CK1, refDH(eI, pk), refDH(sI, pk))
		ck1 = v.CK1P
	}
	v.K1 = refExpand(ck1, "semio-e2e/1 m1", v.TH1, 76)
	ct1 := refSeal(v.K1, 0, hI, append(binary.BigEndian.AppendUint32(nil, v.CapsI), v.Early...))
	v.Init = append(initClear, ct1...)
	v.Init = append(v.Init, refHMAC(v.Mac1K, v.Init)[:16]...)

	hR := header(2, v.Suite, flagR)
	if v.oddResp != nil {
		hR = v.oddResp(hR)
	}
	respClear := slices.Concat(hR, shareR, ciphertext)
	v.TH2 = refHash(v.TH1, binary.BigEndian.AppendUint32(nil, uint32(len(ct1))), ct1, respClear)
	if v.Profile == 0 {
		v.CK2 = refHMAC(ck1, refDH(eI, eR), v.KEMSS)
		v.CK3 = refHMAC(v.CK2, refDH(eR, sI))
	} else {
		v.CK3 = refHMAC(v.CK1, v.NonceR, v.KEMSS)
	}
	v.K2 = refExpand(v.CK3, "semio-e2e/1 m2", v.TH2, 76)
	ct2 := refSeal(v.K2, 0, hR, append(binary.BigEndian.AppendUint32(nil, v.CapsR), v.Reply...))
	v.Resp = append(respClear, ct2...)

	v.TH3 = refHash(v.TH2, ct2)
	v.SID = refExpand(v.CK3, "semio-e2e/1 sid", v.TH3, 8)
	v.ChainA = refExpand(v.CK3, "semio-e2e/1 dir A>B", v.TH3, 32)
	v.ChainB = refExpand(v.CK3, "semio-e2e/1 dir B>A", v.TH3, 32)
	v.Exporter = refExpand(v.CK3, "semio-e2e/1 exporter", v.TH3, 32)
	v.Exported = refExpand(v.Exporter, "semio-e2e/1 exported", refHash([]byte("vector")), 40)
	for i := range v.Messages {
		v.seal(&v.Messages[i])
	}
}

// challenge is a CHALLENGE to the INIT of a vector, and which vector has the INIT that answers it.
type challenge struct {
	Name    string   `json:"name"`
	Vector  string   `json:"vector"`
	Seen    uint64   `json:"responder_has_seen"`
	Marked  bool     `json:"responder_was_restored"`
	Nonce   hexBytes `json:"nonce"`
	Highest uint64   `json:"highest"`
	ChalK   hexBytes `json:"chalk"`
	Record  hexBytes `json:"record"`
	Answer  string   `json:"answer"`
}

func (c *challenge) compute(v *vector) {
	c.ChalK = refExpand(v.MK, "semio-e2e/1 chal", nil, 32)
	flags := v.Profile << 4
	if v.Initiator == "A" {
		flags |= 1
	}
	h := append(append([]byte{0x14, v.initSuite(), flags, 0}, v.Hint...), 0, 0, 0, 0)
	c.Record = slices.Concat(h, refHash(v.Init)[:16], c.Nonce, binary.BigEndian.AppendUint64(nil, c.Highest))
	c.Record = append(c.Record, refHMAC(c.ChalK, c.Record)[:16]...)
}

// prekeyBundle is what an application signs and hands out.
type prekeyBundle struct {
	Name       string   `json:"name"`
	ID         string   `json:"id"`
	CertHash   hexBytes `json:"certificate_sha256"`
	SigningKey hexBytes `json:"signing_private"`
	Number     uint32   `json:"number"`
	Expires    uint64   `json:"expires"`
	Private    hexBytes `json:"private"`
	Signed     hexBytes `json:"signed_bytes"` // with the prefix of the context
	Bundle     hexBytes `json:"bundle"`
}

func (b *prekeyBundle) compute() {
	body := binary.BigEndian.AppendUint32([]byte{1}, b.Number)
	body = binary.BigEndian.AppendUint64(body, b.Expires)
	body = slices.Concat(body, b.CertHash, refPoint(refKey(b.Private)), lp([]byte(b.ID)))
	b.Signed = slices.Concat(bytes.Repeat([]byte{0x20}, 64), []byte("semio/1 prekey\x00"), body)
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b.SigningKey)
	if err != nil {
		panic(err)
	}
	sig, err := k.Sign(nil, refHash(b.Signed), crypto.SHA256) // RFC 6979
	if err != nil {
		panic(err)
	}
	b.Bundle = append(body, sig...)
}

// initSuite is the suite of INIT's header: CTR and HMAC wherever they are offered.
func (v *vector) initSuite() byte {
	for _, s := range []byte{1, 3, 2, 4} {
		if v.Offered>>(s-1)&1 == 1 {
			return s
		}
	}
	panic("nothing offered")
}

func (v *vector) seal(m *refMessage) {
	g, flags := v.ChainA, m.Flags
	if m.From == "B" {
		g, flags = v.ChainB, flags|1
	}
	for range m.Counter >> 16 {
		g = refExpand(g, "semio-e2e/1 ratchet", nil, 32)
	}
	h := append([]byte{0x10 | m.Type, v.Suite, flags, byte(m.Counter >> 16)}, v.SID...)
	h = binary.BigEndian.AppendUint32(h, m.Counter)
	if m.odd != nil {
		h = m.odd(h)
	}
	keys := refExpand(g, "semio-e2e/1 keys", nil, 76)
	m.Record = append(bytes.Clone(h), refSeal(keys, m.Counter, h, m.Plain)...)
}
