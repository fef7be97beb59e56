package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/identity"
)

// metrics are the service's counters. A service with a metrics library has its own in their place.
type metrics struct {
	readings, plain          atomic.Int64 // stored
	connected, disconnected  atomic.Int64 // devices
	linkUps, linkDowns       atomic.Int64
	records, ciphertextBytes atomic.Int64
}

// observer counts what the gateway tells.
func (m *metrics) observer(log *slog.Logger) appgw.Observer {
	return appgw.Observer{
		Connected: func(d identity.DeviceID) {
			m.connected.Add(1)
			log.Info("device commissioned", "device", d)
		},
		Disconnected: func(d identity.DeviceID) {
			m.disconnected.Add(1)
			log.Info("device decommissioned", "device", d)
		},
		Link: func(up bool) {
			if up {
				m.linkUps.Add(1)
			} else {
				m.linkDowns.Add(1)
			}
		},
		Record: func(_ identity.DeviceID, record []byte) {
			m.records.Add(1)
			m.ciphertextBytes.Add(int64(len(record)))
		},
	}
}

// handleMetrics answers in Prometheus' text format. There are no names of devices in it, so it needs no token.
func (s *service) handleMetrics(w http.ResponseWriter, _ *http.Request) {
	h, m := s.gateway.Health(), s.metrics
	online := 0
	if h.Online {
		online = 1
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	for _, v := range []struct {
		name, kind, help string
		value            any
	}{
		{"readings_stored_total", "counter", "readings of devices in the database", m.readings.Load()},
		{"plain_readings_stored_total", "counter", "readings of old sensors in the database", m.plain.Load()},
		{"devices_connected_total", "counter", "devices commissioned since the start", m.connected.Load()},
		{"devices_disconnected_total", "counter", "devices decommissioned since the start", m.disconnected.Load()},
		{"broker_connects_total", "counter", "connections to the broker, subscribed", m.linkUps.Load()},
		{"broker_losses_total", "counter", "connections to the broker that were lost", m.linkDowns.Load()},
		{"records_total", "counter", "records on the topics of connected devices, forged ones included", m.records.Load()},
		{"records_bytes_total", "counter", "their bytes", m.ciphertextBytes.Load()},
		{"broker_online", "gauge", "1 while messages can flow", online},
		{"devices", "gauge", "devices connected with this application", h.Devices},
		{"events_queued", "gauge", "events that wait for devices", h.Queued},
		{"events_handled_total", "counter", "events of devices, done", h.Counters.EventsHandled},
		{"events_repeated_total", "counter", "events that came again and were not stored again", h.Counters.EventsRepeated},
		{"events_failed_total", "counter", "events that could not be stored at once", h.Counters.EventsFailed},
		{"records_refused_total", "counter", "forged, repeated, or of an ended session", h.Counters.RecordsRefused},
		{"store_errors_total", "counter", "writes of the gateway that failed", h.Counters.StoreErrors},
		{"publish_errors_total", "counter", "publications that failed", h.Counters.PublishErrors},
	} {
		fmt.Fprintf(w, "# HELP embed_%[1]s %[3]s\n# TYPE embed_%[1]s %[2]s\nembed_%[1]s %[4]v\n", v.name, v.kind, v.help, v.value)
	}
}

// healthAnswer is what /healthz says.
type healthAnswer struct {
	OK       bool   `json:"ok"`
	Gateway  string `json:"gateway"` // "ok", or why messages do not flow
	Database string `json:"database"`
	Devices  int    `json:"devices"`
}

// handleHealth answers 200 if everything works, else 503. Nothing is lost meanwhile, so a restart is no cure.
func (s *service) handleHealth(w http.ResponseWriter, r *http.Request) {
	h := s.gateway.Health()
	a := healthAnswer{OK: true, Gateway: "ok", Database: "ok", Devices: h.Devices}
	if err := h.Err(); err != nil {
		a.OK, a.Gateway = false, err.Error()
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := s.db.PingContext(ctx); err != nil {
		// The log has the rest: its address is nobody's business here.
		s.log.Warn("ping the database", "err", err)
		a.OK, a.Database = false, "not reachable"
	}
	status := http.StatusOK
	if !a.OK {
		status = http.StatusServiceUnavailable
	}
	s.answer(w, status, a)
}
