package token

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// Opaque is a credential: a token, code, secret or cookie value. It prints
// itself as [redacted] in every format, in JSON and in logs; Reveal is the one
// way out.
type Opaque string

const redacted = "[redacted]"

// Reveal returns the credential itself, to be sent where it belongs.
func (o Opaque) Reveal() string { return string(o) }

func (o Opaque) String() string               { return redacted }
func (o Opaque) GoString() string             { return redacted }
func (o Opaque) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (o Opaque) LogValue() slog.Value         { return slog.StringValue(redacted) }

// Header is the part of a JOSE header that the verifier acts on.
type Header struct {
	Algorithm string
	KeyID     string
	Type      string
	X5T       string // x5t: base64url SHA-1 certificate thumbprint
}

// Token is a JWT that was verified, or whose signature the configuration
// tells to skip (Key is nil then).
type Token struct {
	Raw    Opaque
	Header Header
	Claims claims.Object
	Key    *jose.JSONWebKey // the public key that verified it; nil for HMAC and skipped signatures
	Expiry time.Time        // exp; zero when absent
}

// Keys finds verification keys. Package jwks implements it.
type Keys interface {
	// Candidates returns the keys that may have signed a token of issuer with
	// header h, in the order in which they are to be tried: those that match by
	// kid first. refresh asks for one rediscovery before it answers, subject to
	// the rediscovery floor. An error means that no keys could be had at all
	// (the provider is unreachable), never that none matches.
	Candidates(ctx context.Context, issuer string, h Header, refresh bool) ([]jose.JSONWebKey, error)
	// Generation changes whenever the set of trusted keys changes. Cached
	// verifications are scoped by it.
	Generation() uint64
}
