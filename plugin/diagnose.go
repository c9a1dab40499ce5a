package plugin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
)

// Verdict says how a part of a diagnosis stands.
type Verdict string

// Verdicts. Open is what could not be looked at.
const (
	Good Verdict = "ok"
	Warn Verdict = "warn"
	Bad  Verdict = "FAIL"
	Open Verdict = "open"
)

// Symptom is one line of a diagnosis. It holds no secret.
type Symptom struct {
	Verdict Verdict
	Part    string // "discovery", "keys" ...
	Text    string // what was seen
	Do      string // what to do about it; "" for nothing
}

// skewAllowed is how far clocks may differ without a word: tokens are issued
// and used within the same second.
const skewAllowed = 3 * time.Second

// Diagnose looks at everything that a configuration depends on outside this
// process: the provider, its keys and clock, the client's authentication, the
// redirect URI, the session storage. It calls the provider as a request would.
func Diagnose(ctx context.Context, c *Config, env *Environment) []Symptom {
	d := diagnosis{ctx: ctx, config: c, env: env}
	if param.IsReference(c.Issuer) {
		d.say(Open, "discovery", "issuer is a reference to a vault that is not resolved here", "export what {vault://env/...} names, or run doctor with -issuer")
		return d.found
	}
	p, err := newRelyingProvider(c, env)
	if err != nil {
		d.say(Bad, "configuration", err.Error(), "correct it; openid-connect check names the line")
		return d.found
	}
	d.provider = p
	d.discovery()
	d.endpoints()
	d.clients()
	d.redirect()
	d.storage()
	return d.found
}

type diagnosis struct {
	ctx      context.Context
	config   *Config
	env      *Environment
	provider *relyingProvider
	metadata *op.Metadata
	found    []Symptom
}

func (d *diagnosis) say(v Verdict, part, text, do string) {
	d.found = append(d.found, Symptom{v, part, text, do})
}

func (d *diagnosis) discovery() {
	in := d.provider.provider.Inspect(d.ctx)
	switch {
	case in.Err != nil:
		d.say(Bad, "discovery", in.Err.Error(), "check issuer, DNS, firewall and proxy settings from this machine; trust the provider's authority with -trusted-ca")
	case in.IssuerDiffers:
		d.say(Warn, "discovery", "the document is of issuer "+in.Metadata.Issuer+", not of the configured one; tokens of that issuer are expected", "set issuer to it")
	case d.config.UsingPseudoIssuer:
		d.say(Good, "discovery", "switched off by using_pseudo_issuer", "")
	default:
		d.say(Good, "discovery", "issuer "+in.Metadata.Issuer, "")
	}
	if in.Err == nil {
		d.metadata = in.Metadata
	}
	for _, k := range in.Keys {
		switch {
		case k.Err != nil:
			d.say(Bad, "keys", k.Err.Error(), "check jwks_endpoint or extra_jwks_uris; without keys every JWT is refused")
		case k.Keys == 0:
			d.say(Bad, "keys", k.URI+" publishes no key that verifies signatures", "let the provider publish signing keys")
		default:
			d.say(Good, "keys", fmt.Sprintf("%d at %s: %s", k.Keys, k.URI, strings.Join(k.Algorithms, ", ")), "")
		}
		for _, err := range k.Skipped {
			d.say(Warn, "keys", "a key is left out: "+err.Error(), "tokens that it signs are refused; let the provider sign with another one")
		}
	}
	switch {
	case in.Skew == nil:
		d.say(Open, "clock", "the provider gave no date", "compare this machine's clock with the provider's yourself, or run doctor again when discovery answers")
	case in.Skew.Abs() > skewAllowed+seconds(d.config.Leeway):
		d.say(Bad, "clock", fmt.Sprintf("this machine is %v ahead of the provider, more than leeway allows", *in.Skew), "run NTP on both sides; fresh tokens are refused otherwise")
	case in.Skew.Abs() > skewAllowed:
		d.say(Warn, "clock", fmt.Sprintf("this machine is %v ahead of the provider", *in.Skew), "run NTP on both sides")
	default:
		d.say(Good, "clock", "agrees with the provider's", "")
	}
}

func (d *diagnosis) endpoints() {
	if d.metadata == nil {
		return
	}
	e := &d.metadata.Endpoints
	tokens := d.config.uses(MethodAuthorizationCode, MethodPassword, MethodClientCredentials, MethodRefreshToken)
	for _, x := range []struct {
		name, address string
		needed        bool
		by            string
	}{
		{"authorization_endpoint", e.Authorization, d.config.uses(MethodAuthorizationCode), "authorization_code"},
		{"token_endpoint", e.Token, tokens, "the methods that ask for tokens"},
		{"introspection_endpoint", e.Introspection, d.config.uses(MethodIntrospection), "introspection"},
		{"userinfo_endpoint", e.Userinfo, d.config.uses(MethodUserinfo), "userinfo"},
		{"revocation_endpoint", e.Revocation, d.config.LogoutRevoke, "logout_revoke"},
		{"pushed_authorization_request_endpoint", e.PushedAuthorization, d.config.RequirePushedAuthorizationRequests != nil && *d.config.RequirePushedAuthorizationRequests, "require_pushed_authorization_requests"},
	} {
		switch {
		case !x.needed:
		case x.address == "":
			d.say(Bad, "endpoints", x.name+" is neither published nor configured, and "+x.by+" needs it", "set "+x.name+", or take the method out")
		case !protected(x.address):
			d.say(Warn, "endpoints", x.name+" is reached without TLS", "use https")
		default:
			d.say(Good, "endpoints", x.name+" "+x.address, "")
		}
	}
}

// protected reports whether an address is https or of this machine.
func protected(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || loopback(u.Hostname()))
}

// clients tries the client's authentication with a refresh token that nobody
// issued: the provider judges the client first (RFC 6749 section 5.2).
func (d *diagnosis) clients() {
	if d.metadata == nil || d.metadata.Endpoints.Token == "" || !d.config.uses(MethodAuthorizationCode, MethodPassword, MethodClientCredentials, MethodRefreshToken, MethodIntrospection) {
		return
	}
	if len(d.config.ClientID) == 0 {
		d.say(Warn, "client", "client_id is not set", "set it, unless callers bring their own client by client_credentials")
		return
	}
	for i := range d.config.ClientID {
		name := fmt.Sprintf("client %d", i+1)
		if i < len(d.config.ClientSecret) && param.IsReference(d.config.ClientSecret[i].Reveal()) || param.IsReference(d.config.ClientID[i]) {
			d.say(Open, name, "its id or secret is a reference to a vault that is not resolved here", "export what {vault://env/...} names, and run doctor again")
			continue
		}
		_, err := d.provider.Refresh(d.ctx, i, token.Opaque("doctor-"+rand.Text()))
		e, _ := errors.AsType[*op.Error](err)
		switch {
		case err == nil:
			d.say(Warn, name, "the provider took a refresh token that it never issued", "find out what stands at token_endpoint")
		case e == nil:
			d.say(Bad, name, err.Error(), "check client_auth, and the key or secret that it needs")
		case e.Kind == op.Misconfigured:
			d.say(Bad, name, e.Error(), "correct the parameter that it names")
		case op.IsInvalidGrant(err):
			d.say(Good, name, "is authenticated at the token endpoint", "")
		case e.Code == "unauthorized_client" || e.Code == "unsupported_grant_type":
			d.say(Good, name, "is known at the token endpoint, which does not offer it refresh tokens", "")
		case e.Code == "invalid_client" || e.Status == http.StatusUnauthorized:
			d.say(Bad, name, e.Error(), "check client_id, client_secret and client_auth against the provider's registration")
		case e.Status == 0:
			d.say(Bad, name, e.Error(), "check token_endpoint, and that this machine reaches it")
		default:
			d.say(Warn, name, "the token endpoint gave no clear answer: "+e.Error(), "see the provider's log")
		}
	}
}

// redirect asks for the login page, as a browser that is sent there would.
func (d *diagnosis) redirect() {
	if !d.config.uses(MethodAuthorizationCode) || d.metadata == nil || d.metadata.Endpoints.Authorization == "" || len(d.config.ClientID) == 0 {
		return
	}
	if len(d.config.RedirectURI) == 0 {
		d.say(Open, "redirect_uri", "is derived from each request", "register the public URL of every page behind the route, or set redirect_uri")
		return
	}
	for i, uri := range d.config.RedirectURI {
		client := min(i, len(d.config.ClientID)-1)
		if param.IsReference(d.config.ClientID[client]) {
			continue
		}
		if !protected(string(uri)) {
			d.say(Warn, "redirect_uri", string(uri)+" is not https", "session cookies without TLS can be read on the way")
		}
		to, err := d.provider.AuthorizationURL(d.ctx, rp.AuthorizationRequest{
			Client: client, RedirectURI: string(uri), State: rand.Text(), Nonce: rand.Text(), Verifier: token.Opaque(rand.Text() + rand.Text()),
		})
		if err != nil {
			d.say(Bad, "redirect_uri", "no authorization request can be made: "+err.Error(), "correct what it names; a pushed or signed request needs the client's authentication first")
			continue
		}
		status, code, err := d.provider.provider.Probe(d.ctx, to)
		switch {
		case err != nil:
			d.say(Bad, "redirect_uri", err.Error(), "check authorization_endpoint")
		case status >= http.StatusBadRequest || code != "" && code != "login_required" && code != "interaction_required":
			d.say(Bad, "redirect_uri", fmt.Sprintf("the provider refuses a login that returns to %s (status %d %s)", uri, status, code), "register that very address for the client, and check response_type, scopes and response_mode")
		default:
			d.say(Good, "redirect_uri", fmt.Sprintf("the provider shows a login that returns to %s", uri), "")
		}
	}
}

func (d *diagnosis) storage() {
	if d.config.uses(MethodSession) {
		where, err := openStorage(d.config, d.env)
		switch {
		case err != nil:
			d.say(Bad, "sessions", err.Error(), "correct session_storage, redis or session_memcached_*")
		case where.store == nil:
			d.say(Good, "sessions", "are kept in cookies", "")
		default:
			_, err := where.store.Get(d.ctx, "doctor-"+rand.Text())
			if err != nil && !errors.Is(err, session.ErrNotFound) {
				d.say(Bad, "sessions", string(d.config.SessionStorage)+" cannot be read: "+err.Error(), "check host, port, TLS and login; without it every session is answered by 503")
			} else {
				d.say(Good, "sessions", string(d.config.SessionStorage)+" answers", "")
			}
		}
	}
	// The list of ended sessions, where only that is in Redis.
	if d.config.SessionRevocationStorage == RevocationStorageRedis && d.config.SessionStorage != SessionStorageRedis {
		conn, err := d.env.Connections.Redis(&d.config.Redis.Redis, d.config.Redis.Socket)
		if err == nil {
			err = conn.Check(d.ctx)
		}
		if err != nil {
			d.say(Bad, "ended sessions", "redis cannot be read: "+err.Error(), "check redis; without the list every session is answered by 503")
		} else {
			d.say(Good, "ended sessions", "are listed in redis, which answers", "")
		}
	}
	if d.config.ClusterCacheStrategy == ClusterCacheStrategyRedis {
		conn, err := d.env.Connections.Redis(&d.config.ClusterCacheRedis, "")
		if err == nil {
			err = conn.Check(d.ctx)
		}
		if err != nil {
			d.say(Warn, "cluster cache", err.Error(), "check cluster_cache_redis; requests go on without it")
		} else {
			d.say(Good, "cluster cache", "Redis answers", "")
		}
	}
}
