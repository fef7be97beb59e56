package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/keyvault"
)

// device is a thing with a chip and a flash memory. Between power-ups nothing else of it exists.
type device struct {
	id      identity.DeviceID
	chip    chip
	flash   string // folder
	sticker identity.Sticker

	// While it is powered:
	vault   *keyvault.Vault
	gw      *devicegw.Gateway
	valve   atomic.Bool // what the application commands
	cut     context.CancelFunc
	ended   chan struct{}
	outcome error // of Run, when ended is closed
}

// powerUp is the main of a device: a new reading of the chip, the vault, the gateway.
func (d *device) powerUp(ctx context.Context, s *stage) error {
	nvm, err := devicegw.OpenFileNVM(d.flash)
	if err != nil {
		return err
	}
	// What somebody else wrote into the flash is refused before it is decoded.
	certified, err := devicegw.CertifiedHelper(ctx, nvm, s.roots)
	if err != nil {
		return err
	}
	if d.vault, err = keyvault.Open(ctx, d.chip, nvm, &keyvault.Options{HelperHash: certified}); err != nil {
		return err
	}
	d.gw, err = devicegw.Open(ctx, devicegw.Config{
		Root: d.vault, NVM: nvm, Broker: s.broker.URL(), OnCall: d.command,
		Logger: s.log.With("party", d.id),
	})
	if err != nil {
		return errors.Join(err, d.vault.Close())
	}
	ctx, d.cut = context.WithCancel(ctx)
	d.ended = make(chan struct{})
	go func() {
		defer close(d.ended)
		d.outcome = d.gw.Run(ctx)
	}()
	return nil
}

// powerCut ends the device's life in RAM.
func (d *device) powerCut() {
	if d.cut == nil {
		return
	}
	d.cut()
	<-d.ended
	d.vault.Close()
	d.cut = nil
}

// command is the device's handler of calls.
func (d *device) command(_ context.Context, c devicegw.Call) (devicegw.Reply, error) {
	switch string(c.Body) {
	case "open valve":
		d.valve.Store(true)
	case "close valve":
		d.valve.Store(false)
	default:
		return devicegw.Reply{}, fmt.Errorf("unknown command %q", c.Body)
	}
	state := "valve is closed"
	if d.valve.Load() {
		state = "valve is open"
	}
	return devicegw.Reply{Type: "text/plain", Body: []byte(state)}, nil
}

func (d *device) send(ctx context.Context, text string) error {
	_, err := d.gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte(text)})
	return err
}

func (s *stage) newDevice(i int, c chip) (*device, error) {
	id, err := identity.ParseDeviceID(fmt.Sprintf("D-THERMO-%d", i+1))
	if err != nil {
		return nil, err
	}
	d := &device{id: id, chip: c, flash: filepath.Join(s.dir, id.String())}
	s.devices = append(s.devices, d)
	return d, nil
}
