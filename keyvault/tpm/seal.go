package tpm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/semio-iot/semio/internal/hkdf"
)

const (
	// secretSize is that of the sealed secret.
	secretSize = 32
	// nonceSize of sessions is the most that SHA-256 allows.
	nonceSize = 32
	// labelSecret is the only label of this package: salt and context of what mixes two sources of randomness.
	labelSecret = "semio-tpm/1 secret"
)

// link is a TPM for the duration of a call. A command under way cannot be taken back, so the context is asked before each.
type link struct {
	ctx context.Context
	t   transport.TPM
}

func (l link) Send(command []byte) ([]byte, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	return l.t.Send(command)
}

// flush frees a slot of the TPM, also when the context has ended. Its error helps nobody: the call's work is done or has failed
// otherwise, and a resource manager frees what is left over.
func (l link) flush(h tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: h}.Execute(l.t)
}

// storageKey is the parent of the sealed object.
type storageKey struct {
	link
	handle    tpm2.TPMHandle
	transient bool
	public    tpm2.TPMTPublic
	name      tpm2.TPM2BName
}

func (l link) storageKey(persistent uint32) (*storageKey, error) {
	k := &storageKey{link: l, handle: tpm2.TPMHandle(persistent)}
	var public tpm2.TPM2BPublic
	if persistent != 0 {
		rsp, err := tpm2.ReadPublic{ObjectHandle: k.handle}.Execute(l)
		if err != nil {
			return nil, fmt.Errorf("read the storage key: %w", refused(err))
		}
		public = rsp.OutPublic
	} else {
		rsp, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
		}.Execute(l)
		if err != nil {
			return nil, fmt.Errorf("create the storage key: %w", refused(err))
		}
		k.handle, k.transient, public = rsp.ObjectHandle, true, rsp.OutPublic
	}
	if err := k.take(public); err != nil {
		k.close()
		return nil, fmt.Errorf("read the storage key: %w", err)
	}
	return k, nil
}

// refused makes a refusal of the TPM, unlike a failure of the transport, an ErrStorageKey.
func refused(err error) error {
	var code tpm2.TPMFmt1Error
	if errors.As(err, &code) {
		return fmt.Errorf("%w: %w", ErrStorageKey, err)
	}
	return err
}

func (k *storageKey) take(public tpm2.TPM2BPublic) error {
	p, err := public.Contents()
	if err != nil {
		return err
	}
	a := p.ObjectAttributes
	if p.NameAlg != tpm2.TPMAlgSHA256 || !a.Restricted || !a.Decrypt || a.SignEncrypt || !a.FixedTPM || !a.FixedParent {
		return fmt.Errorf("%w: the key is none that seals for this TPM alone", ErrStorageKey)
	}
	// The name is computed here, so that it is that of the key which the session is salted to, whatever the bus says.
	name, err := tpm2.ObjectName(p)
	if err != nil {
		return err
	}
	k.public, k.name = *p, *name
	return nil
}

func (k *storageKey) close() {
	if k.transient {
		k.flush(k.handle)
	}
}

// hash is the name without its algorithm.
func (k *storageKey) hash() [hashSize]byte { return [hashSize]byte(k.name.Buffer[2:]) }

// salted starts sessions whose key only the holder of the storage key can know.
func (k *storageKey) salted(more ...tpm2.AuthOption) []tpm2.AuthOption {
	return append(more, tpm2.Salted(k.handle, k.public))
}

func (k *storageKey) session(more ...tpm2.AuthOption) tpm2.Session {
	return tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, k.salted(more...)...)
}

func (k *storageKey) auth(more ...tpm2.AuthOption) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: k.handle, Name: k.name, Auth: k.session(more...)}
}

// random makes a secret from two sources, of which one may be bad. The caller clears it.
func (k *storageKey) random() ([]byte, error) {
	rsp, err := tpm2.GetRandom{BytesRequested: secretSize}.Execute(k, k.session(tpm2.AESEncryption(128, tpm2.EncryptOut)))
	if err != nil {
		return nil, fmt.Errorf("get random bytes: %w", err)
	}
	theirs := rsp.RandomBytes.Buffer
	defer clear(theirs)
	if len(theirs) != secretSize {
		return nil, fmt.Errorf("get random bytes: %w: %d bytes, want %d", ErrUnproved, len(theirs), secretSize)
	}
	both := make([]byte, 2*secretSize)
	defer clear(both)
	copy(both, theirs)
	_, _ = rand.Read(both[secretSize:]) // never fails, crypto/rand says
	return hkdf.Key(both, []byte(labelSecret), labelSecret, secretSize)
}

// seal has the TPM encrypt secret. Errors are those of the TPM.
func (k *storageKey) seal(secret []byte, pcrs pcrMask) (*record, error) {
	policy, err := k.policy(pcrs)
	if err != nil {
		return nil, err
	}
	rsp, err := tpm2.Create{
		ParentHandle: k.auth(tpm2.AESEncryption(128, tpm2.EncryptIn)),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
		}},
		InPublic: tpm2.New2B(template(policy)),
	}.Execute(k)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	p, err := rsp.OutPublic.Contents()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	unique, err := p.Unique.KeyedHash()
	if err != nil || len(unique.Buffer) != hashSize {
		return nil, fmt.Errorf("seal: %w: the TPM made another kind of object", ErrUnproved)
	}
	return &record{
		pcrs: pcrs, parent: k.hash(), policy: policy, unique: [hashSize]byte(unique.Buffer), private: rsp.OutPrivate.Buffer,
	}, nil
}

// unseal brings the secret back. The caller clears it. Errors: ErrWrongTPM, ErrMalformed, ErrPolicy, those of the TPM.
func (k *storageKey) unseal(r *record) ([]byte, error) {
	// Before a session is salted: it must be for the TPM of the enrolment.
	if k.hash() != r.parent {
		return nil, ErrWrongTPM
	}
	public := r.public()
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return nil, err
	}
	object, err := tpm2.Load{
		ParentHandle: k.auth(),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: r.private},
		InPublic:     tpm2.New2B(public),
	}.Execute(k)
	if err != nil {
		var code tpm2.TPMFmt1Error
		if errors.As(err, &code) {
			if ours, _ := code.Parameter(); ours {
				return nil, fmt.Errorf("load: %w: %w", ErrMalformed, err)
			}
		}
		return nil, fmt.Errorf("load: %w", err)
	}
	defer k.flush(object.ObjectHandle)

	out := tpm2.AESEncryption(128, tpm2.EncryptOut)
	auth := tpm2.AuthHandle{Handle: object.ObjectHandle, Name: *name, Auth: k.session(out)}
	if r.pcrs != (pcrMask{}) {
		auth.Auth = tpm2.Policy(tpm2.TPMAlgSHA256, nonceSize, satisfy(r.pcrs), k.salted(out)...)
	}
	rsp, err := tpm2.Unseal{ItemHandle: auth}.Execute(k)
	if errors.Is(err, tpm2.TPMRCPolicyFail) || errors.Is(err, tpm2.TPMRCPCRChanged) {
		return nil, fmt.Errorf("unseal: %w: %w", ErrPolicy, err)
	}
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	if len(rsp.OutData.Buffer) != secretSize {
		clear(rsp.OutData.Buffer)
		return nil, fmt.Errorf("unseal: %w: secret of %d bytes, want %d", ErrMalformed, len(rsp.OutData.Buffer), secretSize)
	}
	return rsp.OutData.Buffer, nil
}
