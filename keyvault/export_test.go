package keyvault

// Scalar exposes the search for a private scalar.
var Scalar = scalar

// RootKey gives the vault's root key, to see that Close wipes it.
func RootKey(v *Vault) rootKey { return v.root }

// Labels are those of every derivation.
var Labels = []string{labelSign, labelAgree, labelDerive, labelLock, labelProof, labelSecret, labelSecretDerive, labelKEM, labelCode, labelCodeDerive, labelKey, labelPassphrase}

// WithLogN changes the work of a passphrase sealer.
func WithLogN(s Sealer, n byte) Sealer {
	s.(*passphraseSealer).logN = n
	return s
}
