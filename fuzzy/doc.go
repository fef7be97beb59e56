// Package fuzzy makes a device-unique 256-bit root key from uninitialised SRAM, 1
// KB by default, and finds it again after every power-up (Schrijen et al. 2019,
// section III.D, figure 3).
//
// Start with [Enroll], once in the life of a chip: it turns one start-up reading or
// several into a [RootKey] and [HelperData]. Store the helper data in any memory,
// it needs no protection from being read. At each later boot [Reconstruct] takes a
// fresh reading and the helper data and gives the same root key back, or an error.
// Both do no I/O and keep nothing. A production line uses an [Enroller], which
// refuses a chip that was enrolled before.
//
// [SRAM1K] is the parameter set to take; [Sets] has those for other sizes and for
// noisier chips. A set with the profile of a kind of chip is a [Params].
//
// # What it promises
//
//   - Helper data tells nothing of the root key, as long as the symbols have the
//     entropy that the device profile claims ([Params.WithSymbolEntropy]).
//     Enroll computes what is left with that figure and refuses below 256 bits.
//   - With SRAM1K a reading with one bit in five wrong is corrected, with a computed
//     bound on failure ([Params.Rating], [Params.Bound]); docs/fuzzy.md has the
//     table. List decoders behind the first decoder correct one bit in four, by
//     simulation.
//   - Changed helper data and another chip's reading give [ErrReconstruct], never
//     a wrong key. Helper data made to leave few unknown symbols is refused.
//
// # What it does not promise
//
//   - One enrolment for each region of a chip, ever. Two sets of helper data of
//     the same cells leave about one of 384 bits of the first secret, and Enroll
//     cannot know of the other one: whoever calls it must see to it, with a store
//     that refuses (package keyvault) or an [Enroller]. Another region of the SRAM
//     is another PUF.
//   - It does not measure the entropy of a kind of chip. It refuses faults that
//     one reading shows; the profile's figure comes from many chips.
//   - Whoever can write the helper data can make reconstruction fail. Someone who
//     knows cells of this chip can make helper data of his own: check
//     [HelperData.Hash] against the device certificate before you reconstruct.
//   - Decoding takes the same steps whatever the reading is, save that time tells
//     which decoder was the last. Parsing, and what depends on the public helper
//     data, does not.
//
// # Helper data
//
// With P pairs of cells and a code of N bits: 4,096 and 2,048 for SRAM1K.
//
//	offset          bytes  field
//	0                   4  magic "SEMF"
//	4                   1  version, 1
//	5                   1  parameter set
//	6                   2  pairing stride, big-endian
//	8                   8  fingerprint of the parameter set
//	16                 16  salt
//	32                P/8  pass-1 mask, a bit for each pair of cells
//	32+P/8              m  pass-2 mask, a bit for each pair of equal pairs
//	32+P/8+m          N/8  W, codeword xor symbols
//	32+P/8+m+N/8       16  tag
//
// Bits are numbered most significant first, of the reading as well. The whole
// construction, enough to write it in C, is in docs/fuzzy.md.
package fuzzy
