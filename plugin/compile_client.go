package plugin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// client builds the authentication of client i.
func client(c *Config, i int, env *Environment) (*clientauth.Client, error) {
	id := at(c.ClientID, i)
	if id == "" {
		return nil, nil
	}
	o := clientauth.Options{
		ID: id, Secret: token.Opaque(at(c.ClientSecret, i).Reveal()), Method: clientauth.Method(at(c.ClientAuth, i)), Algorithm: string(at(c.ClientAlg, i)),
		Certificate: c.TLSClientAuthCertID != "", Own: env.OwnSigner,
	}
	if len(c.ClientJWK) > 0 {
		jwk := at(c.ClientJWK, i)
		b, err := jwk.marshal()
		if err != nil {
			return nil, err
		}
		o.JWK = b
	}
	return clientauth.New(o)
}

// marshal writes the key as a JWK (RFC 7517), private members included.
func (k *JWK) marshal() ([]byte, error) {
	m := map[string]string{
		"kty": k.KTY, "alg": k.Alg, "kid": k.KID, "crv": k.Crv, "x": k.X, "y": k.Y, "n": k.N, "e": k.E, "use": k.Use,
		"d": k.D.Reveal(), "p": k.P.Reveal(), "q": k.Q.Reveal(), "dp": k.DP.Reveal(), "dq": k.DQ.Reveal(), "qi": k.QI.Reveal(), "k": k.K.Reveal(),
	}
	for n, v := range m {
		if v == "" {
			delete(m, n)
		}
	}
	return json.Marshal(m)
}

// decrypter holds the keys by which client i opens what is encrypted for it.
func decrypter(c *Config, i int) (*token.Decrypter, error) {
	o := token.DecrypterOptions{Secret: token.Opaque(at(c.ClientSecret, i).Reveal())}
	if len(c.ClientJWK) > 0 {
		jwk := at(c.ClientJWK, i)
		b, err := jwk.marshal()
		if err != nil {
			return nil, err
		}
		o.JWKs = [][]byte{b}
	}
	return token.NewDecrypter(o)
}

// clientCertificate loads the certificate of tls_client_auth from Kong.
func clientCertificate(c *Config, env *Environment) op.ClientCertificate {
	id := string(c.TLSClientAuthCertID)
	if id == "" {
		return op.ClientCertificate{}
	}
	k := &keptCertificate{id: id, entities: env.Entities}
	return op.ClientCertificate{ID: id, Load: k.load, InsecureSkipVerify: !c.TLSClientAuthSSLVerify}
}

// keptCertificate parses a certificate again only when Kong holds another one.
type keptCertificate struct {
	id       string
	entities Entities

	mu     sync.Mutex
	text   string
	parsed *tls.Certificate
}

func (k *keptCertificate) load(ctx context.Context) (*tls.Certificate, error) {
	e, err := k.entities.Certificate(ctx, "", k.id)
	if err != nil {
		return nil, fmt.Errorf("certificate %s of tls_client_auth_cert_id: %w", k.id, err)
	}
	text := e.Cert + "\x00" + e.Key.Reveal()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parsed == nil || text != k.text {
		pair, err := tls.X509KeyPair([]byte(e.Cert), []byte(e.Key.Reveal()))
		if err != nil {
			return nil, errors.New("certificate " + k.id + " of tls_client_auth_cert_id and its key do not fit together")
		}
		k.text, k.parsed = text, &pair
	}
	return k.parsed, nil
}
