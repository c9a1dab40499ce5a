package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// DefaultLimit bounds the length of a token in bytes where nothing else is
// said. Gateways refuse header lines long before that.
const DefaultLimit = 64 << 10

// parseable are the algorithms of all tokens that can be read at all. `none`
// is not among them.
var parseable = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
	jose.EdDSA,
	jose.HS256, jose.HS384, jose.HS512,
}

// Unverified is a JWS that was read and not verified: its header and claims are
// whatever its sender wrote.
type Unverified struct {
	Raw    Opaque
	Header Header
	Claims claims.Object

	jws     *jose.JSONWebSignature
	payload []byte
}

// Issuer returns the `iss` claim, or "" if there is none.
func (u *Unverified) Issuer() string {
	iss, _ := u.Claims["iss"].(string)
	return iss
}

// Parse reads a JWT in JWS compact serialization (RFC 7515 section 7.1) of at
// most limit bytes (0 for DefaultLimit). It refuses `none`, padding, text
// around the token and every `crit`, because this program understands no
// extension. Keys and addresses of keys in the header are ignored. Errors are
// ErrMalformed or ErrAlgorithm.
func Parse(raw string, limit int) (*Unverified, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if len(raw) > limit {
		return nil, fmt.Errorf("%w: %d bytes are more than the %d allowed", ErrMalformed, len(raw), limit)
	}
	if !compact(raw, 3) || raw[0] == '.' {
		return nil, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	jws, err := jose.ParseSignedCompact(raw, parseable)
	if err != nil {
		if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
			return nil, ErrAlgorithm
		}
		// The library's text may quote the token.
		return nil, fmt.Errorf("%w: the header or the encoding is wrong", ErrMalformed)
	}
	head := &jws.Signatures[0].Protected
	if _, ok := head.ExtraHeaders["crit"]; ok {
		return nil, fmt.Errorf("%w: the crit header names extensions that are not understood", ErrMalformed)
	}
	u := &Unverified{Raw: Opaque(raw), jws: jws, payload: jws.UnsafePayloadWithoutVerification()}
	u.Header = Header{Algorithm: head.Algorithm, KeyID: head.KeyID}
	if u.Header.Type, err = text(head, "typ"); err != nil {
		return nil, err
	}
	if u.Header.X5T, err = text(head, "x5t"); err != nil {
		return nil, err
	}
	if u.Claims, err = claims.Decode(u.payload); err != nil {
		return nil, fmt.Errorf("%w: the payload is not a claim set", ErrMalformed)
	}
	return u, nil
}

func text(h *jose.Header, name jose.HeaderKey) (string, error) {
	v, ok := h.ExtraHeaders[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%w: header %s is not a string", ErrMalformed, name)
	}
	return s, nil
}

// compact reports whether raw consists of n parts of base64url without padding.
func compact(raw string, n int) bool {
	// The alphabet as a set of bits: its characters come at random, so that a
	// processor guesses comparisons wrong.
	const letters = 1<<26 - 1
	base64url := [4]uint64{
		1<<'-' | (1<<10-1)<<'0',
		letters<<('A'-64) | 1<<('_'-64) | letters<<('a'-64),
	}
	dots := 0
	for i := range len(raw) {
		c := raw[i]
		if base64url[c>>6]>>(c&63)&1 == 0 {
			if c != '.' {
				return false
			}
			dots++
		}
	}
	return dots == n-1
}

// LooksJWS reports whether raw has the form of a compact JWS: three parts of
// which the first is a JSON object. It says nothing about validity; a token
// that looks like a JWS is judged as one and never as an opaque one.
func LooksJWS(raw string) bool {
	_, ok := peek(raw, 3)
	return ok
}

// IsJWE reports whether raw has the form of a compact JWE (RFC 7516 section
// 7.1): five parts of which the first is a JSON object with `enc`.
func IsJWE(raw string) bool {
	head, ok := peek(raw, 5)
	return ok && head.Enc != nil
}

// maxHeader bounds the encoded header that peek decodes.
const maxHeader = 16 << 10

type peeked struct {
	Enc any `json:"enc"`
}

func peek(raw string, parts int) (peeked, bool) {
	var head peeked
	if len(raw) > 4<<20 || !compact(raw, parts) {
		return head, false
	}
	first, _, _ := strings.Cut(raw, ".")
	if first == "" {
		return head, false
	}
	if len(first) > maxHeader {
		return head, strings.HasPrefix(first, "ey") // {" : too large, and refused as what it claims to be
	}
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || len(b) == 0 || b[0] != '{' {
		return head, false
	}
	return head, json.Unmarshal(b, &head) == nil
}

// Payload returns the bytes that were or would be signed as claims. They must
// not be changed.
func (u *Unverified) Payload() []byte { return u.payload }
