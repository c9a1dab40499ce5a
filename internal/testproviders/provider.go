package testproviders

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Provider is a running provider. Its methods are safe for concurrent use;
// counts and outages are shared by all tests of the binary, so tests that use
// those do not run in parallel.
type Provider struct {
	Name    string // oidc-provider or keycloak
	Version string
	// Issuer is the issuer URL, over HTTP. IssuerB is a second one, whose
	// keys, users and clients (kong, second) are its own; Keycloak only.
	Issuer, IssuerB string
	// TLSIssuer is the base URL of a listener that asks for client
	// certificates. At Keycloak it is an issuer of its own with the clients of
	// Issuer; at oidc-provider the endpoints below it are the mTLS aliases of
	// Issuer.
	TLSIssuer string
	Clients   map[string]Client
	Users     map[string]User
	// CAPEM is the authority of TLSIssuer's certificate and of the client
	// certificates.
	CAPEM []byte
	// Certificates are client certificates: tls (registered), other (same
	// authority, not registered), self-signed (registered) and untrusted.
	Certificates map[string]tls.Certificate
	// StartTime is how long the start took, installation aside.
	StartTime time.Duration

	certPEM map[string][2][]byte
	front   *front
	proc    *process
	dir     string
	control control
}

// control is what differs between the providers once they run.
type control interface {
	updateClient(ctx context.Context, id string, changes map[string]any) error
	tlsCounts(ctx context.Context) (map[string]int, error)
	resetTLSCounts(ctx context.Context) error
}

// running holds the providers of this test binary. It is the one piece of
// package state: tests share what takes seconds to start.
var running = struct {
	sync.Mutex
	byName  map[string]*Provider
	failure map[string]error
}{byName: map[string]*Provider{}, failure: map[string]error{}}

// OIDCProvider returns the npm package oidc-provider, started once a test
// binary. Tests are skipped where it cannot be had.
func OIDCProvider(t testing.TB) *Provider { return get(t, "oidc-provider", startOIDCProvider) }

// Keycloak returns Keycloak, started once a test binary. Tests are skipped
// where it cannot be had.
func Keycloak(t testing.TB) *Provider { return get(t, "keycloak", startKeycloak) }

func get(t testing.TB, name string, start func(*Provider) error) *Provider {
	t.Helper()
	running.Lock()
	defer running.Unlock()
	if p := running.byName[name]; p != nil {
		return p
	}
	err := running.failure[name]
	if err == nil {
		var p *Provider
		if p, err = launch(name, start); err == nil {
			running.byName[name] = p
			return p
		}
		running.failure[name] = err
	}
	var missing *Missing
	if errors.As(err, &missing) && os.Getenv("REQUIRE_PROVIDERS") != "1" {
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

func launch(name string, start func(*Provider) error) (*Provider, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	p := &Provider{Name: name, Clients: clientTable(name == "oidc-provider")}
	if p.Users, err = userTable(root); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "testproviders-"); err != nil {
		return nil, err
	}
	if p.front, err = newFront(); err == nil {
		if err = p.certificates(p.dir); err == nil {
			err = start(p)
		}
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// StopAll ends every provider that this test binary started. TestMain calls it
// last.
func StopAll() {
	running.Lock()
	defer running.Unlock()
	for name, p := range running.byName {
		p.stop()
		delete(running.byName, name)
	}
	clear(running.failure)
}

func (p *Provider) stop() {
	if p.front != nil {
		p.front.close()
	}
	if p.proc != nil {
		p.proc.stop()
	}
	_ = os.RemoveAll(p.dir)
}

// Count returns how many requests for path (as in "/token") the provider has
// received on all its addresses, those while it was down included. Keycloak's
// TLS address is not counted.
func (p *Provider) Count(path string) int {
	counts, err := p.control.tlsCounts(context.Background())
	if err != nil {
		return -1
	}
	return p.front.snapshot()[path] + counts[path]
}

// ResetCounts starts to count anew.
func (p *Provider) ResetCounts() error {
	p.front.reset()
	return p.control.resetTLSCounts(context.Background())
}

// SetDown makes the provider's HTTP address break every connection until it is
// called with false.
func (p *Provider) SetDown(down bool) { p.front.setDown(down) }

// UpdateClient changes a client while the provider runs. Names and values are
// those of OpenID Connect Dynamic Client Registration at oidc-provider, where
// nil removes a member, and client attributes at Keycloak.
func (p *Provider) UpdateClient(ctx context.Context, id string, changes map[string]any) error {
	return p.control.updateClient(ctx, id, changes)
}

// SetBackchannelLogout registers the URL that receives a client's logout tokens.
func (p *Provider) SetBackchannelLogout(ctx context.Context, id, url string) error {
	if p.Name == "keycloak" {
		return p.UpdateClient(ctx, id, map[string]any{
			"backchannel.logout.url": url, "backchannel.logout.session.required": "true"})
	}
	return p.UpdateClient(ctx, id, map[string]any{
		"backchannel_logout_uri": url, "backchannel_logout_session_required": true})
}

// CertificatePEM returns a certificate of Certificates and its key as PEM.
func (p *Provider) CertificatePEM(name string) (cert, key []byte) {
	return p.certPEM[name][0], p.certPEM[name][1]
}

// HTTPClient trusts the provider's authority and shows the named client
// certificate, or none if the name is empty. It follows no redirect.
func (p *Provider) HTTPClient(certificate string) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.CAPEM)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if certificate != "" {
		// Shown even where the server does not name its authority.
		pair := p.Certificates[certificate]
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Browser returns a browser without cookies that trusts the provider's authority.
func (p *Provider) Browser() *Browser {
	b := NewBrowser()
	b.client.Transport = p.HTTPClient("").Transport
	return b
}

// Metadata fetches the discovery document of an issuer of this provider.
func (p *Provider) Metadata(ctx context.Context, issuer string) (map[string]any, error) {
	var doc map[string]any
	err := fetchJSON(ctx, p.HTTPClient(""), http.MethodGet, issuer+"/.well-known/openid-configuration", nil, nil, &doc)
	return doc, err
}

const maxAnswer = 4 << 20

// fetchJSON sends body, if any, as JSON and decodes the answer into out, if any.
func fetchJSON(ctx context.Context, c *http.Client, method, url string, header http.Header, body, out any) error {
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: status %d", method, url, resp.StatusCode)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// ready waits until the URL answers 200, or the process has ended.
func (p *Provider) ready(url string, limit time.Duration) error {
	client := &http.Client{Timeout: 5 * time.Second}
	deadline := time.After(limit)
	for {
		if fetchJSON(context.Background(), client, http.MethodGet, url, nil, nil, nil) == nil {
			return nil
		}
		select {
		case <-p.proc.done:
			return fmt.Errorf("%s ended while it started: %s", p.Name, p.proc.out)
		case <-deadline:
			return fmt.Errorf("%s did not answer within %s: %s", p.Name, limit, p.proc.out)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// copyFiles copies the named files of one directory into another.
func copyFiles(from, to string, names ...string) error {
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}
