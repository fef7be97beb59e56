// Package wycheproof tries Project Wycheproof's vectors (github.com/C2SP/wycheproof) on every primitive in use, through the very calls
// that semio makes. It has nothing but tests, and is a module outside go.work: the vectors are 109 MB. Run it with
//
//	cd internal/wycheproof && GOWORK=off go test ./...
package wycheproof
