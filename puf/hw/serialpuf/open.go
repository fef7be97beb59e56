package serialpuf

import (
	"errors"
	"fmt"

	"go.bug.st/serial"
)

// DefaultBaud is the baud rate for a zero Config.Baud.
const DefaultBaud = 115200

// Open opens the serial port of that name ("/dev/ttyUSB0", "COM3") and takes it for itself. Opening raises DTR and RTS, which
// resets some boards; their first answer then takes as long as their boot loader.
func Open(name string, cfg Config) (*Source, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	port, err := serial.Open(name, &serial.Mode{BaudRate: cfg.Baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err != nil {
		return nil, fmt.Errorf("open serial port %s%s: %w", name, advice(err), err)
	}
	src, err := New(port, cfg)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return src, nil
}

func advice(err error) string {
	var e *serial.PortError
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code() {
	case serial.PermissionDenied:
		return " (add the user to the port's group, for example dialout)"
	case serial.PortBusy:
		return " (another program has it: a terminal, or a modem manager)"
	case serial.InvalidSpeed:
		return " (set Config.Baud to a rate that the adapter knows)"
	}
	return ""
}
