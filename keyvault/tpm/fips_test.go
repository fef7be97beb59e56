package tpm_test

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault/tpm"
)

// Under fips140=only both calls refuse before they touch TPM or store, and do not panic.
func TestFIPSOnlyIsRefused(t *testing.T) {
	if fips140.Enforced() {
		_, err := tpm.Enroll(t.Context(), nil, nil, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		_, err = tpm.Open(t.Context(), nil, nil, nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPSOnlyIsRefused$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "fips140: ") && strings.Contains(string(out), "not supported") {
		t.Skip("no FIPS mode on this platform")
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestFIPSOnlyIsRefused", "%s", out)
}
