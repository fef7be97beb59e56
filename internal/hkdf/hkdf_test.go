package hkdf_test

import (
	"crypto/fips140"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/internal/hkdf"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// RFC 5869, A.1 to A.3: the cases with SHA-256.
func TestRFC5869(t *testing.T) {
	for name, v := range map[string]struct{ ikm, salt, info, prk, okm string }{
		"A.1 basic": {
			ikm: strings.Repeat("0b", 22), salt: "000102030405060708090a0b0c", info: "f0f1f2f3f4f5f6f7f8f9",
			prk: "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
			okm: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
		},
		"A.2 longer": {
			ikm: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f" +
				"303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
			salt: "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f" +
				"909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
			info: "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf" +
				"e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
			prk: "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
			okm: "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09" +
				"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
		},
		"A.3 no salt, no info": {
			ikm: strings.Repeat("0b", 22),
			prk: "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
			okm: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
		},
	} {
		t.Run(name, func(t *testing.T) {
			prk, err := hkdf.Extract(unhex(t, v.ikm), unhex(t, v.salt))
			require.NoError(t, err)
			require.Equal(t, v.prk, hex.EncodeToString(prk))
			okm, err := hkdf.Expand(prk, string(unhex(t, v.info)), len(v.okm)/2)
			require.NoError(t, err)
			require.Equal(t, v.okm, hex.EncodeToString(okm))
			okm, err = hkdf.Key(unhex(t, v.ikm), unhex(t, v.salt), string(unhex(t, v.info)), len(v.okm)/2)
			require.NoError(t, err)
			require.Equal(t, v.okm, hex.EncodeToString(okm))
		})
	}
}

// SP 800-108's feedback mode with HMAC-SHA-256, an 8-bit counter after the fixed data and no IV, which is HKDF-Expand: all cases of NIST's ACVP sample
// vectors (usnistgov/ACVP-Server, gen-val/json-files/KDF-1.0, groups 1353, 1355 and 1357). The last two are 603 bits long; whole bytes are compared.
func TestSP800108(t *testing.T) {
	for _, v := range []struct{ id, key, fixed, out string }{
		{"2705", "5A9CB4260D5B527B81E54CECCD9F89FA", "BF305F6BCB2CC7E280D7F121854EB551",
			"E0EA564FDB80FBFFD694069B31F2A6F8707289BEC7E91005024BFB16D47F4011"},
		{"2706", "29AB78F53541E98404F34C93677CCAB0", "221C16191F25EA1EB2083B1DB860EF88",
			"61D893F835347A0CAC9F18268F0510B8E1D155FE5ECCD2AEE465AC77347C0FC0"},
		{"2709", "74ACC2D598A9D73C4D99BF4CB3B0773C", "D7B61DE9B29A00B305CB1E39733650AC",
			"BA2C0893809458A3673F83FC27187C1C605BBDDC2A74CF53B33231743F7B44B9480354EA3BB1A09F6C47A2776674C02EC01461456E5766F74935ECEF37623221"},
		{"2710", "221A5FBABFBAE8782168CD926812CFF0", "C1BDCFC13BC530F3750484D5C308F36F",
			"19BA46780BA3B4B113918C449652DE0B93B2E10B5E655300B491832A2C4FA54ABED4DF649C8B7F85DD310DE806BB05062C739EF74804E16363F837CD8DB542F8"},
		{"2713", "C254AB8954762078ECECA54A907C33BB", "3788AE7977D806D1A71C86FF88AC8845",
			"48DB8CC1C5198DE827022B994C366CE200B548B104008143371C15507D1AE8D6802BEF8225756EB625E613CD8BB15D050AE658E8821E7E371CAE59A4320CD95687F0AB5227FABED16F5646"},
		{"2714", "328F6C5EA6BB2ABCEADB348A361664E9", "97CA7274CC43BFD41634F8C082B3ABFE",
			"AEE372BD65E0856728BDF21A96A9091C89D01764D7E97317FC961C3115A8C2CA266156DF2194F6CB50A8BB43AB36B5429CCFB22983EAEB6ECD5A4F56D77FA96A20F00706350B0D43C71EA9"},
	} {
		t.Run(v.id, func(t *testing.T) {
			got, err := hkdf.Expand(unhex(t, v.key), string(unhex(t, v.fixed)), len(v.out)/2)
			require.NoError(t, err)
			require.Equal(t, v.out, strings.ToUpper(hex.EncodeToString(got)))
		})
	}
}

func TestSizes(t *testing.T) {
	key := make([]byte, 32)
	out, err := hkdf.Expand(key, "label", hkdf.MaxSize)
	require.NoError(t, err)
	require.Len(t, out, hkdf.MaxSize)
	_, err = hkdf.Expand(key, "label", hkdf.MaxSize+1)
	require.Error(t, err)
	if fips140.Enforced() {
		_, err = hkdf.Expand(key[:13], "label", 32)
		require.Error(t, err, "104 bits are fewer than FIPS 140 wants")
	}
}
