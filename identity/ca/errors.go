package ca

import "errors"

var (
	// ErrOtherKey: the name has a certificate for another key. A device keeps its key for life; give the chip a new name.
	ErrOtherKey = errors.New("ca: the name is certified with another key")
	// ErrOtherHelper: the device has a certificate with another helper data hash. One key has one set of helper data.
	ErrOtherHelper = errors.New("ca: the name is certified with other helper data")
	// ErrKeyInUse: the key is certified under another name.
	ErrKeyInUse = errors.New("ca: the key is certified under another name")
	// ErrRevoked: the name, or the key of the name, was revoked and gets no certificate again.
	ErrRevoked = errors.New("ca: revoked for good")
	// ErrOften: the name has changed its key so often that only an operator certifies another one, with [IssueOptions].NewKey.
	ErrOften = errors.New("ca: the name has changed its key too often")
	// ErrPolicy: Config.Policy refused the request.
	ErrPolicy = errors.New("ca: refused by policy")
	// ErrUnknown: the CA has issued nothing of that name, or not that certificate.
	ErrUnknown = errors.New("ca: unknown name or certificate")
	// ErrNotRoot: the authority's own certificate does not allow it to certify CAs.
	ErrNotRoot = errors.New("ca: this authority cannot certify others")
	// ErrEarlierKey: a certificate of an earlier key of this CA, which Config.Earlier does not have any more. Have the CA above revoke the
	// CA's certificate of that time.
	ErrEarlierKey = errors.New("ca: issued under an earlier key that is not at hand")
	// ErrStore: what the store returned is not what this CA has put there.
	ErrStore = errors.New("ca: the store is damaged or of another CA")
)
