package clientauth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

const endpoint = "https://idp.example/token"

var now = time.Unix(1_700_000_000, 0)

// keys is a fixed set of verification keys.
type keys []jose.JSONWebKey

func (k keys) Candidates(context.Context, string, token.Header, bool) ([]jose.JSONWebKey, error) {
	return k, nil
}
func (keys) Generation() uint64 { return 0 }

func newJWK(t *testing.T) (private []byte, public jose.JSONWebKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err = (&jose.JSONWebKey{Key: k, KeyID: "k"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return private, jose.JSONWebKey{Key: &k.PublicKey, KeyID: "k"}
}

func authenticate(t *testing.T, o Options, m Method) (url.Values, http.Header, error) {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	k := Call{Endpoint: endpoint, Form: url.Values{"grant_type": {"x"}}, Header: http.Header{}, Now: now}
	err = c.Authenticate(m, k)
	return k.Form, k.Header, err
}

func TestSecrets(t *testing.T) {
	o := Options{ID: "cl ient", Secret: "s:e%20+c/"}
	f, h, err := authenticate(t, o, SecretBasic)
	if err != nil || h.Get("Authorization") != "Basic Y2wgaWVudDpzOmUlMjArYy8=" || f.Has("client_id") || f.Has("client_secret") {
		t.Errorf("basic: %v %v %v", f, h, err)
	}
	f, h, err = authenticate(t, o, SecretPost)
	if err != nil || f.Get("client_id") != "cl ient" || f.Get("client_secret") != "s:e%20+c/" || len(h) != 0 {
		t.Errorf("post: %v %v %v", f, h, err)
	}
	f, h, err = authenticate(t, o, None)
	if err != nil || f.Get("client_id") != "cl ient" || f.Has("client_secret") || len(h) != 0 {
		t.Errorf("none: %v %v %v", f, h, err)
	}
	if f, _, err = authenticate(t, Options{ID: "c", Certificate: true}, TLS); err != nil || f.Get("client_id") != "c" {
		t.Errorf("certificate: %v %v", f, err)
	}
}

func TestAssertions(t *testing.T) {
	private, public := newJWK(t)
	own, err := token.NewKeySigner(private, "")
	if err != nil {
		t.Fatal(err)
	}
	var asked string
	for _, c := range []struct {
		name   string
		o      Options
		method Method
		alg    string
	}{
		{"secret", Options{ID: "c", Secret: "secret"}, SecretJWT, "HS256"},
		{"secret, HS512", Options{ID: "c", Secret: "secret", Algorithm: "HS512"}, SecretJWT, "HS512"},
		{"key", Options{ID: "c", JWK: private}, PrivateKeyJWT, "ES256"},
		{"key and algorithm", Options{ID: "c", JWK: private, Algorithm: "ES256"}, PrivateKeyJWT, "ES256"},
		{"own key", Options{ID: "c", Own: func(alg string) (*token.Signer, error) { asked = alg; return own, nil }}, PrivateKeyJWT, "ES256"},
		{"own key beside one that opens what is encrypted", Options{
			ID: "c", JWK: bytes.Replace(private, []byte("{"), []byte(`{"use":"enc","alg":"ECDH-ES",`), 1),
			Own: func(string) (*token.Signer, error) { return own, nil },
		}, PrivateKeyJWT, "ES256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, h, err := authenticate(t, c.o, c.method)
			if err != nil {
				t.Fatal(err)
			}
			if f.Has("client_id") || f.Has("client_secret") || len(h) != 0 || f.Get("client_assertion_type") != assertionType || f.Get("grant_type") != "x" {
				t.Errorf("sent %v %v", f, h)
			}
			v := token.Verifier{Keys: keys{public}, HMACSecret: c.o.Secret}
			tok, err := v.Verify(t.Context(), f.Get("client_assertion"), token.UseID)
			if err != nil {
				t.Fatal(err)
			}
			id, _ := tok.Claims["jti"].(string)
			if tok.Header.Algorithm != c.alg || tok.Header.Type != "JWT" || tok.Claims["iss"] != "c" || tok.Claims["sub"] != "c" || tok.Claims["aud"] != endpoint ||
				len(id) < 20 || fmt.Sprint(tok.Claims["iat"]) != "1700000000" || !tok.Expiry.Equal(now.Add(time.Minute)) {
				t.Errorf("asserts %+v %v", tok.Header, tok.Claims)
			}
			again, _, _ := authenticate(t, c.o, c.method)
			if again.Get("client_assertion") == f.Get("client_assertion") {
				t.Error("the same assertion twice")
			}
		})
	}
	if asked != "RS256" {
		t.Errorf("asked for an own key for %q", asked)
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	for _, c := range []struct {
		o      Options
		method Method
		want   string
	}{
		{Options{ID: "c"}, SecretBasic, "client_secret"}, {Options{ID: "c"}, SecretPost, "client_secret"}, {Options{ID: "c"}, SecretJWT, "client_secret"},
		{Options{ID: "c", Secret: "secret", Algorithm: "RS256"}, SecretJWT, "client_alg"}, {Options{ID: "c"}, PrivateKeyJWT, "client_jwk"},
		{Options{ID: "c"}, TLS, "tls_client_auth_cert_id"}, {Options{ID: "c"}, "magic", "magic"},
	} {
		f, h, err := authenticate(t, c.o, c.method)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.method, err)
		}
		if len(h) != 0 || len(f) != 1 {
			t.Errorf("%s: sent %v %v", c.method, f, h)
		}
	}
	for _, c := range []*Client{nil, {}} {
		if err := c.Authenticate(None, Call{Form: url.Values{}}); !errors.Is(err, ErrNoClient) {
			t.Errorf("no client: %v", err)
		}
	}
	for name, o := range map[string]Options{
		"broken key":                {ID: "c", JWK: []byte(`{"kty":"RSA"}`)},
		"algorithm of another type": {ID: "c", JWK: func() []byte { p, _ := newJWK(t); return p }(), Algorithm: "RS256"},
		"short secret":              {ID: "c", Secret: "x", Method: SecretJWT},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestChoose(t *testing.T) {
	private, _ := newJWK(t)
	for _, c := range []struct {
		name       string
		o          Options
		endpoint   Method
		advertised []string
		want       Method
	}{
		{"endpoint first", Options{Secret: "secret", Method: SecretPost}, SecretJWT, []string{"none"}, SecretJWT},
		{"client second", Options{Secret: "secret", Method: SecretPost}, "", []string{"client_secret_basic"}, SecretPost},
		{"first advertised with means", Options{Secret: "secret"}, "", []string{"tls_client_auth", "private_key_jwt", "client_secret_post", "client_secret_basic"}, SecretPost},
		{"key", Options{Secret: "secret", JWK: private}, "", []string{"private_key_jwt", "client_secret_post"}, PrivateKeyJWT},
		{"none is not chosen by who has a secret", Options{Secret: "secret"}, "", []string{"none", "client_secret_post"}, SecretPost},
		{"public client", Options{}, "", []string{"client_secret_basic", "none"}, None},
		{"nothing advertised", Options{Secret: "secret"}, "", nil, SecretBasic},
		{"nothing fits", Options{Secret: "secret"}, "", []string{"magic"}, SecretBasic},
		{"certificate", Options{Certificate: true}, "", []string{"tls_client_auth"}, TLS},
	} {
		c.o.ID = "c"
		cl, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := cl.Choose(c.endpoint, c.advertised); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
		if cl.NeedsChoice(c.endpoint) != (c.endpoint == "" && c.o.Method == "") {
			t.Errorf("%s: needs metadata: %v", c.name, cl.NeedsChoice(c.endpoint))
		}
	}
}

// Case 62: a client prints no secret.
func TestCase62ClientPrintsNoSecret(t *testing.T) {
	private, _ := newJWK(t)
	c, err := New(Options{ID: "c", Secret: "top-secret", JWK: private})
	if err != nil {
		t.Fatal(err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(s, "top-secret") {
		t.Errorf("prints %s", s)
	}
}
