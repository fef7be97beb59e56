package identity

// The distinct types below keep a function that wants a device from being handed an application. Each is made by its Parse
// function, by UnmarshalText, or from an [ID] by the method of its name.

// DeviceID is the name of a device, D-…. The zero DeviceID is none.
type DeviceID struct{ ID }

// ParseDeviceID is [ParseID] for the name of a device; the name of another role is an error.
func ParseDeviceID(s string) (DeviceID, error) {
	id, err := parseRole(s, RoleDevice)
	return DeviceID{id}, err
}

// UnmarshalText implements [encoding.TextUnmarshaler] as [ID.UnmarshalText] does, for this role only.
func (id *DeviceID) UnmarshalText(b []byte) error { return unmarshalName(&id.ID, RoleDevice, b) }

// Device returns id as the name of a device, and whether it is one.
func (id ID) Device() (DeviceID, bool) {
	if id.Role() != RoleDevice {
		return DeviceID{}, false
	}
	return DeviceID{id}, true
}

// AppID is the name of an application, A-…. The zero AppID is none.
type AppID struct{ ID }

// ParseAppID is [ParseID] for the name of an application; the name of another role is an error.
func ParseAppID(s string) (AppID, error) {
	id, err := parseRole(s, RoleApplication)
	return AppID{id}, err
}

// UnmarshalText implements [encoding.TextUnmarshaler] as [ID.UnmarshalText] does, for this role only.
func (id *AppID) UnmarshalText(b []byte) error { return unmarshalName(&id.ID, RoleApplication, b) }

// App returns id as the name of an application, and whether it is one.
func (id ID) App() (AppID, bool) {
	if id.Role() != RoleApplication {
		return AppID{}, false
	}
	return AppID{id}, true
}

// PlatformID is the name of a platform, P-…. The zero PlatformID is none.
type PlatformID struct{ ID }

// ParsePlatformID is [ParseID] for the name of a platform; the name of another role is an error.
func ParsePlatformID(s string) (PlatformID, error) {
	id, err := parseRole(s, RolePlatform)
	return PlatformID{id}, err
}

// UnmarshalText implements [encoding.TextUnmarshaler] as [ID.UnmarshalText] does, for this role only.
func (id *PlatformID) UnmarshalText(b []byte) error { return unmarshalName(&id.ID, RolePlatform, b) }

// Platform returns id as the name of a platform, and whether it is one.
func (id ID) Platform() (PlatformID, bool) {
	if id.Role() != RolePlatform {
		return PlatformID{}, false
	}
	return PlatformID{id}, true
}

// RegistrarID is the name of a registrar, R-…. The zero RegistrarID is none.
type RegistrarID struct{ ID }

// ParseRegistrarID is [ParseID] for the name of a registrar; the name of another role is an error.
func ParseRegistrarID(s string) (RegistrarID, error) {
	id, err := parseRole(s, RoleRegistrar)
	return RegistrarID{id}, err
}

// UnmarshalText implements [encoding.TextUnmarshaler] as [ID.UnmarshalText] does, for this role only.
func (id *RegistrarID) UnmarshalText(b []byte) error { return unmarshalName(&id.ID, RoleRegistrar, b) }

// Registrar returns id as the name of a registrar, and whether it is one.
func (id ID) Registrar() (RegistrarID, bool) {
	if id.Role() != RoleRegistrar {
		return RegistrarID{}, false
	}
	return RegistrarID{id}, true
}

// OperatorID is the name of an operator, O-…. The zero OperatorID is none.
type OperatorID struct{ ID }

// ParseOperatorID is [ParseID] for the name of an operator; the name of another role is an error.
func ParseOperatorID(s string) (OperatorID, error) {
	id, err := parseRole(s, RoleOperator)
	return OperatorID{id}, err
}

// UnmarshalText implements [encoding.TextUnmarshaler] as [ID.UnmarshalText] does, for this role only.
func (id *OperatorID) UnmarshalText(b []byte) error { return unmarshalName(&id.ID, RoleOperator, b) }

// Operator returns id as the name of an operator, and whether it is one.
func (id ID) Operator() (OperatorID, bool) {
	if id.Role() != RoleOperator {
		return OperatorID{}, false
	}
	return OperatorID{id}, true
}
