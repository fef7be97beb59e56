package unit

import (
	"context"

	"github.com/semio-iot/semio/keyvault"
)

// Wake is PowerUp before there is a certificate.
func Wake(ctx context.Context, u *Unit) (*keyvault.Vault, error) {
	source, err := u.Chip.open(true)
	if err != nil {
		return nil, err
	}
	return keyvault.Open(ctx, source, u.NVM, nil)
}
