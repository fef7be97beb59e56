//go:build !race

package fuzzy

const raceDetector = false
