package puf

// Differing exposes the count behind the stripes check.
func Differing(b []byte, lag int) int { return differing(toWords(b), 8*len(b), lag) }

// ProportionCutoff exposes the bound of the adaptive proportion test.
func ProportionCutoff(p float64) int { return proportionCutoff(p) }
