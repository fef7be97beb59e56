package registry

import (
	"fmt"

	"github.com/semio-iot/semio/identity"
)

// A credential is renewed in two steps, because both sides of a binding derive its keys from the two certificates: offered, the platform
// understands the peer under either; heard under the new one, it knows that the peer has put the old one away.

func (c *change) offered(e Offered) error {
	n := e.Next
	if n.IsZero() || len(n.Credential.Chain) == 0 {
		return fmt.Errorf("offer a credential of %s: %w", e.Peer, ErrInvalid)
	}
	fails := func(err error) error { return fmt.Errorf("offer a credential of %s: %w", e.Peer, err) }
	check := func(current Successor, next Successor) (known bool, err error) {
		if next.CertificateHash == n.CertificateHash && next.Generation == n.Generation {
			return true, nil
		}
		// A message may come late: an offer that the peer has made a newer one since must not take its place, because the peer may be
		// using that one already, and does not go back.
		if n.Generation <= current.Generation || n.Generation < next.Generation || n.CertificateHash == current.CertificateHash {
			return false, fails(ErrGeneration)
		}
		return false, nil
	}
	if dev, ok := e.Peer.Device(); ok {
		d, ok := c.s.Device(dev)
		if !ok {
			return fails(ErrUnknownDevice)
		}
		if d.Status == Retired {
			return fails(ErrRetired)
		}
		known, err := check(d.inUse(), d.Next)
		if !known && err == nil {
			d.Next = n
			c.put(d)
		}
		return err
	}
	app, _ := e.Peer.App()
	a, ok := c.s.Application(app)
	if !ok || a.Revoked {
		return fails(ErrUnknownApplication)
	}
	known, err := check(a.inUse(), a.Next)
	if !known && err == nil {
		a.Next = n
		c.putApp(a)
	}
	return err
}

func (d Device) inUse() Successor {
	return Successor{d.Credential, d.CertificateHash, d.Generation}
}

func (a Application) inUse() Successor {
	return Successor{a.Credential, a.CertificateHash, a.Generation}
}

// renewed does not ask whether the device is retired: it has still to be understood when it fetches its last orders.
func (c *change) renewed(e Renewed) error {
	if e.Evidence == [32]byte{} || e.CertificateHash == [32]byte{} {
		return fmt.Errorf("renew %s: %w", e.Peer, ErrInvalid)
	}
	why := Evidence{EvidenceCredential, e.Evidence}
	if dev, ok := e.Peer.Device(); ok {
		d, ok := c.s.Device(dev)
		switch {
		case !ok:
			return fmt.Errorf("renew %s: %w", dev, ErrUnknownDevice)
		case d.Next.CertificateHash != e.CertificateHash:
			return fmt.Errorf("renew %s: %w", dev, ErrGeneration)
		}
		d.Credential, d.CertificateHash, d.Generation, d.Next = d.Next.Credential, d.Next.CertificateHash, d.Next.Generation, Successor{}
		d.Revision++
		if d.Status == Connected {
			d.Lifecycle++
			c.order(&d, Order{To: d.App.ID, Op: Install, Binding: d.Binding, Peer: d.ID.ID, Again: true})
		}
		c.put(d)
		c.audit(KindRenewed, d, Entry{App: d.App, Actor: e.Peer, Binding: d.Binding, Evidence: why})
		return nil
	}
	app, _ := e.Peer.App()
	a, ok := c.s.Application(app)
	switch {
	case !ok:
		return fmt.Errorf("renew %s: %w", e.Peer, ErrUnknownApplication)
	case a.Next.CertificateHash != e.CertificateHash:
		return fmt.Errorf("renew %s: %w", e.Peer, ErrGeneration)
	}
	a.Credential, a.CertificateHash, a.Generation, a.Next = a.Next.Credential, a.Next.CertificateHash, a.Next.Generation, Successor{}
	a.Revision++
	c.putApp(a)
	c.effects.Audit = append(c.effects.Audit, Entry{Kind: KindRenewed, App: a.ID, Actor: e.Peer, Revision: a.Revision, Evidence: why})
	return nil
}

// Holds says whether a certificate is the one in use of a peer, or the one that follows it.
func (s State) Holds(id identity.ID, certificate [32]byte) bool {
	if certificate == [32]byte{} {
		return false
	}
	if dev, ok := id.Device(); ok {
		d, ok := s.Device(dev)
		return ok && (d.CertificateHash == certificate || d.Next.CertificateHash == certificate)
	}
	app, _ := id.App()
	a, ok := s.Application(app)
	return ok && (a.CertificateHash == certificate || a.Next.CertificateHash == certificate)
}
