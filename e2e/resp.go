package e2e

// respRecord is a parsed RESP. The slices point into the record.
type respRecord struct {
	header
	point  []byte // e_R, compressed
	clear  []byte // header to point or ML-KEM ciphertext
	kem    []byte // ML-KEM ciphertext, 1,088 bytes or nil
	sealed []byte // enc(caps ‖ data) ‖ tag
}

func appendRespClear(b []byte, h header, point, kem []byte) []byte {
	b = append(h.append(b), point...)
	return append(b, kem...)
}

// parseResp splits a RESP whose header is h.
func parseResp(h header, b []byte) (respRecord, bool) {
	m := respRecord{header: h}
	size := respClearSize
	if h.suite.kem() {
		size += kemCipherSize
	}
	if n := len(b) - size - (minRespSize - respClearSize); n < 0 || n > MaxPayload {
		return m, false
	}
	m.point = b[headerSize:respClearSize]
	if h.suite.kem() {
		m.kem = b[respClearSize:size]
	}
	m.clear, m.sealed = b[:size], b[size:]
	return m, true
}
