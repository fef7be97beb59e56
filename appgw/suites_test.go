package appgw_test

import (
	"context"
	"crypto/fips140"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
)

// Both profiles and all suites, from gateway to gateway; the wire shows which suite was chosen.
func TestProfilesAndSuites(t *testing.T) {
	for _, c := range []struct {
		profile     e2e.Profile
		dev, app    []e2e.Suite
		chosen      e2e.Suite
		appProfile  e2e.Profile
		unreachable bool
	}{
		{dev: nil, app: nil, chosen: e2e.SuiteCTRHMAC},
		{dev: []e2e.Suite{e2e.SuiteGCM}, app: []e2e.Suite{e2e.SuiteCTRHMAC, e2e.SuiteGCM}, chosen: e2e.SuiteGCM},
		{dev: []e2e.Suite{e2e.SuiteCTRHMACKEM}, app: []e2e.Suite{e2e.SuiteCTRHMACKEM}, chosen: e2e.SuiteCTRHMACKEM},
		{dev: []e2e.Suite{e2e.SuiteGCMKEM, e2e.SuiteCTRHMAC}, app: []e2e.Suite{e2e.SuiteGCMKEM, e2e.SuiteCTRHMAC}, chosen: e2e.SuiteGCMKEM},
		{profile: e2e.ProfileStatic, appProfile: e2e.ProfileStatic, chosen: e2e.SuiteCTRHMAC},
		{profile: e2e.ProfileStatic, unreachable: true},
		{dev: []e2e.Suite{e2e.SuiteGCM}, app: []e2e.Suite{e2e.SuiteCTRHMAC}, unreachable: true},
	} {
		t.Run(fmt.Sprintf("profile %d and %d, suites %v and %v", c.profile, c.appProfile, c.dev, c.app), func(t *testing.T) {
			if gcm := func(s e2e.Suite) bool { return s == e2e.SuiteGCM || s == e2e.SuiteGCMKEM }; fips140.Enforced() && slices.ContainsFunc(slices.Concat(c.dev, c.app), gcm) {
				t.Skip("FIPS 140-only mode forbids these suites")
			}
			bubbleOf(t, devicegw.ProduceOptions{Profile: c.profile}, func(t *testing.T, s *system) {
				ctx := t.Context()
				app, _ := s.startApp(func(o *appgw.Config) { o.Suites, o.Profile = c.app, c.appProfile })
				dev, _ := s.startDevice(func(o *devicegw.Config) { o.Suites = c.dev })
				require.NoError(t, app.Connect(ctx, s.sticker))
				require.NoError(t, dev.WaitConnected(ctx))
				_, err := dev.Send(ctx, devicegw.Event{Body: []byte("21.5")})
				require.NoError(t, err)
				_, err = app.Send(ctx, s.sticker.Device, appgw.Event{Body: []byte("x")})
				require.NoError(t, err)
				if c.unreachable {
					short, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					require.Error(t, dev.Flush(short), "no common ground, no session")
					return
				}
				for r := range app.Events(ctx) {
					require.Equal(t, "21.5", string(r.Event.Body))
					break
				}
				require.NoError(t, app.Flush(ctx, s.sticker.Device))
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				data := 0
				for _, b := range s.seen {
					if typ, err := e2e.TypeOf(b); err == nil && typ == e2e.TypeData {
						require.Equal(t, byte(c.chosen), b[1])
						data++
					}
				}
				require.NotZero(t, data)
			})
		})
	}
}
