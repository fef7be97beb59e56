// Package tpm keeps a device's root secret in a TPM 2.0, for a device or a Linux gateway without a PUF. What comes out is the same
// [keyvault.Vault].
//
// In production call [Enroll], once; at every boot call [Open]; before power goes, the vault's Close. The TPM is the caller's, on
// Linux that of [OpenDevice]; it is used while a call lasts and can be closed afterwards.
//
//	device, err := tpm.OpenDevice()
//	vault, err := tpm.Open(ctx, device, store, nil)
//	device.Close()
//	defer vault.Close()
//
// The secret is 32 random bytes, half of the randomness the TPM's and half the operating system's, sealed under the TPM's storage key.
// The TPM gives it back to this host, where the vault derives its keys from it (keyvault.FromSecret): the keys are not in the TPM,
// they come from it.
//
// # What it promises
//
//   - What is stored opens with the same TPM alone, and with Options.PCRs only while those have the values they had at
//     enrolment. A changed bit is noticed.
//   - Who listens on the TPM's bus learns nothing: the secret travels encrypted (AES-128-CFB, in a session salted to the storage key).
//     Open salts to the key that Enroll recorded, and to no other.
//
// # What it does not promise
//
//   - Who can send commands to this TPM and read the store can have the secret. Let only the device's process have both
//     (/dev/tpmrm0 belongs to the group tss), and give Options.PCRs that measure the boot, so that another system on the same
//     machine cannot. An interposer on the bus is such a one; during Enroll it can also take the place of the TPM.
//   - Who can write the store can put there what he sealed himself. The keys are others then, and do not fit the device's certificate.
//   - [keyvault.Vault.Destroy] deletes what is stored; a copy of it still opens on this TPM. Clearing the TPM (TPM2_Clear) makes every
//     copy worthless, with all else that is sealed by it.
//   - After an update changes the PCRs of Options.PCRs, Open refuses: choose PCRs that updates leave alone.
//
// # Record
//
// One value in the store, integers big-endian:
//
//	offset  bytes  field
//	     0      4  magic "SEMT"
//	     4      1  version, 1
//	     5      3  PCRs of the SHA-256 bank in the policy: PCR n is bit n%8 of byte n/8; zero: no policy
//	     8     32  name of the storage key, without its algorithm, SHA-256
//	    40      2  p
//	    42      p  TPMT_PUBLIC of the sealed object
//	  42+p      2  q, at most 1,024
//	  44+p      q  TPM2B_PRIVATE of the sealed object, without its size
//
// The sealed object is a KEYEDHASH of 32 bytes with no authorization value, name algorithm SHA-256, fixedTPM, fixedParent, noDA, and
// userWithAuth when there is no policy; the policy is one TPM2_PolicyPCR.
package tpm
