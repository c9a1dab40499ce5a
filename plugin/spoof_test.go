package plugin_test

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/sandbox/provider"
)

// line is one header line of a request, as it was sent.
type line struct{ name, value string }

const spoofed = "SPOOFED"

// identityNames are the headers by which Kong and its plugins tell services who
// the caller is.
var identityNames = []string{
	"x-consumer-id", "x-consumer-username", "x-consumer-custom-id", "x-consumer-groups", "x-credential-identifier", "x-credential-username",
	"x-anonymous-consumer", "x-authenticated-groups", "x-authenticated-scope", "x-authenticated-userid",
}

// canonicalName is what a service may take a name for.
func canonicalName(s string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), "_", "-"))
}

// speller writes names as a client may: any case, `_` for `-`, several times.
type speller struct{ *rand.Rand }

func (r speller) spell(name string) string {
	b := []byte(canonicalName(name))
	for i, c := range b {
		switch {
		case c == '-' && r.IntN(2) == 0:
			b[i] = '_'
		case c >= 'a' && c <= 'z' && r.IntN(2) == 0:
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func (r speller) some(list []string) (out []string) {
	for _, e := range list {
		if r.IntN(3) == 0 {
			out = append(out, e)
		}
	}
	return out
}

func (r speller) one(list ...string) string { return list[r.IntN(len(list))] }

// headerParams are the parameters that name a header of the request.
var headerParams = []string{
	"upstream_access_token_header", "upstream_access_token_jwk_header", "upstream_id_token_header", "upstream_id_token_jwk_header", "upstream_introspection_header",
	"upstream_introspection_jwt_header", "upstream_refresh_token_header", "upstream_session_id_header", "upstream_user_info_header", "upstream_user_info_jwt_header",
}

// configuration makes a random configuration, and the canonical names of the
// headers that it may set.
func (r speller) configuration(issuer string) (fromkong.Config, []string) {
	c := fromkong.Config{
		"issuer": issuer, "client_id": []string{"kong"}, "client_secret": []string{clientSecret}, "session_secret": "a-secret-of-the-decisions-0123456789",
		"auth_methods": [][]string{{"bearer"}, {"bearer", "session"}, {"introspection"}, {"userinfo"}, {"bearer", "password", "client_credentials"}, {"bearer", "authorization_code", "session"}}[r.IntN(6)],
	}
	mapped := map[string]bool{}
	fresh := func() string {
		name := r.one(append([]string{"X-User", "Remote-User", "X-Deep-Claim-Name", "X_Under_Score", "role", "X-Access-Token2", "X-Forwarded-User", "Session-Id", "x-consumer-tier"}, identityNames...)...)
		if r.IntN(2) == 0 {
			name = r.spell("x-" + r.one("a", "b-c", "d-e-f", "org-id", "id2"))
		}
		mapped[canonicalName(name)] = true
		return name
	}
	for _, p := range r.some(headerParams) {
		if r.IntN(4) == 0 {
			c[p] = r.one("nil", "null", "authorization:bearer")
			continue
		}
		c[p] = fresh() + r.one("", "", ":bearer", ":BEARER")
	}
	claim := func() string { return r.one("preferred_username", "absent", "groups", "sub", "empty") }
	path := func() []any { return []any{claim()} }
	var list []any
	for range r.IntN(4) {
		list = append(list, map[string]any{"header": fresh(), "path": path()})
	}
	c["upstream_headers"] = list
	var names, claims []string
	for range r.IntN(3) {
		names, claims = append(names, fresh()), append(claims, claim())
	}
	c["upstream_headers_names"], c["upstream_headers_claims"] = names, claims
	attributes := r.some([]string{"id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"})
	c["session_request_headers"] = attributes
	for _, a := range attributes {
		mapped["session-"+a] = true
	}
	maybe := func(name string, value any) {
		if r.IntN(3) == 0 {
			c[name] = value
		}
	}
	maybe("authenticated_groups_claim", path())
	maybe("consumer_claims", []any{path()})
	maybe("consumer_optional", true)
	maybe("consumer_by", []string{"username"})
	maybe("credential_claim", path())
	maybe("anonymous", "nobody")
	maybe("run_on_preflight", false)
	maybe("hide_credentials", false)
	maybe("scopes_required", []string{r.one("openid", "never")})
	maybe("search_user_info", true)
	maybe("disable_session", []string{"bearer", "password"})
	if r.IntN(4) == 0 {
		c["consumer_groups_claim"], c["consumer_groups_optional"] = path(), true
	}
	var all []string
	for n := range mapped {
		if n != "authorization" {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return c, all
}

// asKong gives the lines to a plugin as Kong does: names in lower case, those
// of one spelling together.
func asKong(lines []line) map[string][]string {
	h := map[string][]string{}
	for _, l := range lines {
		n := strings.ToLower(l.name)
		h[n] = append(h[n], l.value)
	}
	return h
}

// reach carries the plugin's calls out on the lines, as nginx does: a name is
// compared ignoring case, `-` and `_` are two characters.
func reach(t *testing.T, lines []line, out *hosttest.Outcome) []line {
	t.Helper()
	remove := func(name string) {
		lines = slices.DeleteFunc(lines, func(l line) bool { return strings.EqualFold(l.name, name) })
	}
	lines = slices.Clone(lines)
	for _, c := range out.Calls {
		switch c.Method {
		case "kong.service.request.clear_header":
			m := &kong_plugin_protocol.String{}
			if err := proto.Unmarshal(c.Args, m); err != nil {
				t.Fatal(err)
			}
			remove(m.V)
		case "kong.service.request.set_headers":
			m := &structpb.Struct{}
			if err := proto.Unmarshal(c.Args, m); err != nil {
				t.Fatal(err)
			}
			for name, v := range m.Fields {
				remove(name)
				values := v.GetListValue().GetValues()
				if values == nil {
					values = []*structpb.Value{v}
				}
				for _, v := range values {
					lines = append(lines, line{name, v.GetStringValue()})
				}
			}
		case "kong.service.request.set_header", "kong.service.request.add_header":
			t.Fatalf("%s: the test does not know the call", c.Method)
		}
	}
	return lines
}

// Whatever the configuration, from the JSON that Kong sends to the calls that
// Kong gets back: no value that a client sends in a header that the
// configuration may set, or that Kong tells identities by, reaches the service
// in any spelling, on success, as anonymous, and on preflight requests. Where an
// earlier plugin has authenticated, what that one set stays.
func TestNothingSpoofedGetsThroughTheWholePipeline(t *testing.T) {
	w := newWorld(t, &decisionCase{Consumers: []entities.Consumer{{ID: "id-0", Username: "nobody"}, {ID: "id-1", Username: "alex"}}})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := server.Listen(socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{Plugin: w.plugin, Info: server.Info{Name: "openid-connect"}})
	go s.Serve(l)
	t.Cleanup(func() { s.Shutdown(t.Context()) })
	mint := func(q provider.TokenRequest) string {
		raw, err := w.main.Mint(q)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	credentials := []string{
		"", "", "Bearer " + mint(provider.TokenRequest{}), "Bearer " + mint(provider.TokenRequest{Claims: map[string]any{"preferred_username": nil, "groups": nil, "sub": nil}}),
		"Bearer " + mint(provider.TokenRequest{Faults: []string{"bad-signature"}}), "Basic YWxleDpkb2U=", "Bearer x", "Basic Og==",
	}
	took := map[string]int{}
	for seed := range uint64(150) {
		r := speller{rand.New(rand.NewPCG(seed, 11))}
		config, mapped := r.configuration(w.main.URL)
		raw, err := config.JSON()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		worker := &hosttest.Worker{Path: socket, Config: raw}
		for range 12 {
			lines := []line{{"Host", "localhost"}, {"X-Innocent", "stays"}, {"x_innocent", "too"}}
			if c := r.one(credentials...); c != "" {
				lines = append(lines, line{"Authorization", c})
			}
			for _, n := range append(r.some(mapped), r.some(identityNames)...) {
				for range 1 + r.IntN(3) {
					lines = append(lines, line{r.spell(n), spoofed})
				}
			}
			r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			q := hosttest.Request{Method: r.one("GET", "GET", "OPTIONS", "POST", "HEAD"), Target: "/", Headers: asKong(lines)}
			if r.IntN(6) == 0 {
				q.Credential = "earlier"
			}
			out, err := worker.Do(q.Answers())
			if err != nil || out.Refused != "" {
				t.Fatalf("seed %d: %v %+v", seed, err, out)
			}
			if out.Exit != nil {
				took["answered"]++
				if n := len(out.Cleared()) + len(out.Pairs("kong.ctx.shared.set")); n > 0 {
					t.Fatalf("seed %d: an answer edits the request too", seed)
				}
				continue
			}
			preflight := q.Method == "OPTIONS" && config["run_on_preflight"] == false
			aside := !preflight && q.Credential != "" && config["anonymous"] != nil
			innocent := 0
			anonymous := false
			for _, l := range reach(t, lines, out) {
				c := canonicalName(l.name)
				identity := slices.Contains(identityNames, c) || strings.HasPrefix(c, "x-consumer-")
				switch {
				case c == "x-innocent":
					innocent++
				case c == "x-anonymous-consumer" && l.value == "true":
					anonymous = true
				case l.value == spoofed && (slices.Contains(mapped, c) || identity && (!aside || strings.Contains(l.name, "_"))):
					t.Fatalf("seed %d: %s reaches the service\nconfiguration %s\nrequest %v", seed, l.name, raw, lines)
				}
			}
			if innocent != 2 {
				t.Fatalf("seed %d: an innocent header is gone", seed)
			}
			switch {
			case preflight:
				took["preflight"]++
			case aside:
				took["aside"]++
			case anonymous:
				took["anonymous"]++
			default:
				took["success"]++
			}
		}
		worker.Close()
	}
	for _, path := range []string{"answered", "preflight", "aside", "anonymous", "success"} {
		if took[path] < 20 {
			t.Errorf("%s happens %d times: the test shows little (%v)", path, took[path], took)
		}
	}
	t.Log(took)
}
