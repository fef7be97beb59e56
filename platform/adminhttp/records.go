package adminhttp

import (
	"encoding/hex"
	"time"

	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

// Device is what an operator is told of a device.
type Device struct {
	ID          identity.DeviceID `json:"device"`
	Status      string            `json:"status"` // registered, connected or retired
	Application identity.AppID    `json:"application,omitzero"`
	Listed      bool              `json:"listed"` // the revocation list names it
	Pending     int               `json:"pending"`
	Certificate string            `json:"certificate"` // SHA-256, hex
}

func newDevice(d registry.Device) Device {
	return Device{
		ID: d.ID, Status: d.Status.String(), Application: d.App, Listed: d.Listed, Pending: len(d.Orders),
		Certificate: hex.EncodeToString(d.CertificateHash[:]),
	}
}

// Application is what an operator is told of an application.
type Application struct {
	ID      identity.AppID `json:"application"`
	Revoked bool           `json:"revoked"`
}

// Entry is a line of the audit log.
type Entry struct {
	Seq         uint64            `json:"seq"`
	Time        time.Time         `json:"time"`
	What        string            `json:"what"`
	Device      identity.DeviceID `json:"device,omitzero"`
	Application identity.AppID    `json:"application,omitzero"`
	Actor       identity.ID       `json:"actor,omitzero"` // none: the platform's operator or the authority
	Order       uint64            `json:"order,omitempty"`
	Evidence    string            `json:"evidence,omitempty"` // SHA-256 of the signed bytes, hex
}

func newEntry(e platform.AuditEntry) Entry {
	out := Entry{Seq: e.Seq, Time: e.Time.UTC(), What: e.Kind.String(), Device: e.Device, Application: e.App, Actor: e.Actor, Order: e.Order}
	if e.Evidence.Kind != 0 {
		out.Evidence = hex.EncodeToString(e.Evidence.Hash[:])
	}
	return out
}
