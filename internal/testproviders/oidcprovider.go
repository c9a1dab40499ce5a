package testproviders

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// startOIDCProvider runs testdata/oidc-provider/provider.mjs on a copy, beside
// which the packages of the cache lie.
func startOIDCProvider(p *Provider) error {
	installed, err := InstallOIDCProvider(nil)
	if err != nil {
		return err
	}
	root, err := checkout()
	if err != nil {
		return err
	}
	source := filepath.Join(root, "testdata", "oidc-provider")
	if err := copyFiles(source, p.dir, "provider.mjs", "clients.mjs", "grants.mjs", "pages.mjs",
		"users.json", "client-keys.json", "package.json"); err != nil {
		return err
	}
	if err := os.Symlink(installed.NodeModules, filepath.Join(p.dir, "node_modules")); err != nil {
		return err
	}
	if p.Version, err = npmVersion(installed.NodeModules, "oidc-provider"); err != nil {
		return err
	}
	p.Issuer = "http://" + p.front.addr

	type ports struct {
		Port    int `json:"port"`
		TLSPort int `json:"tlsPort"`
	}
	listening := make(chan ports, 1)
	began := time.Now()
	cmd := nicely("node", "provider.mjs")
	cmd.Dir = p.dir
	in := func(name string) string { return filepath.Join(p.dir, name) }
	cmd.Env = environment("ISSUER="+p.Issuer, "TLS_CERT="+in("server.pem"), "TLS_KEY="+in("server-key.pem"),
		"TLS_CA="+in("ca.pem"), "SELF_SIGNED="+in("self-signed.pem"))
	p.proc, err = start(cmd, func(line []byte) {
		var at ports
		if json.Unmarshal(line, &at) == nil && at.Port != 0 {
			select {
			case listening <- at:
			default:
			}
		}
	})
	if err != nil {
		return fmt.Errorf("starting oidc-provider: %w", err)
	}
	select {
	case at := <-listening:
		backend := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", at.Port)}
		p.front.backend(backend)
		p.TLSIssuer = fmt.Sprintf("https://127.0.0.1:%d", at.TLSPort)
		p.control = nodeControl{base: backend.String()}
	case <-p.proc.done:
		return fmt.Errorf("oidc-provider ended while it started: %s", p.proc.out)
	case <-time.After(time.Minute):
		return fmt.Errorf("oidc-provider did not listen within a minute: %s", p.proc.out)
	}
	p.StartTime = time.Since(began)
	return nil
}

func npmVersion(modules, name string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(modules, name, "package.json"))
	if err != nil {
		return "", err
	}
	var pkg struct {
		Version string `json:"version"`
	}
	return pkg.Version, json.Unmarshal(raw, &pkg)
}

// nodeControl talks to /testing/ of provider.mjs, past the front.
type nodeControl struct{ base string }

func (n nodeControl) updateClient(ctx context.Context, id string, changes map[string]any) error {
	return fetchJSON(ctx, http.DefaultClient, http.MethodPatch, n.base+"/testing/clients/"+url.PathEscape(id), nil, changes, nil)
}

// TrustIssuer makes oidc-provider exchange tokens of another issuer (RFC 8693),
// whose keys are at an address. Keycloak's standard exchange knows no such thing.
func (p *Provider) TrustIssuer(ctx context.Context, issuer, keys string) error {
	n, ok := p.control.(nodeControl)
	if !ok {
		return fmt.Errorf("%s exchanges its own tokens only", p.Name)
	}
	return fetchJSON(ctx, http.DefaultClient, http.MethodPost, n.base+"/testing/issuers", nil, map[string]string{"issuer": issuer, "jwks_uri": keys}, nil)
}

func (n nodeControl) tlsCounts(ctx context.Context) (map[string]int, error) {
	var counts struct {
		TLS map[string]int `json:"tls"`
	}
	err := fetchJSON(ctx, http.DefaultClient, http.MethodGet, n.base+"/testing/counts", nil, nil, &counts)
	return counts.TLS, err
}

func (n nodeControl) resetTLSCounts(ctx context.Context) error {
	return fetchJSON(ctx, http.DefaultClient, http.MethodDelete, n.base+"/testing/counts", nil, nil, nil)
}
