package token

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// DPoPSigner makes proofs of possession as a client (RFC 9449 section 4.2). It
// never prints its key.
type DPoPSigner struct {
	signer     *Signer
	jws        jose.Signer
	thumbprint string
}

// NewDPoPSigner signs with a private JWK (RSA, EC or Ed25519); alg is as for
// NewKeySigner.
func NewDPoPSigner(jwk []byte, alg string) (*DPoPSigner, error) {
	s, err := NewKeySigner(jwk, alg)
	if err != nil {
		return nil, err
	}
	public, err := ParsePublicKey(jwk)
	if err != nil {
		return nil, err
	}
	if _, ok := public.Key.(Ed448); ok {
		return nil, errors.New("an Ed448 key cannot sign DPoP proofs: use an EC, RSA or Ed25519 key")
	}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, errors.New("the key has no thumbprint")
	}
	// Nothing but the key itself: the rest is of no use to whoever checks it.
	bare := jose.JSONWebKey{Key: public.Key}
	d := &DPoPSigner{signer: s, thumbprint: base64.RawURLEncoding.EncodeToString(sum)}
	if d.jws, err = s.typed(dpopType, &bare); err != nil {
		return nil, errors.New("the key does not sign with " + s.alg)
	}
	return d, nil
}

// Thumbprint returns what tokens of this key are bound to: `cnf.jkt`, dpop_jkt.
func (d *DPoPSigner) Thumbprint() string { return d.thumbprint }

// String names the signer without its key.
func (d *DPoPSigner) String() string { return "DPoP " + d.signer.String() }

// GoString keeps %#v from printing the key.
func (d *DPoPSigner) GoString() string { return d.String() }

// Proof returns a proof for one request: to address by method, with the access
// token ("" for none) and the nonce that the server told ("" for none).
func (d *DPoPSigner) Proof(method, address string, access Opaque, nonce string, now time.Time) (Opaque, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the address of the request is no URL")
	}
	u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = "", "", "", false
	id := make([]byte, 18)
	rand.Read(id)
	c := map[string]any{
		"jti": base64.RawURLEncoding.EncodeToString(id), "htm": method, "htu": u.String(), "iat": now.Unix(),
	}
	if access != "" {
		sum := sha256.Sum256([]byte(access.Reveal()))
		c["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	return d.signer.sign(d.jws, c)
}
