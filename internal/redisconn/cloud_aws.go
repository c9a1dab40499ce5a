package redisconn

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	elastiCacheLife = 15 * time.Minute // the longest that ElastiCache takes
	awsMetadata     = "http://169.254.169.254"
	awsContainer    = "http://169.254.170.2"
	awsKeysMargin   = 5 * time.Minute // keys that end sooner are not used to sign
)

// awsIssuer signs ElastiCache logins. Signing needs no request; the keys that
// sign may need one, to the places of the AWS SDKs' default chain.
type awsIssuer struct {
	c    Cloud
	user string
	cl   *cloudClient
	base awsKeys // of the chain, before a role is assumed
	role awsKeys
}

func newAWS(o *Options, cl *cloudClient) *awsIssuer {
	return &awsIssuer{c: o.Cloud, user: o.Username, cl: cl}
}

// issue is called by one caller at a time.
func (a *awsIssuer) issue(ctx context.Context) (login, error) {
	region := or(a.c.AWSRegion, or(a.cl.getenv("AWS_REGION"), a.cl.getenv("AWS_DEFAULT_REGION")))
	if !hostLabel(region) {
		return login{}, errors.New("aws_region is missing or no name of a region")
	}
	keys, err := a.keys(ctx, region)
	if err != nil {
		return login{}, err
	}
	q := url.Values{"Action": {"connect"}, "User": {a.user}}
	if a.c.AWSServerless {
		q.Set("ResourceType", "ServerlessCache")
	}
	now := a.cl.now()
	signed := presign(keys, "elasticache", region, "http", strings.ToLower(a.c.AWSCacheName), "/", q, emptyBody, now, elastiCacheLife)
	expires := now.Add(elastiCacheLife)
	if !keys.expires.IsZero() && keys.expires.Before(expires) {
		expires = keys.expires
	}
	return login{user: a.user, token: strings.TrimPrefix(signed, "http://"), expires: expires}, nil
}

func (a *awsIssuer) fresh(k awsKeys) bool {
	return k.id != "" && (k.expires.IsZero() || k.expires.Sub(a.cl.now()) > awsKeysMargin)
}

func (a *awsIssuer) keys(ctx context.Context, region string) (awsKeys, error) {
	arn := string(a.c.AWSAssumeRoleARN)
	if arn != "" && a.fresh(a.role) {
		return a.role, nil
	}
	if !a.fresh(a.base) {
		k, err := a.chain(ctx, region)
		if err != nil {
			return awsKeys{}, err
		}
		a.base = k
	}
	if arn == "" {
		return a.base, nil
	}
	q := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {arn},
		"RoleSessionName": {or(string(a.c.AWSRoleSessionName), "kong-openid-connect")}}
	signed := presign(a.base, "sts", region, "https", stsHost(region), "/", q, emptyBody, a.cl.now(), time.Minute)
	k, err := a.sts(ctx, signed, "AWS STS (AssumeRole)")
	if err != nil {
		return awsKeys{}, err
	}
	a.role = k
	return k, nil
}

func stsHost(region string) string {
	host := "sts." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	return host
}

// chain finds keys as the SDKs do: configured, environment, web identity
// (Kubernetes), container, machine.
func (a *awsIssuer) chain(ctx context.Context, region string) (awsKeys, error) {
	if a.c.AWSAccessKeyID != "" {
		return awsKeys{id: string(a.c.AWSAccessKeyID), secret: string(a.c.AWSSecretAccessKey)}, nil
	}
	env := a.cl.getenv
	if id, secret := env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return awsKeys{id: id, secret: secret, session: env("AWS_SESSION_TOKEN")}, nil
	}
	if file, arn := env("AWS_WEB_IDENTITY_TOKEN_FILE"), env("AWS_ROLE_ARN"); file != "" && arn != "" {
		token, err := readToken(file)
		if err != nil {
			return awsKeys{}, errors.New("the file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read")
		}
		q := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {arn},
			"RoleSessionName": {or(env("AWS_ROLE_SESSION_NAME"), "kong-openid-connect")}, "WebIdentityToken": {token}}
		return a.sts(ctx, "https://"+stsHost(region)+"/?"+awsQuery(q), "AWS STS (AssumeRoleWithWebIdentity)")
	}
	if path := env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); strings.HasPrefix(path, "/") {
		return a.container(ctx, awsContainer+path)
	}
	if full := env("AWS_CONTAINER_CREDENTIALS_FULL_URI"); full != "" {
		if !containerURL(full) {
			return awsKeys{}, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor an address of this machine")
		}
		return a.container(ctx, full)
	}
	return a.machine(ctx)
}

// containerURL says whether a URL may be sent the container's token, by the SDKs' rule.
func containerURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Host == "" {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := err == nil && (ip.IsLoopback() || ip == netip.MustParseAddr("169.254.170.2") ||
		ip == netip.MustParseAddr("169.254.170.23") || ip == netip.MustParseAddr("fd00:ec2::23"))
	return u.Scheme == "http" && (local || u.Hostname() == "localhost")
}

func (a *awsIssuer) sts(ctx context.Context, link, what string) (awsKeys, error) {
	body, err := a.get(ctx, link, what, nil)
	if err != nil {
		return awsKeys{}, err
	}
	type result struct {
		ID      string    `xml:"Credentials>AccessKeyId"`
		Secret  string    `xml:"Credentials>SecretAccessKey"`
		Session string    `xml:"Credentials>SessionToken"`
		Expires time.Time `xml:"Credentials>Expiration"`
	}
	var r struct {
		Role result `xml:"AssumeRoleResult"`
		Web  result `xml:"AssumeRoleWithWebIdentityResult"`
	}
	err = xml.Unmarshal(body, &r)
	if r.Role.ID == "" {
		r.Role = r.Web
	}
	return usable(awsKeys{r.Role.ID, r.Role.Secret, r.Role.Session, r.Role.Expires}, err, what)
}

func (a *awsIssuer) container(ctx context.Context, link string) (awsKeys, error) {
	token := a.cl.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := a.cl.getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		var err error
		if token, err = readToken(file); err != nil {
			return awsKeys{}, errors.New("the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read")
		}
	}
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", token)
	}
	return a.json(ctx, link, "the container's credentials endpoint", h)
}

// machine asks the instance's metadata service, version 2.
func (a *awsIssuer) machine(ctx context.Context) (awsKeys, error) {
	const what = "the machine's metadata service (no AWS keys are configured)"
	if a.cl.getenv("AWS_EC2_METADATA_DISABLED") == "true" {
		return awsKeys{}, errors.New("no AWS keys are configured")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, awsMetadata+"/latest/api/token", nil)
	if err != nil {
		return awsKeys{}, err
	}
	req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "300")
	token, err := a.cl.do(req, what)
	if err != nil {
		return awsKeys{}, err
	}
	h := http.Header{"X-Aws-Ec2-Metadata-Token": {strings.TrimSpace(string(token))}}
	const roles = awsMetadata + "/latest/meta-data/iam/security-credentials/"
	role, err := a.get(ctx, roles, what, h)
	if err != nil {
		return awsKeys{}, err
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(role)), "\n")
	return a.json(ctx, roles+url.PathEscape(name), what, h)
}

func (a *awsIssuer) json(ctx context.Context, link, what string, h http.Header) (awsKeys, error) {
	body, err := a.get(ctx, link, what, h)
	if err != nil {
		return awsKeys{}, err
	}
	var r struct {
		AccessKeyID, SecretAccessKey, Token string
		Expiration                          time.Time
	}
	err = json.Unmarshal(body, &r)
	return usable(awsKeys{r.AccessKeyID, r.SecretAccessKey, r.Token, r.Expiration}, err, what)
}

func (a *awsIssuer) get(ctx context.Context, link, what string, h http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, fmt.Errorf("the address of %s is no URL", what)
	}
	if h != nil {
		req.Header = h.Clone()
	}
	return a.cl.do(req, what)
}

func usable(k awsKeys, err error, what string) (awsKeys, error) {
	if err != nil || k.id == "" || k.secret == "" || k.expires.IsZero() {
		return awsKeys{}, fmt.Errorf("the answer of %s holds no keys", what)
	}
	return k, nil
}

// hostLabel says whether s may stand in a host name (RFC 1123).
func hostLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && net.ParseIP(s) == nil
}
