package e2e

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/semio-iot/semio/internal/secret"
)

// initiation is the initiator's state of one handshake, from INIT to RESP.
type initiation struct {
	suite   Suite // of INIT's payload
	epoch   uint64
	created time.Time
	offered uint16
	private *ecdh.PrivateKey           // of e_I, nil in ProfileStatic
	kem     *mlkem.DecapsulationKey768 // nil unless offered
	header  header
	clear   []byte
	th1     [hashSize]byte
	ck1     secret.Bytes

	record []byte // INIT, nil before it is sealed
	sealed []byte // in record
	early  []byte // a copy, for the case that the handshake is lost
}

func (i *initiation) wipe() {
	if i == nil {
		return
	}
	i.ck1.Wipe()
	clear(i.early)
	i.private, i.kem = nil, nil
}

func (p *Peer) flags() byte {
	f := byte(p.profile) << 4
	if p.selfB {
		f |= flagB
	}
	return f
}

// initiate takes an epoch, which is durable from then on, and does all of INIT that does not need the payload. echo is nil unless
// INIT answers a CHALLENGE, prekey is nil unless it is to protect early data. It wants hs.
func (p *Peer) initiate(now time.Time, echo []byte, prekey *Prekey) (*initiation, error) {
	epoch, err := p.epochs.NextEpoch()
	if err != nil {
		return nil, fmt.Errorf("e2e: take epoch: %w", err)
	}
	if epoch <= p.ownEpoch {
		return nil, fmt.Errorf("e2e: take epoch: the store gave %d after %d", epoch, p.ownEpoch)
	}
	p.ownEpoch = epoch
	i := &initiation{epoch: epoch, created: now, offered: offersOf(p.suites)}
	i.suite = initSuite(i.offered)
	var share []byte
	if i.private, share, err = p.newShare(); err != nil {
		return nil, err
	}
	var kem []byte
	if i.offered&kemOffers != 0 {
		if i.kem, err = p.random.kemKey(); err != nil {
			return nil, fmt.Errorf("e2e: make ephemeral key: %w", err)
		}
		kem = i.kem.EncapsulationKey().Bytes()
	}
	flags := p.flags()
	if echo != nil {
		flags |= flagEcho
	}
	var number uint32
	if prekey != nil {
		flags |= flagPrekey
		number = prekey.Number
	}
	i.header = makeHeader(TypeInit, i.suite, flags, p.hint, 0)
	i.clear = appendInitClear(nil, i.header, epoch, i.offered, echo, number, share, kem)
	i.th1 = transcript1(p.th0, i.clear)
	if i.ck1, err = p.chainInit(i.private, p.remote.agreement, share); err != nil {
		return nil, err
	}
	if prekey != nil {
		i.ck1, err = chainPrekey(i.ck1, agreement{i.private, prekey.key}, agreement{p.key, prekey.key})
	}
	return i, err
}

// sealInit ends INIT. It is called once: the keys and the counter 0 serve one payload. It wants hs.
func (p *Peer) sealInit(i *initiation, payload []byte) error {
	keys, err := messageKeys(i.suite, i.ck1, labelM1, i.th1)
	if err != nil {
		return err
	}
	plain := p.withCaps(payload)
	defer clear(plain)
	b := slices.Concat(i.clear, sealApart(keys, i.header, plain))
	i.record = append(b, p.outerMAC(b)...)
	i.sealed = i.record[len(i.clear) : len(i.record)-mac1Size]
	return nil
}

// outerMAC is mac1. It wants hs; the result is valid until the next call.
func (p *Peer) outerMAC(b []byte) []byte {
	p.mac1.Reset()
	p.mac1.Write(b)
	return p.mac1.Sum(p.mac1Sum[:0])[:mac1Size]
}

// withCaps puts our capabilities before a handshake's payload.
func (p *Peer) withCaps(payload []byte) []byte {
	b := make([]byte, 0, capsSize+len(payload))
	b = binary.BigEndian.AppendUint32(b, p.caps)
	return append(b, payload...)
}

// splitCaps is the other way round. It wants a payload that was sealed: of capsSize bytes at least.
func splitCaps(plain []byte) (caps uint32, payload []byte) {
	return binary.BigEndian.Uint32(plain), plain[capsSize:]
}

// checkHandshake is what INIT and RESP have in common, the cheap checks in their order.
func (p *Peer) checkHandshake(h header) error {
	switch {
	case h.fromB() == p.selfB:
		return unauthentic(&p.count.ownDirection)
	case Hint(h.id()) != p.hint:
		return unauthentic(&p.count.wrongBinding)
	case h.profile() != p.profile:
		return unauthentic(&p.count.unsupported)
	}
	return nil
}

// checkInit does the checks of an INIT that cost little: everything before the epoch. It wants hs.
func (p *Peer) checkInit(h header, record []byte) (initRecord, error) {
	m, ok := parseInit(h, record)
	if !ok {
		return m, unauthentic(&p.count.malformed)
	}
	if err := p.checkHandshake(h); err != nil {
		return m, err
	}
	if subtle.ConstantTimeCompare(m.mac1, p.outerMAC(m.macked)) != 1 {
		return m, unauthentic(&p.count.badMAC)
	}
	if choose(p.suites, m.offered) == 0 || m.prekey != 0 && (p.prekeys == nil || p.oneShot) {
		return m, unauthentic(&p.count.unsupported)
	}
	return m, nil
}

// opening is the responder's state of one handshake, from an authentic INIT to RESP.
type opening struct {
	epoch   uint64
	suite   Suite                      // chosen for RESP and what follows
	public  *ecdh.PublicKey            // e_I, nil in ProfileStatic
	kem     *mlkem.EncapsulationKey768 // nil unless the suite wants it
	th1     [hashSize]byte
	ck1     secret.Bytes
	sealed  []byte // ct1, a copy
	digest  [hashSize]byte
	caps    uint32
	payload []byte
}

// openInit does the expensive half. prekey is the private half of the one that m names. It wants hs, since it calls Key.
func (p *Peer) openInit(m initRecord, prekey ecdh.KeyExchanger, record []byte) (*opening, error) {
	public, err := p.parseShare(m.share)
	if err != nil {
		return nil, err
	}
	o := &opening{epoch: m.epoch, public: public, th1: transcript1(p.th0, m.clear)}
	if o.ck1, err = p.chainInit(p.key, public, m.share); err != nil {
		return nil, err
	}
	if prekey != nil {
		if o.ck1, err = chainPrekey(o.ck1, agreement{prekey, public}, agreement{prekey, p.remote.agreement}); err != nil {
			return nil, err
		}
	}
	keys, err := messageKeys(m.suite(), o.ck1, labelM1, o.th1)
	if err != nil {
		return nil, err
	}
	plain, ok := openApart(keys, m.header, m.sealed)
	if !ok {
		o.ck1.Wipe()
		return nil, unauthentic(&p.count.badTag)
	}
	if o.suite = choose(p.suites, m.offered); o.suite.kem() {
		if o.kem, err = mlkem.NewEncapsulationKey768(m.kem); err != nil {
			o.ck1.Wipe()
			clear(plain)
			return nil, unauthentic(&p.count.badPoint)
		}
	}
	o.caps, o.payload = splitCaps(plain)
	o.sealed = slices.Clone(m.sealed)
	o.digest = Digest(record)
	return o, nil
}

// respond makes RESP with payload, and the secrets of a session: ck3 and TH3. o.ck1 is used up.
func (p *Peer) respond(o *opening, payload []byte) (resp []byte, ck3 secret.Bytes, th3 [hashSize]byte, err error) {
	defer o.ck1.Wipe()
	private, share, err := p.newShare()
	if err != nil {
		return nil, ck3, th3, err
	}
	var shared, kem []byte
	if o.kem != nil {
		shared, kem = p.random.encapsulate(o.kem)
		defer clear(shared)
	}

	h := makeHeader(TypeResp, o.suite, p.flags(), p.hint, 0)
	respClear := appendRespClear(nil, h, share, kem)
	th2 := transcript2(o.th1, o.sealed, respClear)
	ck3, err = p.chainResp(o.ck1, agreement{private, o.public}, agreement{private, p.remote.agreement}, share, shared)
	if err != nil {
		return nil, ck3, th3, err
	}
	keys, err := messageKeys(o.suite, ck3, labelM2, th2)
	if err != nil {
		return nil, ck3, th3, err
	}
	plain := p.withCaps(payload)
	defer clear(plain)
	resp = slices.Concat(respClear, sealApart(keys, h, plain))
	return resp, ck3, transcript3(th2, resp[len(respClear):]), nil
}

// outcome is what a RESP brings the initiator.
type outcome struct {
	caps    uint32
	payload []byte
	ck3     secret.Bytes
	th3     [hashSize]byte
}

// openResp verifies a RESP to i and ends the handshake. i stays as it is. It wants hs, since it calls Key.
func (p *Peer) openResp(i *initiation, h header, record []byte) (*outcome, error) {
	m, ok := parseResp(h, record)
	if !ok {
		return nil, unauthentic(&p.count.malformed)
	}
	if i.offered&m.suite().offer() == 0 {
		return nil, unauthentic(&p.count.unsupported)
	}
	public, err := p.parseShare(m.share)
	if err != nil {
		return nil, err
	}
	var shared []byte
	if m.kem != nil {
		if shared, err = i.kem.Decapsulate(m.kem); err != nil {
			return nil, unauthentic(&p.count.malformed) // the length was checked: never
		}
		defer clear(shared)
	}

	th2 := transcript2(i.th1, i.sealed, m.clear)
	ck3, err := p.chainResp(i.ck1, agreement{i.private, public}, agreement{p.key, public}, m.share, shared)
	if err != nil {
		return nil, err
	}
	keys, err := messageKeys(m.suite(), ck3, labelM2, th2)
	if err != nil {
		return nil, err
	}
	plain, ok := openApart(keys, m.header, m.sealed)
	if !ok {
		ck3.Wipe()
		return nil, unauthentic(&p.count.badTag)
	}
	o := &outcome{ck3: ck3, th3: transcript3(th2, m.sealed)}
	o.caps, o.payload = splitCaps(plain)
	return o, nil
}
