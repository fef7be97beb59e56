// Package secureboot is the software's side of secure boot (Schrijen et al. 2019, section III.B): a provider signs what an image is,
// and whoever is about to start the image verifies it before the first of its instructions runs.
//
// A provider calls [Manifest.Sign]. A boot stage calls [VerifyImage] with the manifest and the image it found, the keys that it was
// built with, and the lowest version that may still run; what comes back has the keys for the stage after. [Chain] adds up what
// was started, for a report that others can check.
//
//	stage, err := secureboot.VerifyImage(manifest, image, keys, floor)
//	chain = chain.Extend(stage)
//	// … start the image; when it has proved to work:
//	counter.Advance(ctx, stage.Version)
//
// # Versions
//
// An image of a lower version than floor is refused: its faults are known. The floor comes from a counter that nobody can set
// back, and moves only when the new image has run well, or a bad update could not be taken back.
//
// # What only ROM can do
//
// A program verifies what it starts, not who started it. All of this is worth something only if the first stage cannot be changed
// and always runs first: code in mask ROM, or in flash that a fuse locks, which compares the second stage with a hash or a key in fuses
// ([VerifyHash] shows what it computes), switches debug ports off, and keeps the counter. Between the check and the start nobody may
// write the memory that holds the image: verify it where it will run, not in the flash it comes from. On a machine that runs this
// package under an operating system, the operating system's own secure boot is that root, and this package serves for what is started later:
// updates, containers, firmware of attached parts.
//
// # Manifest
//
//	offset  bytes  field
//	     0      4  magic "SEMI"
//	     4      1  version, 1
//	     5      1  stage: 2 is what ROM's code starts, and so on up
//	     6      8  version of the image, counting up
//	    14      8  size of the image
//	    22     32  SHA-256 of the image
//	    54      1  length of the product's name, n: 1 to 64
//	    55      n  name
//	  55+n      1  number of keys, k: 0 to 8
//	  56+n   33 k  keys of the next stage's providers, P-256, compressed
//	     …      1  length of the signature
//	     …      s  signature of package identity, context "image", over everything before its length
//
// Big-endian.
package secureboot
