package op

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/op/clientauth"
)

// newCertificate makes a self-signed client certificate.
func newCertificate(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// mtlsIDP is a provider over TLS that asks for certificates and notes, by
// path, whose certificate came.
type mtlsIDP struct {
	*httptest.Server
	mu       sync.Mutex
	document map[string]any
	seen     map[string]string
	forms    map[string]url.Values
	held     *tls.Certificate
	loads    int
	loadErr  error
}

func newMTLS(t *testing.T) *mtlsIDP {
	t.Helper()
	i := &mtlsIDP{seen: map[string]string{}, forms: map[string]url.Values{}, held: newCertificate(t, "first")}
	i.Server = httptest.NewUnstartedServer(i)
	i.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	i.StartTLS()
	t.Cleanup(i.Close)
	i.document = map[string]any{
		"issuer": i.URL, "token_endpoint": i.URL + "/token", "introspection_endpoint": i.URL + "/introspection", "revocation_endpoint": i.URL + "/revocation",
		"mtls_endpoint_aliases": map[string]any{
			"token_endpoint": i.URL + "/mtls/token", "introspection_endpoint": i.URL + "/mtls/introspection", "revocation_endpoint": i.URL + "/mtls/revocation",
		},
	}
	return i
}

func (i *mtlsIDP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	name := "-"
	if len(r.TLS.PeerCertificates) > 0 {
		name = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	_ = r.ParseForm()
	i.seen[r.URL.Path], i.forms[r.URL.Path] = name, r.PostForm
	if r.URL.Path == discoveryPath {
		_ = json.NewEncoder(w).Encode(i.document)
		return
	}
	_, _ = w.Write([]byte(`{"access_token":"at","active":true}`))
}

// path returns who called a path, "" for nobody.
func (i *mtlsIDP) path(p string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen[p]
}

func (i *mtlsIDP) config() Config {
	c := config(i.URL)
	c.HTTP.Certificate = ClientCertificate{ID: "cert", Load: func(context.Context) (*tls.Certificate, error) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.loads++
		return i.held, i.loadErr
	}}
	return c
}

func (i *mtlsIDP) provider(t *testing.T, c Config) *Provider {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(i.Certificate())
	p, err := NewRegistry(Environment{Roots: roots}).Provider(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tlsClient(t *testing.T, m clientauth.Method) *clientauth.Client {
	return client1(t, clientauth.Options{Method: m, Certificate: true})
}

func grant() url.Values { return url.Values{"grant_type": {"client_credentials"}} }

func TestClientCertificateAtEachEndpoint(t *testing.T) {
	for _, m := range []clientauth.Method{clientauth.TLS, clientauth.SelfSignedTLS} {
		i := newMTLS(t)
		p, cl := i.provider(t, i.config()), tlsClient(t, m)
		if _, err := p.Token(t.Context(), TokenRequest{Client: cl, Form: grant()}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Introspect(t.Context(), IntrospectionRequest{Client: cl, Token: "at"}); err != nil {
			t.Fatal(err)
		}
		if err := p.Revoke(t.Context(), RevocationRequest{Client: cl, Token: "at"}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/mtls/token", "/mtls/introspection", "/mtls/revocation"} {
			if got := i.path(path); got != "first" {
				t.Errorf("%s: %s was called with certificate %q", m, path, got)
			}
			if f := i.forms[path]; f.Get("client_id") != "client" || f.Has("client_secret") {
				t.Errorf("%s: sent %v", m, f)
			}
		}
		if got := i.path(discoveryPath); got != "-" {
			t.Errorf("%s: discovery carried certificate %q", m, got)
		}
	}
}

func TestOtherMethodsNeverCarryTheCertificate(t *testing.T) {
	i := newMTLS(t)
	p := i.provider(t, i.config())
	cl := client1(t, clientauth.Options{Secret: "secret", Method: clientauth.SecretBasic, Certificate: true})
	if _, err := p.Token(t.Context(), TokenRequest{Client: tlsClient(t, clientauth.TLS), Form: grant()}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Token(t.Context(), TokenRequest{Client: cl, Form: grant()}); err != nil {
		t.Fatal(err)
	}
	if got := i.path("/token"); got != "-" {
		t.Errorf("the token endpoint was called with certificate %q", got)
	}
}

func TestConfiguredAliasesGoFirst(t *testing.T) {
	i := newMTLS(t)
	c := i.config()
	c.Endpoints = Endpoints{Token: i.URL + "/plain", MTLSToken: i.URL + "/own/token", MTLSIntrospection: i.URL + "/own/introspection", MTLSRevocation: i.URL + "/own/revocation"}
	p, cl := i.provider(t, c), tlsClient(t, clientauth.TLS)
	_, err1 := p.Token(t.Context(), TokenRequest{Client: cl, Form: grant()})
	_, err2 := p.Introspect(t.Context(), IntrospectionRequest{Client: cl, Token: "at"})
	err3 := p.Revoke(t.Context(), RevocationRequest{Client: cl, Token: "at"})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/own/token", "/own/introspection", "/own/revocation"} {
		if i.path(path) != "first" {
			t.Errorf("%s was not called with the certificate", path)
		}
	}
}

func TestWithoutAliasTheOrdinaryEndpointServes(t *testing.T) {
	i := newMTLS(t)
	delete(i.document, "mtls_endpoint_aliases")
	p := i.provider(t, i.config())
	if _, err := p.Token(t.Context(), TokenRequest{Client: tlsClient(t, clientauth.TLS), Form: grant()}); err != nil || i.path("/token") != "first" {
		t.Errorf("got %v, certificate %q", err, i.path("/token"))
	}
}

func TestReplacedCertificateIsTakenUp(t *testing.T) {
	i := newMTLS(t)
	p, cl := i.provider(t, i.config()), tlsClient(t, clientauth.TLS)
	ask := func() string {
		if _, err := p.Token(t.Context(), TokenRequest{Client: cl, Form: grant()}); err != nil {
			t.Fatal(err)
		}
		return i.path("/mtls/token")
	}
	if got := ask(); got != "first" {
		t.Fatalf("got %q", got)
	}
	held := p.mtls.held
	if ask(); p.mtls.held != held {
		t.Error("connections of an unchanged certificate were thrown away")
	}
	i.mu.Lock()
	i.held = newCertificate(t, "second")
	i.mu.Unlock()
	if got := ask(); got != "second" {
		t.Errorf("got %q", got)
	}
	p.Close()
}

func TestCertificateFailures(t *testing.T) {
	cause := errors.New("entity store away")
	for _, c := range []struct {
		name string
		edit func(*mtlsIDP, *Config)
		kind Kind
		text string
	}{
		{"lookup fails", func(i *mtlsIDP, _ *Config) { i.loadErr = cause }, Unavailable, "entity store away"},
		{"no such certificate", func(i *mtlsIDP, _ *Config) { i.held = nil }, Misconfigured, "tls_client_auth_cert_id"},
		{"no private key", func(i *mtlsIDP, _ *Config) { i.held.PrivateKey = nil }, Misconfigured, "tls_client_auth_cert_id"},
		{"none configured", func(_ *mtlsIDP, c *Config) { c.HTTP.Certificate = ClientCertificate{} }, Misconfigured, "tls_client_auth_cert_id"},
		{"no TLS", func(i *mtlsIDP, c *Config) { c.Endpoints.MTLSToken = "http://" + i.Listener.Addr().String() + "/token" }, Misconfigured, "https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newMTLS(t)
			conf := i.config()
			c.edit(i, &conf)
			_, err := i.provider(t, conf).Token(t.Context(), TokenRequest{Client: tlsClient(t, clientauth.TLS), Form: grant()})
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
			if i.path("/token") != "" || i.path("/mtls/token") != "" {
				t.Error("the provider was called")
			}
		})
	}
}

func TestCertificateOfTheServerIsVerified(t *testing.T) {
	i := newMTLS(t)
	c := i.config()
	c.PseudoIssuer, c.Endpoints.MTLSToken = true, i.URL+"/mtls/token"
	ask := func(c Config) error {
		p, err := NewRegistry(Environment{Roots: x509.NewCertPool()}).Provider(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Token(t.Context(), TokenRequest{Client: tlsClient(t, clientauth.TLS), Form: grant()})
		return err
	}
	// ssl_verify=false is not meant for these connections.
	c.HTTP.InsecureSkipVerify = true
	if err := ask(c); err == nil {
		t.Error("an unknown authority was trusted")
	}
	c.HTTP.InsecureSkipVerify, c.HTTP.Certificate.InsecureSkipVerify = false, true
	if err := ask(c); err != nil {
		t.Errorf("tls_client_auth_ssl_verify=false: %v", err)
	}
}

func TestCertificatesAreNotShared(t *testing.T) {
	a, b, c := config("https://idp.example"), config("https://idp.example"), config("https://idp.example")
	a.HTTP.Certificate.ID, b.HTTP.Certificate.ID = "one", "two"
	c.HTTP.Certificate = ClientCertificate{ID: "one", InsecureSkipVerify: true}
	if a.key() == b.key() || a.key() == c.key() {
		t.Error("configurations of different certificates share a provider")
	}
	if a.Scope() != b.Scope() {
		t.Error("what is discovered does not depend on the certificate")
	}
}
