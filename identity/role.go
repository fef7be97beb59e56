package identity

import "fmt"

// Role is what a peer may be in the system: the letter its name starts with. The certificate of a name is of that role and
// no other, so a role cannot be chosen separately from the name.
type Role byte

// The roles. The zero Role is none; where a role is asked for it stands for any.
const (
	RoleDevice      Role = 'D' // an IoT device, in truth its gateway
	RoleApplication Role = 'A' // the gateway of an application provider
	RolePlatform    Role = 'P' // the platform that connects the two
	RoleRegistrar   Role = 'R' // a factory station that vouches for new devices
	RoleOperator    Role = 'O' // a person or program that administers the platform
)

// String names the role in words.
func (r Role) String() string {
	switch r {
	case 0:
		return "any role"
	case RoleDevice:
		return "device"
	case RoleApplication:
		return "application"
	case RolePlatform:
		return "platform"
	case RoleRegistrar:
		return "registrar"
	case RoleOperator:
		return "operator"
	}
	return fmt.Sprintf("role 0x%02x", byte(r))
}

func (r Role) valid() bool {
	switch r {
	case RoleDevice, RoleApplication, RolePlatform, RoleRegistrar, RoleOperator:
		return true
	}
	return false
}

// needsAgreement says whether a credential of the role is worth nothing without an agreement key: the peers of end-to-end
// sessions are. A registrar and an operator only sign.
func (r Role) needsAgreement() bool {
	return r == RoleDevice || r == RoleApplication || r == RolePlatform
}
