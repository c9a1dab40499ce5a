package own

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

// Key is a key pair as a Store keeps it.
type Key struct {
	KID       string
	Algorithm string // one of Algorithms; "" for whatever the key fits
	Previous  bool   // published only; it signs no more
	Created   time.Time
	Private   token.Opaque // the private JWK
}

// Ed448 names the key pair of that curve. Its JWS algorithm is EdDSA, which
// stands for Ed25519 here.
const Ed448 = "Ed448"

// rsaBits is the size of generated RSA keys.
const rsaBits = 2048

// Algorithms returns those for which a key pair is made, in the order in which they are published.
func Algorithms() []string {
	return []string{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "EdDSA", Ed448,
	}
}

// jwsAlgorithm is what stands in `alg` of a key.
func jwsAlgorithm(alg string) string {
	if alg == Ed448 {
		return "EdDSA"
	}
	return alg
}

// Generate makes a key pair for an algorithm of Algorithms. Its kid is the
// key's thumbprint (RFC 7638).
func Generate(alg string, now time.Time) (Key, error) {
	private, kid, err := generate(alg)
	if err != nil {
		return Key{}, fmt.Errorf("make a key for %s: %w", alg, err)
	}
	return Key{KID: kid, Algorithm: alg, Created: now, Private: token.Opaque(private)}, nil
}

func generate(alg string) (private []byte, kid string, err error) {
	var key any
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case Ed448:
		return generateEd448()
	default:
		return nil, "", errors.New("the algorithm is unknown")
	}
	if err != nil {
		return nil, "", err
	}
	jwk := jose.JSONWebKey{Key: key, Algorithm: alg, Use: "sig"}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	private, err = jwk.MarshalJSON()
	return private, jwk.KeyID, err
}

func generateEd448() (private []byte, kid string, err error) {
	public, key, err := ed448.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	x := base64.RawURLEncoding.EncodeToString(public)
	// RFC 8037 section 2: the members of the thumbprint, in order.
	sum := sha256.Sum256([]byte(`{"crv":"Ed448","kty":"OKP","x":"` + x + `"}`))
	kid = base64.RawURLEncoding.EncodeToString(sum[:])
	private, err = json.Marshal(map[string]string{
		"kty": "OKP", "crv": "Ed448", "x": x, "d": base64.RawURLEncoding.EncodeToString(key.Seed()),
		"kid": kid, "alg": "EdDSA", "use": "sig",
	})
	return private, kid, err
}

// publicMembers are all that is ever published of a key.
var publicMembers = [...]string{"kty", "use", "alg", "kid", "crv", "n", "e", "x", "y"}

// public returns the public form of a key, member by member from a list: what
// is not on it does not get out.
func (k *Key) public() (json.RawMessage, error) {
	parsed, err := token.ParsePublicKey([]byte(k.Private.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("own key %.64q: %w", k.KID, err)
	}
	b, err := token.MarshalPublicKey(&parsed)
	if err != nil {
		return nil, fmt.Errorf("own key %.64q has no public form", k.KID)
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(b, &all) != nil {
		return nil, fmt.Errorf("own key %.64q has no public form", k.KID)
	}
	for name := range all {
		if !slices.Contains(publicMembers[:], name) {
			delete(all, name)
		}
	}
	return json.Marshal(all)
}

// Store keeps key pairs, for all nodes or for this one.
type Store interface {
	// OwnKeys returns all keys.
	OwnKeys(ctx context.Context) ([]Key, error)
	// AddOwnKey keeps a current key unless its algorithm has one, and returns
	// the one that the algorithm has then.
	AddOwnKey(ctx context.Context, k Key) (Key, error)
	// RotateOwnKeys drops the previous keys, makes the current ones previous and
	// the given ones current, in one step.
	RotateOwnKeys(ctx context.Context, next []Key) error
	// DeleteOwnKey forgets a key, or says ErrNotFound.
	DeleteOwnKey(ctx context.Context, kid string) error
}

// ErrNotFound says that there is no such key.
var ErrNotFound = errors.New("no such key")

// ErrReadOnly says that keys are brought in from a file and not made here.
var ErrReadOnly = errors.New("the keys are those of -keys-file: change that file")
