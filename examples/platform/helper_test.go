package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
)

func mustID(t *testing.T, name string) identity.ID {
	id, err := identity.ParseID(name)
	require.NoError(t, err)
	return id
}

func (w *world) issueServer(der []byte) ([][]byte, error) {
	req, err := ca.ParseServerRequest(der)
	if err != nil {
		return nil, err
	}
	return w.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
}
