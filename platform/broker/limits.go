package broker

import (
	"errors"
	"time"
)

// Limits bound what clients can make the broker hold. Zero values mean the defaults named here.
type Limits struct {
	Connections int // 10,000 connections with a verified certificate
	Handshakes  int // 512 connections that have not got as far
	PerIdentity int // 64 connections of one identity, each an instance of its own

	PacketSize     int // 128 KiB for any packet, 1 KiB to 16 MiB
	ReceiveMaximum int // 1,024 unacknowledged publications from one client
	Pending        int // 8,192 messages to one client that it has not acknowledged, at most 32,767
	Backlog        int // 8 MiB not yet written to one client
	Subscriptions  int // 64 filters of one client

	ConnectTimeout time.Duration // 10 s from TCP connection to CONNECT
	WriteTimeout   time.Duration // 10 s for a write to make progress
	KeepAlive      time.Duration // 10 min, the longest; a client that asks for more, or none, gets this. 1 s to 10 h

	// SessionExpiry is the longest time that a session may outlive its connection: none, since gateways of semio connect with
	// Clean Start. At most 30 days.
	SessionExpiry time.Duration
}

func (l *Limits) setDefaults() error {
	for _, d := range []struct {
		field         *int
		def, min, max int
	}{
		{&l.Connections, 10_000, 1, 1 << 20},
		{&l.Handshakes, 512, 1, 1 << 20},
		{&l.PerIdentity, 64, 1, 1 << 20},
		{&l.PacketSize, 128 << 10, 1 << 10, 16 << 20},
		{&l.ReceiveMaximum, 1024, 1, 65535},
		{&l.Pending, 8192, 1, 32767},
		{&l.Backlog, 8 << 20, 1 << 10, 1 << 30},
		{&l.Subscriptions, 64, 1, 1 << 16},
	} {
		if *d.field == 0 {
			*d.field = d.def
		}
		if *d.field < d.min || *d.field > d.max {
			return errors.New("broker: a limit of Config.Limits is out of its range: see the documentation of Limits")
		}
	}
	for _, d := range []struct {
		field         *time.Duration
		def, min, max time.Duration
	}{
		{&l.ConnectTimeout, 10 * time.Second, time.Millisecond, time.Hour},
		{&l.WriteTimeout, 10 * time.Second, time.Millisecond, time.Hour},
		// mochi adds half of it in 16 bits of seconds: above 43,690 s that wraps to almost nothing.
		{&l.KeepAlive, 10 * time.Minute, time.Second, 10 * time.Hour},
		{&l.SessionExpiry, 0, 0, 30 * 24 * time.Hour},
	} {
		if *d.field == 0 {
			*d.field = d.def
		}
		if *d.field < d.min || *d.field > d.max {
			return errors.New("broker: a time of Config.Limits is out of its range: see the documentation of Limits")
		}
	}
	return nil
}
