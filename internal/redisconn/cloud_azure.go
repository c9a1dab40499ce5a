package redisconn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const (
	azureLogin    = "https://login.microsoftonline.com"
	azureMetadata = "http://169.254.169.254/metadata/identity/oauth2/token"
	azureResource = "https://redis.azure.com"
)

// azureIssuer gets Entra access tokens for Azure's Redis: by a client secret,
// by the token of a Kubernetes service account (workload identity), or from
// the machine's metadata service (managed identity).
type azureIssuer struct {
	c  Cloud
	cl *cloudClient
}

func (a *azureIssuer) issue(ctx context.Context) (login, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {azureResource + "/.default"}}
	client, tenant := string(a.c.AzureClientID), string(a.c.AzureTenantID)
	secret := string(a.c.AzureClientSecret)
	if secret != "" {
		form.Set("client_secret", secret)
	} else {
		client = or(client, a.cl.getenv("AZURE_CLIENT_ID"))
		tenant = or(tenant, a.cl.getenv("AZURE_TENANT_ID"))
		file := a.cl.getenv("AZURE_FEDERATED_TOKEN_FILE")
		if file == "" || client == "" || tenant == "" {
			return a.managed(ctx)
		}
		assertion, err := readToken(file)
		if err != nil {
			return login{}, errors.New("the file of AZURE_FEDERATED_TOKEN_FILE cannot be read")
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	}
	form.Set("client_id", client)
	base := or(a.cl.getenv("AZURE_AUTHORITY_HOST"), azureLogin)
	endpoint := strings.TrimRight(base, "/") + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
	req, err := postForm(ctx, endpoint, form)
	if err != nil {
		return login{}, errors.New("AZURE_AUTHORITY_HOST is no URL of https")
	}
	return a.ask(req, "Entra's token endpoint")
}

// managed asks the machine that this runs on.
func (a *azureIssuer) managed(ctx context.Context) (login, error) {
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {azureResource}}
	if a.c.AzureClientID != "" {
		q.Set("client_id", string(a.c.AzureClientID))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, azureMetadata+"?"+q.Encode(), nil)
	if err != nil {
		return login{}, err
	}
	req.Header.Set("Metadata", "true")
	return a.ask(req, "Azure's metadata service")
}

func (a *azureIssuer) ask(req *http.Request, what string) (login, error) {
	body, err := a.cl.do(req, what)
	if err != nil {
		return login{}, err
	}
	l, err := a.cl.token(body, what)
	l.user = objectID(l.token)
	return l, err
}

// objectID returns the principal's object id, which is its name at Azure's
// Redis. The token came over TLS from its issuer and is only read, not trusted.
func objectID(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		OID string `json:"oid"`
	}
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.OID
}

// postForm makes a request that carries secrets, so only over https.
func postForm(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("not a URL of https")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("not a URL of https")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	return req, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// readToken reads a small file that the platform keeps fresh.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 32<<10)
	n, err := f.Read(b)
	if err != nil || n == len(b) {
		return "", errors.New("unreadable")
	}
	return strings.TrimSpace(string(b[:n])), nil
}
