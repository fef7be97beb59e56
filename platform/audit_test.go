package platform_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/platform"
	"github.com/semio-iot/semio/platform/registry"
)

// Every single byte of the log and its evidence counts.
func TestAuditDetectsTampering(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		require.NoError(t, app.connect(dev).Err())
		early := w.svc.AuditHead()
		require.NoError(t, app.disconnect(dev).Err())
		ctx := t.Context()
		require.NoError(t, w.svc.VerifyAudit(ctx))
		require.NoError(t, w.svc.VerifyAuditSince(ctx, early))

		log := map[string][]byte{}
		require.NoError(t, w.store.View(ctx, func(tx platform.Tx) error {
			for _, prefix := range []string{"l", "e/"} {
				for k, v := range tx.List(prefix) {
					log[k] = v
				}
			}
			return nil
		}))
		set := func(key string, value []byte) {
			require.NoError(t, w.store.Update(ctx, func(tx platform.Tx) error {
				if value == nil {
					return tx.Delete(key)
				}
				return tx.Put(key, value)
			}))
		}
		entries := 0
		for key, value := range log {
			if strings.HasPrefix(key, "l/") {
				entries++
			}
			set(key, nil)
			require.ErrorIs(t, w.svc.VerifyAudit(ctx), platform.ErrAudit, "%s deleted", key)
			for _, i := range []int{0, 1, len(value) / 2, len(value) - 1} {
				v := bytes.Clone(value)
				v[i] ^= 0x40
				set(key, v)
				require.ErrorIs(t, w.svc.VerifyAudit(ctx), platform.ErrAudit, "%s byte %d changed", key, i)
			}
			set(key, append(bytes.Clone(value), 0))
			require.ErrorIs(t, w.svc.VerifyAudit(ctx), platform.ErrAudit, "%s longer", key)
			set(key, value)
		}
		require.Equal(t, 8, entries)
		require.NoError(t, w.svc.VerifyAudit(ctx))

		// Whoever rewrites the end of the log with its head is found out by a head that was kept elsewhere.
		kept := w.svc.AuditHead()
		require.NoError(t, w.svc.VerifyAuditSince(ctx, kept))
		kept.Hash[0] ^= 1
		require.ErrorIs(t, w.svc.VerifyAuditSince(ctx, kept), platform.ErrAudit)
		kept.Seq++
		require.ErrorIs(t, w.svc.VerifyAuditSince(ctx, kept), platform.ErrAudit)

		// A platform does not go on with a log that is not its own.
		key := "l/0000000000000008"
		v := bytes.Clone(log[key])
		v[9] ^= 1
		set(key, v)
		_, err := platform.Open(ctx, w.cfg)
		require.ErrorIs(t, err, platform.ErrAudit)
		set(key, log[key])
	})
}

// Whoever can write the store can make the chain fit again. What others signed still tells.
func TestRewrittenLog(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app, other := w.device("D-1"), w.app("A-WATER"), w.app("A-OTHER")
		require.NoError(t, app.connect(dev).Err())
		require.NoError(t, app.disconnect(dev).Err())
		require.NoError(t, other.connect(dev).Err())
		synctest.Wait()
		kept := w.svc.AuditHead()
		var disconnected, connected platform.AuditEntry
		for e, err := range w.svc.Audit(t.Context()) {
			require.NoError(t, err)
			switch e.Kind {
			case registry.KindConnected:
				connected = e
			case registry.KindDisconnected:
				disconnected = e
			}
		}
		good := w.log()
		for name, c := range map[string]struct {
			seq      uint64
			old, new string
		}{
			"another binding": {disconnected.Seq, string(disconnected.Binding[:]), string(connected.Binding[:])},
			"another device":  {disconnected.Seq, "\x03D-1", "\x03D-2"},
			"another kind":    {disconnected.Seq, "\x04\x03D-1", "\x03\x03D-1"},
			"another app":     {connected.Seq, "\x07A-OTHER", "\x07A-WATER"},
			"other evidence":  {disconnected.Seq, string(disconnected.Evidence.Hash[:]), string(connected.Evidence.Hash[:])},
			"no such app":     {connected.Seq, "\x07A-OTHER", "\x07A-OTTER"},
		} {
			forged := maps.Clone(good)
			key := fmt.Sprintf("l/%016x", c.seq)
			v := bytes.Replace(good[key], []byte(c.old), []byte(c.new), 1)
			require.NotEqual(t, good[key], v, name)
			forged[key] = v
			w.putLog(rechained(forged))
			require.ErrorIs(t, w.svc.VerifyAudit(t.Context()), platform.ErrAudit, name)
		}
		// A time proves nothing by itself; the head that was kept does.
		forged := maps.Clone(good)
		key := fmt.Sprintf("l/%016x", 2)
		v := bytes.Clone(good[key])
		v[16] ^= 1
		forged[key] = v
		w.putLog(rechained(forged))
		require.NoError(t, w.svc.VerifyAudit(t.Context()))
		require.ErrorIs(t, w.svc.VerifyAuditSince(t.Context(), kept), platform.ErrAudit)
		w.putLog(good)
	})
}

// log returns the audit log with its head.
func (w *world) log() map[string][]byte {
	out := map[string][]byte{}
	require.NoError(w.t, w.store.View(w.t.Context(), func(tx platform.Tx) error {
		for k, v := range tx.List("l") {
			out[k] = v
		}
		return nil
	}))
	return out
}

func (w *world) putLog(log map[string][]byte) {
	require.NoError(w.t, w.store.Update(w.t.Context(), func(tx platform.Tx) error {
		for k, v := range log {
			if err := tx.Put(k, v); err != nil {
				return err
			}
		}
		return nil
	}))
}

// rechained computes all hashes of a log again, as docs/lifecycle.md describes them.
func rechained(log map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	var prev [32]byte
	seq := uint64(1)
	for ; ; seq++ {
		key := fmt.Sprintf("l/%016x", seq)
		v, ok := log[key]
		if !ok {
			break
		}
		v = bytes.Clone(v)
		copy(v[17:], prev[:])
		prev = sha256.Sum256(append([]byte("semio/1 audit\x00"), v...))
		out[key] = v
	}
	out["lh"] = append(binary.BigEndian.AppendUint64(nil, seq-1), prev[:]...)
	return out
}

// A peer cannot fill the log with refusals, and none is forgotten altogether.
func TestRefusalsInTheLogAreBounded(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		dev, app := w.device("D-1"), w.app("A-WATER")
		app.link.SetOffline(true)
		stranger := &gateway{w: w, party: dev.party, claim: claimKey(t)}
		for range 50 {
			_, init := app.init(app.connectMessage(stranger))
			require.Len(t, app.send(init), 1)
		}
		require.Equal(t, 32, count(w.kinds(), registry.KindRefused))
		suppressed := func() (last []uint32) {
			for e, err := range w.svc.Audit(t.Context()) {
				require.NoError(t, err)
				if e.Kind == registry.KindRefused {
					last = append(last, e.Suppressed)
				}
			}
			return last[32:]
		}
		for range 2 {
			time.Sleep(time.Minute)
			_, init := app.init(app.connectMessage(stranger))
			require.Len(t, app.send(init), 1)
		}
		require.Equal(t, []uint32{18, 0}, suppressed())
	})
}
