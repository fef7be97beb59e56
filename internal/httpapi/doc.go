// Package httpapi is what the HTTP interfaces of certificate authority and platform have in common: HTTPS with TLS 1.3, where the
// certificate of package identity says who the caller is, errors with a code that the client turns into the error that the
// server had, and limits before anything is read.
//
// Start with [Serve] and [Caller] on one side, [NewClient] on the other.
package httpapi
