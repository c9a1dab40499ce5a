package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// ClaimsSource is one member of `_claim_sources` (OpenID Connect Core section
// 5.6.2): aggregated where it has a JWT, else distributed.
type ClaimsSource struct {
	JWT      token.Opaque
	Endpoint string
	// AccessToken came with the source; "" where none did.
	AccessToken token.Opaque
	// Current is the caller's access token. It goes to hosts of the provider
	// only, and only where the source brings none.
	Current token.Opaque
	// Names are the claims that are wanted of the source.
	Names []string
	// Verifier judges a JWT; nil refuses it.
	Verifier *token.Verifier
	// Issuers are whose JWTs are accepted.
	Issuers token.Issuers
	Now     time.Time
}

const claimsSource = "claims source"

// maxSourceURL bounds the address of a source in bytes.
const maxSourceURL = 2048

// DistributedClaims returns the claims that a source has. A JWT must be signed
// by a key that is trusted for its issuer, and must not have expired. Errors
// are *Error, or those of package token.
func (p *Provider) DistributedClaims(ctx context.Context, s ClaimsSource) (claims.Object, error) {
	if s.JWT != "" {
		return s.verified(ctx, s.JWT.Reveal())
	}
	u, err := p.sourceURL(ctx, s.Endpoint)
	if err != nil {
		return nil, &Error{Call: claimsSource, Kind: Misconfigured, Err: err}
	}
	k := call{name: claimsSource, method: http.MethodGet, url: u.String(), header: http.Header{"Accept": {"application/jwt, application/json"}}}
	t := s.AccessToken
	if t == "" && p.knowsHost(ctx, u) {
		t = s.Current
	}
	graph, microsoft := memberObjects(u)
	if microsoft {
		// Groups overage of Entra ID: its source names a retired host, and wants a POST.
		k.url, k.method, k.body, k.header = graph, http.MethodPost, []byte(`{"securityEnabledOnly":false}`), http.Header{"Content-Type": {"application/json"}}
		if t == "" && microsoftIssuer(p.issuer) {
			t = s.Current
		}
	}
	if t != "" {
		k.header.Set("Authorization", "Bearer "+t.Reveal())
	}
	a, err := p.client.do(ctx, k)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, &Error{Call: claimsSource, Host: u.Host, Status: a.status, Err: errors.New("status 200 was expected")}
	}
	if raw := strings.TrimSpace(string(a.body)); token.LooksJWS(raw) {
		return s.verified(ctx, raw)
	}
	o, err := a.object()
	if err != nil {
		return nil, &Error{Call: claimsSource, Host: u.Host, Status: a.status, Err: err}
	}
	if list, ok := o["value"].([]any); ok && microsoft && len(s.Names) == 1 {
		return claims.Object{s.Names[0]: list}, nil
	}
	return o, nil
}

// verified reads a JWT of a claims source.
func (s *ClaimsSource) verified(ctx context.Context, raw string) (claims.Object, error) {
	if s.Verifier == nil {
		return nil, &Error{Call: claimsSource, Err: errors.New("it answered with a JWT that nobody can verify")}
	}
	t, err := s.Verifier.Verify(ctx, raw, token.UseUserinfo)
	if err != nil {
		return nil, err
	}
	if len(s.Issuers.Expected) > 0 {
		iss, _ := t.Claims["iss"].(string)
		if !s.Issuers.Accepts(iss, t.Claims) {
			return nil, &Error{Call: claimsSource, Err: errors.New("its JWT is of an issuer that is not trusted: list it in issuers_allowed")}
		}
	}
	if v, ok := t.Claims["exp"]; ok {
		exp, err := claims.Time(v)
		if err != nil || claims.Expired(exp, s.Now, 0) {
			return nil, &Error{Call: claimsSource, Err: errors.New("its JWT has expired")}
		}
	}
	return t.Claims, nil
}

// sourceURL reads the address of a source. It comes from the provider's token,
// so it is held to https unless it is on a host of the provider itself.
func (p *Provider) sourceURL(ctx context.Context, s string) (*url.URL, error) {
	u, err := parseEndpoint(s)
	if err != nil || len(s) > maxSourceURL {
		return nil, errors.New("its address is not an absolute http or https URL")
	}
	if u.User != nil {
		return nil, errors.New("its address holds a user name")
	}
	if u.Scheme != "https" && !p.knowsHost(ctx, u) {
		return nil, errors.New("its address is not https and not on a host of the provider")
	}
	return u, nil
}

// knowsHost reports whether u is on the scheme, host and port of the issuer or
// of one of its endpoints.
func (p *Provider) knowsHost(ctx context.Context, u *url.URL) bool {
	known := []string{p.issuer}
	if m, err := p.Metadata(ctx); err == nil {
		known = append(known, m.Issuer, m.Endpoints.Authorization, m.Endpoints.Token, m.Endpoints.Userinfo, m.Endpoints.Introspection)
	}
	for _, s := range known {
		if k, err := url.Parse(s); err == nil && k.Host != "" && strings.EqualFold(k.Host, u.Host) && k.Scheme == u.Scheme {
			return true
		}
	}
	return false
}

// memberObjects returns where Microsoft Graph lists the groups of a person,
// for the address in a token of Entra ID.
func memberObjects(u *url.URL) (string, bool) {
	if u.Scheme != "https" || u.Host != "graph.windows.net" && u.Host != "graph.microsoft.com" {
		return "", false
	}
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if n := len(parts); n == 4 && parts[1] == "users" && parts[3] == "getMemberObjects" {
		return "https://graph.microsoft.com/v1.0/users/" + parts[2] + "/getMemberObjects", true
	}
	return "", false
}

func microsoftIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && u.Scheme == "https" && (u.Host == "login.microsoftonline.com" || u.Host == "sts.windows.net")
}
