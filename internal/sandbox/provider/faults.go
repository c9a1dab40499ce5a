package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Endpoints, as faults and records name them.
const (
	EndpointDiscovery     = "discovery"
	EndpointJWKS          = "jwks"
	EndpointAuthorization = "authorization"
	EndpointLogin         = "login"
	EndpointPush          = "push"
	EndpointToken         = "token"
	EndpointIntrospection = "introspection"
	EndpointRevocation    = "revocation"
	EndpointUserinfo      = "userinfo"
	EndpointEndSession    = "end_session"
	// EndpointElsewhere counts requests that followed redirect-elsewhere, or
	// fetched a URL planted in a token's header. It cannot be faulted.
	EndpointElsewhere = "elsewhere"
)

var endpoints = []string{EndpointDiscovery, EndpointJWKS, EndpointAuthorization, EndpointLogin, EndpointPush, EndpointToken,
	EndpointIntrospection, EndpointRevocation, EndpointUserinfo, EndpointEndSession}

// Kinds of tokens that a token fault may be limited to.
const (
	TokenID            = "id_token"
	TokenAccess        = "access_token"
	TokenUserinfo      = "userinfo"
	TokenIntrospection = "introspection"
	TokenLogout        = "logout_token"
	TokenResponse      = "response"
	TokenAny           = "any"
)

// Fault is one way to misbehave.
type Fault struct {
	// Name is one of those that FaultNames lists.
	Name string `json:"fault"`
	// Endpoint limits the fault to one endpoint. Faults of one endpoint know
	// theirs; others act on every endpoint if it is empty.
	Endpoint string `json:"endpoint,omitempty"`
	// Times is how often the fault acts; until cleared if zero.
	Times int `json:"times,omitempty"`
	// Client limits the fault to one client, where the request names one.
	Client string `json:"client,omitempty"`
	// Token limits a token fault to one kind; ID tokens if empty.
	Token string `json:"token,omitempty"`
	// Status is the HTTP status of status, body and redirect-elsewhere.
	Status int `json:"status,omitempty"`
	// Delay of slow, and between the bytes of drip.
	Delay Duration `json:"delay,omitempty"`
	// Size in bytes of huge-body and of the token fault huge.
	Size int64 `json:"size,omitempty"`
	// Value is the fault's own argument: the other issuer, the error code, the
	// redirect target, the body, the member to leave out.
	Value string `json:"value,omitempty"`
	// Claims and Header are laid over a token by claims and header; a nil value
	// removes a member.
	Claims map[string]any `json:"claims,omitempty"`
	Header map[string]any `json:"header,omitempty"`
}

// Duration is a time.Duration that JSON writes as "1m30s", or as seconds.
type Duration time.Duration

// MarshalJSON writes the duration as time.ParseDuration reads it.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON accepts "1m30s" and a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var seconds float64
	if json.Unmarshal(b, &seconds) == nil {
		*d = Duration(seconds * float64(time.Second))
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("reading a duration: write \"2s\" or a number of seconds")
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// Faults are the faults in force. Safe for concurrent use.
type Faults struct {
	mu     sync.Mutex
	active []*activeFault
	fired  map[string]int
}

type activeFault struct {
	Fault
	left int
}

// Set puts a fault in force. It replaces the one of the same name, endpoint,
// client and token. An unknown name or endpoint, or one that the fault cannot
// act on, is an error that says which ones exist.
func (f *Faults) Set(fault Fault) error {
	kind, ok := catalogue[fault.Name]
	if !ok {
		return fmt.Errorf("provider: setting a fault: %q is unknown: use one of %v", fault.Name, FaultNames())
	}
	if fault.Endpoint == "" {
		fault.Endpoint = kind.endpoint
	}
	switch {
	case fault.Endpoint != "" && !slices.Contains(endpoints, fault.Endpoint):
		return fmt.Errorf("provider: setting fault %q: endpoint %q is unknown: use one of %v", fault.Name, fault.Endpoint, endpoints)
	case kind.endpoint != "" && fault.Endpoint != kind.endpoint:
		return fmt.Errorf("provider: setting fault %q: it acts on endpoint %q only", fault.Name, kind.endpoint)
	case fault.Times < 0 || fault.Size < 0 || fault.Delay < 0:
		return fmt.Errorf("provider: setting fault %q: times, size and delay must not be negative", fault.Name)
	case fault.Status != 0 && (fault.Status < 200 || fault.Status > 599):
		return fmt.Errorf("provider: setting fault %q: status must be between 200 and 599", fault.Name)
	case fault.Token != "" && kind.group != groupToken:
		return fmt.Errorf("provider: setting fault %q: it does not act on tokens, leave token out", fault.Name)
	case fault.Client != "" && (kind.group == groupDiscovery || kind.group == groupJWKS):
		return fmt.Errorf("provider: setting fault %q: requests to %s name no client, leave client out", fault.Name, kind.endpoint)
	}
	if kind.group == groupToken && fault.Token == "" {
		fault.Token = TokenID
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(a *activeFault) bool {
		return a.Name == fault.Name && a.Endpoint == fault.Endpoint && a.Client == fault.Client && a.Token == fault.Token
	})
	f.active = append(f.active, &activeFault{Fault: fault, left: fault.Times})
	return nil
}

// Clear ends every fault, and forgets how often they acted.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active, f.fired = nil, nil
}

// Remove ends the faults of a name.
func (f *Faults) Remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(a *activeFault) bool { return a.Name == name })
}

// Active lists the faults in force; Times is what is left of them.
func (f *Faults) Active() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []Fault{}
	for _, a := range f.active {
		c := a.Fault
		c.Times = a.left
		out = append(out, c)
	}
	return out
}

// Fired says how often a fault has acted since the last Clear.
func (f *Faults) Fired(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired[name]
}

// take returns the faults that act here and now, in the order in which they
// were set, and counts them.
func (f *Faults) take(match func(Fault) bool) []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Fault
	f.active = slices.DeleteFunc(f.active, func(a *activeFault) bool {
		if !match(a.Fault) {
			return false
		}
		out = append(out, a.Fault)
		if f.fired == nil {
			f.fired = map[string]int{}
		}
		f.fired[a.Name]++
		a.left--
		return a.left == 0
	})
	return out
}

// one takes a named fault of an endpoint.
func (f *Faults) one(endpoint, client, name string) (Fault, bool) {
	got := f.take(func(x Fault) bool { return x.Name == name && x.acts(endpoint, client) })
	if len(got) == 0 {
		return Fault{}, false
	}
	return got[0], true
}

func (f *Faults) has(endpoint, client, name string) bool {
	_, ok := f.one(endpoint, client, name)
	return ok
}

func (f Fault) acts(endpoint, client string) bool {
	return (f.Endpoint == "" || f.Endpoint == endpoint) && (f.Client == "" || f.Client == client)
}

func (f Fault) valueOr(otherwise string) string {
	if f.Value != "" {
		return f.Value
	}
	return otherwise
}
