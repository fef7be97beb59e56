package platform

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
	"github.com/semio-iot/semio/platform/registry"
)

// policyTimeout is about as long as a gateway waits before it asks anew.
const policyTimeout = 30 * time.Second

// asked is a request with everything about it that can be found out without the store.
type asked struct {
	control.SignedRequest
	peer     identity.ID // whose message brought it
	epoch    uint64      // of that message
	evidence []byte
	hash     [32]byte
	refused  *control.Result // before any rule: it is not a valid request of this peer
	valid    bool            // the application's signature holds
	denied   *control.Result // by the policy
	binding  e2e.BindingID   // for a connection, if it comes to one
}

// examine verifies signatures and asks the policy. Its errors are faults of ours; refusals are in the result.
func (s *Service) examine(ctx context.Context, p *peer, transcript [32]byte, r *control.SignedRequest) (*asked, error) {
	ask := &asked{SignedRequest: *r, peer: p.id, binding: e2e.NewBindingID()}
	var err error
	if ask.evidence, err = (control.Evidence{Request: r, Application: p.self.Credential()}).Marshal(); err != nil {
		return nil, err
	}
	ask.hash = sha256.Sum256(ask.evidence)
	refuse := func(text string) (*asked, error) {
		ask.refused = &control.Result{Request: r.Request.ID, Code: control.CodeRefused, Text: text}
		return ask, nil
	}
	// The platform's own word for who asks is worth nothing: whoever has its agreement key could make this INIT. The signature
	// over the transcript counts, and that the signer is certified now.
	app, err := s.verifier.Verify(p.self.Credential(), identity.RoleApplication)
	if err != nil {
		s.log.Warn("request of a peer that may not ask", "peer", p.id, "err", err)
		return refuse("certificate is not that of an application, or is expired or revoked")
	}
	if r.Transcript != transcript {
		return refuse("request was signed for another message")
	}
	if r.Verify(app) != nil {
		return refuse("signature does not hold")
	}
	ask.valid = true
	if r.Request.Op != control.OpConnect {
		return ask, nil
	}
	d, ok := s.state().Device(r.Request.Device)
	if !ok {
		return ask, nil
	}
	if _, err := s.verifier.Verify(d.Credential, identity.RoleDevice); err != nil && d.Status != registry.Retired {
		s.log.Error("device cannot be connected", "device", d.ID, "err", err)
		return refuse("certificate of the device does not verify")
	}
	if s.cfg.Policy == nil {
		return ask, nil
	}
	proven := len(d.ClaimKey) > 0 && r.VerifyClaim(d.ClaimKey) == nil
	if !proven && s.needsClaim(d) {
		return ask, nil // will be refused, and the policy is not there to be asked about guesses
	}
	ctx, cancel := context.WithTimeout(ctx, policyTimeout)
	defer cancel()
	err = s.cfg.Policy.Connect(ctx, ConnectRequest{App: r.Request.App, Device: d, Proven: proven})
	if err == nil {
		return ask, nil
	}
	ask.denied = &control.Result{Request: r.Request.ID, Code: control.CodePolicy}
	var pe *PolicyError
	if errors.As(err, &pe) {
		ask.denied.Text = pe.Text[:min(len(pe.Text), 200)]
	} else {
		s.log.Error("policy", "app", r.Request.App, "device", d.ID, "err", err)
	}
	return ask, nil
}

func (s *Service) needsClaim(d registry.Device) bool {
	switch s.cfg.Claim {
	case ClaimNever:
		return false
	case ClaimWhereRegistered:
		return len(d.ClaimKey) > 0
	}
	return true
}

// decide carries out a request or refuses it. An error is a fault of ours and undoes the transaction.
func (t *txn) decide(ask *asked) (control.Result, error) {
	r := ask.Request
	code, err := t.decided(ask)
	if err != nil {
		return control.Result{}, err
	}
	again := code != 0
	result, eff := control.Result{Request: r.ID, Code: code}, registry.Effects{}
	if !again {
		if result, eff, err = t.judge(ask); err != nil {
			return result, err
		}
	}
	if ask.valid {
		if err := t.settle(ask, result.Code); err != nil {
			return result, err
		}
	}
	if result.Code == control.CodeOK || result.Code == control.CodeRevision {
		d, _ := t.state.Device(r.Device)
		result.Revision = d.Revision
	}
	kind := registry.KindConnected
	if r.Op == control.OpDisconnect {
		kind = registry.KindDisconnected
	}
	switch {
	case eff.Changed():
		err = t.keep(ask.evidence)
	case again:
	case result.Code != control.CodeOK:
		kind = registry.KindRefused
		err = t.refusal(ask, result)
	}
	if err != nil {
		return result, err
	}
	t.after = append(t.after, func() {
		t.s.log.Info("request decided", "op", r.Op, "peer", ask.peer, "device", r.Device, "request", r.ID, "code", result.Code)
		if f := t.s.cfg.Observer.Decided; f != nil {
			f(kind, ask.peer, uint8(result.Code))
		}
	})
	return result, nil
}

func (t *txn) judge(ask *asked) (control.Result, registry.Effects, error) {
	r := ask.Request
	result := control.Result{Request: r.ID, Code: control.CodeOK}
	if ask.refused != nil {
		return *ask.refused, registry.Effects{}, nil
	}
	var e registry.Event = registry.Disconnect{
		App: r.App, Device: r.Device, Binding: r.Binding, Request: r.ID, Revision: r.Revision, Evidence: ask.hash,
	}
	if r.Op == control.OpConnect {
		// Whoever has not seen the sticker does not learn with whom a device is connected.
		code, err := t.checkClaim(ask)
		if err != nil || code != control.CodeOK {
			result.Code = code
			return result, registry.Effects{}, err
		}
		if ask.denied != nil {
			return *ask.denied, registry.Effects{}, nil
		}
		e = registry.Connect{App: r.App, Device: r.Device, Binding: ask.binding, Request: r.ID, Revision: r.Revision, Evidence: ask.hash}
	}
	eff, err := t.apply(e)
	if err == nil {
		return result, eff, nil
	}
	if result.Code = codeOf(err); result.Code == 0 {
		return result, registry.Effects{}, err
	}
	if errors.Is(err, registry.ErrBacklog) {
		result.Text = "device or application has not acknowledged earlier orders yet; try again when it has"
	}
	return result, registry.Effects{}, nil
}

// codeOf is 0 for what is no refusal.
func codeOf(err error) control.Code {
	for _, c := range []struct {
		err  error
		code control.Code
	}{
		{registry.ErrUnknownDevice, control.CodeUnknownDevice},
		{registry.ErrConnectedElsewhere, control.CodeConnectedElsewhere},
		{registry.ErrRetired, control.CodeRetired},
		{registry.ErrRevision, control.CodeRevision},
		{registry.ErrNotConnected, control.CodeNotConnected},
		{registry.ErrUnknownApplication, control.CodeRefused},
		{registry.ErrBacklog, control.CodePolicy},
		{registry.ErrInvalid, control.CodeRefused},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return 0
}

// checkClaim wants the proof that the asker knows the claim code, and counts wrong ones.
func (t *txn) checkClaim(ask *asked) (control.Code, error) {
	r := ask.Request
	d, ok := t.state.Device(r.Device)
	switch {
	case !ok:
		return control.CodeUnknownDevice, nil
	case d.Status == registry.Retired:
		return control.CodeRetired, nil
	case !t.s.needsClaim(d):
		return control.CodeOK, nil
	case len(d.ClaimKey) == 0 || len(ask.ClaimProof) == 0:
		return control.CodeClaimRefused, nil
	}
	limits := t.s.cfg.Limits
	byApp, err := t.account(prefixGuess+r.App.String(), limits.AppGuesses)
	if err != nil {
		return 0, err
	}
	byDevice, err := t.account(prefixGuess+r.Device.String(), limits.DeviceGuesses)
	if err != nil {
		return 0, err
	}
	// An empty account refuses the right proof too, or a guesser would notice it.
	if byApp.left() == 0 || byDevice.left() == 0 {
		return control.CodeTooManyGuesses, nil
	}
	if ask.VerifyClaim(d.ClaimKey) == nil {
		return control.CodeOK, nil
	}
	if err := byApp.take(t.tx); err != nil {
		return 0, err
	}
	return control.CodeClaimRefused, byDevice.take(t.tx)
}
