package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/semio-iot/semio/e2e"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/internal/control"
)

const (
	// A gateway has one exchange under way; several instances of an application have one each.
	keptAnswers     = 8
	keptAnswerBytes = 1 << 20
)

// errReplay says that an epoch was used by another INIT, or that its answer is no longer kept.
var errReplay = errors.New("platform: epoch was used before")

// handle answers one INIT of a peer. Whatever does not prove to come from that peer gets silence.
func (s *Service) handle(ctx context.Context, from identity.ID, init []byte) {
	p, err := s.peer(from)
	if err != nil {
		s.dropped(from, "unknown peer")
		s.log.Debug("message of a peer that cannot be verified", "peer", from, "err", err)
		return
	}
	h, err := s.open(p, init)
	if err != nil {
		s.dropped(from, "not authentic")
		return
	}
	as, req := h.as, h.req
	// A repeated INIT is answered without a write. The transaction below looks again.
	var resp []byte
	err = s.cfg.Store.View(ctx, func(tx Tx) error {
		var err error
		resp, err = answered(tx, p.id, req)
		return err
	})
	repeated := resp != nil
	if err == nil && !repeated {
		resp, repeated, err = s.serve(ctx, p, h, init)
	}
	switch {
	case errors.Is(err, errReplay):
		s.dropped(from, "replay")
		s.log.Warn("replayed message, or of a peer that lost its epochs", "peer", from, "epoch", req.Epoch())
		s.challenge(ctx, as, req)
	case errors.Is(err, control.ErrMalformed):
		s.dropped(from, "malformed")
		s.log.Warn("malformed message", "peer", from, "err", err)
	case err != nil && ctx.Err() == nil:
		s.dropped(from, "failed")
		s.log.Error("message not handled, the peer will send again", "peer", from, "err", err)
	case err == nil:
		if s.publish(ctx, from, resp) && s.cfg.Observer.Answered != nil {
			s.cfg.Observer.Answered(from, repeated)
		}
	}
}

// challenge answers a request under a used epoch: if the peer is alive, it learns from which epoch on it is heard again.
func (s *Service) challenge(ctx context.Context, p *peer, req *e2e.Request) {
	var w e2e.EpochWindow
	err := s.cfg.Store.View(ctx, func(tx Tx) error {
		var err error
		w, err = loadWindow(tx, p.id)
		return err
	})
	if err != nil {
		s.log.Error("read epochs", "peer", p.id, "err", err)
		return
	}
	if record, err := req.Challenge(s.cfg.Now(), w); err == nil {
		s.publish(ctx, p.id, record)
	}
}

// serve carries out what an INIT asks, once. Repeated says that another copy of it came first. The INIT came under the credential of h.as, which
// is was's, the one in the registry, or the one that follows it.
func (s *Service) serve(ctx context.Context, was *peer, h heard, init []byte) (resp []byte, repeated bool, err error) {
	p, req := h.as, h.req
	follows := p.self.CertificateHash() != was.self.CertificateHash()
	m, err := control.ParseMessage(req.Body())
	if err != nil {
		return nil, false, err
	}
	over := ended(s.state(), p.id)
	if follows && !over && s.verifier.Revoked(p.self.Certificate()) {
		return nil, false, fmt.Errorf("%w: the new certificate of %s", identity.ErrRevoked, p.id)
	}
	renewing := s.examineRenewal(p, m)
	lapsed := s.standing(p)
	if over {
		lapsed = nil // it has still to hear that
	}
	if lapsed != nil {
		// It gets what it needs for a new certificate. Its acknowledgements come again; a request is refused with the reason.
		s.log.Warn("certificate is not good any more", "peer", p.id, "err", lapsed)
		m.Acks, m.Prekey = nil, nil
	}
	acks := s.openAcks(p, m.Acks)
	prekey := s.offered(p, m)
	var ask *asked
	if m.Request != nil {
		if ask, err = s.examine(ctx, p, req.Transcript(), m.Request); err != nil {
			return nil, false, err
		}
	}
	if ask != nil {
		ask.epoch = req.Epoch()
	}
	first := true
	err = s.update(ctx, func(t *txn) error {
		if !first {
			// A reply can be sealed once for an opened request.
			if req, err = p.keys.OpenRequest(init); err != nil {
				return err
			}
		}
		first = false
		if resp, err = answered(t.tx, p.id, req); err != nil || resp != nil {
			repeated = err == nil
			return err
		}
		if follows {
			if err := t.renewed(was, p); err != nil {
				return err
			}
		}
		if prekey != nil {
			if err := t.keepPrekey(p, prekey); err != nil {
				return err
			}
		}
		reply, err := t.answer(h, m, acks, ask, renewing, lapsed != nil)
		if err != nil {
			return err
		}
		body, err := reply.Marshal()
		if err != nil {
			return err
		}
		if resp, err = req.Reply(body); err != nil {
			return err
		}
		if err := t.noteFace(h); err != nil {
			return err
		}
		return t.remember(p.id, req, resp)
	})
	return resp, repeated, err
}

// answer decides everything, and makes the reply. A peer whose certificate has lapsed gets no orders, and nothing of other peers; one that knows an
// earlier credential of the platform could not verify them.
func (t *txn) answer(h heard, m control.Message, acks []signedAck, ask *asked, renewing renewing, lapsed bool) (control.Reply, error) {
	p, reply := h.as, control.Reply{Time: t.now}
	for _, a := range acks {
		if err := t.acked(p, a); err != nil {
			return reply, err
		}
	}
	if ask != nil {
		result, err := t.decide(ask)
		if err != nil {
			return reply, err
		}
		reply.Result = &result
	}
	if err := t.renew(p, renewing, &reply); err != nil {
		return reply, err
	}
	if h.outdated && reply.Admission == nil {
		var err error
		if reply.Admission, err = t.s.admission(p.self, p.binding); err != nil {
			return reply, err
		}
	}
	room := t.s.cfg.Limits.MaxReply
	if !lapsed {
		var err error
		if !h.outdated { // it asks again, under the present credential
			if reply.Orders, reply.More, err = t.handOut(p, &room); err != nil {
				return reply, err
			}
		}
		// At most 200 bytes, which the limit leaves room for, as it does for credentials.
		if reply.Prekey, err = t.prekeyFor(p.id, m.PrekeyNumber); err != nil {
			return reply, err
		}
		reply.PeerCredential = t.peerCredential(p.id, m.PeerGeneration)
	}
	t.addList(&reply, m.Lists, room)
	return reply, nil
}

// addList puts one revocation list into the reply that the peer has not, if there is room.
func (t *txn) addList(reply *control.Reply, have []identity.CRLNumber, room int) {
	for _, l := range t.s.verifier.Newer(have) {
		switch size := len(l.Bundle); {
		case size > t.s.cfg.Limits.MaxReply:
			t.s.log.Error("a revocation list does not fit into a reply; gateways go on with their old one", "bytes", size, "limit", t.s.cfg.Limits.MaxReply)
		case size <= room && reply.CRL == nil:
			reply.CRL, reply.CRLNumber = l.Bundle, l.CRLNumber
		case reply.CRL != nil || len(reply.Orders) > 0:
			reply.More = true // with the next reply, when what goes before is out of the way
		}
	}
}

// answered returns the answer that this INIT got before, nil when its epoch is new, and errReplay when the epoch belongs to another INIT
// or to one whose answer is gone.
func answered(tx Tx, peer identity.ID, req *e2e.Request) ([]byte, error) {
	w, err := loadWindow(tx, peer)
	if err != nil {
		return nil, err
	}
	if w.Check(req.Epoch()) == nil {
		return nil, nil
	}
	kept, err := tx.Get(answerKey(peer, req.Epoch()))
	if errors.Is(err, ErrNotFound) {
		return nil, errReplay
	}
	if err != nil {
		return nil, err
	}
	digest := req.Digest()
	if resp, ok := bytes.CutPrefix(kept, digest[:]); ok {
		return resp, nil
	}
	return nil, errReplay
}

func loadWindow(tx Tx, peer identity.ID) (e2e.EpochWindow, error) {
	raw, err := tx.Get(prefixWindow + peer.String())
	if errors.Is(err, ErrNotFound) {
		return e2e.EpochWindow{}, nil
	}
	if err != nil {
		return e2e.EpochWindow{}, err
	}
	w, err := e2e.ParseEpochWindow(raw)
	if err != nil {
		return e2e.EpochWindow{}, fmt.Errorf("read epochs of %s: %w", peer, err)
	}
	return w, nil
}

// remember takes the epoch and keeps the answer, and drops the oldest ones.
func (t *txn) remember(peer identity.ID, req *e2e.Request, resp []byte) error {
	w, err := loadWindow(t.tx, peer)
	if err != nil {
		return err
	}
	if err := w.Accept(req.Epoch()); err != nil {
		return err
	}
	if err := t.tx.Put(prefixWindow+peer.String(), w.Marshal()); err != nil {
		return err
	}
	digest := req.Digest()
	if err := t.tx.Put(answerKey(peer, req.Epoch()), append(digest[:], resp...)); err != nil {
		return err
	}
	var keys []string
	var sizes []int
	total := 0
	for k, v := range t.tx.List(prefixAnswer + peer.String() + "/") {
		keys, sizes, total = append(keys, k), append(sizes, len(v)), total+len(v)
	}
	for i := 0; i < len(keys)-1 && (len(keys)-i > keptAnswers || total > keptAnswerBytes); i++ {
		total -= sizes[i]
		if keys[i] == answerKey(peer, req.Epoch()) {
			continue // one that was overtaken is the one whose answer is wanted now
		}
		if err := t.tx.Delete(keys[i]); err != nil {
			return err
		}
	}
	return nil
}
