package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/gorilla/securecookie"
)

// Labels keep what is made from one secret apart. A label is never reused for another purpose.
const (
	labelHeader   = "openid-connect/session/header/1"
	labelRemember = "openid-connect/session/remember/1"
	labelPayload  = "openid-connect/session/payload/1"
	labelMoved    = "openid-connect/session/moved/1"
	labelTags     = "openid-connect/session/tags/1"
	labelLogin    = "openid-connect/login/cookie/1"
	labelState    = "openid-connect/login/state/1"
)

// keys is what one secret is turned into.
type keys struct {
	header   *securecookie.SecureCookie
	remember *securecookie.SecureCookie
	login    *securecookie.SecureCookie
	payload  []byte
	moved    []byte
	tags     []byte
	state    []byte
}

// newKeys makes the keys of every secret, the current one first.
func newKeys(secret []byte, previous [][]byte) ([]*keys, error) {
	if len(previous) >= maxSecrets {
		return nil, fmt.Errorf("%d previous session secrets: at most %d are read", len(previous), maxSecrets-1)
	}
	var ring []*keys
	for _, s := range append([][]byte{secret}, previous...) {
		if len(s) == 0 {
			return nil, errors.New("the session secret is empty: set session_secret, or let one be generated")
		}
		k, err := deriveKeys(s)
		if err != nil {
			return nil, fmt.Errorf("deriving session keys: %w", err)
		}
		ring = append(ring, k)
	}
	return ring, nil
}

func deriveKeys(secret []byte) (*keys, error) {
	prk, err := hkdf.Extract(sha256.New, secret, nil)
	if err != nil {
		return nil, err
	}
	var failed error
	expand := func(label string, n int) []byte {
		k, err := hkdf.Expand(sha256.New, prk, label, n)
		if err != nil {
			failed = err
		}
		return k
	}
	box := func(label string) *securecookie.SecureCookie {
		// MAC and cipher have keys of their own. Lengths and times are ours to check: the package's clock is not injected.
		k := expand(label, 64)
		if failed != nil {
			return nil
		}
		return securecookie.New(k[:32], k[32:]).SetSerializer(securecookie.NopEncoder{}).MaxLength(0).MaxAge(0)
	}
	k := &keys{
		header:   box(labelHeader),
		remember: box(labelRemember),
		login:    box(labelLogin),
		payload:  expand(labelPayload, 32),
		moved:    expand(labelMoved, 32),
		tags:     expand(labelTags, 32),
		state:    expand(labelState, 32),
	}
	return k, failed
}

// aead returns AES-256-GCM under a key that base and salt alone make.
func aead(base, salt []byte, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, base, salt, info, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// tag is a keyed, one-way name of parts, for comparing without keeping them.
func (k *keys) tag(kind string, parts ...string) [8]byte {
	h := hmac.New(sha256.New, k.tags)
	var n [8]byte
	write := func(s string) {
		for i := range n {
			n[i] = byte(len(s) >> (8 * i))
		}
		h.Write(n[:])
		h.Write([]byte(s))
	}
	write(kind)
	for _, p := range parts {
		write(p)
	}
	return [8]byte(h.Sum(nil))
}

// sealBox seals plain, which it destroys: securecookie encrypts in place under NopEncoder.
func sealBox(box *securecookie.SecureCookie, name string, plain []byte) (string, error) {
	return box.Encode(name, plain)
}

// openBox opens what sealBox made for the same name. There is exactly one
// text for each sealed value: base64 with stray bits is refused.
func openBox(box *securecookie.SecureCookie, name, text string) ([]byte, bool) {
	var strict [512]byte
	buf := strict[:]
	if n := base64.URLEncoding.DecodedLen(len(text)); n > len(buf) {
		buf = make([]byte, n)
	}
	if _, err := base64.URLEncoding.Strict().Decode(buf, []byte(text)); err != nil {
		return nil, false
	}
	var plain []byte
	if err := box.Decode(name, text, &plain); err != nil {
		return nil, false
	}
	return plain, true
}
