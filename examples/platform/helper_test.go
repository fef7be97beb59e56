package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
)

func mustID(t *testing.T, name string) identity.ID {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func (w *world) issueServer(der []byte) ([][]byte, error) {
	req, err := cahttp.ParseServerRequest(der)
	if err != nil {
		return nil, err
	}
	return w.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
}

// install puts files into the folder as they come from an authority whose clock is not ours.
func install(a *clitest.Authority, p *party.Party) error {
	chain, err := a.Issue(p.Request(), ca.IssueOptions{})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.Dir(), "roots.pem"), party.EncodeCertificates(a.Roots[0].Raw), 0o600); err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	endorsement, err := identity.Endorse(p.Signer(), leaf.Raw, p.Key().PublicKey(), identity.EndorseOptions{})
	if err != nil {
		return err
	}
	b := append(party.EncodeCertificates(leaf.Raw), pem.EncodeToMemory(&pem.Block{Type: "SEMIO ENDORSEMENT", Bytes: endorsement})...)
	return os.WriteFile(filepath.Join(p.Dir(), "credential.pem"), b, 0o600)
}
