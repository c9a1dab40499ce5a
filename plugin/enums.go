package plugin

// Algorithm is a JWS algorithm (RFC 7518, RFC 8037).
type Algorithm string

// Values of Algorithm.
const (
	AlgorithmES256 Algorithm = "ES256"
	AlgorithmES384 Algorithm = "ES384"
	AlgorithmES512 Algorithm = "ES512"
	AlgorithmEdDSA Algorithm = "EdDSA"
	AlgorithmHS256 Algorithm = "HS256"
	AlgorithmHS384 Algorithm = "HS384"
	AlgorithmHS512 Algorithm = "HS512"
	AlgorithmPS256 Algorithm = "PS256"
	AlgorithmPS384 Algorithm = "PS384"
	AlgorithmPS512 Algorithm = "PS512"
	AlgorithmRS256 Algorithm = "RS256"
	AlgorithmRS384 Algorithm = "RS384"
	AlgorithmRS512 Algorithm = "RS512"
)

// OneOf implements param.Enum.
func (Algorithm) OneOf() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

// ClientAuth is a way of client authentication at the provider (OpenID Connect Core 9, RFC 8705).
type ClientAuth string

// Values of ClientAuth.
const (
	ClientAuthSecretBasic   ClientAuth = "client_secret_basic"
	ClientAuthSecretJWT     ClientAuth = "client_secret_jwt"
	ClientAuthSecretPost    ClientAuth = "client_secret_post"
	ClientAuthNone          ClientAuth = "none"
	ClientAuthPrivateKeyJWT ClientAuth = "private_key_jwt"
	ClientAuthSelfSignedTLS ClientAuth = "self_signed_tls_client_auth"
	ClientAuthTLS           ClientAuth = "tls_client_auth"
)

// OneOf implements param.Enum.
func (ClientAuth) OneOf() []string {
	return []string{"client_secret_basic", "client_secret_jwt", "client_secret_post", "none", "private_key_jwt", "self_signed_tls_client_auth", "tls_client_auth"}
}

// Method is a way in which a client may authenticate.
type Method string

// Values of Method.
const (
	MethodAuthorizationCode Method = "authorization_code"
	MethodBearer            Method = "bearer"
	MethodClientCredentials Method = "client_credentials"
	MethodIntrospection     Method = "introspection"
	MethodKongOAuth2        Method = "kong_oauth2"
	MethodPassword          Method = "password"
	MethodRefreshToken      Method = "refresh_token"
	MethodSession           Method = "session"
	MethodUserinfo          Method = "userinfo"
)

// OneOf implements param.Enum.
func (Method) OneOf() []string {
	return []string{"authorization_code", "bearer", "client_credentials", "introspection", "kong_oauth2", "password", "refresh_token", "session", "userinfo"}
}

// TokenPlace is a place of the request where a bearer token may stand.
type TokenPlace string

// Values of TokenPlace.
const (
	TokenPlaceBody   TokenPlace = "body"
	TokenPlaceCookie TokenPlace = "cookie"
	TokenPlaceHeader TokenPlace = "header"
	TokenPlaceQuery  TokenPlace = "query"
)

// OneOf implements param.Enum.
func (TokenPlace) OneOf() []string {
	return []string{"body", "cookie", "header", "query"}
}

// Place is a place of the request where a credential may stand.
type Place string

// Values of Place.
const (
	PlaceBody   Place = "body"
	PlaceHeader Place = "header"
	PlaceQuery  Place = "query"
)

// OneOf implements param.Enum.
func (Place) OneOf() []string {
	return []string{"body", "header", "query"}
}

// SameSite is the SameSite attribute of a cookie; SameSiteDefault leaves it out.
type SameSite string

// Values of SameSite.
const (
	SameSiteDefault SameSite = "Default"
	SameSiteLax     SameSite = "Lax"
	SameSiteNone    SameSite = "None"
	SameSiteStrict  SameSite = "Strict"
)

// OneOf implements param.Enum.
func (SameSite) OneOf() []string {
	return []string{"Default", "Lax", "None", "Strict"}
}

// ResponseMode is how the provider sends the authorization response; those with jwt are JARM.
type ResponseMode string

// Values of ResponseMode.
const (
	ResponseModeFormPost    ResponseMode = "form_post"
	ResponseModeFormPostJWT ResponseMode = "form_post.jwt"
	ResponseModeFragment    ResponseMode = "fragment"
	ResponseModeFragmentJWT ResponseMode = "fragment.jwt"
	ResponseModeJWT         ResponseMode = "jwt"
	ResponseModeQuery       ResponseMode = "query"
	ResponseModeQueryJWT    ResponseMode = "query.jwt"
)

// OneOf implements param.Enum.
func (ResponseMode) OneOf() []string {
	return []string{"form_post", "form_post.jwt", "fragment", "fragment.jwt", "jwt", "query", "query.jwt"}
}

// SessionBinding is a property of the request that a session is bound to.
type SessionBinding string

// Values of SessionBinding.
const (
	SessionBindingIP        SessionBinding = "ip"
	SessionBindingScheme    SessionBinding = "scheme"
	SessionBindingUserAgent SessionBinding = "user-agent"
)

// OneOf implements param.Enum.
func (SessionBinding) OneOf() []string {
	return []string{"ip", "scheme", "user-agent"}
}

// SessionHeader is a fact about the session that goes into a Session-* header.
type SessionHeader string

// Values of SessionHeader.
const (
	SessionHeaderAbsoluteTimeout SessionHeader = "absolute-timeout"
	SessionHeaderAudience        SessionHeader = "audience"
	SessionHeaderID              SessionHeader = "id"
	SessionHeaderIdlingTimeout   SessionHeader = "idling-timeout"
	SessionHeaderRollingTimeout  SessionHeader = "rolling-timeout"
	SessionHeaderSubject         SessionHeader = "subject"
	SessionHeaderTimeout         SessionHeader = "timeout"
)

// OneOf implements param.Enum.
func (SessionHeader) OneOf() []string {
	return []string{"absolute-timeout", "audience", "id", "idling-timeout", "rolling-timeout", "subject", "timeout"}
}

// SessionStorage is where session data lives.
type SessionStorage string

// Values of SessionStorage.
const (
	SessionStorageCookie    SessionStorage = "cookie"
	SessionStorageMemcache  SessionStorage = "memcache"
	SessionStorageMemcached SessionStorage = "memcached"
	SessionStorageRedis     SessionStorage = "redis"
)

// OneOf implements param.Enum.
func (SessionStorage) OneOf() []string {
	return []string{"cookie", "memcache", "memcached", "redis"}
}

// IntrospectionAccept is the form of introspection answer that is asked for.
type IntrospectionAccept string

// Values of IntrospectionAccept.
const (
	IntrospectionAcceptJSON             IntrospectionAccept = "application/json"
	IntrospectionAcceptJWT              IntrospectionAccept = "application/jwt"
	IntrospectionAcceptIntrospectionJWT IntrospectionAccept = "application/token-introspection+jwt"
)

// OneOf implements param.Enum.
func (IntrospectionAccept) OneOf() []string {
	return []string{"application/json", "application/jwt", "application/token-introspection+jwt"}
}

// UserinfoAccept is the form of userinfo answer that is asked for.
type UserinfoAccept string

// Values of UserinfoAccept.
const (
	UserinfoAcceptJSON UserinfoAccept = "application/json"
	UserinfoAcceptJWT  UserinfoAccept = "application/jwt"
)

// OneOf implements param.Enum.
func (UserinfoAccept) OneOf() []string {
	return []string{"application/json", "application/jwt"}
}

// TokenGrant is a grant of the token endpoint.
type TokenGrant string

// Values of TokenGrant.
const (
	TokenGrantAuthorizationCode TokenGrant = "authorization_code"
	TokenGrantClientCredentials TokenGrant = "client_credentials"
	TokenGrantPassword          TokenGrant = "password"
	TokenGrantRefreshToken      TokenGrant = "refresh_token"
)

// OneOf implements param.Enum.
func (TokenGrant) OneOf() []string {
	return []string{"authorization_code", "client_credentials", "password", "refresh_token"}
}

// UnverifiedGrant is a grant whose tokens may go unverified.
type UnverifiedGrant string

// Values of UnverifiedGrant.
const (
	UnverifiedGrantAuthorizationCode UnverifiedGrant = "authorization_code"
	UnverifiedGrantClientCredentials UnverifiedGrant = "client_credentials"
	UnverifiedGrantIntrospection     UnverifiedGrant = "introspection"
	UnverifiedGrantPassword          UnverifiedGrant = "password"
	UnverifiedGrantRefreshToken      UnverifiedGrant = "refresh_token"
	UnverifiedGrantSession           UnverifiedGrant = "session"
	UnverifiedGrantUserinfo          UnverifiedGrant = "userinfo"
)

// OneOf implements param.Enum.
func (UnverifiedGrant) OneOf() []string {
	return []string{"authorization_code", "client_credentials", "introspection", "password", "refresh_token", "session", "userinfo"}
}

// PossessionMode says when a proof of possession is asked for.
type PossessionMode string

// Values of PossessionMode.
const (
	PossessionModeOff      PossessionMode = "off"
	PossessionModeOptional PossessionMode = "optional"
	PossessionModeStrict   PossessionMode = "strict"
)

// OneOf implements param.Enum.
func (PossessionMode) OneOf() []string {
	return []string{"off", "optional", "strict"}
}

// ClientDPoP says when the plugin binds its tokens to a key of its own.
type ClientDPoP string

// Values of ClientDPoP.
const (
	ClientDPoPOff      ClientDPoP = "off"
	ClientDPoPAuto     ClientDPoP = "auto"
	ClientDPoPRequired ClientDPoP = "required"
)

// OneOf implements param.Enum.
func (ClientDPoP) OneOf() []string {
	return []string{"off", "auto", "required"}
}

// CertificateFormat is how a proxy writes the client certificate into a header.
type CertificateFormat string

// Values of CertificateFormat.
const (
	CertificateFormatBase64     CertificateFormat = "base64_encoded"
	CertificateFormatURLEncoded CertificateFormat = "url_encoded"
)

// OneOf implements param.Enum.
func (CertificateFormat) OneOf() []string {
	return []string{"base64_encoded", "url_encoded"}
}

// RevocationMode says how the revocation of a client certificate is checked.
type RevocationMode string

// Values of RevocationMode.
const (
	RevocationModeIgnoreCAError RevocationMode = "IGNORE_CA_ERROR"
	RevocationModeSkip          RevocationMode = "SKIP"
	RevocationModeStrict        RevocationMode = "STRICT"
)

// OneOf implements param.Enum.
func (RevocationMode) OneOf() []string {
	return []string{"IGNORE_CA_ERROR", "SKIP", "STRICT"}
}

// ConsumerField is a field of a Kong consumer that is looked up.
type ConsumerField string

// Values of ConsumerField.
const (
	ConsumerFieldCustomID ConsumerField = "custom_id"
	ConsumerFieldID       ConsumerField = "id"
	ConsumerFieldUsername ConsumerField = "username"
)

// OneOf implements param.Enum.
func (ConsumerField) OneOf() []string {
	return []string{"custom_id", "id", "username"}
}

// ClusterCacheItem is a kind of entry that nodes share.
type ClusterCacheItem string

// Values of ClusterCacheItem.
const (
	ClusterCacheItemIntrospection ClusterCacheItem = "introspection"
	ClusterCacheItemTokens        ClusterCacheItem = "tokens"
)

// OneOf implements param.Enum.
func (ClusterCacheItem) OneOf() []string {
	return []string{"introspection", "tokens"}
}

// ClusterCacheStrategy is where nodes share cached answers.
type ClusterCacheStrategy string

// Values of ClusterCacheStrategy.
const (
	ClusterCacheStrategyOff   ClusterCacheStrategy = "off"
	ClusterCacheStrategyRedis ClusterCacheStrategy = "redis"
)

// OneOf implements param.Enum.
func (ClusterCacheStrategy) OneOf() []string {
	return []string{"off", "redis"}
}

// LoginAction is what follows a login.
type LoginAction string

// Values of LoginAction.
const (
	LoginActionRedirect LoginAction = "redirect"
	LoginActionResponse LoginAction = "response"
	LoginActionUpstream LoginAction = "upstream"
)

// OneOf implements param.Enum.
func (LoginAction) OneOf() []string {
	return []string{"redirect", "response", "upstream"}
}

// LoginRedirectMode is the part of a URL that takes the tokens.
type LoginRedirectMode string

// Values of LoginRedirectMode.
const (
	LoginRedirectModeFragment LoginRedirectMode = "fragment"
	LoginRedirectModeQuery    LoginRedirectMode = "query"
)

// OneOf implements param.Enum.
func (LoginRedirectMode) OneOf() []string {
	return []string{"fragment", "query"}
}

// LoginToken is something that a login hands to the client.
type LoginToken string

// Values of LoginToken.
const (
	LoginTokenAccessToken   LoginToken = "access_token"
	LoginTokenIDToken       LoginToken = "id_token"
	LoginTokenIntrospection LoginToken = "introspection"
	LoginTokenRefreshToken  LoginToken = "refresh_token"
	LoginTokenTokens        LoginToken = "tokens"
)

// OneOf implements param.Enum.
func (LoginToken) OneOf() []string {
	return []string{"access_token", "id_token", "introspection", "refresh_token", "tokens"}
}

// LogoutMethod is an HTTP method that may log out.
type LogoutMethod string

// Values of LogoutMethod.
const (
	LogoutMethodDelete LogoutMethod = "DELETE"
	LogoutMethodGet    LogoutMethod = "GET"
	LogoutMethodPost   LogoutMethod = "POST"
)

// OneOf implements param.Enum.
func (LogoutMethod) OneOf() []string {
	return []string{"DELETE", "GET", "POST"}
}

// SentinelRole is the role of the Redis server that a sentinel is asked for.
type SentinelRole string

// Values of SentinelRole.
const (
	SentinelRoleAny    SentinelRole = "any"
	SentinelRoleMaster SentinelRole = "master"
	SentinelRoleSlave  SentinelRole = "slave"
)

// OneOf implements param.Enum.
func (SentinelRole) OneOf() []string {
	return []string{"any", "master", "slave"}
}

// CloudProvider is a cloud that issues short-lived logins to its Redis.
type CloudProvider string

// Values of CloudProvider.
const (
	CloudProviderAWS   CloudProvider = "aws"
	CloudProviderAzure CloudProvider = "azure"
	CloudProviderGCP   CloudProvider = "gcp"
)

// OneOf implements param.Enum.
func (CloudProvider) OneOf() []string {
	return []string{"aws", "azure", "gcp"}
}

// OldSameSite is SameSite as it was spelt before Kong 3.2.
type OldSameSite string

// OneOf implements param.Enum.
func (OldSameSite) OneOf() []string { return []string{"Strict", "Lax", "None", "off"} }

// HTTPVersion is a version of HTTP.
type HTTPVersion float64

// OneOf implements param.NumberEnum. Version 1.0 is refused by a rule that
// says why.
func (HTTPVersion) OneOf() []float64 { return []float64{1.0, 1.1} }

// RevocationStorage is where sessions that ended before their time are listed.
type RevocationStorage string

// Values of RevocationStorage.
const (
	RevocationStorageAuto  RevocationStorage = "auto"
	RevocationStorageRedis RevocationStorage = "redis"
)

// OneOf implements param.Enum.
func (RevocationStorage) OneOf() []string { return []string{"auto", "redis"} }
