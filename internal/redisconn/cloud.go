package redisconn

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Provider is a cloud that issues short-lived logins to its Redis.
type Provider string

// The clouds; "" is none.
const (
	AWS   Provider = "aws"
	Azure Provider = "azure"
	GCP   Provider = "gcp"
)

// Cloud is a login by the identity of a cloud. Where the settings of a
// provider are left out, the identity of the machine, container or pod is used.
type Cloud struct {
	Provider Provider

	AWSCacheName       string // ElastiCache cache or replication group; lower case
	AWSRegion          string // else AWS_REGION
	AWSServerless      bool
	AWSAccessKeyID     Secret
	AWSSecretAccessKey Secret
	AWSAssumeRoleARN   Secret
	AWSRoleSessionName Secret

	AzureClientID     Secret
	AzureClientSecret Secret
	AzureTenantID     Secret

	GCPServiceAccountJSON Secret
}

const (
	// connLifetime is how long a connection with a cloud's login is used. Clouds
	// end connections at a time of their own; new ones are made well before.
	connLifetime = 5 * time.Minute
	// renewBefore is when a token is replaced ahead of its end, so that a
	// connection made with it is retired before the token ends.
	renewBefore = connLifetime + time.Minute
	// retryAfter is the pause after a failed renewal while the old token lives.
	retryAfter = 10 * time.Second

	cloudTimeout  = 10 * time.Second
	maxCloudReply = 256 << 10
)

func (c *Cloud) check(o *Options) error {
	switch c.Provider {
	case "":
		return nil
	case AWS:
		if c.AWSCacheName == "" || o.Username == "" {
			return errors.New("logins to ElastiCache need aws_cache_name and username (the IAM user of the cache)")
		}
		if (c.AWSAccessKeyID == "") != (c.AWSSecretAccessKey == "") {
			return errors.New("aws_access_key_id and aws_secret_access_key belong together: give both or neither")
		}
	case Azure:
		if c.AzureClientSecret != "" && (c.AzureClientID == "" || c.AzureTenantID == "") {
			return errors.New("azure_client_secret needs azure_client_id and azure_tenant_id")
		}
	case GCP:
	default:
		return fmt.Errorf("auth_provider %.20q is none of aws, azure, gcp", c.Provider)
	}
	if !o.TLS {
		return errors.New("a cloud's login must not cross the network in clear: set ssl")
	}
	return nil
}

// credentials answers go-redis when it logs in on a new connection.
type credentials = func(ctx context.Context) (username, password string, err error)

// login is a token with its end.
type login struct {
	user, token string
	expires     time.Time
}

// issuer gets a fresh login from a cloud.
type issuer interface {
	issue(ctx context.Context) (login, error)
}

// credentials returns what logs in by the cloud, or nil where none is configured.
func (o *Options) credentials() credentials {
	cl := &cloudClient{http: o.HTTP, getenv: o.Getenv, now: o.Now}
	if cl.http == nil {
		cl.http = &http.Client{Timeout: cloudTimeout, Transport: &http.Transport{Proxy: proxyOf, DisableKeepAlives: true}}
	}
	once := *cl.http
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cl.http = &once
	var from issuer
	switch o.Cloud.Provider {
	case AWS:
		from = newAWS(o, cl)
	case Azure:
		from = &azureIssuer{o.Cloud, cl}
	case GCP:
		from = &gcpIssuer{o.Cloud.GCPServiceAccountJSON, cl}
	default:
		return nil
	}
	t := &tokens{from: from, user: o.Username, now: o.Now, turn: make(chan struct{}, 1)}
	return t.get
}

// proxyOf keeps the metadata services of machines, which speak http, off proxies.
func proxyOf(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// tokens keeps the current login and renews it before it ends, one request at a time.
type tokens struct {
	from issuer
	user string
	now  func() time.Time

	turn  chan struct{} // held while the fields below are used
	have  login
	renew time.Time // when to ask for a new one
}

func (t *tokens) get(ctx context.Context) (username, password string, err error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", "", ctx.Err()
	}
	now := t.now()
	if t.have.token == "" || !now.Before(t.renew) {
		fresh, err := t.from.issue(ctx)
		switch {
		case err == nil:
			t.have = fresh
			// A token that lives shorter than the margin is renewed at half its life.
			left := fresh.expires.Sub(now)
			t.renew = now.Add(max(left-renewBefore, left/2))
		case t.have.token == "" || !now.Before(t.have.expires):
			return "", "", again{&cloudError{err}}
		default:
			t.renew = now.Add(retryAfter)
		}
	}
	user := t.user
	if user == "" {
		user = t.have.user
	}
	return user, t.have.token, nil
}

// cloudError is a login that could not be had; its text names the step and no secret.
type cloudError struct{ err error }

func (e *cloudError) Error() string { return "login by the cloud: " + e.err.Error() }

// cloudClient speaks HTTP to the endpoints of clouds.
type cloudClient struct {
	http   *http.Client
	getenv func(string) string
	now    func() time.Time
}

// do sends a request and returns the body of a 200. what names the endpoint in
// errors; the body of a refusal is not repeated, for it may echo the request.
func (c *cloudClient) do(req *http.Request, what string) ([]byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		var timeout interface{ Timeout() bool }
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("%s gave no answer in time", what)
		}
		return nil, fmt.Errorf("%s cannot be reached", what) // the cause names the URL, which may be signed
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxCloudReply+1))
	if err != nil || len(body) > maxCloudReply {
		return nil, fmt.Errorf("the answer of %s broke off or is too large", what)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d%s", what, res.StatusCode, refusalCode(body))
	}
	return body, nil
}

// cloudAdvice is what the reader can do, by the code of a cloud's refusal.
var cloudAdvice = map[string]string{
	// RFC 6749 5.2, as Entra and Google use it.
	"invalid_client":      "the client id or its secret is wrong, or the secret has ended",
	"unauthorized_client": "the client is unknown in this tenant or may not do this",
	"invalid_grant":       "the key is revoked or unknown, or this machine's clock is wrong",
	"invalid_scope":       "the identity may not ask for Redis",
	"invalid_request":     "no such identity is attached to this machine, or a setting is malformed",
	// AWS STS.
	"SignatureDoesNotMatch":   "aws_secret_access_key does not belong to aws_access_key_id",
	"InvalidClientTokenId":    "aws_access_key_id is unknown, or a session token is missing",
	"AccessDenied":            "the identity may not assume this role: look at the role's trust policy",
	"ExpiredToken":            "the session's keys have ended",
	"ExpiredTokenException":   "the web identity token has ended",
	"InvalidIdentityToken":    "the role does not trust the issuer of the web identity token",
	"RequestExpired":          "this machine's clock is wrong",
	"RegionDisabledException": "STS is switched off for aws_region",
	"IncompleteSignature":     "aws_access_key_id is malformed",
	"ValidationError":         "aws_assume_role_arn or aws_role_session_name is malformed",
}

// refusalCode returns the code of a refusal and what to do, if the body has
// one: OAuth's (RFC 6749 5.2) in JSON, AWS's in XML. Nothing else of the body is
// repeated.
func refusalCode(body []byte) string {
	var oauth struct {
		Error string `json:"error"`
	}
	var aws struct {
		Code string `xml:"Error>Code"`
	}
	code := ""
	switch {
	case json.Unmarshal(body, &oauth) == nil:
		code = oauth.Error
	case xml.Unmarshal(body, &aws) == nil:
		code = aws.Code
	}
	if code == "" || len(code) > 40 {
		return ""
	}
	if a := cloudAdvice[code]; a != "" {
		return " (" + code + ": " + a + ")"
	}
	return " (" + printable(code, 40) + ")"
}

// token reads an OAuth token answer; Azure's metadata service writes expires_in as text.
func (c *cloudClient) token(body []byte, what string) (login, error) {
	var t struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &t); err != nil || t.AccessToken == "" {
		return login{}, fmt.Errorf("the answer of %s holds no access_token", what)
	}
	seconds, err := t.ExpiresIn.Int64()
	if err != nil || seconds <= 0 {
		return login{}, fmt.Errorf("the answer of %s holds no expires_in", what)
	}
	return login{token: t.AccessToken, expires: c.now().Add(time.Duration(min(seconds, 24*3600)) * time.Second)}, nil
}
