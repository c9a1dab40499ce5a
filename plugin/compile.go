package plugin

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
)

// compile turns a configuration that was checked into a policy. The error
// names the parameter and what to do.
func compile(c *Config, env *Environment) (*rp.Policy, error) {
	p := &rp.Policy{
		Issuer:         c.Issuer,
		Realm:          realm(c.Issuer),
		Methods:        methodSet(c.AuthMethods),
		RunOnPreflight: c.RunOnPreflight,
		Anonymous:      c.Anonymous,
		Clients:        clients(c),
		ClientArg:      clientSelector(c.ClientArg),
		Bearer:         bearerPolicy(c),
		Basic:          rp.BasicPolicy{Password: places(c.PasswordParamType), ClientCredentials: places(c.ClientCredentialsParamType)},
		RefreshToken:   rp.RefreshPolicy{Places: places(c.RefreshTokenParamType), Name: c.RefreshTokenParamName},
		Forward: rp.ForwardPolicy{
			TokenArgs: c.TokenPostArgsClient, TokenHeaders: c.TokenHeadersClient,
			IntrospectionArgs: c.IntrospectionPostArgsClient, IntrospectionArgsFromHeaders: c.IntrospectionPostArgsClientHeaders, IntrospectionHeaders: c.IntrospectionHeadersClient,
			UserInfoArgs: c.UserinfoQueryArgsClient, UserInfoHeaders: c.UserinfoHeadersClient,
		},
		LegacyExchange:    c.TokenExchangeEndpoint != "",
		IntrospectJWT:     c.IntrospectJWTTokens,
		SearchUserInfo:    c.SearchUserInfo || c.UpstreamUserInfoHeader != "" || c.UpstreamUserInfoJWTHeader != "" || c.DownstreamUserInfoHeader != "" || c.DownstreamUserInfoJWTHeader != "",
		UserInfoClaims:    c.SearchUserInfo,
		DistributedClaims: c.ResolveDistributedClaims,
		Code:              codePolicy(c),
		Login:             loginPolicy(c),
		Session:           rp.SessionPolicy{Disabled: methodSet(c.DisableSession), Reverify: c.Reverify, NoStore: c.SessionNoStore},
		Logout:            logoutPolicy(c),
		ProviderLogout:    providerLogoutPolicy(c),
		Claims:            claimsPolicy(c),
		Credential:        path(c.CredentialClaim),
		Groups:            path(c.AuthenticatedGroupsClaim),
		Headers:           rp.NewHeaderPolicy(headerRules(c)),
		Principals:        principalPolicy(c, env),
		Consumer:          consumerPolicy(c),
		HideCredentials:   c.HideCredentials,
		MaxHeader:         env.MaxHeaderLine,
		Leeway:            seconds(c.Leeway),
		Refresh:           c.RefreshTokens,
		Errors: rp.ErrorPolicy{
			UnauthorizedMessage: c.UnauthorizedErrorMessage,
			ForbiddenMessage:    c.ForbiddenErrorMessage,
			ExposeCode:          c.ExposeErrorCode,
			Display:             c.DisplayErrors,
			DestroyUnauthorized: c.UnauthorizedDestroySession,
			DestroyForbidden:    c.ForbiddenDestroySession,
		},
		StepUp:   stepUpPolicy(c),
		Resource: resourcePolicy(c),
		Now:      env.Now,
		Log:      env.logOf(c),
		Flight:   &rp.Flight{},
	}
	provider, err := newRelyingProvider(c, env)
	if err != nil {
		return nil, err
	}
	p.Provider = provider
	q, err := newPossession(c, env)
	if err != nil {
		return nil, err
	}
	if q != nil {
		p.Possession = q
		p.Bearer.DPoP = c.ProofOfPossessionDPoP != PossessionModeOff
	}
	p.Consumers = consumers{env.Entities}
	if p.Methods.Has(rp.MethodKongOAuth2) {
		p.KongTokens = kongTokens{env.Entities}
	}
	digest := identityDigest(c)
	if p.Methods.Has(rp.MethodSession) {
		s, err := newSessions(c, env, digest)
		if err != nil {
			return nil, err
		}
		if p.Sessions = s; env.Observer != nil {
			p.Sessions = newObservedSessions(s, env.Observer)
		}
	}
	if p.Methods.Has(rp.MethodAuthorizationCode) {
		if p.Logins, err = newLogins(c, env, digest); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// seconds turns a number of seconds into a duration, bounded by a century.
func seconds(s float64) time.Duration {
	const most = 100 * 365 * 24 * 3600
	return time.Duration(min(max(s, 0), most) * float64(time.Second))
}

func realm(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil || u.Hostname() == "" {
		return "kong"
	}
	return u.Hostname()
}

func path(p []string) claims.Path {
	if len(p) == 0 {
		return nil
	}
	return claims.Path(p)
}

func methodSet(ms []Method) rp.MethodSet {
	var s rp.MethodSet
	for _, m := range ms {
		s |= rp.NewMethodSet(rp.Method(m))
	}
	return s
}

// clients builds the indexed clients. A list without an element at an index
// lends its first one (behaviour.md 4.1).
func clients(c *Config) []rp.Client {
	out := make([]rp.Client, max(len(c.ClientID), 1))
	for i := range out {
		out[i] = rp.Client{
			ID:                at(c.ClientID, i),
			RedirectURI:       string(at(c.RedirectURI, i)),
			LoginRedirectURI:  string(at(c.LoginRedirectURI, i)),
			LogoutRedirectURI: string(at(c.LogoutRedirectURI, i)),
			UnauthorizedURI:   string(at(c.UnauthorizedRedirectURI, i)),
			ForbiddenURI:      string(at(c.ForbiddenRedirectURI, i)),
			UnexpectedURI:     string(at(c.UnexpectedRedirectURI, i)),
		}
	}
	return out
}

// at returns element i of a list, else its first, else the zero value.
func at[T any](list []T, i int) T {
	var zero T
	switch {
	case i < len(list):
		return list[i]
	case len(list) > 0:
		return list[0]
	}
	return zero
}

func clientSelector(arg string) rp.ClientSelector {
	if arg == "" {
		return rp.ClientSelector{}
	}
	name := rp.Canonical(arg)
	return rp.ClientSelector{Headers: []string{"x-" + name, name}, Arg: arg}
}

func bearerPolicy(c *Config) rp.BearerPolicy {
	b := rp.BearerPolicy{
		HeaderName:    strings.ToLower(c.BearerTokenHeaderName),
		CookieName:    c.BearerTokenCookieName,
		IDToken:       places(c.IDTokenParamType),
		IDTokenName:   c.IDTokenParamName,
		SessionCookie: c.JWTSessionCookie,
		SessionClaim:  c.JWTSessionClaim,
	}
	for _, p := range c.BearerTokenParamType {
		switch p {
		case TokenPlaceHeader:
			b.Places.Header = true
		case TokenPlaceQuery:
			b.Places.Query = true
		case TokenPlaceBody:
			b.Places.Body = true
		case TokenPlaceCookie:
			b.Places.Cookie = true
		}
	}
	return b
}

func places(ps []Place) rp.Places {
	var out rp.Places
	for _, p := range ps {
		switch p {
		case PlaceHeader:
			out.Header = true
		case PlaceQuery:
			out.Query = true
		case PlaceBody:
			out.Body = true
		}
	}
	return out
}

func codePolicy(c *Config) rp.CodePolicy {
	mode, jarm := strings.CutSuffix(string(c.ResponseMode), ".jwt")
	if mode == "jwt" { // for a code the same as query.jwt (JARM 2.3.4)
		mode, jarm = string(ResponseModeQuery), true
	}
	return rp.CodePolicy{
		ResponseMode:    rp.ResponseMode(mode),
		JARM:            jarm,
		PreserveQuery:   c.PreserveQueryArgs,
		VerifyNonce:     c.VerifyNonce,
		OpenID:          slices.Contains(strings.Fields(strings.Join(c.Scopes, " ")), "openid"),
		Hybrid:          slices.Contains(strings.Fields(strings.Join(c.ResponseType, " ")), "id_token"),
		ClientArgs:      c.AuthorizationQueryArgsClient,
		NavigationsOnly: c.UnauthorizedForScripts,
		Fragment:        c.PreserveFragment,
		CookieDomain:    c.AuthorizationCookieDomain,
	}
}

func loginPolicy(c *Config) rp.LoginPolicy {
	l := rp.LoginPolicy{
		Methods:  methodSet(c.LoginMethods),
		Action:   rp.LoginAction(c.LoginAction),
		Fragment: c.LoginRedirectMode == LoginRedirectModeFragment,
	}
	for _, t := range c.LoginTokens {
		l.Tokens = append(l.Tokens, string(t))
	}
	return l
}

func logoutPolicy(c *Config) rp.LogoutPolicy {
	l := rp.LogoutPolicy{
		Suffix: c.LogoutURISuffix, QueryArg: c.LogoutQueryArg, PostArg: c.LogoutPostArg,
		All:          c.LogoutAllSessions,
		RevokeAccess: c.LogoutRevoke && c.LogoutRevokeAccessToken, RevokeRefresh: c.LogoutRevoke && c.LogoutRevokeRefreshToken,
	}
	for _, m := range c.LogoutMethods {
		l.Methods = append(l.Methods, string(m))
	}
	return l
}

func claimsPolicy(c *Config) rp.ClaimsPolicy {
	p := rp.ClaimsPolicy{Forbidden: c.ClaimsForbidden}
	for _, r := range []struct {
		name     string
		path     []string
		required []string
	}{
		{"scopes", c.ScopesClaim, c.ScopesRequired},
		{"audience", c.AudienceClaim, c.AudienceRequired},
		{"groups", c.GroupsClaim, c.GroupsRequired},
		{"roles", c.RolesClaim, c.RolesRequired},
	} {
		if len(r.required) > 0 {
			p.Require = append(p.Require, rp.Requirement{Name: r.name, Path: claims.Path(r.path), Required: claims.CompileRequired(r.required)})
		}
	}
	if len(c.ScopesRequired) > 0 {
		p.Scope = c.ScopesRequired[0]
	}
	return p
}

// urls turns a list of URLs into text.
func urls(list []param.URL) []string {
	var out []string
	for _, u := range list {
		if u != "" {
			out = append(out, string(u))
		}
	}
	return out
}

// ruleSet gathers header rules in the order of behaviour.md 11.1.
type ruleSet []rp.HeaderRule

// add takes a configured header name: `name` or `name:bearer`; nil, null and
// the empty string are no header (U69).
func (s *ruleSet) add(name string, r rp.HeaderRule) {
	name, r.Bearer = cutBearer(name)
	if n := strings.ToLower(name); n == "" || n == "nil" || n == "null" {
		return
	}
	r.Name = headerName(name)
	*s = append(*s, r)
}

// cutBearer takes the mark of a header that gets the Bearer scheme off its name.
func cutBearer(name string) (bare string, bearer bool) {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && strings.EqualFold(name[i+1:], "bearer") {
		return name[:i], true
	}
	return name, false
}

func (s *ruleSet) mappings(list []HeaderMapping, names, claimNames []string) {
	for i := range min(len(names), len(claimNames)) {
		s.add(names[i], rp.HeaderRule{Source: rp.FromClaim, Path: claims.Path{claimNames[i]}})
	}
	for _, m := range list {
		s.add(m.Header, rp.HeaderRule{Source: rp.FromClaim, Path: claims.Path(m.Path)})
	}
}

func (s *ruleSet) session(list []SessionHeader) {
	for _, h := range list {
		s.add("Session-"+string(h), rp.HeaderRule{Source: rp.FromSession, Attribute: string(h)})
	}
}

// headerName is the canonical spelling: authenticated_user is Authenticated-User.
func headerName(name string) string {
	parts := strings.Split(strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), "_", "-")), "-")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "-")
}

// headerRules are what the service and the client are told, in the order in
// which a later rule wins.
func headerRules(c *Config) (upstream, downstream []rp.HeaderRule) {
	var up, down ruleSet
	both := func(u, d string, source rp.Source) {
		up.add(u, rp.HeaderRule{Source: source})
		down.add(d, rp.HeaderRule{Source: source})
	}
	both(c.UpstreamAccessTokenHeader, c.DownstreamAccessTokenHeader, rp.FromAccessToken)
	both(c.UpstreamIDTokenHeader, c.DownstreamIDTokenHeader, rp.FromIDToken)
	both(c.UpstreamRefreshTokenHeader, c.DownstreamRefreshTokenHeader, rp.FromRefreshToken)
	both(c.UpstreamAccessTokenJWKHeader, c.DownstreamAccessTokenJWKHeader, rp.FromAccessTokenJWK)
	both(c.UpstreamIDTokenJWKHeader, c.DownstreamIDTokenJWKHeader, rp.FromIDTokenJWK)
	both(c.UpstreamIntrospectionHeader, c.DownstreamIntrospectionHeader, rp.FromIntrospection)
	both(c.UpstreamIntrospectionJWTHeader, c.DownstreamIntrospectionJWTHeader, rp.FromIntrospectionJWT)
	both(c.UpstreamUserInfoHeader, c.DownstreamUserInfoHeader, rp.FromUserInfo)
	both(c.UpstreamUserInfoJWTHeader, c.DownstreamUserInfoJWTHeader, rp.FromUserInfoJWT)
	id := rp.HeaderRule{Source: rp.FromSession, Attribute: "id"}
	up.add(c.UpstreamSessionIDHeader, id)
	down.add(c.DownstreamSessionIDHeader, id)
	up.session(c.SessionRequestHeaders)
	down.session(c.SessionResponseHeaders)
	up.mappings(c.UpstreamHeaders, c.UpstreamHeadersNames, c.UpstreamHeadersClaims)
	down.mappings(c.DownstreamHeaders, c.DownstreamHeadersNames, c.DownstreamHeadersClaims)
	return up, down
}
