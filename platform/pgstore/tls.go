package pgstore

import (
	"crypto/tls"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// refuseInsecure looks at every way of connecting that config admits: libpq's default, sslmode=prefer, goes on in the clear when
// somebody on the way says that the server has no TLS.
func refuseInsecure(config *pgx.ConnConfig) error {
	ways := []*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}
	for _, way := range append(ways, config.Fallbacks...) {
		if !isLocal(way) && !proves(way.TLSConfig) {
			return fmt.Errorf("%w to %s: add sslmode=verify-full (and sslrootcert=file) to the connection string, or set Options.Insecure",
				ErrInsecure, way.Host)
		}
	}
	return nil
}

func isLocal(way *pgconn.FallbackConfig) bool {
	network, _ := pgconn.NetworkAddress(way.Host, way.Port)
	return network == "unix" || way.Host == "localhost" || net.ParseIP(way.Host).IsLoopback()
}

// proves says whether the server's certificate is verified. pgx does that itself for sslmode=verify-ca.
func proves(c *tls.Config) bool {
	return c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil || c.VerifyConnection != nil)
}
