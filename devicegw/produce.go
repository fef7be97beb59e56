package devicegw

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

// ErrProduced reports a device that has been produced already, under another name or for another platform. A name is given
// once; to begin anew destroy the root and clear the memory.
var ErrProduced = errors.New("devicegw: device is already produced")

// Production is a device on its way through initial commissioning (Schrijen et al. 2019, sections II.C and III.E.1). Every step may
// be repeated, also after a power cut: [Produce] takes up what was there. Not safe for concurrent use.
type Production struct {
	root Root
	nvm  locked
	rec  productionRecord
	csr  []byte
	code identity.ClaimCode
	done *identityRecord // set once Complete has succeeded, in this run or an earlier one
}

// Registration is what the factory's registrar signs and sends to the platform (platform.Service.Register). It is public.
type Registration struct {
	Device     identity.DeviceID
	Credential identity.Credential
	ClaimKey   []byte // public key of the sticker's claim code, 33 bytes
}

// ProduceOptions are what the factory decides for a device, once: no order and no bundle can weaken it later.
type ProduceOptions struct {
	// NoPSK lets the device accept applications that do not know the sticker's claim code. Then whoever runs both the
	// certificate authority and the platform could read along. Default: the code is required.
	NoPSK bool

	// Profile of the end-to-end protocol between device and application; default e2e.ProfileEphemeral.
	Profile e2e.Profile

	// Now is the clock against which the certificates are checked; nil: as for Config.Now.
	Now func() time.Time
}

// Produce begins or resumes the production of the device id on this root of trust. The next steps: have a certificate
// authority issue a certificate for CSR, then Endorse, have the result registered with the platform, then Complete with the
// platform's admission; print the Sticker. A device that is already produced under this name answers again what it
// answered then; under another name the error is [ErrProduced].
func Produce(ctx context.Context, root Root, nvm NVM, id identity.DeviceID) (*Production, error) {
	fail := func(err error) (*Production, error) { return nil, fmt.Errorf("produce %s: %w", id, err) }
	if root == nil || nvm == nil || id.IsZero() {
		return fail(errors.New("devicegw: root, memory and name are required"))
	}
	p := &Production{root: root, nvm: locked{root, nvm}}
	done, found, err := load(ctx, p.nvm, nameIdentity, noBinding, parseIdentityRecord)
	if err != nil {
		return fail(err)
	}
	if found {
		p.done = &done
		p.rec = productionRecord{Device: done.Device, Credential: done.Credential, Roots: done.Roots}
	} else if p.rec, found, err = load(ctx, p.nvm, nameProduction, noBinding, parseProductionRecord); err != nil {
		return fail(err)
	}
	if found && p.rec.Device != id {
		return fail(fmt.Errorf("%w as %s", ErrProduced, p.rec.Device))
	}
	if p.csr, err = identity.NewCSR(root.Signer(), id.ID, identity.CSROptions{HelperHash: root.HelperHash()}); err != nil {
		return fail(err)
	}
	if p.code, err = claimCode(root, id); err != nil {
		return fail(err)
	}
	if !found {
		p.rec = productionRecord{Device: id}
		if err := save(ctx, p.nvm, nameProduction, noBinding, p.rec); err != nil {
			return fail(err)
		}
	}
	return p, nil
}

// CSR is the certificate request in DER. Its signature may differ from call to call of Produce, its content does not.
func (p *Production) CSR() []byte { return slices.Clone(p.csr) }

// Sticker is what belongs on the device's label: name and claim code. The code is a secret of the device's owner.
func (p *Production) Sticker() identity.Sticker {
	return identity.Sticker{Device: p.rec.Device, Claim: p.code}
}

// Completed tells whether the device is fully produced and [Open] will accept it.
func (p *Production) Completed() bool { return p.done != nil }

// Endorse takes the certificate that the authority issued for CSR (leaf first, without root) and the roots that the device will
// trust for its life, and returns what to register. It is durable: after a power cut the same chain gives the same
// registration.
func (p *Production) Endorse(chain [][]byte, roots []*x509.Certificate) (Registration, error) {
	fail := func(err error) (Registration, error) {
		return Registration{}, fmt.Errorf("endorse %s: %w", p.rec.Device, err)
	}
	if len(chain) == 0 || len(roots) == 0 || len(roots) > maxRoots {
		return fail(fmt.Errorf("devicegw: want a certificate chain and 1 to %d roots", maxRoots))
	}
	ders := make([][]byte, len(roots))
	for i, r := range roots {
		if r == nil {
			return fail(fmt.Errorf("devicegw: root %d is nil", i))
		}
		ders[i] = r.Raw
	}
	if same(p.rec.Credential.Chain, chain) && same(p.rec.Roots, ders) {
		return p.registration()
	}
	if p.done != nil {
		return fail(fmt.Errorf("%w with another certificate", ErrProduced))
	}
	endorsement, err := identity.Endorse(p.root.Signer(), chain[0], p.root.KeyExchanger().PublicKey(), identity.EndorseOptions{Generation: 1})
	if err != nil {
		return fail(err)
	}
	rec := p.rec
	rec.Credential = identity.Credential{Chain: cloneAll(chain), Endorsement: endorsement}
	rec.Roots = cloneAll(ders)
	// What the device could not stand on later must not reach the registry.
	if _, _, err := verifySelf(p.root, rec.Device, rec.Credential, factoryTrust(roots, nil)); err != nil {
		return fail(err)
	}
	if err := save(context.Background(), p.nvm, nameProduction, noBinding, rec); err != nil {
		return fail(err)
	}
	p.rec = rec
	return p.registration()
}

func (p *Production) registration() (Registration, error) {
	key, err := p.code.ProofPublic(p.rec.Device)
	if err != nil {
		return Registration{}, fmt.Errorf("endorse %s: %w", p.rec.Device, err)
	}
	return Registration{Device: p.rec.Device, Credential: cloneCredential(p.rec.Credential), ClaimKey: key}, nil
}

// Complete verifies the platform's admission and writes what the device needs from then on: its identity in one piece,
// behind its empty state. With the same admission it may be repeated.
func (p *Production) Complete(ctx context.Context, admission []byte, o ProduceOptions) error {
	fail := func(err error) error { return fmt.Errorf("complete %s: %w", p.rec.Device, err) }
	if len(p.rec.Credential.Chain) == 0 {
		return fail(errors.New("devicegw: no certificate yet: call Endorse first"))
	}
	rec := identityRecord{
		Device: p.rec.Device, Credential: p.rec.Credential, Roots: p.rec.Roots,
		Admission: slices.Clone(admission), Profile: o.Profile, RequirePSK: !o.NoPSK,
	}
	if p.done != nil {
		if bytes.Equal(p.done.Admission, rec.Admission) && p.done.Profile == rec.Profile && p.done.RequirePSK == rec.RequirePSK {
			return nil
		}
		return fail(fmt.Errorf("%w: it keeps the admission and the options of that time", ErrProduced))
	}
	roots, err := parseRoots(rec.Roots)
	if err != nil {
		return fail(err)
	}
	v, self, err := verifySelf(p.root, rec.Device, rec.Credential, factoryTrust(roots, o.Now))
	if err != nil {
		return fail(err)
	}
	a, _, err := control.OpenAdmission(rec.Admission, v, self)
	if err != nil {
		return fail(err)
	}
	// Before the identity, which makes the device: from then on their absence is damage, not a beginning.
	if err := save(ctx, p.nvm, nameState, noBinding, stateRecord{}); err != nil {
		return fail(err)
	}
	if err := save(ctx, p.nvm, namePlatform, a.Binding, epochRecord{}); err != nil {
		return fail(err)
	}
	if err := saveCredential(ctx, p.nvm.nvm, p.rec.Credential); err != nil {
		return fail(err)
	}
	if err := save(ctx, p.nvm, nameIdentity, noBinding, rec); err != nil {
		return fail(err)
	}
	p.done = &rec
	// Left behind it does no harm: the identity is looked for first.
	_ = p.nvm.nvm.Delete(ctx, nameProduction)
	return nil
}

// factoryTrust has a time floor where the factory's clock is not to be used.
func factoryTrust(roots []*x509.Certificate, now func() time.Time) identity.VerifierConfig {
	vc := identity.VerifierConfig{Roots: roots, Now: now}
	if now == nil {
		vc.Floor = identity.NewTimeFloor(time.Time{})
	}
	return vc
}

// verifySelf checks that the credential is good and this device's.
func verifySelf(root Root, id identity.DeviceID, c identity.Credential, vc identity.VerifierConfig) (*identity.Verifier, *identity.Verified, error) {
	v, err := identity.NewVerifier(vc)
	if err != nil {
		return nil, nil, err
	}
	self, err := v.Verify(c, identity.RoleDevice)
	if err == nil {
		err = ours(root, id, self)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("verify own certificate: %w", err)
	}
	return v, self, nil
}

// ours says whether a credential is this device's: name, both keys, and the helper data in the certificate.
func ours(root Root, id identity.DeviceID, self *identity.Verified) error {
	if self.ID() != id.ID {
		return fmt.Errorf("%w: it is of %s", errNotOurs, self.ID())
	}
	if pub, ok := root.Signer().Public().(*ecdsa.PublicKey); !ok || !pub.Equal(self.SigningKey()) {
		return fmt.Errorf("%w: it is for another signing key", errNotOurs)
	}
	if !root.KeyExchanger().PublicKey().Equal(self.Agreement()) {
		return fmt.Errorf("%w: it endorses another agreement key", errNotOurs)
	}
	want := root.HelperHash()
	got, _ := self.HelperHash() // zero where the certificate has none
	if got != want {
		return fmt.Errorf("%w: it was issued for other helper data", errNotOurs)
	}
	return nil
}

var errNotOurs = errors.New("devicegw: certificate is not this device's")

// claimCode is the same for a chip and name at any time, so that a lost sticker can be printed again.
func claimCode(root Root, id identity.DeviceID) (identity.ClaimCode, error) {
	b, err := root.Derive(labelClaim, []byte(id.String()), identity.ClaimCodeSize)
	if err != nil {
		return identity.ClaimCode{}, fmt.Errorf("derive claim code: %w", err)
	}
	defer clear(b)
	return identity.NewClaimCode(b)
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func cloneAll(in [][]byte) [][]byte {
	out := make([][]byte, len(in))
	for i, b := range in {
		out[i] = slices.Clone(b)
	}
	return out
}

func cloneCredential(c identity.Credential) identity.Credential {
	return identity.Credential{Chain: cloneAll(c.Chain), Endorsement: slices.Clone(c.Endorsement)}
}
