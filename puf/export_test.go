package puf

// ProportionCutoff exposes the bound of the adaptive proportion test.
func ProportionCutoff(p float64) int { return proportionCutoff(p) }
