package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/label"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/platform"
)

// play is the story, chapter by chapter.
func (s *stage) play(ctx context.Context, chips []chip) error {
	s.printf("semio quickstart: the life cycle of Schrijen et al. 2019, on loopback\n")
	s.chapter("Parties")
	if err := s.setUp(ctx); err != nil {
		return err
	}
	for _, name := range []string{"A-WATER", "A-HEAT"} {
		err := s.step("application provider "+name, func() (string, error) {
			_, err := s.startApplication(ctx, name)
			return "certified, admitted, gateway connected over MQTT/TLS", err
		})
		if err != nil {
			return err
		}
	}
	for i, c := range chips {
		d, err := s.newDevice(i, c)
		if err != nil {
			return err
		}
		if err := s.produce(ctx, d); err != nil {
			return err
		}
	}
	for _, chapter := range []func(context.Context) error{s.commission, s.operate, s.restart, s.refuse, s.decommission, s.retire} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	lines := []string{
		fmt.Sprintf("%d devices, keys from %d bits of SRAM each; nothing secret is stored anywhere in the clear", len(s.devices), sramSize*8),
		fmt.Sprintf("the platform carried %d publications and read none", s.wire.count()),
	}
	for _, c := range chips {
		if n := c.powerUps.Load(); c.stored > 0 && n > int64(c.stored) {
			lines = append(lines, fmt.Sprintf("chip %s was read %d times and has %d power-ups: later readings repeat earlier ones", c.what, n, c.stored))
		}
	}
	return s.summary(lines...)
}

// produce is production and initial commissioning of one device (section II.C).
func (s *stage) produce(ctx context.Context, d *device) error {
	s.chapter(fmt.Sprintf("Production of %s (chip: %s)", d.id, d.chip.what))
	nvm, err := devicegw.OpenFileNVM(d.flash)
	if err != nil {
		return err
	}
	var vault *keyvault.Vault
	err = s.step("enrol", func() (string, error) {
		v, err := keyvault.Enroll(ctx, d.chip, nvm, nil)
		if err != nil {
			return "", err
		}
		defer v.Close()
		// The key must come back from a fresh power-up before the device leaves the line.
		if vault, err = keyvault.Open(ctx, d.chip, nvm, nil); err != nil {
			return "", err
		}
		if v.HelperHash() != vault.HelperHash() {
			return "", errors.New("another device came back")
		}
		helper, err := nvm.Get(ctx, keyvault.DefaultName)
		return fmt.Sprintf("%d bits of SRAM, %d bytes of helper data, %d bit errors corrected", sramSize*8, len(helper), vault.Report().Corrected), err
	})
	if err != nil {
		return err
	}
	defer vault.Close()

	var p *devicegw.Production
	var reg devicegw.Registration
	err = s.step("CSR and certificate", func() (string, error) {
		if p, err = devicegw.Produce(ctx, vault, nvm, d.id); err != nil {
			return "", err
		}
		csr := p.CSR()
		chain, err := s.authority.Issue(csr, ca.IssueOptions{})
		if err != nil {
			return "", err
		}
		reg, err = p.Endorse(chain, s.roots)
		return fmt.Sprintf("P-256, request %d bytes, certificate %d bytes with the helper data's hash", len(csr), len(chain[0])), err
	})
	if err != nil {
		return err
	}
	err = s.step("registration with the platform", func() (string, error) {
		signed, err := platform.Registration{
			Device: reg.Device, Credential: reg.Credential, Binding: e2e.NewBindingID(), ClaimKey: reg.ClaimKey,
		}.Sign(s.registrar.signer, s.registrar.cred)
		if err != nil {
			return "", err
		}
		admission, err := s.platform.Register(ctx, signed)
		if err != nil {
			return "", err
		}
		return "signed by " + s.registrar.id.String() + ", connected with no application", p.Complete(ctx, admission, devicegw.ProduceOptions{})
	})
	if err != nil {
		return err
	}
	return s.step("sticker", func() (string, error) {
		// What is printed is what the mechanic scans later.
		text := p.Sticker().Encode()
		if d.sticker, err = identity.ParseSticker(text); err != nil {
			return "", err
		}
		if len(s.devices) > 1 {
			return text, nil
		}
		var qr strings.Builder
		if err := label.Terminal(&qr, d.sticker); err != nil {
			return "", err
		}
		s.note("%s", qr.String())
		return text, nil
	})
}

// commission is application commissioning (section III.E.2): all three devices by the first provider.
func (s *stage) commission(ctx context.Context) error {
	s.chapter("Application commissioning")
	for _, d := range s.devices {
		err := s.step("power up "+d.id.String(), func() (string, error) {
			if err := d.powerUp(ctx, s); err != nil {
				return "", err
			}
			r := d.vault.Report()
			return fmt.Sprintf("power-up %d of the chip, %d bit errors corrected, same root key", d.chip.powerUps.Load(), r.Corrected), nil
		})
		if err != nil {
			return err
		}
		if err := s.connect(ctx, s.apps[0], d); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) connect(ctx context.Context, a *application, d *device) error {
	return s.step(fmt.Sprintf("scan %s, connect with %s", d.id, a.id), func() (string, error) {
		if err := a.gw.Connect(ctx, d.sticker); err != nil {
			return "", err
		}
		if err := d.gw.WaitConnected(ctx); err != nil {
			return "", err
		}
		if app := d.gw.Status().Application; app.ID != a.id {
			return "", fmt.Errorf("device is connected with %s", app)
		}
		return "platform checked; each side verified the other's certificate", nil
	})
}

// operate is field operation (section III.E.3).
func (s *stage) operate(ctx context.Context) error {
	s.chapter("Field operation")
	a := s.apps[0]
	for i, d := range s.devices {
		before := s.wire.count()
		text := fmt.Sprintf("%.1f °C", 18.4+1.7*float64(i))
		var r []reading
		err := s.step("temperature of "+d.id.String(), func() (string, error) {
			if err := d.send(ctx, text); err != nil {
				return "", err
			}
			if err := d.gw.Flush(ctx); err != nil {
				return "", err
			}
			var err error
			if r, err = a.expect(ctx, 1); err != nil {
				return "", err
			}
			if r[0] != (reading{d.id, text}) {
				return "", fmt.Errorf("application read %v, device sent %q", r[0], text)
			}
			return "sent, read, acknowledged end to end", nil
		})
		if err != nil {
			return err
		}
		records := s.wire.since(before, d.id.String()+"/up")
		if len(records) == 0 {
			return errors.New("the broker has carried nothing")
		}
		for _, p := range records {
			if strings.Contains(string(p.payload), text) {
				return fmt.Errorf("the platform could read %q", text)
			}
		}
		s.note("platform saw      %s", ciphertext(records[len(records)-1].payload))
		s.note("application read  %s", r[0].text)
	}
	d := s.devices[0]
	return s.step("command from "+a.id.String()+" to "+d.id.String(), func() (string, error) {
		reply, err := a.gw.Call(ctx, d.id, "text/plain", []byte("open valve"))
		if err != nil {
			return "", err
		}
		if !d.valve.Load() || string(reply.Body) != "valve is open" {
			return "", fmt.Errorf("device answered %q", reply.Body)
		}
		return fmt.Sprintf("%q, reply %q", "open valve", reply.Body), nil
	})
}

// restart cuts the power with messages under way.
func (s *stage) restart(ctx context.Context) error {
	s.chapter("Power cut")
	a, d := s.apps[0], s.devices[1]
	const n = 10
	var want []reading
	err := s.step(fmt.Sprintf("%s: %d messages, cut in the middle", d.id, n), func() (string, error) {
		for i := range n {
			text := fmt.Sprintf("%.1f °C", 21.5+0.1*float64(i))
			want = append(want, reading{d.id, text})
			if err := d.send(ctx, text); err != nil {
				return "", err
			}
			if i == n/2 {
				queued := d.gw.Status().Queued
				d.powerCut()
				if err := d.powerUp(ctx, s); err != nil {
					return "", err
				}
				defer s.note("at the cut %d messages were queued; power-up %d of the chip, %d bit errors corrected",
					queued, d.chip.powerUps.Load(), d.vault.Report().Corrected)
			}
		}
		return "all accepted into the locked outbox", nil
	})
	if err != nil {
		return err
	}
	return s.step("after the restart", func() (string, error) {
		if err := d.gw.Flush(ctx); err != nil {
			return "", err
		}
		got, err := a.expect(ctx, n)
		if err != nil {
			return "", err
		}
		if !slices.Equal(got, want) {
			return "", fmt.Errorf("application read %v", got)
		}
		if err := a.quiet(200 * time.Millisecond); err != nil {
			return "", err
		}
		return fmt.Sprintf("same identity, %d of %d messages read once and in order", len(got), n), nil
	})
}

// decommission gives a device back and to another provider (section III.E.4).
func (s *stage) decommission(ctx context.Context) error {
	s.chapter("Decommissioning, second provider")
	first, second, d := s.apps[0], s.apps[1], s.devices[0]
	err := s.step(fmt.Sprintf("%s disconnects %s", first.id, d.id), func() (string, error) {
		if err := first.gw.Disconnect(ctx, d.id); err != nil {
			return "", err
		}
		return "both sides deleted each other's certificates and keys", d.gw.WaitDisconnected(ctx)
	})
	if err != nil {
		return err
	}
	if err := s.connect(ctx, second, d); err != nil {
		return err
	}
	return s.step("temperature of "+d.id.String(), func() (string, error) {
		if err := d.send(ctx, "19.0 °C"); err != nil {
			return "", err
		}
		r, err := second.expect(ctx, 1)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s reads %s; %s reads nothing", second.id, r[0].text, first.id), first.quiet(100 * time.Millisecond)
	})
}

// retire is end of life (section III.E.5): of a device that obeys, and of one whose firmware does not.
func (s *stage) retire(ctx context.Context) error {
	s.chapter("End of life")
	obedient, stubborn := s.devices[2], s.devices[1]
	err := s.step("retire "+obedient.id.String(), func() (string, error) {
		began := time.Now()
		if err := s.platform.Retire(ctx, obedient.id); err != nil {
			return "", err
		}
		select {
		case <-obedient.ended:
		case <-ctx.Done():
			return "", fmt.Errorf("device still runs: %w", ctx.Err())
		}
		if !errors.Is(obedient.outcome, devicegw.ErrRetired) {
			return "", fmt.Errorf("device ended with: %w", obedient.outcome)
		}
		return fmt.Sprintf("got the authority's list, wiped itself after %s", round(time.Since(began))), nil
	})
	if err != nil {
		return err
	}
	err = s.refusal("its chip and memory again", func() (string, error) {
		nvm, err := devicegw.OpenFileNVM(obedient.flash)
		if err != nil {
			return "", err
		}
		vault, err := keyvault.Open(ctx, obedient.chip, nvm, nil)
		if err == nil {
			vault.Close()
		}
		_, err = refusedWith(err, keyvault.ErrNotEnrolled)
		return "helper data is gone, and the keys with it", err
	})
	if err != nil {
		return err
	}
	return s.retireStubborn(ctx, stubborn)
}

// retireStubborn retires a device that connects with its own key and certificate and ignores every order.
func (s *stage) retireStubborn(ctx context.Context, d *device) error {
	d.powerCut()
	nvm, err := devicegw.OpenFileNVM(d.flash)
	if err != nil {
		return err
	}
	vault, err := keyvault.Open(ctx, d.chip, nvm, nil)
	if err != nil {
		return err
	}
	defer vault.Close()
	record, err := s.platform.Device(ctx, d.id)
	if err != nil {
		return err
	}
	connect := func() (*intruder, error) {
		return intrude(ctx, s.broker.URL(), d.id.String(), s.roots, record.Credential.Chain, vault.Signer())
	}
	var in *intruder
	err = s.step(fmt.Sprintf("retire %s, which ignores orders", d.id), func() (string, error) {
		if in, err = connect(); err != nil {
			return "", err
		}
		began := time.Now()
		if err := s.platform.Retire(ctx, d.id); err != nil {
			return "", err
		}
		select {
		case <-in.gone:
		case <-ctx.Done():
			return "", fmt.Errorf("its connection still lives: %w", ctx.Err())
		}
		took := time.Since(began)
		if took > 2*time.Second {
			return "", fmt.Errorf("its connection was cut after %s", took)
		}
		return fmt.Sprintf("live connection cut after %s", round(took)), nil
	})
	if err != nil {
		return err
	}
	return s.refusal("it connects again", func() (string, error) {
		in, err := connect()
		if err == nil {
			in.close()
		}
		_, err = refusedWith(err, errNotAuthorized)
		return "certificate refused from now on", err
	})
}
