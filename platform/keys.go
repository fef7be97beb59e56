package platform

import (
	"fmt"

	"github.com/semio-iot/semio/identity"
)

// The keys of the store. Numbers are 16 hexadecimal digits, so that they sort.
const (
	prefixDevice   = "d/" // <device>: registry.Device
	prefixApp      = "a/" // <application>: registry.Application
	prefixOrder    = "o/" // <peer>/<number>: queued order
	prefixWindow   = "w/" // <peer>: e2e.EpochWindow
	prefixPrekey   = "p/" // <application>: its newest prekey bundle
	prefixAnswer   = "x/" // <peer>/<epoch>: digest of INIT ‖ RESP
	prefixDecided  = "q/" // <peer>/<epoch>: request ID ‖ code, of requests decided lately
	prefixGuess    = "g/" // <application or device>: allowance
	prefixRefusal  = "r/" // <peer>: allowance of refusals in the audit log
	prefixChain    = "n/" // <peer>: certificate chain that it has asked for and not taken into use
	prefixEvidence = "e/" // <SHA-256>: what was signed
	prefixFace     = "f/" // <peer>: SHA-256 of the platform's certificate that it knows
	prefixCRL      = "c/" // <position of the issuer>: newest revocation list
	prefixAudit    = "l/" // <sequence>: audit entry
	keyAuditHead   = "lh" // newest entry
	keyIdentity    = "id" // whose store this is
)

func numbered(prefix string, n uint64) string { return fmt.Sprintf("%s%016x", prefix, n) }

func orderKey(to identity.ID, number uint64) string {
	return numbered(prefixOrder+to.String()+"/", number)
}

func answerKey(peer identity.ID, epoch uint64) string {
	return numbered(prefixAnswer+peer.String()+"/", epoch)
}

func evidenceKey(hash [32]byte) string { return fmt.Sprintf("%s%x", prefixEvidence, hash) }
