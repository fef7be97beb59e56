package systemtest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/appgw"
	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/ca"
	"github.com/semio-iot/semio/identity/ca/cahttp"
	"github.com/semio-iot/semio/identity/party"
	"github.com/semio-iot/semio/internal/link/linkmem"
	"github.com/semio-iot/semio/internal/secret/secrettest"
	"github.com/semio-iot/semio/internal/systemtest"
	"github.com/semio-iot/semio/keyvault"
	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/adminhttp"
	"github.com/semio-iot/semio/puf/pufsim"
)

// The parties' types hold keys in plain Go types as well as opaque ones. Nothing that prints, logs or encodes shows them. Every holder that
// the source has is in this table or in a test that covered names.
func TestNothingShows(t *testing.T) {
	s := systemtest.New(t)
	broker := linkmem.New(linkmem.Options{})
	var platformConfig platform.Config
	s.StartPlatform(func(c *platform.Config) {
		c.Link = broker.Client(systemtest.PlatformName)
		platformConfig = *c
	})
	device := s.NewDevice("D-THERMO-1")
	flash, err := devicegw.OpenFileNVM(t.TempDir())
	require.NoError(t, err)
	vault, err := keyvault.Enroll(t.Context(), pufsim.New(1, pufsim.Config{}), flash, nil)
	require.NoError(t, err)
	defer vault.Close()
	id, err := identity.ParseDeviceID("D-THERMO-2")
	require.NoError(t, err)
	production, err := devicegw.Produce(t.Context(), vault, flash, id)
	require.NoError(t, err)
	s.AddSecret("sticker in production", []byte(production.Sticker().Encode()))
	device.PowerUp(func(c *devicegw.Config) { c.Link = broker.Client("D-THERMO-1") })

	app := s.Party("A-WATER")
	lockerKey := make([]byte, appgw.LockerKeySize)
	_, _ = rand.Read(lockerKey)
	s.AddSecret("locker key", lockerKey)
	locker, err := appgw.NewLocker(lockerKey)
	require.NoError(t, err)
	admission, err := s.Platform.Admit(t.Context(), app.Credential)
	require.NoError(t, err)
	appConfig := appgw.Config{
		Credential: app.Credential, Signer: app.Signer, Key: app.Key, Roots: s.Roots, Locker: locker, Store: appgw.NewMemStore(),
		Admission: admission, Link: broker.Client("A-WATER"),
	}
	gateway, err := appgw.Open(t.Context(), appConfig)
	require.NoError(t, err)
	stop, _ := s.Live(gateway.Run)
	require.NoError(t, gateway.Connect(t.Context(), device.Sticker))
	require.NoError(t, device.Gateway.WaitConnected(t.Context()))
	require.NoError(t, device.Send(t.Context(), "21.5"))
	for e := range gateway.Events(t.Context()) {
		require.Equal(t, "21.5", string(e.Event.Body))
		break
	}
	// At rest: fmt reads what the parties' own goroutines would write.
	stop()
	device.PowerCut()
	idle := platformConfig
	idle.Store, idle.Link = platform.NewMemStore(), broker.Client("P-IDLE")
	service, err := platform.Open(t.Context(), idle)
	require.NoError(t, err)

	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	raw, err := root.Bytes()
	require.NoError(t, err)
	s.AddSecret("root's key", raw)
	caConfig := ca.Config{Name: "CA", Signer: root, Store: new(ca.MemStore)}
	authority, err := ca.New(caConfig)
	require.NoError(t, err)
	caServer, err := cahttp.New(cahttp.Config{Authority: authority, Hosts: []string{"localhost"}})
	require.NoError(t, err)

	operatorID, err := identity.ParseID("O-BOSS")
	require.NoError(t, err)
	operator, err := party.Create(filepath.Join(t.TempDir(), "p"), operatorID)
	require.NoError(t, err)
	raw, err = operator.Signer().(*ecdsa.PrivateKey).Bytes()
	require.NoError(t, err)
	s.AddSecret("party's key", raw)
	chain, err := authority.Issue(operator.Request(), ca.IssueOptions{})
	require.NoError(t, err)
	require.NoError(t, operator.Install(chain, []*x509.Certificate{authority.Certificate()}))
	certificate, err := operator.TLS()
	require.NoError(t, err)
	verifier, err := operator.Verifier()
	require.NoError(t, err)
	caClientConfig := cahttp.ClientConfig{URL: "https://ca.invalid:1", Roots: operator.Roots(), Certificate: &certificate}
	caClient, err := cahttp.NewClient(caClientConfig)
	require.NoError(t, err)
	adminClientConfig := adminhttp.ClientConfig{URL: "https://p.invalid:1", Verifier: verifier, Certificate: certificate}
	adminClient, err := adminhttp.NewClient(adminClientConfig)
	require.NoError(t, err)
	adminConfig := adminhttp.Config{
		Service: service, Verifier: verifier,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil },
	}
	adminServer, err := adminhttp.New(adminConfig)
	require.NoError(t, err)

	self, err := verifierOf(t, s).Verify(app.Credential, 0)
	require.NoError(t, err)
	auth := identity.AuthConfig{Self: self, Signer: app.Signer, Verifier: verifierOf(t, s)}
	challenger, challenge, err := identity.Challenge(auth)
	require.NoError(t, err)
	other := s.Party("P-OTHER")
	otherSelf, err := verifierOf(t, s).Verify(other.Credential, 0)
	require.NoError(t, err)
	answerer, _, err := identity.Answer(identity.AuthConfig{Self: otherSelf, Signer: other.Signer, Verifier: verifierOf(t, s)}, challenge)
	require.NoError(t, err)
	psk, err := device.Sticker.Claim.PSK(device.ID)
	require.NoError(t, err)

	var secrets [][]byte
	for _, b := range s.Secrets() {
		secrets = append(secrets, b)
	}
	holders := map[string]any{
		"appgw.Config": appConfig, "appgw.Gateway": gateway, "appgw.Locker": locker,
		"devicegw.Config": devicegw.Config{Root: vault, NVM: flash}, "devicegw.Gateway": device.Gateway, "devicegw.Production": production,
		"e2e.Config":      e2e.Config{Self: self, Key: app.Key, Remote: otherSelf, PSK: psk},
		"platform.Config": platformConfig, "platform.Service": service,
		"identity.Holder":     identity.Holder{Credential: app.Credential, Signer: app.Signer, Key: app.Key},
		"identity.AuthConfig": auth, "identity.Challenger": challenger, "identity.Answerer": answerer,
		"identity.Sticker": device.Sticker, "identity.ClaimCode": device.Sticker.Claim, "identity.PSK": psk,
		"identity/ca.Config": caConfig, "identity/ca.Authority": authority, "identity/ca/cahttp.Config": cahttp.Config{Authority: authority},
		"identity/ca/cahttp.Server": caServer, "identity/ca/cahttp.ClientConfig": caClientConfig, "identity/ca/cahttp.Client": caClient,
		"identity/party.Party": operator, "platform/adminhttp.Config": adminConfig, "platform/adminhttp.Server": adminServer,
		"platform/adminhttp.ClientConfig": adminClientConfig, "platform/adminhttp.Client": adminClient,
	}
	for name, v := range holders {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "Config") || name == "identity.Holder" {
				secrettest.HidesItself(t, v, secrets...)
			} else {
				secrettest.Hides(t, v, secrets...)
			}
		})
	}
	t.Run("all are known", func(t *testing.T) {
		for name, where := range elsewhere {
			b, err := os.ReadFile(filepath.Join("../..", where))
			require.NoError(t, err)
			require.Contains(t, string(b), "secrettest.Hides", "%s is said to be tested in %s", name, where)
			holders[name] = nil
		}
		require.Subset(t, slices.Sorted(maps.Keys(holders)), keyHolders(t), "exported types that hold keys and are not tested: add them to this file")
	})
}

// elsewhere are types whose tests need the inside of their packages, or other modules.
var elsewhere = map[string]string{
	"fuzzy.RootKey":          "fuzzy/rootkey_test.go",
	"keyvault.Vault":         "keyvault/vault_test.go",
	"keyvault.Key":           "keyvault/keycode_test.go",
	"e2e.Peer":               "e2e/secrets_test.go",
	"e2e.Exchange":           "e2e/secrets_test.go",
	"e2e.Request":            "e2e/secrets_test.go",
	"platform/broker.Broker": "platform/broker/secrets_test.go",
	"platform/broker.Config": "platform/broker/secrets_test.go",
}

func verifierOf(t *testing.T, s *systemtest.System) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Roots: s.Roots})
	require.NoError(t, err)
	return v
}
