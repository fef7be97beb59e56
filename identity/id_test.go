package identity_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/identity"
)

func TestParseID(t *testing.T) {
	long := strings.Repeat("X", 32)
	for name, role := range map[string]identity.Role{
		"D-1": identity.RoleDevice, "A-WATER": identity.RoleApplication, "P-0": identity.RolePlatform,
		"R-FACTORY-1": identity.RoleRegistrar, "O-A-B-C": identity.RoleOperator, "D-" + long: identity.RoleDevice,
	} {
		t.Run(name, func(t *testing.T) {
			id, err := identity.ParseID(name)
			require.NoError(t, err)
			require.Equal(t, name, id.String())
			require.Equal(t, role, id.Role())
			require.False(t, id.IsZero())
		})
	}
	for _, name := range []string{
		"", "D", "D-", "-", "D--", "D--1", "D-1-", "D-A--B", "D-A--2", "X-1", "d-1", "D-a", "D_1", "D1", "DD-1", "D-" + long + "X",
		"D-1 ", " D-1", "D-1\n", "D-\x00", "D-Ä", "D-1.2", "D-1/2", "D-+", "D-#", "D-$", "-D-1", "D‐1", "D-1\u200b",
	} {
		t.Run("refused "+name, func(t *testing.T) {
			id, err := identity.ParseID(name)
			require.ErrorIs(t, err, identity.ErrName, "%q", name)
			require.True(t, id.IsZero())
			require.Zero(t, id.Role())
		})
	}
}

// A name that is far too long must not come back whole in an error.
func TestParseIDErrorIsShort(t *testing.T) {
	_, err := identity.ParseID(strings.Repeat("D-1", 1<<20))
	require.ErrorIs(t, err, identity.ErrName)
	require.Less(t, len(err.Error()), 200)
}

func TestRoleTypes(t *testing.T) {
	parsers := map[identity.Role]func(string) (identity.ID, error){
		identity.RoleDevice:      func(s string) (identity.ID, error) { id, err := identity.ParseDeviceID(s); return id.ID, err },
		identity.RoleApplication: func(s string) (identity.ID, error) { id, err := identity.ParseAppID(s); return id.ID, err },
		identity.RolePlatform:    func(s string) (identity.ID, error) { id, err := identity.ParsePlatformID(s); return id.ID, err },
		identity.RoleRegistrar:   func(s string) (identity.ID, error) { id, err := identity.ParseRegistrarID(s); return id.ID, err },
		identity.RoleOperator:    func(s string) (identity.ID, error) { id, err := identity.ParseOperatorID(s); return id.ID, err },
	}
	for want, parse := range parsers {
		for role := range parsers {
			name := string(rune(role)) + "-1"
			id, err := parse(name)
			if role == want {
				require.NoError(t, err)
				require.Equal(t, name, id.String())
				continue
			}
			require.ErrorIs(t, err, identity.ErrName, "%s as %s", name, want)
			require.True(t, id.IsZero(), "%s as %s", name, want)
		}
	}
	for _, name := range []string{"D-1", "A-1", "P-1", "R-1", "O-1"} {
		id := parseID(t, name)
		_, d := id.Device()
		_, a := id.App()
		_, p := id.Platform()
		_, r := id.Registrar()
		_, o := id.Operator()
		require.Equal(t, [5]bool{name[0] == 'D', name[0] == 'A', name[0] == 'P', name[0] == 'R', name[0] == 'O'}, [5]bool{d, a, p, r, o}, name)
	}
	_, ok := identity.ID{}.Device()
	require.False(t, ok)
}

func TestIDText(t *testing.T) {
	type record struct {
		Device identity.DeviceID
		App    identity.AppID
		Any    identity.ID
		By     map[identity.DeviceID]int
	}
	d := parseDevice(t, "D-1")
	in := record{Device: d, Any: parseID(t, "O-9"), By: map[identity.DeviceID]int{d: 3}}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	require.JSONEq(t, `{"Device":"D-1","App":"","Any":"O-9","By":{"D-1":3}}`, string(b))
	var out record
	require.NoError(t, json.Unmarshal(b, &out))
	require.Equal(t, in, out)

	for _, bad := range []string{`{"Device":"A-1"}`, `{"App":"D-1"}`, `{"Any":"d-1"}`, `{"Device":"D-"}`, `{"By":{"A-1":1}}`} {
		require.ErrorIs(t, json.Unmarshal([]byte(bad), &record{}), identity.ErrName, bad)
	}
	// A failed UnmarshalText leaves what was there.
	keep := d
	require.Error(t, keep.UnmarshalText([]byte("P-1")))
	require.Equal(t, d, keep)
}

func TestParseClientID(t *testing.T) {
	for s, want := range map[string][2]string{
		"D-1": {"D-1", ""}, "A-WATER": {"A-WATER", ""}, "A-WATER--2": {"A-WATER", "2"}, "P-1--ABCDEFG8": {"P-1", "ABCDEFG8"},
	} {
		id, instance, err := identity.ParseClientID(s)
		require.NoError(t, err, s)
		require.Equal(t, want, [2]string{id.String(), instance})
	}
	for _, s := range []string{
		"", "--", "--2", "A-WATER--", "A-WATER---2", "A-WATER--2--3", "A-WATER--a", "A-WATER--123456789", "A-WATER--2-3", "A-WATER--2 ",
		"D-1--2", "R-1--2", "O-1--2", "a-1--2",
	} {
		id, instance, err := identity.ParseClientID(s)
		require.ErrorIs(t, err, identity.ErrName, "%q", s)
		require.True(t, id.IsZero())
		require.Empty(t, instance)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"D-1", "A-WATER--2", "A-WATER", "D--1", "d-1", "P-" + strings.Repeat("9", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := identity.ParseID(s); err == nil {
			require.Equal(t, s, id.String())
			require.NotContains(t, s, "--")
			require.LessOrEqual(t, len(s), 34)
		}
		if id, instance, err := identity.ParseClientID(s); err == nil {
			back := id.String()
			if instance != "" {
				back += "--" + instance
			}
			require.Equal(t, s, back)
		}
	})
}
