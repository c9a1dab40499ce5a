package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// keyManagement are the JWE algorithms that are accepted (RFC 7518 section
// 4.1). RSA1_5 is an oracle, and PBES2 lets the sender choose what a
// decryption costs: they are not among them.
var keyManagement = []jose.KeyAlgorithm{
	jose.RSA_OAEP, jose.RSA_OAEP_256,
	jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A192KW, jose.ECDH_ES_A256KW,
	jose.DIRECT,
	jose.A128KW, jose.A192KW, jose.A256KW,
	jose.A128GCMKW, jose.A192GCMKW, jose.A256GCMKW,
}

var contentEncryption = []jose.ContentEncryption{
	jose.A128CBC_HS256, jose.A192CBC_HS384, jose.A256CBC_HS512,
	jose.A128GCM, jose.A192GCM, jose.A256GCM,
}

// maxPlaintext bounds what a JWE may hold, compressed or not.
const maxPlaintext = 1 << 20

// DecrypterOptions are a client's keys.
type DecrypterOptions struct {
	// JWKs are private keys (`client_jwk`). Those that only sign are passed over.
	JWKs [][]byte
	// Own returns further private JWKs; it is asked when none of JWKs opens a
	// token. nil for none.
	Own func(context.Context) ([]Opaque, error)
	// Secret is the client secret, from which symmetric keys are derived
	// (OpenID Connect Core section 10.2); "" for none.
	Secret Opaque
	// Limit bounds a JWE in bytes; 0 for DefaultLimit.
	Limit int
}

// Decrypter opens JWEs (RFC 7516) that are addressed to one client. It is
// immutable and never prints its keys. A nil Decrypter opens nothing.
type Decrypter struct {
	keys   []decryptionKey
	own    func(context.Context) ([]Opaque, error)
	secret Opaque
	limit  int
}

type decryptionKey struct {
	kid, alg string
	key      any // *rsa.PrivateKey, *ecdsa.PrivateKey or []byte
}

// NewDecrypter returns a decrypter. The error says which key is no JWK.
func NewDecrypter(o DecrypterOptions) (*Decrypter, error) {
	d := &Decrypter{own: o.Own, secret: o.Secret, limit: o.Limit}
	if d.limit <= 0 {
		d.limit = DefaultLimit
	}
	for _, b := range o.JWKs {
		k, ok, err := parseDecryptionKey(b)
		if err != nil {
			return nil, err
		}
		if ok {
			d.keys = append(d.keys, k)
		}
	}
	return d, nil
}

// String names the decrypter without its keys.
func (d *Decrypter) String() string { return "decrypter" }

// GoString keeps %#v from printing keys.
func (d *Decrypter) GoString() string { return d.String() }

// parseDecryptionKey reads a JWK. ok is false for one that cannot decrypt.
func parseDecryptionKey(jwk []byte) (k decryptionKey, ok bool, err error) {
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(jwk); err != nil {
		if isEd448JWK(jwk) {
			return k, false, nil
		}
		return k, false, errors.New("private key is not a valid JWK")
	}
	k = decryptionKey{kid: key.KeyID, alg: key.Algorithm, key: key.Key}
	switch private := key.Key.(type) {
	case *rsa.PrivateKey:
		return k, checkPublic(&private.PublicKey) == nil, nil
	case *ecdsa.PrivateKey:
		return k, checkPublic(&private.PublicKey) == nil, nil
	case []byte:
		return k, len(private) >= 16, nil
	}
	return k, false, nil
}

// IsEncryptionKey reports whether a JWK says that it is for encryption and
// nothing else (RFC 7517 sections 4.2 and 4.4).
func IsEncryptionKey(jwk []byte) bool {
	var m struct {
		Use string `json:"use"`
		Alg string `json:"alg"`
	}
	if json.Unmarshal(jwk, &m) != nil {
		return false
	}
	return m.Use == "enc" || slices.Contains(keyManagement, jose.KeyAlgorithm(m.Alg))
}

// Open decrypts a JWE in compact serialization. What it returns comes from
// whoever knows the client's public key: it proves nothing. Every error is
// ErrDecryption, which is an ErrMalformed, and tells nothing of what failed.
func (d *Decrypter) Open(ctx context.Context, raw string) ([]byte, error) {
	if d == nil {
		return nil, fmt.Errorf("%w: no key for it is configured", ErrDecryption)
	}
	if len(raw) > d.limit {
		return nil, fmt.Errorf("%w: %d bytes are more than the %d allowed", ErrDecryption, len(raw), d.limit)
	}
	if !compact(raw, 5) {
		return nil, fmt.Errorf("%w: not a compact JWE", ErrDecryption)
	}
	jwe, err := jose.ParseEncryptedCompact(raw, keyManagement, contentEncryption)
	if err != nil {
		return nil, fmt.Errorf("%w: its form or its algorithms are not accepted", ErrDecryption)
	}
	if _, ok := jwe.Header.ExtraHeaders["crit"]; ok {
		return nil, fmt.Errorf("%w: its crit header names extensions that are not understood", ErrDecryption)
	}
	alg := jose.KeyAlgorithm(jwe.Header.Algorithm)
	enc, _ := jwe.Header.ExtraHeaders["enc"].(string)
	if !plausibleKey(alg, raw) {
		return nil, fmt.Errorf("%w: its encrypted key has a wrong length", ErrDecryption)
	}
	if plain, ok := tryKeys(jwe, alg, enc, d.keys); ok {
		return plain, nil
	}
	if usableSecret(d.secret) {
		if key := deriveKey(d.secret, alg, jose.ContentEncryption(enc)); key != nil {
			if plain, ok := decrypt(jwe, key); ok {
				return plain, nil
			}
		}
	}
	if d.own != nil && !isSymmetric(alg) {
		jwks, err := d.own(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: the plugin's own keys: %w", ErrKeysUnavailable, err)
		}
		if plain, ok := tryKeys(jwe, alg, enc, parseOwn(jwks, jwe.Header.KeyID)); ok {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("%w: no key at hand opens it", ErrDecryption)
}

// parseOwn reads those of the plugin's keys that may be meant.
func parseOwn(jwks []Opaque, kid string) []decryptionKey {
	var keys []decryptionKey
	for _, b := range jwks {
		if k, ok, err := parseDecryptionKey([]byte(b.Reveal())); err == nil && ok && (kid == "" || k.kid == kid) {
			keys = append(keys, k)
		}
	}
	return keys
}

// tryKeys opens jwe with the key that it names, else with any that fits.
func tryKeys(jwe *jose.JSONWebEncryption, alg jose.KeyAlgorithm, enc string, keys []decryptionKey) ([]byte, bool) {
	kid := jwe.Header.KeyID
	named := kid != "" && slices.ContainsFunc(keys, func(k decryptionKey) bool { return k.kid == kid && k.fits(alg, enc) })
	tried := 0
	for _, k := range keys {
		if !k.fits(alg, enc) || named && k.kid != kid {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		if plain, ok := decrypt(jwe, k.key); ok {
			return plain, true
		}
	}
	return nil, false
}

func decrypt(jwe *jose.JSONWebEncryption, key any) ([]byte, bool) {
	plain, err := jwe.Decrypt(key)
	return plain, err == nil && len(plain) <= maxPlaintext
}

// fits reports whether the key is of the algorithm's type. A key whose `alg`
// is another JWE algorithm does not; one that signs besides does.
func (k *decryptionKey) fits(alg jose.KeyAlgorithm, enc string) bool {
	if k.alg != "" && k.alg != string(alg) && slices.Contains(keyManagement, jose.KeyAlgorithm(k.alg)) {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PrivateKey:
		return alg == jose.RSA_OAEP || alg == jose.RSA_OAEP_256
	case *ecdsa.PrivateKey:
		return isECDH(alg)
	case []byte:
		return isSymmetric(alg) && len(key) == keySize(alg, jose.ContentEncryption(enc))
	}
	return false
}

func isECDH(alg jose.KeyAlgorithm) bool { return strings.HasPrefix(string(alg), "ECDH-ES") }

func isSymmetric(alg jose.KeyAlgorithm) bool {
	return alg == jose.DIRECT || strings.HasPrefix(string(alg), "A")
}

// plausibleKey checks the encrypted key's length before any library does:
// short ones have crashed several.
func plausibleKey(alg jose.KeyAlgorithm, raw string) bool {
	parts := strings.Split(raw, ".")
	n := len(parts[1]) * 3 / 4
	switch {
	case alg == jose.DIRECT || alg == jose.ECDH_ES:
		return n == 0
	case alg == jose.RSA_OAEP || alg == jose.RSA_OAEP_256:
		return n >= MinRSABits/8 && n <= MaxRSABits/8
	case strings.HasSuffix(string(alg), "GCMKW"):
		return n >= 16 && n <= 64
	}
	// RFC 3394: whole blocks and one more.
	return n >= 24 && n <= 72 && n%8 == 0
}

// keySize is the length in bytes of the symmetric key that alg takes.
func keySize(alg jose.KeyAlgorithm, enc jose.ContentEncryption) int {
	switch alg {
	case jose.A128KW, jose.A128GCMKW:
		return 16
	case jose.A192KW, jose.A192GCMKW:
		return 24
	case jose.A256KW, jose.A256GCMKW:
		return 32
	case jose.DIRECT:
		switch enc {
		case jose.A128GCM:
			return 16
		case jose.A192GCM:
			return 24
		case jose.A256GCM, jose.A128CBC_HS256:
			return 32
		case jose.A192CBC_HS384:
			return 48
		case jose.A256CBC_HS512:
			return 64
		}
	}
	return 0
}

// deriveKey makes a key of a client secret: the left of its SHA-2 hash (OpenID
// Connect Core section 10.2). It returns nil for algorithms that take none.
func deriveKey(secret Opaque, alg jose.KeyAlgorithm, enc jose.ContentEncryption) []byte {
	s := []byte(secret.Reveal())
	switch n := keySize(alg, enc); {
	case n == 0:
		return nil
	case n <= 32:
		sum := sha256.Sum256(s)
		return sum[:n]
	case n <= 48:
		sum := sha512.Sum384(s)
		return sum[:n]
	default:
		sum := sha512.Sum512(s)
		return sum[:n]
	}
}

// unwrap returns the signed token within raw if that is encrypted, else raw.
// Access tokens are left alone: an encrypted one is for somebody else to read.
func (v *Verifier) unwrap(ctx context.Context, raw string, use Use) (string, error) {
	if use == UseAccess || !IsJWE(raw) {
		return raw, nil
	}
	plain, err := v.Decrypter.Open(ctx, raw)
	if err != nil {
		return "", err
	}
	// Anybody can encrypt to a public key: a token within must be signed.
	return string(plain), nil
}
