// Package seal encrypts secrets and private keys at rest, with keys of a file.
// Imported by the stores and the wiring; imports package store for its Secret.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"kong-openid-connect/internal/store"
)

// The first byte of a sealed value.
const (
	formClear  byte = 0 // the value follows as it is
	formSealed byte = 1 // key id (4), nonce (12), AES-256-GCM
)

const (
	idSize  = 4
	keySize = 32
	// MinKey is the least length of a line of the key file in bytes.
	MinKey = 32
	// MaxFile bounds the key file.
	MaxFile = 64 << 10
)

// ErrNoKey says that a value was sealed with a key that is not at hand.
var ErrNoKey = errors.New("it is sealed with another key")

// ErrBroken says that a value does not open: it was changed, or moved to
// another place than it was sealed for.
var ErrBroken = errors.New("the sealed value is broken")

type key struct {
	id   [idSize]byte
	aead cipher.AEAD
}

// Sealer seals with its first key and opens with all of them. The zero value
// stores in clear.
type Sealer struct{ keys []key }

// New derives a Sealer from key material, newest first. None at all stores in clear.
func New(material ...[]byte) (*Sealer, error) {
	s := &Sealer{}
	for i, m := range material {
		if len(m) < MinKey {
			return nil, fmt.Errorf("seal key %d has %d bytes, at least %d are needed: make one with `openssl rand -base64 48`", i+1, len(m), MinKey)
		}
		b, err := hkdf.Key(sha256.New, m, nil, "kong-openid-connect store seal v1", keySize+idSize)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(b[:keySize])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		k := key{aead: aead}
		copy(k.id[:], b[keySize:])
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// Load reads a key file: one key a line, the one that seals first; empty lines
// and lines that begin with # are skipped. To change keys on many nodes, add
// the new one as the last line everywhere, then make it the first everywhere;
// what the old one sealed is sealed anew, and it can go. loose reports that others than the owner may
// read the file.
func Load(path string) (s *Sealer, loose bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("seal key file cannot be read: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		loose = fi.Mode().Perm()&0o077 != 0
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, loose, fmt.Errorf("seal key file cannot be read: %w", err)
	}
	if len(b) > MaxFile {
		return nil, loose, fmt.Errorf("seal key file %s is larger than %d bytes", path, MaxFile)
	}
	var material [][]byte
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			material = append(material, line)
		}
	}
	if len(material) == 0 {
		return nil, loose, fmt.Errorf("seal key file %s holds no key", path)
	}
	s, err = New(material...)
	return s, loose, err
}

// Seals reports whether values are encrypted.
func (s *Sealer) Seals() bool { return s != nil && len(s.keys) > 0 }

// Seal returns the stored form of a secret. label names its place and must be
// the same when it is opened.
func (s *Sealer) Seal(label string, v store.Secret) ([]byte, error) {
	if !s.Seals() {
		return append([]byte{formClear}, v.Reveal()...), nil
	}
	k := s.keys[0]
	out := make([]byte, 1+idSize+k.aead.NonceSize(), 1+idSize+k.aead.NonceSize()+len(v.Reveal())+k.aead.Overhead())
	out[0] = formSealed
	copy(out[1:], k.id[:])
	nonce := out[1+idSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return k.aead.Seal(out, nonce, v.Reveal(), []byte(label)), nil
}

// Open returns the secret of a stored form. stale reports that it should be
// sealed anew: it is in clear although there is a key, or under an older key.
func (s *Sealer) Open(label string, b []byte) (v store.Secret, stale bool, err error) {
	if len(b) == 0 {
		return store.Secret{}, false, ErrBroken
	}
	switch b[0] {
	case formClear:
		return store.NewSecret(b[1:]), s.Seals(), nil
	case formSealed:
	default:
		return store.Secret{}, false, fmt.Errorf("%w: form %d is unknown", ErrBroken, b[0])
	}
	b = b[1:]
	if len(b) < idSize {
		return store.Secret{}, false, ErrBroken
	}
	if s == nil {
		return store.Secret{}, false, ErrNoKey
	}
	for i, k := range s.keys {
		if !bytes.Equal(k.id[:], b[:idSize]) {
			continue
		}
		rest := b[idSize:]
		n := k.aead.NonceSize()
		if len(rest) < n {
			return store.Secret{}, false, ErrBroken
		}
		plain, err := k.aead.Open(nil, rest[:n], rest[n:], []byte(label))
		if err != nil {
			return store.Secret{}, false, ErrBroken
		}
		return store.NewSecret(plain), i > 0, nil
	}
	return store.Secret{}, false, ErrNoKey
}
