package keyvault_test

import (
	"crypto"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
)

// RFC 6979, A.2.5: P-256, with the hashes that a vault's signer takes. The key goes through a key code and the signer of a vault.
func TestSignerRFC6979(t *testing.T) {
	v, _, _ := enroll(t, 1)
	private, err := hex.DecodeString("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
	require.NoError(t, err)
	code, err := v.ImportKey(keyvault.KeyInfo{Type: keyvault.TypeSign, Usage: keyvault.UsageSign, Label: "RFC 6979"}, private)
	require.NoError(t, err)
	key, err := v.OpenKey(t.Context(), code, nil)
	require.NoError(t, err)
	signer, err := key.Signer()
	require.NoError(t, err)
	for _, c := range []struct {
		hash          crypto.Hash
		message, r, s string
	}{
		{crypto.SHA256, "sample",
			"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716", "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"},
		{crypto.SHA384, "sample",
			"0EAFEA039B20E9B42309FB1D89E213057CBF973DC0CFC8F129EDDDC800EF7719", "4861F0491E6998B9455193E34E7B0D284DDD7149A74B95B9261F13ABDE940954"},
		{crypto.SHA512, "sample",
			"8496A60B5E9B47C825488827E0495B0E3FA109EC4568FD3F8D1097678EB97F00", "2362AB1ADBE2B8ADF9CB9EDAB740EA6049C028114F2460F96554F61FAE3302FE"},
		{crypto.SHA256, "test",
			"F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367", "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"},
		{crypto.SHA384, "test",
			"83910E8B48BB0C74244EBDF7F07A1C5413D61472BD941EF3920E623FBCCEBEB6", "8DDBEC54CF8CD5874883841D712142A56A8D0F218F5003CB0296B6B509619F2C"},
		{crypto.SHA512, "test",
			"461D93F31B6540894788FD206C07CFA0CC35F46FA3C91816FFF1040AD1581A04", "39AF9F15DE0DB8D97E72719C74820D304CE5226E32DEDAE67519E840D1194E55"},
	} {
		h := c.hash.New()
		h.Write([]byte(c.message))
		// The reader that callers of crypto.Signer hand in changes nothing.
		signature, err := signer.Sign(strings.NewReader(strings.Repeat("not used", 20)), h.Sum(nil), c.hash)
		require.NoError(t, err)
		var got struct{ R, S *big.Int }
		rest, err := asn1.Unmarshal(signature, &got)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, c.r, strings.ToUpper(hex.EncodeToString(got.R.FillBytes(make([]byte, 32)))), "%v %q", c.hash, c.message)
		require.Equal(t, c.s, strings.ToUpper(hex.EncodeToString(got.S.FillBytes(make([]byte, 32)))), "%v %q", c.hash, c.message)
	}
}
