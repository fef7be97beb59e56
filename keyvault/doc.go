// Package keyvault keeps a device's root key: it comes from the start-up values of the chip's SRAM at every power-up, stays inside,
// and works through opaque keys and locked blobs (Schrijen et al. 2019, sections III.D and III.E).
//
// In production call [Enroll], once in the life of a chip; at every boot call [Open]; before power goes, [Vault.Close].
//
//	vault, err := keyvault.Open(ctx, source, store, nil)
//	defer vault.Close()
//	certificate := tls.Certificate{PrivateKey: vault.Signer(), …}
//	blob, err := vault.Lock("wifi password", password)       // store it anywhere
//
// Source is a [puf.Source], Store any memory with three methods. What is stored is the helper data, which is public; Open reads
// it and gives the same keys after every power-up of the same chip, on any other chip an error.
//
// A machine without a PUF has the same vault over a secret that something else keeps: [EnrollSealed] and [OpenSealed] over a [Sealer]
// (a hardware security module, a key service, a passphrase), package keyvault/tpm over a TPM 2.0, [FromSecret] over whatever gives
// the secret back.
//
// # States
//
//	           Enroll                  Close
//	(nothing) ────────▶ enrolled, open ──────▶ enrolled, closed      Open: closed ▶ open
//	                        │ Destroy                                Reenroll: another region, another device
//	                        ▼
//	                    gone, for ever
//
// A vendor's PUF controller calls them enroll, start, stop and zeroize. A region of a chip is enrolled once: Enroll refuses where
// anything is stored. [Reenroll], over another region, makes the chip another device, and what the old one locked is lost.
//
// # Keys
//
// Beside the device's own keys ([Vault.Signer], [Vault.KeyExchanger], [Vault.Decapsulator], [Vault.Derive]) a vault locks other keys:
// [Vault.GenerateKey] and [Vault.ImportKey] give a key code, to be stored anywhere, and [Vault.OpenKey] a [Key] that works and does
// not show itself. The code says what the key is for, and the vault holds to it: a key without UsageExport never comes out.
// [Vault.DeriveKey] gives such a Key without anything stored.
//
// # What it promises
//
//   - Neither the root key nor a private key comes out: not by a method, not by printing, logging or encoding a Vault or what
//     it returns. Close clears the root key, the only secret that a Vault holds between calls.
//   - All keys are independent: of one another, of Derive under any label and context, and of what Lock uses.
//   - A locked blob opens under the same chip and label alone; a changed bit is noticed.
//
// # What it does not promise
//
//   - One enrolment for each region of a chip, ever: two sets of helper data of the same cells together tell nearly all of
//     the first key. Enroll refuses where it finds helper data stored, and can know of no other place; the registry must refuse
//     a second certificate for a device, and nobody may delete helper data to enrol anew. After [Vault.Destroy] the region is used up.
//   - Who runs code in the device's process has the keys' use and can read its memory. While a call lasts, and until the garbage
//     collector has reused the space, copies of keys are there which Go gives no means to clear, unless the program is built with
//     GOEXPERIMENT=runtimesecret: then they are erased, and after Close a search through the process's memory finds no root key.
//   - Who can write the store can put other helper data there. That makes Open fail, and, if he knows the chip's cells, may make
//     it open with a key of his choice: give Options.HelperHash from the device's certificate, once it has one.
//   - An older blob put back in the place of a newer one of the same label is not noticed, nor is an older key code, unless the
//     device has a [MonotonicCounter].
//   - Signatures are deterministic (RFC 6979); an attacker who can disturb the chip's computation while it signs one message twice
//     is not in scope.
//
// # Locked blob
//
//	offset  bytes  field
//	     0      4  magic "SEML"
//	     4      1  version, 1
//	     5      1  algorithm, 1: AES-256-GCM with random nonce
//	     6     12  nonce
//	    18      n  ciphertext
//	  18+n     16  tag
//
// The key follows from the root key and the label; the additional data is "semio-keyvault/1 lock" ‖ the six bytes of header ‖ label.
//
// # Key code
//
//	offset  bytes  field
//	     0      4  magic "SEMK"
//	     4      1  version, 1
//	     5      1  type of the key: 1 AES-256, 2 HMAC-SHA-256, 3 ECDSA P-256, 4 ECDH P-256, 5 ML-KEM-768
//	     6      2  usage: b0 sign, b1 derive, b2 encrypt, b3 wrap, b4 export; the rest 0
//	     8      4  index
//	    12      8  version of the key
//	    20      1  length of the label, l
//	    21      l  label
//	  21+l     12  nonce
//	  33+l      n  the key, encrypted
//	33+l+n     16  tag
//
// Big-endian; the first 21+l bytes are the header. AES-256-GCM under a key that follows from the root key and the header; the
// additional data is "semio-keyvault/1 key code" ‖ header.
package keyvault
