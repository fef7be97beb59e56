package ca

import (
	"context"

	"github.com/semio-iot/semio/identity"
)

// Client is a certificate authority as a factory, a platform and an operator ask it, whoever runs it: [Local] in the same process,
// cahttp.Client over the network, or an adapter over another product, as package opensslca is one. Every call may be repeated, and what
// comes back is checked by who uses it. What an authority has no means for is an error that wraps errors.ErrUnsupported.
//
// An adapter holds to the rules of this package and says so with its errors. The profiles that its product must issue are those of
// docs/identity.md; identity.Verifier refuses others.
type Client interface {
	// Issue returns the chain, leaf first and without the root, for a request of identity.NewCSR.
	Issue(ctx context.Context, csr []byte, o IssueOptions) ([][]byte, error)
	// IssueServer returns the chain for a request that [ParseServerRequest] reads.
	IssueServer(ctx context.Context, request []byte) ([][]byte, error)
	// Revoke revokes all certificates of id and returns the revocation lists that name them. With an error the result may have those that there are.
	Revoke(ctx context.Context, id identity.ID) ([]byte, error)
	// CRL returns the newest revocation list.
	CRL(ctx context.Context) ([]byte, error)
}

// Local returns an authority of this process as a Client. Its calls do not wait for anybody and do not look at their contexts.
func Local(a *Authority) Client { return local{a} }

type local struct{ a *Authority }

func (l local) Issue(_ context.Context, csr []byte, o IssueOptions) ([][]byte, error) {
	return l.a.Issue(csr, o)
}

func (l local) IssueServer(_ context.Context, request []byte) ([][]byte, error) {
	req, err := ParseServerRequest(request)
	if err != nil {
		return nil, err
	}
	return l.a.IssueServer(req.PublicKey, req.ID.ID, req.Hosts)
}

func (l local) Revoke(_ context.Context, id identity.ID) ([]byte, error) { return l.a.Revoke(id) }
func (l local) CRL(context.Context) ([]byte, error)                      { return l.a.CRL() }
