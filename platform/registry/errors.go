package registry

import (
	"errors"

	"github.com/semio-iot/semio/internal/control"
)

// Why Apply refuses an event. The first group is told to the application that asked.
var (
	ErrUnknownDevice      = control.ErrUnknownDevice
	ErrConnectedElsewhere = control.ErrConnectedElsewhere
	ErrRetired            = control.ErrRetired
	ErrRevision           = control.ErrRevision
	ErrNotConnected       = control.ErrNotConnected

	// ErrUnknownApplication: the application was not admitted, or its certificate is revoked.
	ErrUnknownApplication = errors.New("registry: application is not admitted, or revoked")
	// ErrConflict: the name is registered with another certificate or claim key. Retire the name, or use another.
	ErrConflict = errors.New("registry: name is registered with another certificate or claim key")
	// ErrBacklog: device or application does not acknowledge its orders about this device. Let it catch up.
	ErrBacklog = errors.New("registry: too many orders about the device wait for an acknowledgement")
	// ErrGeneration: the credential does not follow the one in use, or is not the one that was offered last.
	ErrGeneration = errors.New("registry: credential does not follow the one in use: endorse it with a higher generation")
	// ErrUnknownOrder: no such order waits for an acknowledgement. It was acknowledged before or superseded.
	ErrUnknownOrder = errors.New("registry: no such order is pending")
	// ErrInvalid: the event lacks a field that it must have.
	ErrInvalid = errors.New("registry: incomplete event")
)
