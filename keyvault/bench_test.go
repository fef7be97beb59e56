package keyvault_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/semio-iot/semio/keyvault"
)

func BenchmarkOpen(b *testing.B) {
	_, c, store := enroll(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		v, err := keyvault.Open(context.Background(), c, store, nil)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}

func BenchmarkEnroll(b *testing.B) {
	c := chip(1)
	b.ReportAllocs()
	for b.Loop() {
		v, err := keyvault.Enroll(context.Background(), c, newMemory(), nil)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}

func BenchmarkUse(b *testing.B) {
	v, _, _ := enroll(b, 1)
	digest := sha256.Sum256(nil)
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(b, err)
	blob, err := v.Lock("label", digest[:])
	require.NoError(b, err)
	for name, use := range map[string]func() error{
		"sign":   func() error { _, err := v.Signer().Sign(nil, digest[:], crypto.SHA256); return err },
		"agree":  func() error { _, err := v.KeyExchanger().ECDH(peer.PublicKey()); return err },
		"derive": func() error { _, err := v.Derive("label", nil, 32); return err },
		"lock":   func() error { _, err := v.Lock("label", digest[:]); return err },
		"unlock": func() error { _, err := v.Unlock("label", blob); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := use(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
