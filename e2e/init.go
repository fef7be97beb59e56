package e2e

import "encoding/binary"

// initRecord is a parsed INIT. The slices point into the record.
type initRecord struct {
	header
	epoch   uint64
	offered uint16
	echo    []byte // 16 bytes or nil
	prekey  uint32 // number, 0: none
	share   []byte // e_I, compressed; n_I in ProfileStatic
	kem     []byte // 1,184 bytes or nil

	clear  []byte // header to point, nonce or ML-KEM key
	sealed []byte // enc(caps ‖ early data) ‖ tag
	macked []byte // what mac1 covers: clear ‖ sealed
	mac1   []byte
}

func appendInitClear(b []byte, h header, epoch uint64, offered uint16, echo []byte, prekey uint32, share, kem []byte) []byte {
	b = h.append(b)
	b = binary.BigEndian.AppendUint64(b, epoch)
	b = binary.BigEndian.AppendUint16(b, offered)
	b = append(b, echo...)
	if prekey != 0 {
		b = binary.BigEndian.AppendUint32(b, prekey)
	}
	b = append(b, share...)
	return append(b, kem...)
}

// parseInit splits an INIT whose header is h.
func parseInit(h header, b []byte) (initRecord, bool) {
	m := initRecord{header: h}
	n := headerSize + 8 + 2
	if len(b) < n {
		return m, false
	}
	m.epoch = binary.BigEndian.Uint64(b[headerSize:])
	m.offered = binary.BigEndian.Uint16(b[headerSize+8:])
	// An unknown suite may change the layout, so it cannot be passed over.
	if m.offered&^allOffers != 0 || h.suite() != initSuite(m.offered) {
		return m, false
	}
	size := n + h.profile().shareSize()
	if h.flags()&flagEcho != 0 {
		size += echoSize
	}
	if h.flags()&flagPrekey != 0 {
		size += prekeySize
	}
	if m.offered&kemOffers != 0 {
		size += kemKeySize
	}
	if payload := len(b) - size - initRest; payload < 0 || payload > MaxPayload {
		return m, false
	}
	if h.flags()&flagEcho != 0 {
		m.echo = b[n : n+echoSize]
		n += echoSize
	}
	if h.flags()&flagPrekey != 0 {
		if m.prekey = binary.BigEndian.Uint32(b[n:]); m.prekey == 0 || h.profile() == ProfileStatic {
			return m, false
		}
		n += prekeySize
	}
	m.share = b[n : n+h.profile().shareSize()]
	if m.offered&kemOffers != 0 {
		m.kem = b[size-kemKeySize : size]
	}
	m.clear, m.sealed = b[:size], b[size:len(b)-mac1Size]
	m.macked, m.mac1 = b[:len(b)-mac1Size], b[len(b)-mac1Size:]
	return m, true
}
