package jwks

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

// MaxKeys bounds how many keys of one set are read; the rest is ignored.
const MaxKeys = 256

// Set is a key set as a provider published it (RFC 7517 section 5), reduced to
// the public keys that verify signatures. It is immutable.
type Set struct {
	keys    []jose.JSONWebKey
	skipped []error
	digest  [sha256.Size]byte
}

// Keys returns the keys in the order of the document. They must not be changed.
func (s *Set) Keys() []jose.JSONWebKey {
	if s == nil {
		return nil
	}
	return s.keys
}

// Skipped says, one error each, which members of the set were left out. The
// errors name positions, types and sizes, nothing of the keys.
func (s *Set) Skipped() []error {
	if s == nil {
		return nil
	}
	return s.skipped
}

// ErrNoSet says that a document is no key set at all.
var ErrNoSet = errors.New("not a JSON Web Key Set")

// Parse reads a key set key by key: one that is of an unknown type, too small,
// meant for encryption, symmetric or broken is left out and spoils nothing.
// Keys that share a kid are all kept. The error is ErrNoSet.
func Parse(data []byte) (*Set, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var doc struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := dec.Decode(&doc); err != nil || doc.Keys == nil {
		return nil, ErrNoSet
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, ErrNoSet
	}
	s := &Set{}
	sum := sha256.New()
	for i, raw := range *doc.Keys {
		if i == MaxKeys {
			s.skipped = append(s.skipped, fmt.Errorf("%d keys beyond the first %d", len(*doc.Keys)-MaxKeys, MaxKeys))
			break
		}
		key, err := token.ParsePublicKey(raw)
		if err != nil {
			s.skipped = append(s.skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		public, err := token.MarshalPublicKey(&key)
		if err != nil {
			s.skipped = append(s.skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		sum.Write(public)
		s.keys = append(s.keys, key)
	}
	sum.Sum(s.digest[:0])
	return s, nil
}

// MarshalJSON renders the set, public members only.
func (s *Set) MarshalJSON() ([]byte, error) {
	doc := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for i := range s.Keys() {
		b, err := token.MarshalPublicKey(&s.keys[i])
		if err != nil {
			return nil, err
		}
		doc.Keys = append(doc.Keys, b)
	}
	return json.Marshal(doc)
}

// Equal reports whether both sets hold the same keys in the same order.
func (s *Set) Equal(o *Set) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.digest == o.digest
}
