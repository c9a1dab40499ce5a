package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// nonceSkew is how far the clocks of two nodes may be apart.
const nonceSkew = 10 * time.Second

// nonceBytes is the length of a nonce before its encoding: what the cipher adds
// around a date of 8 bytes.
const nonceBytes = 12 + 8 + 16

// DPoPNonces makes and reads the nonces that callers put into their proofs (RFC
// 9449 sections 8 and 9): the date at which they were made, sealed, so that
// every node that knows the secret can read them and nothing is kept. It is
// safe for concurrent use.
type DPoPNonces struct {
	secrets func(context.Context) ([]Opaque, error)
	derived atomic.Pointer[derivedKeys]
}

type derivedKeys struct {
	secrets []Opaque
	seals   []cipher.AEAD
}

// NewDPoPNonces returns nonces under what secrets returns: the first seals, all
// of them open. It is asked for every proof and is to keep what it knows.
func NewDPoPNonces(secrets func(context.Context) ([]Opaque, error)) *DPoPNonces {
	return &DPoPNonces{secrets: secrets}
}

// seals returns a cipher for each secret.
func (n *DPoPNonces) seals(ctx context.Context) ([]cipher.AEAD, error) {
	secrets, err := n.secrets(ctx)
	if err != nil {
		return nil, err
	}
	if d := n.derived.Load(); d != nil && slices.Equal(d.secrets, secrets) {
		return d.seals, nil
	}
	d := &derivedKeys{secrets: slices.Clone(secrets)}
	for _, s := range secrets {
		if s == "" {
			continue // never a key
		}
		key, err := hkdf.Key(sha256.New, []byte(s.Reveal()), nil, "kong-openid-connect dpop nonce", 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		seal, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		d.seals = append(d.seals, seal)
	}
	if len(d.seals) == 0 {
		return nil, errors.New("DPoP nonces need a secret: set session_secret")
	}
	n.derived.Store(d)
	return d.seals, nil
}

// New returns a nonce that was made now.
func (n *DPoPNonces) New(ctx context.Context, now time.Time) (string, error) {
	seals, err := n.seals(ctx)
	if err != nil {
		return "", err
	}
	date := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(seals[0].Seal(nil, nil, date, nil)), nil
}

// Made returns when a nonce was made; ok is false for what is none of ours.
func (n *DPoPNonces) Made(ctx context.Context, nonce string) (at time.Time, ok bool, err error) {
	seals, err := n.seals(ctx)
	if err != nil {
		return at, false, err
	}
	if base64.RawURLEncoding.DecodedLen(len(nonce)) != nonceBytes {
		return at, false, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		return at, false, nil
	}
	for _, s := range seals {
		if date, err := s.Open(nil, nil, b, nil); err == nil && len(date) == 8 {
			return time.UnixMilli(int64(binary.BigEndian.Uint64(date))), true, nil
		}
	}
	return at, false, nil
}
