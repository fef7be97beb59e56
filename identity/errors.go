package identity

import "errors"

// What a caller may want to tell apart. Errors of this package wrap one of them and say what was wrong and what to do.
// None carries a secret.
var (
	// ErrName: not the name of a peer, or of the wanted role.
	ErrName = errors.New("identity: invalid name")
	// ErrKey: not a P-256 key, or a point that is not on the curve.
	ErrKey = errors.New("identity: unsupported key, want P-256")
	// ErrSignature: a signature that does not hold, or is not canonical DER.
	ErrSignature = errors.New("identity: signature does not verify")
	// ErrCredential: bytes that are no credential.
	ErrCredential = errors.New("identity: malformed credential")
	// ErrProfile: a certificate that its CA signed, but that does not follow the profile of its role.
	ErrProfile = errors.New("identity: certificate does not follow its profile")
	// ErrUntrusted: a certificate that leads to no root of the verifier.
	ErrUntrusted = errors.New("identity: certificate is not signed by a trusted CA")
	// ErrRole: a good certificate of another role than the wanted one.
	ErrRole = errors.New("identity: wrong role")
	// ErrExpired: the validity of certificate or endorsement is over.
	ErrExpired = errors.New("identity: expired")
	// ErrNotYetValid: the validity of certificate or endorsement has not begun.
	ErrNotYetValid = errors.New("identity: not yet valid")
	// ErrRevoked: a revocation list of the CA names the certificate.
	ErrRevoked = errors.New("identity: certificate is revoked")
	// ErrEndorsement: an endorsement that is missing, malformed, or speaks of another certificate, name, role or key.
	ErrEndorsement = errors.New("identity: endorsement does not hold")
	// ErrGeneration: a credential that does not follow the one that is known: its generation is not higher, or too high, or its certificate is older.
	ErrGeneration = errors.New("identity: credential does not follow the known one")
	// ErrCSR: bytes that are no certificate request of a peer, or one whose sender does not have the key.
	ErrCSR = errors.New("identity: unacceptable certificate request")
	// ErrCRL: bytes that are no revocation list of a trusted CA.
	ErrCRL = errors.New("identity: unacceptable revocation list")
	// ErrSomeCRLs: of several revocation lists some were taken and are in force, and others were refused. Go on, and tell somebody.
	ErrSomeCRLs = errors.New("identity: revocation lists were refused besides those that were taken")
	// ErrCRLOlder: a revocation list with a lower number than the one that is kept. Keep the newer one.
	ErrCRLOlder = errors.New("identity: older revocation list")
	// ErrNotRevoked: the evidence does not name the certificate.
	ErrNotRevoked = errors.New("identity: revocation list does not name the certificate")
	// ErrClaimCode: bytes that are no claim code or pre-shared key, or none where one is needed.
	ErrClaimCode = errors.New("identity: no claim code")
)
