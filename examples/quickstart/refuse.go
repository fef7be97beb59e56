package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/platform"
)

// refuse tries what must not work.
func (s *stage) refuse(ctx context.Context) error {
	s.chapter("Refused")
	for _, attack := range []func(context.Context) error{s.stealDevice, s.guessClaimCode, s.copyFlash, s.falsePeer, s.replayAndForge} {
		if err := attack(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stealDevice has a second application ask for a connected device, sticker in hand.
func (s *stage) stealDevice(ctx context.Context) error {
	other, d := s.apps[1], s.devices[0]
	return s.refusal(fmt.Sprintf("%s asks for the connected %s", other.id, d.id), func() (string, error) {
		return refusedWith(other.gw.Connect(ctx, d.sticker), appgw.ErrConnectedElsewhere)
	})
}

// guessClaimCode asks for a free device with a claim code that is not on its sticker.
func (s *stage) guessClaimCode(ctx context.Context) error {
	a, d := s.apps[1], s.devices[2]
	return s.refusal(fmt.Sprintf("%s guesses the claim code of %s", a.id, d.id), func() (string, error) {
		if err := s.apps[0].gw.Disconnect(ctx, d.id); err != nil {
			return "", err
		}
		if err := d.gw.WaitDisconnected(ctx); err != nil {
			return "", err
		}
		sticker, err := guessedSticker(d)
		if err != nil {
			return "", err
		}
		return refusedWith(a.gw.Connect(ctx, sticker), appgw.ErrClaimRefused)
	})
}

// copyFlash puts the whole memory of one device beside the chip of another.
func (s *stage) copyFlash(ctx context.Context) error {
	from, to := s.devices[0], s.devices[1]
	return s.refusal(fmt.Sprintf("flash of %s on the chip of %s", from.id, to.id), func() (string, error) {
		dir := filepath.Join(s.dir, "copied-flash")
		if err := os.CopyFS(dir, os.DirFS(from.flash)); err != nil {
			return "", err
		}
		nvm, err := devicegw.OpenFileNVM(dir)
		if err != nil {
			return "", err
		}
		vault, err := keyvault.Open(ctx, to.chip, nvm, nil)
		if err == nil {
			vault.Close()
		}
		return refusedWith(err, fuzzy.ErrReconstruct)
	})
}

// guessedSticker is what somebody makes up who knows the device's name only.
func guessedSticker(d *device) (identity.Sticker, error) {
	guess, err := identity.NewClaimCode([]byte("fifteen guesses"))
	return identity.Sticker{Device: d.id, Claim: guess}, err
}

// falsePeer is a platform that commands the certificate authority too: it certifies an application of its own, checks no claim
// code, and orders a free device to connect. All signatures hold, so the device obeys. What the platform lacks is the sticker.
func (s *stage) falsePeer(ctx context.Context) error {
	d := s.devices[2]
	var mallory *application
	err := s.step("the platform turns dishonest", func() (string, error) {
		if err := s.startPlatform(ctx, platform.ClaimNever); err != nil {
			return "", err
		}
		var err error
		if mallory, err = s.startApplication(ctx, "A-MALLORY"); err != nil {
			return "", err
		}
		sticker, err := guessedSticker(d)
		if err != nil {
			return "", err
		}
		if err := mallory.gw.Connect(ctx, sticker); err != nil {
			return "", err
		}
		return "abuses the authority to certify A-MALLORY, connects it with " + d.id.String(), d.gw.WaitConnected(ctx)
	})
	if err != nil {
		return err
	}
	err = s.refusal("A-MALLORY and "+d.id.String(), func() (string, error) {
		// Both sides try: the device has something to send, and the false application something to ask.
		if err := d.send(ctx, "secret 37.2 °C"); err != nil {
			return "", err
		}
		calling, cancel := context.WithCancel(ctx)
		defer cancel()
		called := make(chan error, 1)
		go func() {
			reply, err := mallory.gw.Call(calling, d.id, "text/plain", []byte("open valve"))
			if err == nil {
				err = fmt.Errorf("the device answered %q", reply.Body)
			} else {
				err = nil
			}
			called <- err
		}()
		for d.gw.Status().Records.BadMAC == 0 {
			if err := pause(ctx); err != nil {
				return "", fmt.Errorf("the device has not seen the false handshake: %w", err)
			}
		}
		cancel()
		if err := <-called; err != nil {
			return "", err
		}
		if d.gw.Status().Session {
			return "", errors.New("the device has a session with it")
		}
		return "no session without the claim code: nothing read, nothing obeyed", mallory.quiet(100 * time.Millisecond)
	})
	if err != nil {
		return err
	}
	return s.step("the platform is honest again", func() (string, error) {
		if err := mallory.gw.Disconnect(ctx, d.id); err != nil {
			return "", err
		}
		if err := d.gw.WaitDisconnected(ctx); err != nil {
			return "", err
		}
		return d.id.String() + " is free", s.startPlatform(ctx, platform.ClaimRequired)
	})
}

// replayAndForge sends a device what the genuine application sent before, and the same with a bit changed.
func (s *stage) replayAndForge(ctx context.Context) error {
	a, d := s.apps[0], s.devices[0]
	app, _ := a.id.App()
	down := s.downTopic(d)
	var in *intruder
	var recorded []byte
	err := s.step("an intruder records a genuine command", func() (string, error) {
		before := s.wire.count()
		reply, err := a.gw.Call(ctx, d.id, "text/plain", []byte("close valve"))
		if err != nil {
			return "", err
		}
		if recorded = s.recorded(before, down); recorded == nil {
			return "", errors.New("the broker has carried no record to the device")
		}
		// Only the application may write to the device, so the intruder needs a certificate of its name.
		door, err := s.certify(a.id, identity.CSROptions{Instance: "2"}, ca.IssueOptions{NewKey: true})
		if err != nil {
			return "", err
		}
		in, err = intrude(ctx, s.broker.URL(), app.String()+"--2", s.roots, door.cred.Chain, door.signer)
		return fmt.Sprintf("%q, reply %q; has a certificate to write to the device", "close valve", reply.Body), err
	})
	if err != nil {
		return err
	}
	defer in.close()
	forged := slices.Clone(recorded)
	forged[len(forged)/2] ^= 1
	d.valve.Store(true) // a command that ran again would close it

	for _, c := range []struct {
		what   string
		record []byte
		count  func(e2e.Stats) uint64
		reason string
	}{
		{"the command, replayed", recorded, func(st e2e.Stats) uint64 { return st.Replayed }, "counter was seen before; not run again"},
		{"the command, forged", forged, func(st e2e.Stats) uint64 { return st.BadTag }, "tag does not hold"},
	} {
		err := s.refusal(c.what, func() (string, error) {
			was := d.gw.Status().Records
			if err := in.publish(ctx, down, c.record); err != nil {
				return "", err
			}
			reason := ""
			for reason == "" {
				switch st := d.gw.Status().Records; {
				case c.count(st) > c.count(was):
					reason = c.reason
				case st.UnknownSession > was.UnknownSession:
					reason = "its session has been renewed since, and the keys are gone"
				}
				if err := pause(ctx); err != nil {
					return "", fmt.Errorf("the device has not refused %x: %+v: %w", c.record, d.gw.Status().Records, err)
				}
			}
			if !d.valve.Load() {
				return "", errors.New("the device obeyed")
			}
			return reason, nil
		})
		if err != nil {
			return err
		}
	}
	return s.step("service goes on", func() (string, error) {
		reply, err := a.gw.Call(ctx, d.id, "text/plain", []byte("close valve"))
		return fmt.Sprintf("%q, reply %q", "close valve", reply.Body), err
	})
}

// pause waits a moment before the next look.
func pause(ctx context.Context) error {
	select {
	case <-time.After(2 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// downTopic is the topic of records to a device, as the broker has seen it.
func (s *stage) downTopic(d *device) string {
	for _, p := range s.wire.since(0, "/"+d.id.String()+"/down") {
		return p.topic
	}
	return ""
}

// recorded is the last DATA record that went to the topic after the first n publications.
func (s *stage) recorded(n int, topic string) []byte {
	for _, p := range slices.Backward(s.wire.since(n, topic)) {
		if kind, err := e2e.TypeOf(p.payload); err == nil && kind == e2e.TypeData {
			return p.payload
		}
	}
	return nil
}

// refusedWith wants err to be the wanted one, and gives its last words for the line.
func refusedWith(err, want error) (string, error) {
	switch {
	case err == nil:
		return "", errors.New("it was not refused")
	case !errors.Is(err, want):
		return "", fmt.Errorf("refused for another reason: %w", err)
	}
	text := want.Error()
	if i := strings.Index(text, ": "); i >= 0 && i < 20 {
		text = text[i+2:]
	}
	return text, nil
}
