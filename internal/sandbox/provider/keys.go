package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Signature algorithms of the provider (RFC 7518 section 3.1, RFC 8037).
const (
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
	HS256 = "HS256"
)

var asymmetric = [...]string{RS256, PS256, ES256, EdDSA}

// key is one signing key, by the algorithm that it is for.
type key struct {
	alg    string
	kid    string
	signer crypto.Signer
}

func (k *key) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.kid, Algorithm: k.alg, Use: "sig"}
}

// Keys are the signing keys of a provider: a current one for each algorithm,
// and those of before the last rotation. Safe for concurrent use.
type Keys struct {
	mu       sync.Mutex
	current  map[string]*key
	previous []*key
	// foreign signs what must not verify; it is never published.
	foreign *key
}

// NewKeys makes a key for each of RS256, PS256, ES256 and EdDSA.
func NewKeys() (*Keys, error) {
	current, err := newGeneration()
	if err != nil {
		return nil, err
	}
	foreign, err := newKey(ES256)
	if err != nil {
		return nil, err
	}
	return &Keys{current: current, foreign: foreign}, nil
}

// Rotate replaces every key. The replaced ones stay published until the next
// rotation if keep is true, and are gone at once otherwise.
func (k *Keys) Rotate(keep bool) error {
	next, err := newGeneration()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.previous = nil
	if keep {
		for _, alg := range asymmetric {
			k.previous = append(k.previous, k.current[alg])
		}
	}
	k.current = next
	return nil
}

// KeyID returns the id of the current key of an algorithm, or "".
func (k *Keys) KeyID(alg string) string {
	if c := k.get(alg); c != nil {
		return c.kid
	}
	return ""
}

// Public returns the published set: current keys first.
func (k *Keys) Public() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, key := range k.published() {
		set.Keys = append(set.Keys, key.jwk())
	}
	return set
}

func (k *Keys) get(alg string) *key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current[alg]
}

func (k *Keys) published() []*key {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*key, 0, len(asymmetric)+len(k.previous))
	for _, alg := range asymmetric {
		out = append(out, k.current[alg])
	}
	return append(out, k.previous...)
}

func newGeneration() (map[string]*key, error) {
	var wg sync.WaitGroup
	keys := make([]*key, len(asymmetric))
	errs := make([]error, len(asymmetric))
	for i, alg := range asymmetric {
		wg.Go(func() { keys[i], errs[i] = newKey(alg) })
	}
	wg.Wait()
	out := make(map[string]*key, len(asymmetric))
	for i, alg := range asymmetric {
		if errs[i] != nil {
			return nil, errs[i]
		}
		out[alg] = keys[i]
	}
	return out, nil
}

func newKey(alg string) (*key, error) {
	var signer crypto.Signer
	var err error
	switch alg {
	case RS256, PS256:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case ES256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("algorithm %q has no key pair", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("provider: making a key: %w", err)
	}
	k := &key{alg: alg, signer: signer}
	jwk := k.jwk()
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("provider: naming a key: %w", err)
	}
	k.kid = strings.ToLower(alg) + "-" + base64.RawURLEncoding.EncodeToString(print[:9])
	return k, nil
}
