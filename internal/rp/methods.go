package rp

import "context"

// Method is a way in which a client may authenticate, by its name in auth_methods.
type Method string

// The nine methods, in their order of precedence.
const (
	MethodSession           Method = "session"
	MethodBearer            Method = "bearer"
	MethodKongOAuth2        Method = "kong_oauth2"
	MethodIntrospection     Method = "introspection"
	MethodUserInfo          Method = "userinfo"
	MethodRefreshToken      Method = "refresh_token"
	MethodPassword          Method = "password"
	MethodClientCredentials Method = "client_credentials"
	MethodAuthorizationCode Method = "authorization_code"
)

// A method finds its credential in a request and turns it into an identity.
// The shared phases stay in decide.go, so that no method can forget them.
type method interface {
	name() Method
	// find looks for the method's credential. nil: there is none, the search goes on.
	find(ctx context.Context, x *Exchange) (*Credential, error)
	// authenticate turns a credential into an identity. nil without an error: the
	// credential is not this method's after all, the search goes on.
	authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error)
}

// methods stands in order of precedence.
var methods = [...]method{
	sessionMethod{}, bearerMethod{}, kongOAuth2Method{}, introspectionMethod{}, userInfoMethod{},
	refreshTokenMethod{}, passwordMethod{}, clientCredentialsMethod{}, authorizationCodeMethod{},
}

// MethodSet is a set of methods.
type MethodSet uint16

var methodBit = map[Method]MethodSet{
	MethodSession: 1 << 0, MethodBearer: 1 << 1, MethodKongOAuth2: 1 << 2, MethodIntrospection: 1 << 3, MethodUserInfo: 1 << 4,
	MethodRefreshToken: 1 << 5, MethodPassword: 1 << 6, MethodClientCredentials: 1 << 7, MethodAuthorizationCode: 1 << 8,
}

// NewMethodSet returns the set of the named methods. Unknown names are left out.
func NewMethodSet(ms ...Method) MethodSet {
	var s MethodSet
	for _, m := range ms {
		s |= methodBit[m]
	}
	return s
}

// Has reports whether m is in the set.
func (s MethodSet) Has(m Method) bool { return s&methodBit[m] != 0 }

// HasAny reports whether any of ms is in the set.
func (s MethodSet) HasAny(ms ...Method) bool { return s&NewMethodSet(ms...) != 0 }
