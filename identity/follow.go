package identity

import (
	"fmt"
	"time"
)

// MaxGenerations is by how much the generation may grow from one credential to one that follows it, beside one for each hour between the beginnings of
// their certificates.
const MaxGenerations = 256

// Follows returns nil if p can take the place of before, a credential of the same name that somebody knows: its generation is higher, and its certificate
// does not begin earlier. The peer writes the generation itself, the authority dates the certificate: so an earlier certificate does not come
// back under a higher number, whoever has its key, and nobody can use the numbers up, which would shut out every later credential of the name
// for good. The error is [ErrGeneration].
func (p *Verified) Follows(before *Verified) error {
	if p.id != before.id {
		return fmt.Errorf("%w: credential of %s in the place of one of %s", ErrName, p.id, before.id)
	}
	begins, began := p.leaf.NotBefore, before.leaf.NotBefore
	switch limit := uint64(before.generation) + MaxGenerations + uint64(max(0, begins.Sub(began)/time.Hour)); {
	case p.generation <= before.generation:
		return fmt.Errorf("%w: generation %d of %s, have %d", ErrGeneration, p.generation, p.id, before.generation)
	case begins.Before(began):
		return fmt.Errorf("%w: generation %d of %s has a certificate that begins %s, that of generation %d begins later, %s", ErrGeneration, p.generation,
			p.id, stamp(begins), before.generation, stamp(began))
	case uint64(p.generation) > limit:
		return fmt.Errorf("%w: generation %d of %s, have %d, and this certificate may have %d at most", ErrGeneration, p.generation, p.id,
			before.generation, limit)
	}
	return nil
}
