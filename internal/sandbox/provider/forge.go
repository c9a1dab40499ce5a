package provider

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	otherIssuer  = "https://other-issuer.example.test"
	otherClient  = "other-client"
	otherSubject = "sub-somebody-else"
)

// forge lets the faults in force that act on this token change it.
func (p *Provider) forge(d *draft, endpoint, client, token string) error {
	for _, f := range p.faults.take(func(f Fault) bool {
		return catalogue[f.Name].group == groupToken && f.acts(endpoint, client) && (f.Token == token || f.Token == TokenAny)
	}) {
		if err := p.distort(d, f, client); err != nil {
			return err
		}
	}
	return nil
}

// distort applies one token fault.
func (p *Provider) distort(d *draft, f Fault, client string) error {
	switch {
	case p.distortClaims(d, f, client):
		return nil
	case strings.HasPrefix(f.Name, "alg-"):
		return p.distortAlgorithm(d, f, client)
	default:
		return p.distortHeader(d, f)
	}
}

// distortClaims reports whether the fault is one of the claims.
func (p *Provider) distortClaims(d *draft, f Fault, client string) bool {
	c, now := d.claims, p.now()
	hour := int64(time.Hour / time.Second)
	switch f.Name {
	case "wrong-iss":
		c["iss"] = f.valueOr(otherIssuer)
	case "wrong-sub":
		c["sub"] = f.valueOr(otherSubject)
	case "empty-sub":
		c["sub"] = ""
	case "missing-iss", "missing-sub", "missing-iat", "missing-exp", "missing-aud", "missing-nonce", "missing-jti":
		delete(c, strings.TrimPrefix(f.Name, "missing-"))
	case "missing-at-hash":
		delete(c, "at_hash")
	case "missing-c-hash":
		delete(c, "c_hash")
	case "missing-auth-time":
		delete(c, "auth_time")
	case "wrong-aud":
		c["aud"] = f.valueOr(otherClient)
	case "multiple-aud-no-azp":
		c["aud"] = []string{client, otherClient}
		delete(c, "azp")
	case "multiple-aud":
		c["aud"], c["azp"] = []string{client, otherClient}, client
	case "bad-azp":
		c["aud"], c["azp"] = []string{client, otherClient}, otherClient
	case "expired":
		c["iat"], c["nbf"], c["exp"] = now.Unix()-2*hour, now.Unix()-2*hour, now.Unix()-hour
	case "nbf-future":
		c["nbf"] = now.Unix() + hour
	case "iat-future":
		c["iat"], c["exp"] = now.Unix()+hour, now.Unix()+2*hour
	case "exp-string":
		c["exp"] = "tomorrow"
	case "exp-numeric-string":
		c["exp"] = fmt.Sprint(now.Unix() + hour)
	case "exp-float":
		c["exp"] = json.Number(fmt.Sprintf("%d.5", now.Unix()+hour))
	case "exp-huge":
		c["exp"] = json.Number("1e300")
	case "exp-negative":
		c["exp"] = -1
	case "exp-object":
		c["exp"] = map[string]any{"seconds": now.Unix() + hour}
	case "huge":
		c["padding"] = strings.Repeat("a", int(sizeOr(f.Size, 1<<20)))
	case "wrong-nonce":
		c["nonce"] = random()
	case "bad-at-hash":
		c["at_hash"] = leftHash(d.alg, random())
	case "bad-c-hash":
		c["c_hash"] = leftHash(d.alg, random())
	case "old-auth-time":
		c["auth_time"] = now.Unix() - 24*hour
	case "same-jti":
		c["jti"] = f.valueOr("the-same-jti")
	case "claims":
		overlay(c, f.Claims)
	default:
		return false
	}
	return true
}

func (p *Provider) distortAlgorithm(d *draft, f Fault, client string) error {
	withSecret := func(secret []byte) {
		d.alg, d.secret, d.header["alg"] = HS256, secret, HS256
	}
	withKey := func(alg string) {
		k := p.keys.get(alg)
		d.alg, d.key, d.header["alg"], d.header["kid"] = alg, k.signer, alg, k.kid
		d.bind()
	}
	switch f.Name {
	case "alg-none":
		d.alg, d.header["alg"] = "none", f.valueOr("none")
		delete(d.header, "kid")
	case "alg-missing":
		delete(d.header, "alg")
	case "alg-hs256-with-public-key":
		k := p.keys.get(RS256)
		der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
		if err != nil {
			return fmt.Errorf("provider: encoding a public key: %w", err)
		}
		withSecret(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		d.header["kid"] = k.kid
	case "alg-hs256-with-secret":
		secret := ""
		if c := p.client(client); c != nil {
			secret = c.Secret
		}
		withSecret([]byte(secret))
		delete(d.header, "kid")
	case "alg-hs256-with-empty-key":
		withSecret(nil)
		delete(d.header, "kid")
	case "alg-mismatch":
		withKey(ES256)
		d.header["alg"] = RS256
	case "alg-es256":
		withKey(ES256)
	case "alg-ps256":
		withKey(PS256)
	case "alg-eddsa":
		withKey(EdDSA)
	default:
		return fmt.Errorf("provider: fault %q is listed but not built", f.Name)
	}
	return nil
}

func (p *Provider) distortHeader(d *draft, f Fault) error {
	foreign := func() *key {
		k := p.keys.foreign
		d.alg, d.key, d.header["alg"], d.header["kid"] = k.alg, k.signer, k.alg, k.kid
		return k
	}
	switch f.Name {
	case "bad-signature":
		d.finish = turnBit
	case "missing-signature":
		d.finish = func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] }
	case "foreign-key":
		d.alg, d.key, d.header["alg"], d.header["kid"] = ES256, p.keys.foreign.signer, ES256, p.keys.KeyID(ES256)
	case "kid-absent":
		delete(d.header, "kid")
	case "unknown-kid":
		d.header["kid"] = f.valueOr("unknown-" + random())
	case "header-jwk":
		d.header["jwk"] = foreign().jwk()
	case "header-jku":
		foreign()
		d.header["jku"] = f.valueOr(p.Issuer() + "/sandbox/elsewhere")
	case "header-x5u":
		foreign()
		d.header["x5u"] = f.valueOr(p.Issuer() + "/sandbox/elsewhere")
	case "header-x5c":
		der, err := selfSigned(foreign(), p.now())
		if err != nil {
			return err
		}
		d.header["x5c"] = [][]byte{der}
	case "crit":
		d.header["crit"], d.header["urn:example:unknown"] = []string{"urn:example:unknown"}, true
	case "typ":
		d.header["typ"] = f.valueOr("dpop+jwt")
	case "header":
		overlay(d.header, f.Header)
	case "jwe-empty-key":
		d.finish = func(string) string { return sealed(`{"alg":"RSA-OAEP-256","enc":"A256GCM"}`) }
	case "jwe-zip":
		d.finish = func(string) string { return sealed(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`) }
	case "not-jwt":
		d.finish = func(string) string { return random() + "." + random() + "." + random() }
	default:
		return fmt.Errorf("provider: fault %q is listed but not built", f.Name)
	}
	return nil
}

// turnBit changes the first character of the signature, so that the encoding
// stays valid and only the signature does not.
func turnBit(s string) string {
	at := strings.LastIndexByte(s, '.') + 1
	if at == len(s) {
		return s + "AAAA"
	}
	other := byte('A')
	if s[at] == other {
		other = 'B'
	}
	return s[:at] + string(other) + s[at+1:]
}

// sealed is the shape of a JWE without an encrypted key (RFC 7516 section 7.1);
// nobody can open it.
func sealed(header string) string {
	return b64([]byte(header)) + ".." + b64(make([]byte, 12)) + "." + random() + "." + b64(make([]byte, 16))
}

func selfSigned(k *key, now time.Time) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "not to be trusted"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "not to be trusted"}}, k.signer.Public(), k.signer)
	if err != nil {
		return nil, fmt.Errorf("provider: making a certificate: %w", err)
	}
	return der, nil
}

// overlay copies members over m; nil removes one.
func overlay(m, over map[string]any) {
	for name, value := range over {
		if value == nil {
			delete(m, name)
			continue
		}
		m[name] = value
	}
}

func sizeOr(n, otherwise int64) int64 {
	if n == 0 {
		return otherwise
	}
	return n
}

// elsewhere is what planted URLs lead to: the foreign key's set.
func (p *Provider) elsewhere() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.keys.foreign.jwk()}}
}
