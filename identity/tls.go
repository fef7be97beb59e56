package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// VerifyChain returns the name of a TLS client from its certificates, leaf first: the profile of the role, validity,
// revocation. The root may be among them. The certificate of an instance stands for its application or platform. A server
// certificate is refused.
func (v *Verifier) VerifyChain(chain []*x509.Certificate) (ID, error) {
	id, _, err := v.VerifyClient(chain)
	return id, err
}

// VerifyClient is [Verifier.VerifyChain] that returns the instance too, "" where the certificate names none.
func (v *Verifier) VerifyClient(chain []*x509.Certificate) (id ID, instance string, err error) {
	id, instance, _, err = v.VerifyClientUntil(chain)
	return id, instance, err
}

// VerifyClientUntil is [Verifier.VerifyClient] that returns the end of the validity too: of the certificate or of a CA on its way to the root, whichever
// comes first. What else the chain carries, for those who trust another root, does not count.
func (v *Verifier) VerifyClientUntil(chain []*x509.Certificate) (id ID, instance string, until time.Time, err error) {
	fail := func(err error) (ID, string, time.Time, error) {
		return ID{}, "", time.Time{}, fmt.Errorf("verify client: %w", err)
	}
	if err := tlsChain(chain); err != nil {
		return fail(err)
	}
	if id, instance, err = clientProfile(chain[0]); err != nil {
		return fail(err)
	}
	path, at, err := v.path(chain, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return fail(err)
	}
	v.passed(path, at)
	_, until = common(path)
	return id, instance, until, nil
}

// RecheckClient is for the chain of a live connection, after [Verifier.Changed]: nil says that [Verifier.VerifyClientUntil] accepts it still, and until
// the same time or a later one. It is quick where no list that is kept speaks of the chain; the caller watches the time.
func (v *Verifier) RecheckClient(chain []*x509.Certificate, until time.Time) error {
	if !v.named(chain) {
		return nil
	}
	_, _, now, err := v.VerifyClientUntil(chain)
	if err == nil && now.Before(until) {
		err = fmt.Errorf("recheck client: %w: a CA of the way that was good until %s; another one is until %s", ErrRevoked, stamp(until), stamp(now))
	}
	return err
}

// VerifyServer returns the name of the platform whose TLS server was reached under host, a DNS name or IP address.
func (v *Verifier) VerifyServer(chain []*x509.Certificate, host string) (PlatformID, error) {
	if err := tlsChain(chain); err != nil {
		return PlatformID{}, fmt.Errorf("verify server: %w", err)
	}
	id, err := serverProfile(chain[0])
	if err != nil {
		return PlatformID{}, fmt.Errorf("verify server: %w", err)
	}
	if !sameHost(chain[0], host) {
		return PlatformID{}, fmt.Errorf("verify server: %w: the certificate of %s is not for host %q", ErrProfile, id, host)
	}
	path, at, err := v.path(chain, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return PlatformID{}, fmt.Errorf("verify server: %w", err)
	}
	v.passed(path, at)
	return id, nil
}

// VerifyService checks the TLS server of a certificate authority that was reached under host: its certificate is one of the authority's, for hosts alone,
// which names no peer (ca.Authority.IssueService). Unlike crypto/tls it goes by the lists.
func (v *Verifier) VerifyService(chain []*x509.Certificate, host string) error {
	if err := tlsChain(chain); err != nil {
		return fmt.Errorf("verify service: %w", err)
	}
	if err := serviceProfile(chain[0]); err != nil {
		return fmt.Errorf("verify service: %w", err)
	}
	if !sameHost(chain[0], host) {
		return fmt.Errorf("verify service: %w: the certificate of %q is not for host %q", ErrProfile, chain[0].Subject.CommonName, host)
	}
	path, at, err := v.path(chain, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return fmt.Errorf("verify service: %w", err)
	}
	v.passed(path, at)
	return nil
}

// VerifyTLSService is [Verifier.VerifyTLSServer] for the server of an authority.
func (v *Verifier) VerifyTLSService(host string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if err := tls13(cs); err != nil {
			return err
		}
		return v.VerifyService(cs.PeerCertificates, host)
	}
}

// VerifyTLS is for VerifyConnection in the tls.Config of a server. It wants TLS 1.3 and a client that
// [Verifier.VerifyChain] accepts. It runs for resumed connections too, so a revoked client does not come back by a ticket.
func (v *Verifier) VerifyTLS(cs tls.ConnectionState) error {
	if err := tls13(cs); err != nil {
		return err
	}
	_, err := v.VerifyChain(cs.PeerCertificates)
	return err
}

// VerifyTLSServer returns a function for VerifyConnection in the tls.Config of a client that dials host. On a device without a clock
// it goes with InsecureSkipVerify, because the checks of crypto/tls know no time floor; it makes all of them itself.
func (v *Verifier) VerifyTLSServer(host string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if err := tls13(cs); err != nil {
			return err
		}
		_, err := v.VerifyServer(cs.PeerCertificates, host)
		return err
	}
}

func tls13(cs tls.ConnectionState) error {
	if cs.Version < tls.VersionTLS13 {
		return fmt.Errorf("verify TLS connection: %s, want TLS 1.3: set MinVersion", tls.VersionName(cs.Version))
	}
	return nil
}

func tlsChain(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: no certificate was presented; does the peer have one configured?", ErrUntrusted)
	}
	if len(chain) > MaxChain+1 {
		return fmt.Errorf("%w: %d certificates, want at most %d", ErrCredential, len(chain), MaxChain+1)
	}
	for _, c := range chain {
		if c == nil || len(c.Raw) > maxCertificate {
			return fmt.Errorf("%w: a certificate above %d bytes", ErrCredential, maxCertificate)
		}
	}
	return nil
}
