// Package files keeps what the example programs write: [Write] replaces a file so that a killed process leaves the old one or the new
// one, [Clean] removes what kills have left, and [TryLock] keeps a second process out of a folder.
package files
