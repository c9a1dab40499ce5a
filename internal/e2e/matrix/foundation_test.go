package matrix

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// foundation is the providers for the OpenID Foundation's relying party
// modules: by response mode, then by what they are for. Those whose metadata or
// keys a module breaks are its own.
type foundation struct {
	by map[string]map[string]*provider.Server
}

// Uses of the foundation's providers.
const (
	plain    = "plain"
	single   = "single"   // publishes one key
	rotating = "rotating" // its keys change
	keyless  = "keyless"  // its key set is broken at first
	broken   = "broken"   // has no discovery document
	mismatch = "mismatch" // names another issuer
	logouts  = "logouts"  // signs by RS256 alone, and tells of logouts
)

func startFoundation() (*foundation, error) {
	f := &foundation{by: map[string]map[string]*provider.Server{}}
	client := provider.Client{ID: "kong", Secret: "kong-secret-0123456789abcdef0123456789abcdef", AuthMethods: []string{provider.AuthBasic}, LoopbackRedirects: true}
	for _, mode := range responseModes {
		f.by[mode] = map[string]*provider.Server{}
		for _, use := range []string{plain, single, rotating, keyless, broken, mismatch, logouts} {
			o := provider.Options{Clients: []provider.Client{client}}
			if use == mismatch {
				o.Metadata = map[string]any{"issuer": foreign}
			}
			if use == logouts {
				o.Metadata = map[string]any{"id_token_signing_alg_values_supported": []string{"RS256"}}
			}
			s, err := provider.Start("127.0.0.1:0", o)
			if err != nil {
				return nil, err
			}
			f.by[mode][use] = s
			for _, fault := range map[string][]provider.Fault{
				single:  {{Name: "jwks-single"}},
				keyless: {{Name: "jwks-empty"}},
				broken:  {{Name: "status", Endpoint: provider.EndpointDiscovery, Status: 404}},
			}[use] {
				if err := s.Faults().Set(fault); err != nil {
					return nil, err
				}
			}
		}
	}
	return f, nil
}

func (f *foundation) stop() {
	for _, uses := range f.by {
		for _, s := range uses {
			s.Close()
		}
	}
}

func (f *foundation) routes() []route {
	var out []route
	for mode, uses := range f.by {
		for use, s := range uses {
			c := config{
				"issuer": s.URL, "client_id": []string{"kong"}, "client_secret": []string{"kong-secret-0123456789abcdef0123456789abcdef"},
				"auth_methods": []string{"authorization_code", "session"}, "response_mode": mode, "login_action": "redirect", "login_tokens": []string{},
				"scopes": []string{"openid", "email"}, "upstream_user_info_header": "x-userinfo", "rediscovery_lifetime": 0,
				"session_secret": sessionSecret,
			}
			path := "/foundation/" + mode + "/" + use
			out = append(out, route{path, c},
				route{path + "-openid", c.with(config{"scopes": []string{"openid"}})},
				route{path + "-secret", c.with(config{"client_secret": []string{"wrong-wrong-wrong-wrong-wrong-wrong"}})},
				route{path + "-strict", c.with(config{"verify_parameters": true})})
			if use == logouts {
				out = append(out, logoutRoutes(path, c)...)
			}
		}
	}
	return out
}

// party is the relying party in one module: the gateway, and one provider.
type party struct {
	t    *testing.T
	w    *world
	op   *provider.Server
	path string
}

// login walks through a login with faults at the provider, and returns the
// gateway's answer to the callback.
func (p *party) login(faults ...provider.Fault) (*harness.Browser, *harness.Answer) {
	p.t.Helper()
	b := p.w.browser(p.t)
	to := b.Get(p.path).Want(302).To()
	for _, f := range faults {
		if err := p.op.Faults().Set(f); err != nil {
			p.t.Fatal(err)
		}
	}
	return b, deliver(b, signIn(p.t, to))
}

// accepts fails the test unless a login succeeds.
func (p *party) accepts(faults ...provider.Fault) *harness.Browser {
	p.t.Helper()
	defer p.restore(faults)()
	b, a := p.login(faults...)
	if a.Want(302).SetsCookie("session") == nil {
		p.t.Fatal("no session is issued")
	}
	b.Get(p.path).Want(200)
	return b
}

// refuses fails the test unless a login is refused, without a session.
func (p *party) refuses(faults ...provider.Fault) {
	p.t.Helper()
	defer p.restore(faults)()
	b, a := p.login(faults...)
	if a.StatusCode != 401 && a.StatusCode != 500 {
		p.t.Errorf("status %d: the login is not refused", a.StatusCode)
	}
	if a.SetsCookie("session") != nil {
		p.t.Error("a session is issued")
	}
	// The next request is a new login, not a way in.
	b.Get(p.path).Want(302)
}

// restore returns what clears the faults of one login.
func (p *party) restore(faults []provider.Fault) func() {
	return func() {
		if len(faults) > 0 {
			p.op.Faults().Clear()
		}
	}
}

// variant is the same provider by another route.
func (p *party) variant(suffix string) *party {
	return &party{p.t, p.w, p.op, p.path + suffix}
}

// userInfo returns what the service behind sees of userinfo.
func (p *party) userInfo(b *harness.Browser) map[string]any {
	p.t.Helper()
	values := b.Get(p.path).Echo().Get("X-Userinfo")
	if len(values) == 0 {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(values[0])
	if err != nil {
		p.t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		p.t.Fatal(err)
	}
	return claims
}

func fault(name string) provider.Fault { return provider.Fault{Name: name} }

// without is a module whose provider's ID token breaks a rule: a login without
// the fault is good, with it is refused.
func without(name string) func(*party) {
	return func(p *party) {
		p.accepts()
		p.refuses(fault(name))
	}
}

// module is one module of the Foundation's test plans for relying parties,
// with what it must let pass and what it must refuse.
type module struct {
	name string
	use  string
	run  func(p *party)
}

var basicModules = []module{
	{"code happy path", plain, func(p *party) {
		p.op.ResetRecords()
		p.accepts()
		if n := p.op.Count(provider.EndpointToken); n != 1 {
			p.t.Errorf("%d token requests", n)
		}
		p.refuses(fault("authorization-code-wrong"))
	}},
	{"invalid-iss", plain, without("wrong-iss")},
	{"missing-sub", plain, without("missing-sub")},
	{"invalid-aud", plain, without("wrong-aud")},
	{"missing-iat", plain, without("missing-iat")},
	{"kid-absent-single-jwks", single, func(p *party) {
		single := fault("jwks-single")
		p.accepts(single, fault("kid-absent"))
		p.refuses(single, fault("foreign-key"), fault("kid-absent"))
		p.refuses(single, fault("alg-es256"), fault("kid-absent"))
	}},
	{"kid-absent-multiple-jwks", plain, func(p *party) {
		p.accepts(fault("kid-absent"))
		p.accepts(fault("alg-es256"), fault("kid-absent"))
		p.refuses(fault("foreign-key"), fault("kid-absent"))
	}},
	{"idtoken-sig-rs256", plain, func(p *party) {
		p.accepts()
		p.refuses(fault("foreign-key"))
	}},
	{"idtoken-sig-none", plain, without("alg-none")},
	{"invalid-sig-rs256", plain, without("bad-signature")},
	{"userinfo-bearer-header", plain, func(p *party) {
		p.op.ResetRecords()
		b := p.accepts()
		r := p.op.Records(provider.EndpointUserinfo)
		if len(r) != 1 || r[0].Method != "GET" || !strings.HasPrefix(r[0].Header.Get("Authorization"), "Bearer ") || r[0].Form.Has("access_token") {
			p.t.Fatalf("userinfo requests: %+v", r)
		}
		if p.userInfo(b)["sub"] != "sub-alex" {
			p.t.Error("the service sees no userinfo")
		}
		// A refusal of the provider is no userinfo.
		if claims := p.userInfo(p.accepts(provider.Fault{Name: "status", Endpoint: provider.EndpointUserinfo, Status: 401})); claims != nil && p.op.Count(provider.EndpointUserinfo) < 2 {
			p.t.Errorf("the service sees %v", claims)
		}
	}},
	{"userinfo-invalid-sub", plain, func(p *party) {
		if p.userInfo(p.accepts())["sub"] != "sub-alex" {
			p.t.Error("the service sees no userinfo")
		}
		b, a := p.login(fault("userinfo-other-sub"))
		if a.StatusCode == 302 {
			if claims := p.userInfo(b); claims != nil {
				p.t.Errorf("userinfo of another subject reaches the service: %v", claims["sub"])
			}
		}
		p.op.Faults().Clear()
	}},
	{"nonce-invalid", plain, without("wrong-nonce")},
	{"scope-userinfo-claims", plain, func(p *party) {
		if got := p.userInfo(p.accepts())["email"]; got != "alex@example.test" {
			p.t.Errorf("with scope email: %v", got)
		}
		o := p.variant("-openid")
		if got, has := o.userInfo(o.accepts())["email"]; has {
			p.t.Errorf("without scope email: %v", got)
		}
	}},
	{"client-secret-basic", plain, func(p *party) {
		p.op.ResetRecords()
		p.accepts()
		r := p.op.Records(provider.EndpointToken)
		if len(r) != 1 || r[0].AuthMethod != provider.AuthBasic || r[0].Form.Has("client_secret") {
			p.t.Fatalf("token requests: %+v", r)
		}
		p.variant("-secret").refuses()
	}},
}

var configModules = []module{
	{"discovery-openid-config", broken, func(p *party) {
		a := p.w.browser(p.t).Get(p.path).Want(500)
		if a.Header.Get("Location") != "" {
			p.t.Error("the browser is sent on without a discovery document")
		}
		good := &party{p.t, p.w, nil, strings.TrimSuffix(p.path, broken) + plain}
		to := p.w.browser(p.t).Get(good.path).Want(302).To()
		if to.Path != "/authorize" {
			p.t.Errorf("sent to %s", to.Path)
		}
	}},
	{"discovery-jwks-uri-keys", keyless, func(p *party) {
		p.refuses(fault("jwks-empty"))
		p.op.ResetRecords()
		p.accepts()
		if n := p.op.Count(provider.EndpointJWKS); n == 0 {
			p.t.Error("the keys were not fetched")
		}
	}},
	{"discovery-issuer-mismatch", mismatch, func(p *party) {
		// The tokens name the true issuer, the document another one.
		p.refuses()
		p.accepts(provider.Fault{Name: "wrong-iss", Token: provider.TokenAny, Value: foreign}, provider.Fault{Name: "authorization-iss-wrong", Value: foreign})
		p.w.browser(p.t).Get(p.path + "-strict").Want(500)
	}},
	{"signing-key-rotation", rotating, func(p *party) {
		p.accepts()
		if err := p.op.Keys().Rotate(true); err != nil {
			p.t.Fatal(err)
		}
		p.accepts()
		if err := p.op.Keys().Rotate(false); err != nil {
			p.t.Fatal(err)
		}
		p.accepts()
		p.refuses(fault("foreign-key"))
	}},
	{"signing-key-rotation-just-before-signing", rotating, func(p *party) {
		p.accepts()
		p.accepts(provider.Fault{Name: "rotate-just-before-signing", Times: 1})
		p.refuses(provider.Fault{Name: "rotate-just-before-signing", Times: 1}, provider.Fault{Name: "status", Endpoint: provider.EndpointJWKS, Status: 503})
	}},
}

func runModules(t *testing.T, mode string, list ...module) {
	w := env(t)
	for _, m := range list {
		t.Run(m.name, func(t *testing.T) {
			op := w.keys.by[mode][m.use]
			t.Cleanup(op.Faults().Clear)
			m.run(&party{t, w, op, "/foundation/" + mode + "/" + m.use})
		})
	}
}

func TestFoundationBasic(t *testing.T)  { runModules(t, "query", basicModules...) }
func TestFoundationConfig(t *testing.T) { runModules(t, "query", configModules...) }
func TestFoundationFormPost(t *testing.T) {
	runModules(t, "form_post", append(basicModules[:len(basicModules):len(basicModules)], configModules...)...)
}
