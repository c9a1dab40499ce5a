package token

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

const (
	// dpopType is the header `typ` of a proof (RFC 9449 section 4.2).
	dpopType = "dpop+jwt"
	// maxProof bounds a proof in bytes.
	maxProof = 8 << 10
	maxJTI   = 512
)

// The error codes of a challenge (RFC 9449 sections 7.1 and 9).
const (
	InvalidDPoPProof = "invalid_dpop_proof"
	UseDPoPNonce     = "use_dpop_nonce"
	InvalidToken     = "invalid_token"
)

// DPoPError is a proof that was refused: the caller's fault (401).
type DPoPError struct {
	// Code is the `error` of the challenge: InvalidDPoPProof, UseDPoPNonce, or
	// InvalidToken where the proof is good and the token is bound to another key.
	Code string
	// Nonce is for the header DPoP-Nonce; "" for none.
	Nonce  string
	Reason string
}

func (e *DPoPError) Error() string { return "DPoP proof is not accepted: " + e.Reason }

// ErrReplays says that proofs cannot be remembered at present, so that none is
// accepted: the gateway's fault (503).
var ErrReplays = errors.New("DPoP proofs cannot be remembered")

// Replays remembers proofs. MemoryReplays is the one of this process.
type Replays interface {
	// Remember notes the proof id of the key with a thumbprint until then, and
	// reports whether it had not been noted before; both are one step. An error
	// says that it could not be noted, for instance because the memory is full.
	Remember(ctx context.Context, thumbprint string, id [sha256.Size]byte, until time.Time) (fresh bool, err error)
}

// DPoPVerifier checks proofs of possession as a resource server (RFC 9449
// section 4.3). It is safe for concurrent use once it is set up.
type DPoPVerifier struct {
	// Algorithms that are accepted, asymmetric ones only; nil for all.
	Algorithms []string
	// Lifetime is dpop_proof_lifetime: the age of the nonce, or of the proof
	// where no nonces are used, at which a proof is refused.
	Lifetime time.Duration
	// Leeway is added to Lifetime, and is how far `iat` may lie in the future.
	Leeway time.Duration
	// Nonces is set with dpop_use_nonce: every proof must hold one of them.
	Nonces *DPoPNonces
	// Replays is required.
	Replays Replays
	// Now is the clock.
	Now func() time.Time
}

// DPoPRequest is what a proof must be about.
type DPoPRequest struct {
	Proofs []string // every value of the header DPoP
	Method string
	URL    string // as the caller sees it; query and fragment do not matter
	// AccessToken is what the proof came with, JKT the thumbprint that it is
	// bound to (Confirmation.JKT).
	AccessToken Opaque
	JKT         string
}

// DPoPResult is a proof that was accepted.
type DPoPResult struct {
	// Nonce is for the header DPoP-Nonce of the answer; "" while the one that
	// the caller has is fresh enough.
	Nonce string
}

// AcceptedAlgorithms lists the algorithms as the `algs` of a challenge does
// (RFC 9449 section 7.1).
func (v *DPoPVerifier) AcceptedAlgorithms() string { return strings.Join(v.algorithms(), " ") }

func (v *DPoPVerifier) algorithms() []string {
	if v.Algorithms == nil {
		return asymmetric
	}
	return slices.DeleteFunc(slices.Clone(v.Algorithms), func(a string) bool { return !slices.Contains(asymmetric, a) })
}

// Verify checks that the request's proof is one of the holder of the token's
// key, for this request and for no other. Errors are *DPoPError, or wrap
// ErrReplays or what kept a nonce from being read or made.
func (v *DPoPVerifier) Verify(ctx context.Context, r DPoPRequest) (*DPoPResult, error) {
	if v.Replays == nil {
		return nil, fmt.Errorf("%w: there is no memory", ErrReplays)
	}
	u, thumbprint, err := v.open(r.Proofs)
	if err != nil {
		return nil, err
	}
	jti, err := checkProof(u, &r)
	if err != nil {
		return nil, err
	}
	if r.JKT == "" || !equal(thumbprint, r.JKT) {
		return nil, &DPoPError{Code: InvalidToken, Reason: "the token is bound to another key"}
	}
	issued, renew, err := v.age(ctx, u)
	if err != nil {
		return nil, err
	}
	// The last step: only the holder of a good token and its key takes room.
	id := sha256.Sum256([]byte(thumbprint + "." + jti))
	fresh, err := v.Replays.Remember(ctx, thumbprint, id, issued.Add(v.Lifetime+v.Leeway+time.Second))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReplays, err)
	}
	if !fresh {
		return nil, refuse("it was used before")
	}
	out := &DPoPResult{}
	if renew {
		if out.Nonce, err = v.Nonces.New(ctx, v.Now()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func refuse(reason string) error { return &DPoPError{Code: InvalidDPoPProof, Reason: reason} }

// open reads the proof and verifies it with the key that it brings.
func (v *DPoPVerifier) open(proofs []string) (*Unverified, string, error) {
	if len(proofs) != 1 {
		return nil, "", refuse(fmt.Sprintf("one header DPoP is required, not %d", len(proofs)))
	}
	u, err := Parse(proofs[0], maxProof)
	if errors.Is(err, ErrAlgorithm) {
		return nil, "", refuse("its algorithm is not accepted")
	}
	if err != nil {
		return nil, "", refuse("it is not a JWT")
	}
	if u.Header.Type != dpopType {
		return nil, "", refuse("its typ is not " + dpopType)
	}
	if !slices.Contains(v.algorithms(), u.Header.Algorithm) {
		return nil, "", refuse("its algorithm is not accepted")
	}
	key, err := proofKey(proofs[0])
	if err != nil {
		return nil, "", err
	}
	if !Fits(&key, u.Header.Algorithm) {
		return nil, "", refuse("its key does not fit its algorithm")
	}
	if _, err := u.jws.Verify(key.Key); err != nil {
		return nil, "", refuse("its signature is not that of its key")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", refuse("its key has no thumbprint")
	}
	return u, base64.RawURLEncoding.EncodeToString(sum), nil
}

// privateMembers of a JWK (RFC 7518 section 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// proofKey reads header `jwk` of a proof that was parsed already.
func proofKey(raw string) (jose.JSONWebKey, error) {
	first, _, _ := strings.Cut(raw, ".")
	b, err := base64.RawURLEncoding.DecodeString(first)
	var header struct {
		JWK json.RawMessage `json:"jwk"`
	}
	if err != nil || json.Unmarshal(b, &header) != nil || len(header.JWK) == 0 {
		return jose.JSONWebKey{}, refuse("it has no jwk")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(header.JWK, &members) != nil {
		return jose.JSONWebKey{}, refuse("its jwk is not an object")
	}
	for name := range members {
		if slices.Contains(privateMembers, strings.ToLower(name)) {
			return jose.JSONWebKey{}, refuse("its jwk holds a private key")
		}
	}
	key, err := ParsePublicKey(header.JWK)
	if err != nil {
		return jose.JSONWebKey{}, refuse("its jwk is not a public key that is accepted")
	}
	return key, nil
}

// checkProof holds the claims of a proof against the request and returns its jti.
func checkProof(u *Unverified, r *DPoPRequest) (jti string, err error) {
	jti, _ = u.Claims["jti"].(string)
	if jti == "" || len(jti) > maxJTI {
		return "", refuse("its jti is missing or too long")
	}
	if htm, _ := u.Claims["htm"].(string); htm == "" || htm != r.Method {
		return "", refuse("its htm is not the method of the request")
	}
	htu, _ := u.Claims["htu"].(string)
	got, ok1 := normaliseHTU(htu)
	want, ok2 := normaliseHTU(r.URL)
	if !ok1 || !ok2 || got != want {
		return "", refuse("its htu is not the address of the request")
	}
	sum := sha256.Sum256([]byte(r.AccessToken.Reveal()))
	ath, _ := u.Claims["ath"].(string)
	if r.AccessToken == "" || !equal(ath, base64.RawURLEncoding.EncodeToString(sum[:])) {
		return "", refuse("its ath is not the hash of the access token")
	}
	return jti, nil
}

// age returns since when the proof is good, and whether the caller's nonce is
// to be replaced.
func (v *DPoPVerifier) age(ctx context.Context, u *Unverified) (issued time.Time, renew bool, err error) {
	now := v.Now()
	iat, err := claims.Time(u.Claims["iat"])
	if err != nil {
		return issued, false, refuse("its iat is missing or not a date")
	}
	if v.Nonces == nil {
		if claims.Future(iat, now, v.Leeway) {
			return issued, false, refuse("its iat lies in the future")
		}
		if now.Sub(iat) > v.Lifetime+v.Leeway {
			return issued, false, refuse("it is too old")
		}
		return iat, false, nil
	}
	nonce, _ := u.Claims["nonce"].(string)
	made, ok, err := v.Nonces.Made(ctx, nonce)
	if err != nil {
		return issued, false, err
	}
	if age := now.Sub(made); ok && age <= v.Lifetime+v.Leeway && age >= -nonceSkew {
		return made, age > v.Lifetime/2, nil
	}
	next, err := v.Nonces.New(ctx, now)
	if err != nil {
		return issued, false, err
	}
	return issued, false, &DPoPError{Code: UseDPoPNonce, Nonce: next, Reason: "it has no nonce, or one that is no longer good"}
}
