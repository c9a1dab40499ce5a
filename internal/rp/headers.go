package rp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// Source is what a header's value is taken from.
type Source uint8

// The sources of header values (behaviour.md 11.1).
const (
	FromClaim Source = iota
	FromAccessToken
	FromIDToken
	FromRefreshToken
	FromAccessTokenJWK
	FromIDTokenJWK
	FromIntrospection
	FromIntrospectionJWT
	FromUserInfo
	FromUserInfoJWT
	FromSession // Attribute names which part
)

// HeaderRule sets one header from one source.
type HeaderRule struct {
	Name      string // canonical spelling: X-User
	Source    Source
	Path      claims.Path // FromClaim
	Bearer    bool        // prefix "Bearer "
	Attribute string      // FromSession: id, audience, subject, timeout, idling-timeout, rolling-timeout, absolute-timeout
}

// HeaderPolicy is what the service behind and the client are told.
type HeaderPolicy struct {
	Upstream   []HeaderRule
	Downstream []HeaderRule
	guard      map[string]bool // canonical names of Upstream: never taken from the client
	// The keys that verified the tokens are sent on, so they have to be known.
	accessKey, idKey bool
}

// NewHeaderPolicy returns the policy of the rules. Where two rules set one
// header the last one that has a value wins.
func NewHeaderPolicy(upstream, downstream []HeaderRule) HeaderPolicy {
	h := HeaderPolicy{Upstream: upstream, Downstream: downstream, guard: map[string]bool{}}
	for _, r := range upstream {
		// Authorization is where clients have credentials of their own; it is kept
		// from them where claims are to stand there.
		if n := Canonical(r.Name); n != "authorization" || r.Source == FromClaim {
			h.guard[n] = true
		}
	}
	for _, rules := range [][]HeaderRule{upstream, downstream} {
		for _, r := range rules {
			h.accessKey = h.accessKey || r.Source == FromAccessTokenJWK
			h.idKey = h.idKey || r.Source == FromIDTokenJWK
		}
	}
	return h
}

// identityHeader reports whether a header, named canonically, is one by which
// the gateway tells services who the caller is. Clients may never send it.
func identityHeader(name string) bool {
	if name == "" || name[0] != 'x' {
		return false
	}
	return strings.HasPrefix(name, "x-consumer-") || strings.HasPrefix(name, "x-credential-") ||
		strings.HasPrefix(name, "x-authenticated-") || name == "x-anonymous-consumer"
}

// strip clears every spelling of the headers that a client may not send.
// mapped limits it to the names that this configuration sets, and to spellings
// of identity headers that no earlier plugin of Kong's uses.
func (x *Exchange) strip(e *HeaderEdits, mapped bool) {
	guard := x.Policy.Headers.guard
	for name := range x.Request.Header {
		c := name
		if strings.IndexByte(name, '_') >= 0 {
			c = strings.ReplaceAll(name, "_", "-")
		}
		if guard[c] || (!mapped || c != name) && identityHeader(c) {
			e.Clear = append(e.Clear, name)
		}
	}
}

// preflightHeader is in every CORS preflight, which has no credentials (Fetch 4.8).
const preflightHeader = "access-control-request-method"

var errPreflight = errors.New("it is a CORS preflight, which never has one: set run_on_preflight to false, or let Kong's cors plugin answer it")

// preflight passes an OPTIONS request on, without an identity.
func (x *Exchange) preflight() *Decision {
	d := &Decision{Reason: "preflight"}
	x.strip(&d.Upstream, false)
	return d
}

// headers fills the header edits of an admitted request. What is too long for
// the service ends the request, as it would there: a header that is left out
// could mean anything. The client misses what is too long for it.
func (x *Exchange) headers(ctx context.Context, d *Decision, id *Identity) error {
	p := x.Policy
	x.strip(&d.Upstream, false)
	up, err := x.trade(ctx, id)
	if err != nil {
		return err
	}
	var long string
	if d.Upstream.Set, long = x.apply(p.Headers.Upstream, up); long != "" {
		return &Error{Description: "the value of request header " + long + " is too long to be sent", Reason: "header_too_long"}
	}
	if d.Downstream.Set, long = x.apply(p.Headers.Downstream, id); long != "" {
		p.warn(ctx, "the value of a response header is too long; it is left out", "header", long)
	}
	return nil
}

// trade returns the identity that the service is shown: with the access token
// that token_exchange_endpoint gives for the caller's (behaviour.md 16.2), and
// the claims of the caller's. A token of Kong's own means nothing there.
func (x *Exchange) trade(ctx context.Context, id *Identity) (*Identity, error) {
	p := x.Policy
	if !p.LegacyExchange || id.AccessToken == "" || id.Origin == MethodKongOAuth2 {
		return id, nil
	}
	traded, err := p.Provider.LegacyExchange(ctx, id.AccessToken, id.Expiry)
	if err != nil {
		return nil, asError(err)
	}
	up := *id
	up.AccessToken = traded
	return &up, nil
}

// apply returns the fields of the rules that have a value, and the name of one
// whose value is too long.
func (x *Exchange) apply(rules []HeaderRule, id *Identity) (fields []Field, long string) {
	if len(rules) == 0 {
		return nil, ""
	}
	out := make([]Field, 0, len(rules)+1)
next:
	for i := range rules {
		v, ok := x.headerValue(&rules[i], id)
		if !ok || v == "" {
			continue
		}
		if rules[i].Bearer {
			v = x.bearerValue(v, id.Session)
		}
		if len(v) > rules[i].limit(x.Policy) {
			long = rules[i].Name
			continue
		}
		for j := range out {
			if out[j].Name == rules[i].Name {
				out[j].Value = v
				continue next
			}
		}
		out = append(out, Field{rules[i].Name, v})
	}
	return out, long
}

const bearerScheme = "Bearer "

// bearerValue returns token with its scheme: what the client sent or the
// session has, where that is the same, as tokens are long.
func (x *Exchange) bearerValue(token string, s *Session) string {
	if v := x.Request.Header.Get("authorization"); isBearer(v, token) {
		return v
	}
	if s != nil && s.Read != nil && isBearer(s.Read.bearer, token) {
		return s.Read.bearer
	}
	return bearerScheme + token
}

func isBearer(v, token string) bool {
	return len(v) == len(bearerScheme)+len(token) && v[:len(bearerScheme)] == bearerScheme && v[len(bearerScheme):] == token
}

func (x *Exchange) headerValue(r *HeaderRule, id *Identity) (string, bool) {
	switch r.Source {
	case FromClaim:
		v, ok := id.Find(r.Path)
		if !ok {
			return "", false
		}
		return claimText(v)
	case FromAccessToken:
		return id.AccessToken.Reveal(), true
	case FromIDToken:
		return id.IDToken.Reveal(), true
	case FromRefreshToken:
		return id.RefreshToken.Reveal(), true
	case FromAccessTokenJWK:
		return jwkText(id.Access)
	case FromIDTokenJWK:
		return jwkText(id.ID)
	case FromIntrospection:
		return base64JSON(id.Introspection)
	case FromUserInfo:
		return base64JSON(id.UserInfo)
	case FromIntrospectionJWT:
		return id.IntrospectionJWT.Reveal(), true
	case FromUserInfoJWT:
		return id.UserInfoJWT.Reveal(), true
	case FromSession:
		return sessionAttribute(id.Session, r.Attribute)
	}
	return "", false
}

func jwkText(t *token.Token) (string, bool) {
	if t == nil || t.Key == nil {
		return "", false
	}
	b, err := t.Key.MarshalJSON()
	if err != nil {
		return "", false
	}
	return base64.StdEncoding.EncodeToString(b), true
}

func base64JSON(o claims.Object) (string, bool) {
	if o == nil {
		return "", false
	}
	b, err := json.Marshal(o)
	if err != nil {
		return "", false
	}
	return base64.StdEncoding.EncodeToString(b), true
}

func sessionAttribute(s *Session, name string) (string, bool) {
	if s == nil {
		return "", false
	}
	seconds := func(d time.Duration) (string, bool) {
		if d <= 0 {
			return "", false
		}
		return strconv.FormatInt(int64(d/time.Second), 10), true
	}
	switch name {
	case "id":
		return s.ID, true
	case "audience":
		return s.Audience, true
	case "subject":
		return s.Subject, true
	case "timeout":
		return seconds(s.Timeout)
	case "idling-timeout":
		return seconds(s.Idling)
	case "rolling-timeout":
		return seconds(s.Rolling)
	case "absolute-timeout":
		return seconds(s.Absolute)
	}
	return "", false
}
