package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/semio-iot/semio/devicegw"
)

// command answers a call of the application. A call runs at most once, so that "every 1h" of yesterday does not come true today.
func (d *device) command(ctx context.Context, c devicegw.Call) (devicegw.Reply, error) {
	reply, err := d.obey(ctx, string(c.Body))
	l := line{What: "command", Command: string(c.Body), Reply: reply}
	if err != nil {
		l.Error = err.Error()
		d.print(l, "command %q refused: %v", c.Body, err)
		return devicegw.Reply{}, err
	}
	d.print(l, "command %q: %s", c.Body, reply)
	return devicegw.Reply{Type: "text/plain", Body: []byte(reply)}, nil
}

func (d *device) obey(ctx context.Context, text string) (string, error) {
	name, arg, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case name == "temperature" && arg == "":
		celsius, err := d.thermo.read()
		if err != nil {
			return "", fmt.Errorf("thermometer: %w", err)
		}
		return fmt.Sprintf("%.1f °C", celsius), nil
	case name == "every":
		every, err := time.ParseDuration(arg)
		if err != nil || every < 0 {
			return "", fmt.Errorf("every %q: want a time like 10s, or 0s to stop measuring", arg)
		}
		d.measuring.Lock()
		d.interval = every
		d.measuring.Unlock()
		select {
		case d.changed <- struct{}{}:
		default:
		}
		if every == 0 {
			return "stopped measuring, until told otherwise or restarted", nil
		}
		return fmt.Sprintf("measures every %v, until told otherwise or restarted", every), nil
	case name == "flush" && arg == "":
		if err := d.gw.Flush(ctx); err != nil {
			return "", err
		}
		return "the application has everything", nil
	case name == "status" && arg == "":
		d.measuring.Lock()
		every := d.interval
		d.measuring.Unlock()
		s := d.gw.Status()
		return fmt.Sprintf("%s of %s, %d events queued, measures every %v", s.Device, s.Application, s.Queued, every), nil
	}
	return "", fmt.Errorf("unknown command %q: want temperature, every DURATION, flush or status", text)
}
