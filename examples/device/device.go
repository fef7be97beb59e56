package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/brokerflag"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/journal"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/fuzzy"
	"github.com/semio-iot/semio/identity"
)

// device is the program: its flags, and what is made of them.
type device struct {
	dir, prefix, sensor, events *string
	every                       *time.Duration
	broker                      *brokerflag.Flags

	t       *cli.Terminal
	gw      *devicegw.Gateway
	journal *journal.Journal // nil without -events
	thermo  sensor
	changed chan struct{} // capacity 1: interval was set

	measuring sync.Mutex // held over a measurement, so that none comes after "every 0s" was answered; guards interval
	interval  time.Duration
}

// reading is what the device sends: a JSON object, so that fields can be added.
type reading struct {
	Celsius float64 `json:"celsius"`
	Sensor  string  `json:"sensor"`
}

const readingType = "application/vnd.semio.temperature+json"

// line is one line of -json, but the first, which says "ready".
type line struct {
	What        string         `json:"what"` // "connected", "disconnected", "sent", "event", "command", "retired"
	Device      string         `json:"device"`
	Application string         `json:"application,omitempty"`
	Binding     string         `json:"binding,omitempty"` // with Seq and Device the key of an event
	Seq         uint64         `json:"seq,omitempty"`
	Reading     *reading       `json:"reading,omitempty"`
	Event       *journal.Entry `json:"event,omitempty"`
	Command     string         `json:"command,omitempty"`
	Reply       string         `json:"reply,omitempty"`
	Error       string         `json:"error,omitempty"`
}

func (d *device) run(ctx context.Context, t *cli.Terminal, _ []string) error {
	d.t, d.changed = t, make(chan struct{}, 1)
	if *d.every < 0 {
		return cli.Usage("-every %v: want a positive time, or 0", *d.every)
	}
	d.interval = *d.every
	var err error
	if d.thermo, err = openSensor(*d.sensor, hwmonRoot); err != nil {
		return err
	}
	url, link, err := d.broker.Open(t.Log)
	if err != nil {
		return err
	}
	u, err := unit.Open(*d.dir)
	if err != nil {
		return err
	}
	defer u.Close()
	if *d.events != "" {
		if d.journal, err = journal.Open(*d.events); err != nil {
			return err
		}
		defer d.journal.Close()
	}
	vault, err := u.PowerUp(ctx)
	if err != nil {
		return explain(err)
	}
	defer vault.Close()
	d.gw, err = devicegw.Open(ctx, devicegw.Config{
		Root: vault, NVM: u.NVM, Broker: url, Link: link, Logger: t.Log,
		OnEvent: d.event, OnCall: d.command,
		OnConnected:    func(app identity.AppID) { d.told("connected", app) },
		OnDisconnected: func(app identity.AppID) { d.told("disconnected", app) },
	})
	if err != nil {
		return explain(err)
	}
	if err := brokerflag.CheckPrefix(*d.prefix, d.gw.Prefix()); err != nil {
		return err
	}
	if err := d.ready(u.Chip.String(), vault.Report().Corrected); err != nil {
		return err
	}
	return d.live(ctx)
}

// ready says who is there, and what is protected.
func (d *device) ready(chip string, corrected int) error {
	p := d.broker.Protection()
	p.Tell(d.t)
	s := d.gw.Status()
	return d.t.Print(map[string]any{
		"ready": true, "device": s.Device, "chip": chip, "bit_errors": corrected, "prefix": d.gw.Prefix(), "sensor": d.thermo.name, "protection": p,
	}, "%s is awake: chip %s, %d bit errors corrected; topics under %s; thermometer %s", s.Device, chip, corrected, d.gw.Prefix(), d.thermo.name)
}

// live measures until ctx or the device's life ends.
func (d *device) live(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := d.gw.Run(ctx)
		cancel()
		ended <- err
	}()
	for ctx.Err() == nil {
		if err := d.gw.WaitConnected(ctx); err != nil {
			break
		}
		d.rest(ctx, d.measure(ctx))
	}
	err := <-ended
	if errors.Is(err, devicegw.ErrRetired) {
		// The end of a device is what was wanted: a supervisor must not start it again.
		return d.t.Print(line{What: "retired", Device: d.gw.ID().String()}, "%s is retired: it has wiped itself", d.gw.ID())
	}
	return err
}

// rest waits for the next measurement, for ever where there is none.
func (d *device) rest(ctx context.Context, every time.Duration) {
	var next <-chan time.Time
	if every > 0 {
		next = time.After(every)
	}
	select {
	case <-ctx.Done():
	case <-next:
	case <-d.changed:
	}
}

// measure sends one reading, unless it was told not to, and returns the time until the next one.
func (d *device) measure(ctx context.Context) time.Duration {
	d.measuring.Lock()
	defer d.measuring.Unlock()
	if d.interval > 0 {
		d.send(ctx)
	}
	return d.interval
}

// send sends one reading. What keeps it from being sent keeps no device from measuring again.
func (d *device) send(ctx context.Context) {
	celsius, err := d.thermo.read()
	if err != nil {
		d.t.Log.Error("measurement failed, the next one will come", "err", err)
		return
	}
	r := reading{celsius, d.thermo.name}
	body, err := json.Marshal(r)
	if err != nil {
		d.t.Log.Error("reading", "err", err)
		return
	}
	binding := d.gw.Status().Binding
	seq, err := d.gw.Send(ctx, devicegw.Event{Type: readingType, Body: body})
	switch {
	case err == nil:
		d.print(line{What: "sent", Binding: binding.String(), Seq: seq, Reading: &r}, "sent %d: %.1f °C", seq, celsius)
	case errors.Is(err, devicegw.ErrNotConnected) || errors.Is(err, devicegw.ErrRetired):
		// Disconnected since it was asked for.
	case ctx.Err() != nil:
	default:
		d.t.Log.Error("measurement is lost, nothing before it", "err", cli.Explain(err))
	}
}

// event takes an event of the application.
func (d *device) event(_ context.Context, e devicegw.Event) error {
	entry := journal.Entry{Time: time.Now().UTC(), Device: d.gw.ID().String(), Binding: e.Binding.String(), Seq: e.Seq, Type: e.Type}
	entry.SetBody(e.Body)
	if d.journal != nil {
		if added, err := d.journal.Append(entry); err != nil || !added {
			return cli.Explain(err) // and the event comes again, or is there
		}
	}
	return d.t.Print(line{What: "event", Device: entry.Device, Event: &entry}, "event %d from the application: %s", e.Seq, entry)
}

func (d *device) told(what string, app identity.AppID) {
	d.print(line{What: what, Application: app.String()}, "%s: %s", what, app)
}

// print is for what a lost line does no harm to: a closed stdout ends no device.
func (d *device) print(l line, format string, a ...any) {
	l.Device = d.gw.ID().String()
	if err := d.t.Print(l, format, a...); err != nil {
		d.t.Log.Error("output", "err", err)
	}
}

// explain says what an operator can do about a device that does not wake up.
func explain(err error) error {
	switch {
	case errors.Is(err, devicegw.ErrNotProduced), errors.Is(err, devicegw.ErrRetired):
		return fmt.Errorf("%w\nThe factory has not finished this device, or it was retired and has wiped itself: run the factory again, or make another device", err)
	case errors.Is(err, devicegw.ErrWrongRoot), errors.Is(err, fuzzy.ErrReconstruct):
		return fmt.Errorf("%w\nThe folder's chip file and its nvm do not belong together: neither can be copied to another device", err)
	}
	return err
}
