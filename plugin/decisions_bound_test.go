package plugin_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/token"
)

// holder is whoever can prove possession: of certificates, and of a DPoP key.
type holder struct {
	t      *testing.T
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	certs  map[string]*x509.Certificate
	keys   map[string]*ecdsa.PrivateKey
	dpop   *ecdsa.PrivateKey
	bound  string // the token that is bound to dpop
	issuer *provider.Server
}

func newHolder(t *testing.T, issuer *provider.Server) *holder {
	t.Helper()
	h := &holder{t: t, certs: map[string]*x509.Certificate{}, keys: map[string]*ecdsa.PrivateKey{}, issuer: issuer}
	h.caKey, h.ca = h.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	for _, name := range []string{"client", "stranger"} {
		h.keys[name], h.certs[name] = h.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	h.dpop = h.key()
	return h
}

func (h *holder) key() *ecdsa.PrivateKey {
	h.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

// issue signs a certificate, by the authority once there is one.
func (h *holder) issue(c *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	h.t.Helper()
	key := h.key()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if h.ca != nil {
		parent, signer = h.ca, h.caKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	return key, out
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// entity is the certificate of a name as Kong keeps it, with its key.
func (h *holder) entity(name string) *entities.Certificate {
	der, err := x509.MarshalPKCS8PrivateKey(h.keys[name])
	if err != nil {
		h.t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return &entities.Certificate{ID: name, Cert: pemOf(h.certs[name]), Key: entities.NewPEM(string(key))}
}

// mint makes a token of alex with a confirmation (RFC 7800).
func (h *holder) mint(cnf map[string]any) string {
	h.t.Helper()
	t, err := h.issuer.Mint(provider.TokenRequest{User: "alex", Claims: map[string]any{"cnf": cnf}})
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

// certBound is a token that is bound to a certificate (RFC 8705 3.1).
func (h *holder) certBound(name string) string {
	return h.mint(map[string]any{"x5t#S256": token.CertificateThumbprint(h.certs[name].Raw)})
}

// keyBound is the one token that is bound to the DPoP key (RFC 9449 6.1).
func (h *holder) keyBound() string {
	if h.bound == "" {
		sum, err := (&jose.JSONWebKey{Key: h.dpop.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			h.t.Fatal(err)
		}
		h.bound = h.mint(map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(sum)})
	}
	return h.bound
}

// proof is a DPoP proof for that token (RFC 9449 4.2).
func (h *holder) proof(method, target string) string {
	h.t.Helper()
	ath := sha256.Sum256([]byte(h.keyBound()))
	raw, err := json.Marshal(map[string]any{"htm": method, "htu": target, "iat": time.Now().Unix(), "jti": rand.Text(), "ath": base64.RawURLEncoding.EncodeToString(ath[:])})
	if err != nil {
		h.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.dpop}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		h.t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// Certificate implements entities.Lookups.
func (k *kongData) Certificate(context.Context, string, string) (*entities.Certificate, error) {
	return k.holder.entity("client"), nil
}

// CACertificate implements entities.Lookups.
func (k *kongData) CACertificate(context.Context, string) (*entities.CACertificate, error) {
	return &entities.CACertificate{Cert: pemOf(k.holder.ca)}, nil
}

// front is a token endpoint over TLS beside the main provider: it knows clients
// by their certificate, and takes the tokens of others in exchange.
type front struct {
	*httptest.Server
	w     *world
	calls []string // of the last request
}

func newFront(w *world) *front {
	f := &front{w: w}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	f.StartTLS()
	w.t.Cleanup(f.Close)
	return f
}

func (f *front) serve(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(rw, err.Error(), 400)
		return
	}
	form := r.PostForm
	peer := ""
	if len(r.TLS.PeerCertificates) > 0 {
		peer = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	answer := func(status int, body any) {
		by := ""
		if id, secret, ok := r.BasicAuth(); ok {
			by = fmt.Sprintf(", Basic %q", id+":"+secret)
		}
		f.calls = append(f.calls, fmt.Sprintf("token %s over TLS with the certificate %q%s, client %q, secret %v, subject %s, scope %q, audience %q: %d", form.Get("grant_type"), peer, by,
			form.Get("client_id"), form.Get("client_secret") == clientSecret, readSubject(form.Get("subject_token")), form.Get("scope"), form.Get("audience"), status))
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		if raw, ok := body.([]byte); ok {
			rw.Write(raw)
			return
		}
		json.NewEncoder(rw).Encode(body)
	}
	switch grant := form.Get("grant_type"); {
	case grant == "urn:ietf:params:oauth:grant-type:token-exchange" && form.Get("client_secret") == clientSecret:
		t, err := f.w.main.Mint(provider.TokenRequest{User: "blake", Scopes: []string{"exchanged"}})
		if err != nil {
			f.w.t.Error(err)
		}
		answer(200, map[string]any{"access_token": t, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 300})
	case grant == "password" && peer == "client" && form.Get("client_secret") == "":
		form.Set("client_secret", clientSecret)
		res, err := http.PostForm(f.w.main.URL+"/token", url.Values(form))
		form.Del("client_secret")
		if err != nil {
			f.w.t.Error(err)
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		f.w.main.ResetRecords()
		answer(res.StatusCode, body)
	default:
		answer(401, map[string]any{"error": "invalid_client"})
	}
}

// readSubject names the issuer of a subject token by its place.
func readSubject(s string) string {
	if s == "" {
		return "none"
	}
	return readJWT(s)
}
