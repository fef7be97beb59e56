package e2e

// respRecord is a parsed RESP. The slices point into the record.
type respRecord struct {
	header
	share  []byte // e_R, compressed; n_R in ProfileStatic
	clear  []byte // header to point, nonce or ML-KEM ciphertext
	kem    []byte // ML-KEM ciphertext, 1,088 bytes or nil
	sealed []byte // enc(caps ‖ data) ‖ tag
}

func appendRespClear(b []byte, h header, share, kem []byte) []byte {
	b = append(h.append(b), share...)
	return append(b, kem...)
}

// parseResp splits a RESP whose header is h.
func parseResp(h header, b []byte) (respRecord, bool) {
	m := respRecord{header: h}
	n := headerSize + h.profile().shareSize()
	size := n
	if h.suite().kem() {
		size += kemCipherSize
	}
	if payload := len(b) - size - respRest; payload < 0 || payload > MaxPayload {
		return m, false
	}
	m.share = b[headerSize:n]
	if h.suite().kem() {
		m.kem = b[n:size]
	}
	m.clear, m.sealed = b[:size], b[size:]
	return m, true
}
