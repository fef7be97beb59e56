package cli

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/semio-iot/semio/identity"
)

// Explain adds to err what to do about it, where its own text says only what happened.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	if hint := hint(err); hint != "" {
		return fmt.Errorf("%w\n%s", err, hint)
	}
	return err
}

func hint(err error) string {
	clock := func(what string) string {
		return fmt.Sprintf("%s. This machine's clock says %s: if that is wrong, set it and start again; if it is right, have the certificate renewed.",
			what, time.Now().UTC().Format(time.RFC3339))
	}
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.Is(err, identity.ErrNotYetValid):
		return clock("A certificate is not valid yet")
	case errors.Is(err, identity.ErrExpired), errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return clock("A certificate is out of its validity")
	case errors.Is(err, identity.ErrUntrusted), errors.As(err, &unknown):
		return "The other side's certificate comes from another authority: compare roots.pem with the root of the authority that both should trust."
	case errors.As(err, &host):
		return "The server has no certificate for the name that was dialled: dial one that it names, or have its certificate issued for this one too."
	case errors.Is(err, identity.ErrRevoked):
		return "The authority has revoked the certificate, for good: ask it why, and for a certificate under new keys."
	case says(err, syscall.ENOSPC), says(err, syscall.EDQUOT), says(err, syscall.EFBIG):
		return "The disk, the quota or the limit on a file's size is exhausted: make room and start again. What was stored before is unharmed."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nobody listens there: start the server, or correct host and port."
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another program listens there: end it, or choose another address."
	case errors.Is(err, fs.ErrPermission):
		return "Run it as the user who owns the files; to listen on a port below 1024 takes more rights."
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "The host's name cannot be resolved: correct it, or look at the network."
	}
	return ""
}

// says also finds an error of the operating system of which a library has kept the text alone, as bbolt does.
func says(err error, no syscall.Errno) bool {
	return errors.Is(err, no) || strings.HasSuffix(err.Error(), no.Error())
}
