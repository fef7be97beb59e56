package e2e

// respRecord is a parsed RESP. The slices point into the record.
type respRecord struct {
	header
	point  []byte // e_R, compressed
	clear  []byte // header ‖ point
	sealed []byte // enc(caps ‖ data) ‖ tag
}

func appendRespClear(b []byte, h header, point []byte) []byte {
	return append(h.append(b), point...)
}

// parseResp splits a RESP whose header is h.
func parseResp(h header, b []byte) (respRecord, bool) {
	m := respRecord{header: h}
	// The suites with ML-KEM have a ciphertext behind the point; this version never offers them.
	if !h.suite.implemented() || len(b) < minRespSize || len(b) > minRespSize+MaxPayload {
		return m, false
	}
	m.point = b[headerSize:respClearSize]
	m.clear, m.sealed = b[:respClearSize], b[respClearSize:]
	return m, true
}
