package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/puf"
)

// make takes one unit through the line, from where it is. The error is one of the line: what is the unit's own is in the report.
//
// Every step may be repeated: the flash has what was done, the authority answers the same request with the same certificate, the platform
// the same registration with the same admission. The report is written last, and a unit with a final one is left alone.
func (l *line) make(ctx context.Context, j *job, bar *bar) (report, error) {
	r, err := l.readReport(j)
	if err != nil || r.final() {
		return r, err
	}
	r = report{Device: j.id, Chip: j.chip.String()}
	switch err := l.produce(ctx, j, &r, bar); {
	case err == nil:
		r.Status = statusDone
	case badChip(err):
		r.Status, r.Reason = statusRejected, err.Error()
	case refused(err):
		r.Status, r.Reason = statusFailed, err.Error()
	default:
		return r, err
	}
	r.Time = time.Now().UTC()
	return r, l.writeReport(r)
}

// errTwin: the folder has the power-ups of another unit's chip.
var errTwin = errors.New("the folder holds power-ups of a chip that has its device already; put them into one folder")

// badChip reports an error that is the chip's: it is sorted out, for good.
func badChip(err error) bool {
	var check *puf.CheckError
	var size *puf.SizeError
	if errors.As(err, &check) || errors.As(err, &size) {
		return true
	}
	for _, reason := range []error{
		errTwin, errMemory, keyvault.ErrUnproved, fuzzy.ErrEntropy, fuzzy.ErrFault, fuzzy.ErrResponseConstant, fuzzy.ErrReadings, fuzzy.ErrReconstruct,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// refused reports an answer of authority or platform that concerns this unit alone.
func refused(err error) bool {
	for _, reason := range []error{
		ca.ErrOtherKey, ca.ErrOtherHelper, ca.ErrKeyInUse, ca.ErrRevoked, ca.ErrPolicy, platform.ErrConflict, platform.ErrRetired, devicegw.ErrProduced,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// errMemory: the chip's dumps cannot serve.
var errMemory = errors.New("the chip's memory cannot be read")

func (l *line) produce(ctx context.Context, j *job, r *report, bar *bar) error {
	if j.twin != "" {
		return fmt.Errorf("%w: %s", errTwin, j.twin)
	}
	u, err := unit.Create(j.dir, j.chip, l.registrar.Roots())
	if err != nil {
		return err
	}
	defer u.Close()

	bar.step(j.id, "enrol")
	vault, err := enrol(ctx, u)
	if err != nil {
		return err
	}
	defer vault.Close()
	r.margin(vault.Report())

	bar.step(j.id, "certificate")
	p, err := devicegw.Produce(ctx, vault, u.NVM, j.id)
	if err != nil {
		return err
	}
	if !p.Completed() {
		chain, err := l.authority.Issue(ctx, p.CSR(), ca.IssueOptions{})
		if err != nil {
			return err
		}
		reg, err := p.Endorse(chain, l.registrar.Roots())
		if err != nil {
			return err
		}
		bar.step(j.id, "registration")
		signed, err := platform.Registration{
			Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
		}.Sign(l.registrar.Signer(), l.cred)
		if err != nil {
			return err
		}
		admission, err := l.registry.Register(ctx, signed)
		if err != nil {
			return err
		}
		if err := p.Complete(ctx, admission, devicegw.ProduceOptions{Now: time.Now}); err != nil {
			return err
		}
	}
	bar.step(j.id, "sticker")
	return files.Write(l.stickerFile(j.id), []byte(p.Sticker().Encode()+"\n"), true)
}

// enrol makes the root key, or finds it again if an earlier run has made it, and has it come back from a fresh power-up before the
// device leaves the line.
func enrol(ctx context.Context, u *unit.Unit) (*keyvault.Vault, error) {
	source, err := u.Chip.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMemory, err)
	}
	v, err := keyvault.Enroll(ctx, source, u.NVM, nil)
	if err == nil {
		v.Close()
	} else if !errors.Is(err, keyvault.ErrEnrolled) {
		return nil, err
	}
	return keyvault.Open(ctx, source, u.NVM, nil)
}

func (l *line) stickerFile(id identity.DeviceID) string {
	return filepath.Join(*l.dir, "stickers", id.String()+".txt")
}
