package tpm

import (
	"crypto/sha256"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/semio-iot/semio/keyvault"
)

// policy is the digest that the TPM will demand (TPM 2.0 Library, Part 3, 23.7): empty for no PCRs. It is computed here and not
// asked of a trial session: the TPM silently leaves PCRs out which it does not have, and a policy of none admits everybody.
func (l link) policy(pcrs pcrMask) ([]byte, error) {
	if pcrs == (pcrMask{}) {
		return nil, nil
	}
	values := sha256.New()
	for n := range maxPCR {
		if pcrs[n/8]&(1<<(n%8)) == 0 {
			continue
		}
		var one pcrMask
		one[n/8] = 1 << (n % 8)
		rsp, err := tpm2.PCRRead{PCRSelectionIn: one.selection()}.Execute(l)
		if err != nil {
			return nil, fmt.Errorf("read PCR %d: %w", n, err)
		}
		if len(rsp.PCRValues.Digests) != 1 || len(rsp.PCRValues.Digests[0].Buffer) != hashSize {
			return nil, fmt.Errorf("read PCR %d: %w: the TPM has none of SHA-256", n, keyvault.ErrArgument)
		}
		values.Write(rsp.PCRValues.Digests[0].Buffer)
	}
	c, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	command := tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: values.Sum(nil)}, Pcrs: pcrs.selection()}
	if err := command.Update(c); err != nil {
		return nil, err
	}
	return c.Hash().Digest, nil
}

// satisfy shows the TPM its own PCRs.
func satisfy(pcrs pcrMask) tpm2.PolicyCallback {
	return func(t transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicyPCR{PolicySession: session, Pcrs: pcrs.selection()}.Execute(t)
		return err
	}
}
