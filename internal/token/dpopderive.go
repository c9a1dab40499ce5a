package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"math/big"

	"github.com/go-jose/go-jose/v4"
)

// DeriveDPoPSigner returns the signer whose P-256 key follows from a secret:
// whoever has the secret has the key, and nothing is kept. purpose keeps keys
// of one secret apart. The key is made as FIPS 186-5 section A.2.1 says, by
// extra random bits.
func DeriveDPoPSigner(secret []byte, purpose string) (*DPoPSigner, error) {
	if len(secret) == 0 {
		return nil, errors.New("there is no secret to derive a DPoP key from")
	}
	curve := elliptic.P256()
	b, err := hkdf.Key(sha256.New, secret, nil, "kong-openid-connect dpop key "+purpose, 48)
	if err != nil {
		return nil, err
	}
	one := big.NewInt(1)
	d := new(big.Int).SetBytes(b)
	d.Mod(d, new(big.Int).Sub(curve.Params().N, one)).Add(d, one)
	key, err := ecdsa.ParseRawPrivateKey(curve, d.FillBytes(make([]byte, 32)))
	if err != nil {
		return nil, errors.New("no DPoP key follows from the secret")
	}
	jwk, err := jose.JSONWebKey{Key: key}.MarshalJSON()
	if err != nil {
		return nil, errors.New("no DPoP key follows from the secret")
	}
	return NewDPoPSigner(jwk, "ES256")
}
