package provider

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func unix(v any) int64 {
	n, _ := v.(json.Number).Int64()
	return n
}

// tokenFaults says for each fault of tokens what an ID token then shows.
func tokenFaults(f *fixture, now int64) map[string]func(h, c map[string]any, raw string) bool {
	list := func(v any) bool { l, ok := v.([]any); return ok && len(l) == 2 && l[0] == "kong" }
	unverified := func(h, _ map[string]any, raw string) bool { return f.verify(raw) != nil }
	valid := func(alg string) func(h, _ map[string]any, raw string) bool {
		return func(h, _ map[string]any, raw string) bool { return h["alg"] == alg && f.verify(raw) == nil }
	}
	gone := func(name string) func(h, c map[string]any, _ string) bool {
		return func(_, c map[string]any, _ string) bool { _, ok := c[name]; return !ok && c["aud"] != "" }
	}
	return map[string]func(h, c map[string]any, raw string) bool{
		"wrong-iss":           func(_, c map[string]any, _ string) bool { return c["iss"] == otherIssuer },
		"missing-iss":         gone("iss"),
		"missing-sub":         gone("sub"),
		"empty-sub":           func(_, c map[string]any, _ string) bool { return c["sub"] == "" },
		"wrong-sub":           func(_, c map[string]any, _ string) bool { return c["sub"] == otherSubject },
		"missing-iat":         gone("iat"),
		"missing-exp":         gone("exp"),
		"missing-aud":         gone("aud"),
		"missing-nonce":       gone("nonce"),
		"missing-jti":         gone("jti"),
		"missing-at-hash":     gone("at_hash"),
		"missing-c-hash":      gone("c_hash"),
		"missing-auth-time":   gone("auth_time"),
		"wrong-aud":           func(_, c map[string]any, _ string) bool { return c["aud"] == otherClient },
		"multiple-aud-no-azp": func(_, c map[string]any, _ string) bool { return list(c["aud"]) && c["azp"] == nil },
		"multiple-aud":        func(_, c map[string]any, _ string) bool { return list(c["aud"]) && c["azp"] == "kong" },
		"bad-azp":             func(_, c map[string]any, _ string) bool { return list(c["aud"]) && c["azp"] == otherClient },
		"expired":             func(_, c map[string]any, _ string) bool { return unix(c["exp"]) == now-3600 },
		"nbf-future":          func(_, c map[string]any, _ string) bool { return unix(c["nbf"]) == now+3600 },
		"iat-future":          func(_, c map[string]any, _ string) bool { return unix(c["iat"]) == now+3600 },
		"exp-string":          func(_, c map[string]any, _ string) bool { return c["exp"] == "tomorrow" },
		"exp-numeric-string":  func(_, c map[string]any, _ string) bool { return c["exp"] == fmt.Sprint(now+3600) },
		"exp-float":           func(_, c map[string]any, _ string) bool { return strings.HasSuffix(fmt.Sprint(c["exp"]), ".5") },
		"exp-huge":            func(_, c map[string]any, _ string) bool { return c["exp"] == json.Number("1e300") },
		"exp-negative":        func(_, c map[string]any, _ string) bool { return unix(c["exp"]) == -1 },
		"exp-object":          func(_, c map[string]any, _ string) bool { _, ok := c["exp"].(map[string]any); return ok },
		"bad-signature":       unverified,
		"missing-signature":   func(_, _ map[string]any, raw string) bool { return strings.HasSuffix(raw, ".") },
		"foreign-key": func(h, c map[string]any, raw string) bool {
			return h["kid"] == f.Keys().KeyID(ES256) && f.verify(raw) != nil
		},
		"alg-none":    func(h, _ map[string]any, raw string) bool { return h["alg"] == "none" && strings.HasSuffix(raw, ".") },
		"alg-missing": func(h, _ map[string]any, _ string) bool { return h["alg"] == nil },
		"alg-hs256-with-public-key": func(h, _ map[string]any, _ string) bool {
			return h["alg"] == HS256 && h["kid"] == f.Keys().KeyID(RS256)
		},
		"alg-hs256-with-secret":    func(h, _ map[string]any, _ string) bool { return h["alg"] == HS256 && h["kid"] == nil },
		"alg-hs256-with-empty-key": func(h, _ map[string]any, _ string) bool { return h["alg"] == HS256 && h["kid"] == nil },
		"alg-mismatch": func(h, c map[string]any, raw string) bool {
			return h["alg"] == RS256 && h["kid"] == f.Keys().KeyID(ES256) && f.verify(raw) != nil
		},
		"alg-es256":     valid(ES256),
		"alg-ps256":     valid(PS256),
		"alg-eddsa":     valid(EdDSA),
		"kid-absent":    func(h, _ map[string]any, _ string) bool { return h["alg"] == RS256 && h["kid"] == nil },
		"unknown-kid":   func(h, _ map[string]any, raw string) bool { return h["kid"] != nil && f.verify(raw) == errNoKey },
		"header-jwk":    func(h, _ map[string]any, raw string) bool { return h["jwk"] != nil && f.verify(raw) != nil },
		"header-jku":    func(h, _ map[string]any, raw string) bool { return h["jku"] != nil && f.verify(raw) != nil },
		"header-x5u":    func(h, _ map[string]any, raw string) bool { return h["x5u"] != nil && f.verify(raw) != nil },
		"header-x5c":    func(h, _ map[string]any, raw string) bool { return h["x5c"] != nil && f.verify(raw) != nil },
		"crit":          func(h, _ map[string]any, _ string) bool { return h["crit"] != nil },
		"typ":           func(h, _ map[string]any, _ string) bool { return h["typ"] == "dpop+jwt" },
		"huge":          func(_, _ map[string]any, raw string) bool { return len(raw) > 1<<20 },
		"not-jwt":       nil,
		"jwe-empty-key": nil,
		"jwe-zip":       nil,
		"wrong-nonce":   func(_, c map[string]any, _ string) bool { return c["nonce"] != nil && c["nonce"] != "the-nonce" },
		"bad-at-hash":   func(_, c map[string]any, _ string) bool { return len(c["at_hash"].(string)) == 22 },
		"bad-c-hash":    func(_, c map[string]any, _ string) bool { return len(c["c_hash"].(string)) == 22 },
		"old-auth-time": func(_, c map[string]any, _ string) bool { return unix(c["auth_time"]) == now-24*3600 },
		"same-jti":      func(_, c map[string]any, _ string) bool { return c["jti"] == "the-same-jti" },
		"claims": func(_, c map[string]any, _ string) bool {
			return c["extra"] == "yes" && c["email"] == nil
		},
		"header": func(h, _ map[string]any, _ string) bool { return h["extra"] == "yes" && h["typ"] == nil },
	}
}

func TestTokenFaults(t *testing.T) {
	f := start(t)
	cases := tokenFaults(f, f.clock.Now().Unix())
	for _, name := range FaultNames() {
		if catalogue[name].group != groupToken {
			continue
		}
		t.Run(name, func(t *testing.T) {
			check, ok := cases[name]
			if !ok {
				t.Fatal("no test looks at this fault")
			}
			over := map[string]any{"extra": "yes", "email": nil, "typ": nil}
			x := Fault{Name: name, Times: 1}
			if name == "claims" {
				x.Claims = over
			}
			if name == "header" {
				x.Header = over
			}
			f.set(x)
			code := f.authorize("response_type", "code").Params.Get("code")
			got := f.post("/token", "grant_type", "authorization_code", "code", code, "redirect_uri", redirect)
			raw := got.json["id_token"].(string)
			if err := f.verify(got.json["access_token"]); err != nil {
				t.Errorf("the access token is hit too: %v", err)
			}
			if f.Faults().Fired(name) != 1 || len(f.Faults().Active()) != 0 {
				t.Errorf("acted %d times, want once", f.Faults().Fired(name))
			}
			if check == nil {
				dots := strings.Count(raw, ".")
				if jwe := strings.HasPrefix(name, "jwe-"); jwe && (dots != 4 || !strings.Contains(raw, "..")) || !jwe && strings.HasPrefix(raw, "eyJ") {
					t.Errorf("token %s", raw)
				}
				return
			}
			h, c := open(t, raw)
			if !check(h, c, raw) {
				t.Errorf("the fault does not show in %v %v", h, c)
			}
			alg, _ := h["alg"].(string)
			fits := c["at_hash"] == leftHash(alg, got.json["access_token"].(string))
			if fits == strings.HasSuffix(name, "at-hash") {
				t.Errorf("at_hash is %v", c["at_hash"])
			}
		})
	}
}

func TestTokenFaultsReachOtherTokens(t *testing.T) {
	f := start(t, Client{ID: "signed", Secret: "signed-secret-0123456789abcdef0", SignedUserinfo: true})
	f.set(Fault{Name: "wrong-iss", Token: TokenAccess})
	got := f.password()
	if _, c := open(t, got["access_token"]); c["iss"] != otherIssuer {
		t.Error("access token")
	}
	if _, c := open(t, got["id_token"]); c["iss"] != f.Issuer() {
		t.Error("the ID token is hit too")
	}
	f.Faults().Clear()
	f.set(Fault{Name: "wrong-nonce", Endpoint: EndpointAuthorization, Token: TokenAny})
	if _, c := open(t, f.authorize("response_type", "code id_token").Params.Get("id_token")); c["nonce"] == "the-nonce" {
		t.Error("front-channel ID token")
	}
	f.Faults().Clear()
	token := f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "scope", "openid", "client_id", "signed", "client_secret", "signed-secret-0123456789abcdef0").json["access_token"].(string)
	f.set(Fault{Name: "alg-none", Token: TokenUserinfo, Value: "nOnE"})
	if h, _ := open(t, string(f.userinfo(token).body)); h["alg"] != "nOnE" {
		t.Errorf("userinfo header %v", h)
	}
}

func TestAnswerFaults(t *testing.T) {
	f := startWith(t, nil)
	number := func(v any) float64 { n, _ := v.(float64); return n }
	absent := func(name string) func(reply) bool {
		return func(r reply) bool { return r.json != nil && len(r.json) > 0 && r.json[name] == nil }
	}
	token := func() reply {
		return f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "scope", "openid")
	}
	access := func() string { return f.password()["access_token"].(string) }
	userinfo := func() reply { return f.userinfo(access()) }
	introspect := func() reply { return f.post("/introspect", "token", access()) }
	discovery := func() reply { return f.get("/.well-known/openid-configuration") }
	jwks := func() reply { return f.get("/jwks") }
	keys := func(r reply, n int, each func(map[string]any) bool) bool {
		list, _ := r.json["keys"].([]any)
		for _, k := range list {
			if m, ok := k.(map[string]any); each != nil && (!ok || !each(m)) {
				return false
			}
		}
		return len(list) == n
	}
	array := func(r reply) bool { return r.body[0] == '[' }
	cases := map[string]struct {
		call func() reply
		want func(reply) bool
	}{
		"token-without-expires-in":    {token, absent("expires_in")},
		"token-without-id-token":      {token, absent("id_token")},
		"token-without-access-token":  {token, absent("access_token")},
		"token-without-refresh-token": {token, absent("refresh_token")},
		"token-without-token-type":    {token, absent("token_type")},
		"token-array":                 {token, array},
		"expires-in-zero":             {token, func(r reply) bool { return r.json["expires_in"] == 0.0 }},
		"expires-in-negative":         {token, func(r reply) bool { return r.json["expires_in"] == -1.0 }},
		"expires-in-string":           {token, func(r reply) bool { return r.json["expires_in"] == "300" }},
		"token-type-lowercase":        {token, func(r reply) bool { return r.json["token_type"] == "bearer" }},
		"token-type-uppercase":        {token, func(r reply) bool { return r.json["token_type"] == "BEARER" }},
		"token-type-unknown":          {token, func(r reply) bool { return r.json["token_type"] == "mac" }},
		"userinfo-other-sub":          {userinfo, func(r reply) bool { return r.json["sub"] == otherSubject }},
		"userinfo-no-sub":             {userinfo, absent("sub")},
		"userinfo-array":              {userinfo, array},
		"userinfo-bad-signature": {userinfo, func(r reply) bool {
			return r.header.Get("Content-Type") == "application/jwt" && f.verify(string(r.body)) != nil
		}},
		"introspection-no-active":     {introspect, absent("active")},
		"introspection-active-string": {introspect, func(r reply) bool { return r.json["active"] == "true" }},
		"introspection-active-number": {introspect, func(r reply) bool { return r.json["active"] == 1.0 }},
		"introspection-inactive":      {introspect, func(r reply) bool { return r.json["active"] == false && len(r.json) == 1 }},
		"introspection-array":         {introspect, array},
		"introspection-wrong-iss":     {introspect, func(r reply) bool { return r.json["active"] == true && r.json["iss"] == otherIssuer }},
		"introspection-expired": {introspect, func(r reply) bool {
			return r.json["active"] == true && number(r.json["exp"]) < float64(f.clock.Now().Unix())
		}},
		"discovery-other-issuer":       {discovery, func(r reply) bool { return r.json["issuer"] == otherIssuer }},
		"discovery-no-issuer":          {discovery, absent("issuer")},
		"discovery-silent-about-pkce":  {discovery, absent("code_challenge_methods_supported")},
		"discovery-without":            {discovery, absent("jwks_uri")},
		"discovery-array":              {discovery, array},
		"discovery-endpoint-elsewhere": {discovery, func(r reply) bool { return strings.HasPrefix(r.json["jwks_uri"].(string), "http://localhost:") }},
		"jwks-empty":                   {jwks, func(r reply) bool { return keys(r, 0, nil) && r.json["keys"] != nil }},
		"jwks-no-keys":                 {jwks, func(r reply) bool { return string(r.body) == "{}\n" }},
		"jwks-array":                   {jwks, array},
		"jwks-unknown-kty":             {jwks, func(r reply) bool { return keys(r, 11, nil) }},
		"jwks-duplicate-kid": {jwks, func(r reply) bool {
			kids := map[any]map[any]bool{}
			ok := keys(r, 8, func(k map[string]any) bool {
				if kids[k["kid"]] == nil {
					kids[k["kid"]] = map[any]bool{}
				}
				kids[k["kid"]][k["kty"]] = true
				return true
			})
			return ok && len(kids) == 4 && len(kids[f.Keys().KeyID(RS256)]) == 2
		}},
		"jwks-no-kid":    {jwks, func(r reply) bool { return keys(r, 4, func(k map[string]any) bool { return k["kid"] == nil }) }},
		"jwks-single":    {jwks, func(r reply) bool { return keys(r, 1, func(k map[string]any) bool { return k["alg"] == RS256 }) }},
		"jwks-enc":       {jwks, func(r reply) bool { return keys(r, 4, func(k map[string]any) bool { return k["use"] == "enc" }) }},
		"jwks-wrong-alg": {jwks, func(r reply) bool { return keys(r, 4, func(k map[string]any) bool { return k["alg"] != RS256 }) }},
		"jwks-many":      {jwks, func(r reply) bool { return keys(r, 1004, nil) }},
	}
	for _, name := range FaultNames() {
		switch catalogue[name].group {
		case groupToken, groupWire, groupAuthorization, groupDPoP:
			continue
		}
		if name == "rotate-just-before-signing" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c, ok := cases[name]
			if !ok {
				t.Fatal("no test looks at this fault")
			}
			if c.want(c.call()) {
				t.Fatal("the fault shows before it is set")
			}
			f.set(Fault{Name: name, Times: 1, Value: map[string]string{"discovery-without": "jwks_uri"}[name]})
			if r := c.call(); !c.want(r) {
				t.Errorf("the fault does not show: %.300s", r.body)
			}
			if c.want(c.call()) {
				t.Error("the fault acts more than once")
			}
		})
	}
	t.Run("rotate-just-before-signing", func(t *testing.T) {
		old := f.Keys().KeyID(RS256)
		f.set(Fault{Name: "rotate-just-before-signing", Times: 1})
		got := f.password()
		if f.verify(got["access_token"]) != nil || f.verify(got["id_token"]) != nil || f.Keys().KeyID(RS256) == old {
			t.Error("the tokens are not signed with the new keys")
		}
		if strings.Contains(string(f.get("/jwks").body), old) {
			t.Error("the old key is still published")
		}
	})
}

func TestAuthorizationFaults(t *testing.T) {
	f := start(t)
	cases := map[string]func(*Callback) bool{
		"authorization-iss-wrong":     func(c *Callback) bool { return c.Params.Get("iss") == otherIssuer },
		"authorization-iss-missing":   func(c *Callback) bool { return !c.Params.Has("iss") },
		"authorization-state-wrong":   func(c *Callback) bool { return c.Params.Get("state") != "the-state" && c.Params.Has("state") },
		"authorization-state-missing": func(c *Callback) bool { return !c.Params.Has("state") },
		"authorization-code-missing":  func(c *Callback) bool { return !c.Params.Has("code") },
		"authorization-code-twice":    func(c *Callback) bool { return len(c.Params["code"]) == 2 },
		"authorization-error": func(c *Callback) bool {
			return c.Params.Get("error") == "access_denied" && c.Params.Get("state") == "the-state"
		},
		"authorization-code-wrong": func(c *Callback) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return c.Params.Has("code") && f.state.codes[c.Params.Get("code")] == nil
		},
	}
	for _, name := range FaultNames() {
		if catalogue[name].group != groupAuthorization {
			continue
		}
		for _, mode := range []string{"query", "form_post"} {
			t.Run(name+" by "+mode, func(t *testing.T) {
				want, ok := cases[name]
				if !ok {
					t.Fatal("no test looks at this fault")
				}
				f.set(Fault{Name: name, Times: 1, Client: "kong"})
				if other := f.authorize("client_id", "second", "response_mode", mode); want(other) {
					t.Error("another client is hit")
				}
				if cb := f.authorize("response_mode", mode); !want(cb) {
					t.Errorf("the fault does not show: %v", cb.Params)
				}
				if want(f.authorize("response_mode", mode)) {
					t.Error("the fault acts more than once")
				}
			})
		}
	}
	f.set(Fault{Name: "authorization-error", Value: "temporarily_unavailable"})
	if e := f.authorize().Params.Get("error"); e != "temporarily_unavailable" {
		t.Errorf("error %q", e)
	}
}

func TestSettingFaults(t *testing.T) {
	var f Faults
	for name, x := range map[string]Fault{
		"unknown name":           {Name: "wrong-isss"},
		"unknown endpoint":       {Name: "slow", Endpoint: "tokens"},
		"wrong endpoint":         {Name: "jwks-empty", Endpoint: EndpointToken},
		"negative times":         {Name: "slow", Times: -1},
		"status":                 {Name: "status", Status: 99},
		"token of a wire fault":  {Name: "slow", Token: TokenID},
		"client of a key server": {Name: "jwks-empty", Client: "kong"},
	} {
		if err := f.Set(x); err == nil || !strings.Contains(err.Error(), "provider: setting") {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
	f.Set(Fault{Name: "slow", Endpoint: EndpointToken, Times: 1})
	f.Set(Fault{Name: "slow", Endpoint: EndpointToken, Times: 7})
	f.Set(Fault{Name: "slow", Endpoint: EndpointJWKS})
	if a := f.Active(); len(a) != 2 || a[0].Times != 7 {
		t.Errorf("active %+v, want the second to replace the first", a)
	}
	f.Remove("slow")
	if len(f.Active()) != 0 {
		t.Error("Remove leaves some")
	}
	if names := FaultNames(); !slices.IsSorted(names) || len(names) != len(catalogue) {
		t.Error("FaultNames is incomplete")
	}
	for name, kind := range catalogue {
		if kind.doc == "" {
			t.Errorf("%s has no description", name)
		}
	}
}
