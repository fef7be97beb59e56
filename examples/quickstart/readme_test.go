package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/clitest"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/puf"
)

// The two functions that the README shows, word for word.

func runDevice(ctx context.Context, source puf.Source, nvm devicegw.NVM, roots []*x509.Certificate, broker string, answer func(context.Context, devicegw.Call) (devicegw.Reply, error)) error {
	certified, err := devicegw.CertifiedHelper(ctx, nvm, roots) // helper data that somebody else has written is refused unread
	if err != nil {
		return err
	}
	vault, err := keyvault.Open(ctx, source, nvm, &keyvault.Options{HelperHash: certified})
	if err != nil {
		return err
	}
	defer vault.Close()
	gw, err := devicegw.Open(ctx, devicegw.Config{Root: vault, NVM: nvm, Broker: broker, OnCall: answer})
	if err != nil {
		return err
	}
	go measure(ctx, gw) // gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: …}) whenever there is something to say
	return gw.Run(ctx)
}

func runApplication(ctx context.Context, cfg appgw.Config, sticker identity.Sticker, store func(identity.DeviceID, []byte) error) error {
	cfg.OnEvent = func(ctx context.Context, device identity.DeviceID, e appgw.Event) error {
		return store(device, e.Body) // an error makes the event come again
	}
	gw, err := appgw.Open(ctx, cfg)
	if err != nil {
		return err
	}
	go gw.Connect(ctx, sticker) // the mechanic has scanned it; from then on gw.Send and gw.Call reach the device
	return gw.Run(ctx)
}

func measure(ctx context.Context, gw *devicegw.Gateway) {
	if gw.WaitConnected(ctx) == nil {
		_, _ = gw.Send(ctx, devicegw.Event{Type: "text/plain", Body: []byte("21.5 °C")})
	}
}

func TestReadmeShowsWhatIsTested(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	this, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	for _, name := range []string{"func runDevice(", "func runApplication("} {
		start := strings.Index(string(this), name)
		require.Positive(t, start)
		code, _, ok := strings.Cut(string(this)[start:], "\n}\n")
		require.True(t, ok)
		require.Contains(t, string(readme), "```go\n"+code+"\n}\n```", "copy %s…) from this file into the README", name)
	}
}

func TestReadmeEmbedsWork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	chips, err := openChips("")
	require.NoError(t, err)
	var out clitest.Buffer
	told, ctx := newTeller(ctx, &out)
	s := newStage(t.TempDir(), slog.New(slog.DiscardHandler), told)
	defer s.close()
	require.NoError(t, s.setUp(ctx))
	d, err := s.newDevice(0, chips[0])
	require.NoError(t, err)
	require.NoError(t, s.produce(ctx, d))
	nvm, err := devicegw.OpenFileNVM(d.flash)
	require.NoError(t, err)
	p, err := s.certify(mustID("A-EMBED"), identity.CSROptions{}, ca.IssueOptions{})
	require.NoError(t, err)
	admission, err := s.platform.Admit(ctx, p.cred)
	require.NoError(t, err)
	locker, err := appgw.NewLocker(make([]byte, appgw.LockerKeySize))
	require.NoError(t, err)

	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	got := make(chan string, 1)
	refused := errors.New("the database is busy")
	store := func(_ identity.DeviceID, b []byte) error {
		if err := refused; err != nil {
			refused = nil
			return err
		}
		got <- string(b)
		return nil
	}
	go func() {
		ended <- runApplication(running, appgw.Config{
			Credential: p.cred, Signer: p.signer, Key: p.agreement, Roots: s.roots,
			Locker: locker, Store: appgw.NewMemStore(), Admission: admission, Broker: s.broker.URL(),
		}, d.sticker, store)
	}()
	go func() { ended <- runDevice(running, d.chip, nvm, s.roots, s.broker.URL(), d.command) }()
	select {
	case text := <-got:
		require.Equal(t, "21.5 °C", text)
		require.NoError(t, refused, "it came again, as the README says")
	case err := <-ended:
		t.Fatalf("a gateway ended: %v", err)
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, <-ended)
}
