package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// boundToCertificate is an access token that is bound to a certificate (RFC 8705 section 3).
func boundToCertificate(t *testing.T, c tls.Certificate) []string {
	t.Helper()
	return []string{"Authorization", "Bearer " + mint(t, provider.TokenRequest{Claims: map[string]any{"cnf": map[string]any{"x5t#S256": harness.Thumbprint(c)}}})}
}

func unbound(t *testing.T) []string {
	t.Helper()
	return []string{"Authorization", "Bearer " + mint(t, provider.TokenRequest{})}
}

// clientCertificate is one of the root authority.
func clientCertificate(t *testing.T, edit func(*x509.Certificate), sources ...string) tls.Certificate {
	t.Helper()
	return issuedBy(t, env.root, edit, sources...)
}

func issuedBy(t *testing.T, a *harness.Authority, edit func(*x509.Certificate), sources ...string) tls.Certificate {
	t.Helper()
	c, err := a.Issue("client", edit, sources...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// notProven is the refusal of a token whose holder shows no key of it.
func notProven(t *testing.T, a *harness.Answer) {
	t.Helper()
	if got := a.Want(401).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") || !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("challenge %q", got)
	}
}

func TestCertificateBoundTokens(t *testing.T) {
	mine, other := clientCertificate(t, nil), clientCertificate(t, nil)
	selfSigned, err := harness.Certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "self-signed"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	over := func(t *testing.T) *harness.Browser { return harness.NewBrowser(t, env.ProxyTLS) }
	t.Run("shown in the handshake", func(t *testing.T) {
		b := over(t).Showing(mine)
		for _, path := range []string{"/mtls", "/mtls-optional", "/mtls-header"} {
			b.Get(path, boundToCertificate(t, mine)...).Echo().Bearer()
		}
		// A resumed connection has the certificate of the first one.
		for range 4 {
			b.HTTP.CloseIdleConnections()
			if a := b.Get("/mtls", boundToCertificate(t, mine)...).Want(200); a.TLS == nil {
				t.Error("not over TLS")
			}
			notProven(t, b.Get("/mtls", boundToCertificate(t, other)...))
		}
	})
	t.Run("a certificate that signs itself", func(t *testing.T) {
		over(t).Showing(selfSigned).Get("/mtls", boundToCertificate(t, selfSigned)...).Want(200)
	})
	t.Run("case 56: another one", func(t *testing.T) {
		for _, path := range []string{"/mtls", "/mtls-optional", "/mtls-header"} {
			notProven(t, over(t).Showing(other).Get(path, boundToCertificate(t, mine)...))
		}
	})
	t.Run("none", func(t *testing.T) {
		for _, path := range []string{"/mtls", "/mtls-optional", "/mtls-header"} {
			notProven(t, over(t).Get(path, boundToCertificate(t, mine)...))
			notProven(t, harness.NewBrowser(t, env.Proxy).Get(path, boundToCertificate(t, mine)...))
		}
	})
	t.Run("a token that is not bound", func(t *testing.T) {
		notProven(t, over(t).Showing(mine).Get("/mtls", unbound(t)...))
		over(t).Showing(mine).Get("/mtls-optional", unbound(t)...).Want(200)
		over(t).Get("/mtls-optional", unbound(t)...).Want(200)
	})
	t.Run("a session of a bound token", func(t *testing.T) {
		b := over(t).Showing(mine)
		cookie := b.Get("/mtls-session", boundToCertificate(t, mine)...).Want(200).SetsCookie("mtls")
		if cookie == nil {
			t.Fatal("no session")
		}
		b.Get("/mtls-session").Want(200)
		over(t).Get("/mtls-session", "Cookie", "mtls="+cookie.Value).Want(401)
		over(t).Showing(other).Get("/mtls-session", "Cookie", "mtls="+cookie.Value).Want(401)
	})
	t.Run("one that is not valid", func(t *testing.T) {
		expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
		early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }
		alone := &x509.Certificate{Subject: pkix.Name{CommonName: "self-signed"}}
		expired(alone)
		own, err := harness.Certificate(alone, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]tls.Certificate{"expired": clientCertificate(t, expired), "not valid yet": clientCertificate(t, early), "expired, signs itself": own} {
			// nginx refuses it before any plugin runs.
			for path, header := range map[string][]string{"/mtls": boundToCertificate(t, c), "/open": nil} {
				if a := over(t).Showing(c).Get(path, header...); a.StatusCode != 400 || !strings.Contains(a.Text, "The SSL certificate error") {
					t.Errorf("%s at %s: status %d: %s", name, path, a.StatusCode, a.Text)
				}
			}
		}
	})
}

// headerRow is a certificate in the header of a proxy, and what comes of it.
type headerRow struct {
	name   string
	path   string
	cert   tls.Certificate
	header []string // values of the certificate header
	status int
}

func TestCertificateFromHeader(t *testing.T) {
	mine, other := clientCertificate(t, nil), clientCertificate(t, nil)
	below := issuedBy(t, env.between, nil)
	foreigners, err := harness.NewAuthority("root", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer foreigners.Close()
	foreign := issuedBy(t, foreigners, nil)
	server := clientCertificate(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	old := clientCertificate(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := clientCertificate(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
	encoded := func(c tls.Certificate, more ...[]byte) []string {
		return []string{harness.URLEncoded(append([][]byte{c.Certificate[0]}, more...)...)}
	}
	pem := encoded(mine)[0]
	for _, c := range []headerRow{
		{"the token's", "/mtls-header", mine, encoded(mine), 200},
		{"by an authority below the root, which comes along", "/mtls-header", below, encoded(below, env.between.Chain()), 200},
		{"by an authority below the root, which does not", "/mtls-header", below, encoded(below), 401},
		{"by an authority below the root that is configured", "/mtls-partial", below, encoded(below), 200},
		{"by the root, where only one below it is configured", "/mtls-partial", mine, encoded(mine), 401},
		{"case 56: another one", "/mtls-header", mine, encoded(other), 401},
		{"by somebody of the same name", "/mtls-header", foreign, encoded(foreign), 401},
		{"for servers", "/mtls-header", server, encoded(server), 401},
		{"expired", "/mtls-header", old, encoded(old), 401},
		{"not valid yet", "/mtls-header", early, encoded(early), 401},
		{"missing", "/mtls-header", mine, nil, 401},
		{"empty", "/mtls-header", mine, []string{""}, 401},
		{"twice", "/mtls-header", mine, []string{pem, pem}, 401},
		{"cut", "/mtls-header", mine, []string{pem[:len(pem)/2]}, 401},
		{"with bytes that are no text", "/mtls-header", mine, []string{"\xff" + pem}, 401},
		{"as base64 where PEM is due", "/mtls-header", mine, []string{harness.Base64Encoded(mine.Certificate[0])}, 401},
		{"as PEM where base64 is due", "/mtls-der", mine, encoded(mine), 401},
		{"as base64", "/mtls-der", mine, []string{harness.Base64Encoded(mine.Certificate[0])}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := boundToCertificate(t, c.cert)
			for _, v := range c.header {
				header = append(header, "X-Client-Cert", v)
			}
			a := harness.NewBrowser(t, env.Proxy).From(harness.TrustedPeer).Get(c.path, header...).Want(c.status)
			if c.status == 401 {
				notProven(t, a)
			} else if a.Echo().Bearer(); len(a.Echo().Get("X-Client-Cert")) != 1 {
				t.Error("the service does not see the header")
			}
		})
	}
	t.Run("case 56: from an untrusted address", func(t *testing.T) {
		header := append(boundToCertificate(t, mine), "X-Client-Cert", pem)
		notProven(t, harness.NewBrowser(t, env.Proxy).Get("/mtls-header", header...))
		// It counts for nothing: the handshake's certificate decides.
		notProven(t, harness.NewBrowser(t, env.ProxyTLS).Showing(other).Get("/mtls-header", header...))
		header = append(boundToCertificate(t, other), "X-Client-Cert", pem)
		harness.NewBrowser(t, env.ProxyTLS).Showing(other).Get("/mtls-header", header...).Want(200)
		// Claims of another address do not help.
		header = append(boundToCertificate(t, mine), "X-Client-Cert", pem, "X-Forwarded-For", harness.TrustedPeer)
		notProven(t, harness.NewBrowser(t, env.Proxy).Get("/mtls-header", header...))
	})
	t.Run("from any address where the operator says so", func(t *testing.T) {
		der := harness.Base64Encoded(mine.Certificate[0])
		harness.NewBrowser(t, env.Proxy).Get("/mtls-der", append(boundToCertificate(t, mine), "X-Client-Cert", der)...).Want(200)
		notProven(t, harness.NewBrowser(t, env.Proxy).Get("/mtls-der", boundToCertificate(t, mine)...))
	})
	t.Run("a trusted proxy's own certificate", func(t *testing.T) {
		// The header is the client's word, the handshake the proxy's.
		proxy := func(t *testing.T) *harness.Browser {
			return harness.NewBrowser(t, env.ProxyTLS).From(harness.TrustedPeer).Showing(other)
		}
		proxy(t).Get("/mtls-header", append(boundToCertificate(t, mine), "X-Client-Cert", pem)...).Want(200)
		notProven(t, proxy(t).Get("/mtls-header", append(boundToCertificate(t, other), "X-Client-Cert", pem)...))
	})
}

func TestCertificateRevocation(t *testing.T) {
	root := env.root
	for _, c := range []struct {
		name                  string
		sources               []string
		revoked, down         bool
		ignore, strict, skips int // status by mode
	}{
		{"OCSP: good", []string{harness.OCSP}, false, false, 200, 200, 200},
		{"OCSP: revoked", []string{harness.OCSP}, true, false, 401, 401, 200},
		{"CRL: good", []string{harness.CRL}, false, false, 200, 200, 200},
		{"CRL: revoked", []string{harness.CRL}, true, false, 401, 401, 200},
		{"the authority does not answer", []string{harness.OCSP, harness.CRL}, true, true, 200, 401, 200},
		{"nobody to ask", nil, true, false, 200, 401, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			cert := clientCertificate(t, nil, c.sources...)
			if c.revoked {
				root.Revoke(cert)
			}
			root.SetDown(c.down)
			defer root.SetDown(false)
			for path, status := range map[string]int{"/mtls-header": c.ignore, "/mtls-strict": c.strict, "/mtls-skip": c.skips} {
				b := harness.NewBrowser(t, env.Proxy).From(harness.TrustedPeer)
				a := b.Get(path, append(boundToCertificate(t, cert), "X-Client-Cert", harness.URLEncoded(cert.Certificate[0]))...)
				if a.StatusCode != status {
					t.Errorf("%s: status %d, want %d", path, a.StatusCode, status)
				} else if status == 401 {
					notProven(t, a)
				}
			}
		})
	}
}

// TestKongAsksByAPlugin: the other way of docs/install.md to make Kong ask for certificates,
// for one host name, by a plugin of Kong's own.
func TestKongAsksByAPlugin(t *testing.T) {
	if !harness.RealKong() {
		t.Log("left out: the sandbox runs no Lua")
		return
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "kong.yml")
	err := os.WriteFile(config, []byte(`
_format_version: "3.0"
services:
- name: echo
  url: `+env.Issuer+`
  routes:
  - name: mtls
    paths: [/mtls]
    plugins:
    - name: openid-connect
      config:
        issuer: `+env.Issuer+`
        auth_methods: [bearer]
        proof_of_possession_mtls: strict
plugins:
- name: post-function
  config:
    certificate:
    - |
      if require("ngx.ssl").server_name() == "mtls.example.test" then
        kong.client.tls.request_client_certificate()
      end
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g, err := harness.Start(harness.Options{
		Dir: dir, Plugin: env.binary, Config: config, Workers: 1, Await: "/mtls",
		Settings: map[string]string{"nginx_proxy_ssl_verify_client": "off", "untrusted_lua_sandbox_requires": "ngx.ssl"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	mine, other := clientCertificate(t, nil), clientCertificate(t, nil)
	old := clientCertificate(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for _, c := range []struct {
		name, host string
		shown      tls.Certificate
		bound      tls.Certificate
		status     int
	}{
		{"the token's", "mtls.example.test", mine, mine, 200}, // the provider's root page, as it is the service here
		{"another one", "mtls.example.test", other, mine, 401},
		{"at another host, where nobody asks", "www.example.test", mine, mine, 401},
		// nginx looks at the dates only where it asks by itself.
		{"one that has expired", "mtls.example.test", old, old, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := harness.NewBrowser(t, g.ProxyTLS).Showing(c.shown).Named(c.host)
			b.Get("/mtls", boundToCertificate(t, c.bound)...).Want(c.status)
		})
	}
}
