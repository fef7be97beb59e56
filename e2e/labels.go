package e2e

// Labels of the key schedule: the one table of them (docs/protocol.md, "Key schedule"). A label is used in one place only.
//
// A PRK that also serves Extract as its salt (MK, ck1, ck2) computes HMAC over inputs of 32 or 64 bytes there: a shared
// secret, with or without a pre-shared key or an ML-KEM secret. No input that Expand gives the same HMAC, T(i-1) ‖ info ‖
// counter, may have such a length, else an output of Expand could equal a chaining key. TestExpandInputLengths holds the
// table to it.
const (
	labelTH0      = "semio-e2e/1 th0"      // hash: identity of a binding
	labelHint     = "semio-e2e/1 hint"     // hash: public name of a binding in handshake records
	labelMAC1     = "semio-e2e/1 mac1"     // MK: key of INIT's outer MAC
	labelChal     = "semio-e2e/1 chal"     // MK: key of CHALLENGE's MAC
	labelM1       = "semio-e2e/1 m1"       // ck1: keys of INIT's payload
	labelM2       = "semio-e2e/1 m2"       // ck3: keys of RESP's payload
	labelSID      = "semio-e2e/1 sid"      // ck3: session ID
	labelAB       = "semio-e2e/1 dir A>B"  // ck3: first chain key of what A sends
	labelBA       = "semio-e2e/1 dir B>A"  // ck3: first chain key of what B sends
	labelRatchet  = "semio-e2e/1 ratchet"  // chain key: next chain key
	labelKeys     = "semio-e2e/1 keys"     // chain key: SEK ‖ SAK ‖ IV of a generation
	labelExporter = "semio-e2e/1 exporter" // ck3: exporter secret
	labelExported = "semio-e2e/1 exported" // exporter secret: keys of the layers above
)
