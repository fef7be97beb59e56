package main

import (
	"context"
	"database/sql"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/appgw/pgstore"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/party"
)

// openGateway is what the service adds for semio. The gateway takes the service's keys, log, database and MQTT client, and is run by the
// service; it dials, listens and stores nowhere else.
func openGateway(ctx context.Context, s *service, p *party.Party) (*appgw.Gateway, error) {
	credential, err := p.Credential()
	if err != nil {
		return nil, err
	}
	admission, err := p.Admission()
	if err != nil {
		return nil, err
	}
	key, err := p.Secret("store")
	if err != nil {
		return nil, err
	}
	defer clear(key)
	locker, err := appgw.NewLocker(key)
	if err != nil {
		return nil, err
	}
	// The table beside the service's own: database.go has made it.
	store, err := pgstore.Open(ctx, s.db.DB, pgstore.Options{})
	if err != nil {
		return nil, err
	}
	handle := store.OnEventTx(func(ctx context.Context, tx *sql.Tx, device identity.DeviceID, e appgw.Event) error {
		return insertReading(ctx, tx, reading{Source: device.String(), Seq: &e.Seq, Type: e.Type, Body: e.Body})
	})
	return appgw.Open(ctx, appgw.Config{
		Credential: credential, Signer: p.Signer(), Key: p.Key(), Previous: p.Previous(), Roots: p.Roots(), Admission: admission,
		Locker: locker, Store: store, Link: s.mqtt.link,
		// The reading and the note that it is stored are one transaction, which may run again before it is counted.
		OnEventTx: func(ctx context.Context, device identity.DeviceID, e appgw.Event, handled func(appgw.Tx) error) error {
			err := handle(ctx, device, e, handled)
			if err == nil {
				s.metrics.readings.Add(1)
			}
			return err
		},
		Observe: s.metrics.observer(s.log),
		Logger:  s.log.With("part", "gateway"),
	})
}
