// Package layering holds the test that keeps the arrows of ARCHITECTURE.md pointing down. It has no other code.
package layering
