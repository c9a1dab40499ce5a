package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestControlFaults(t *testing.T) {
	f := start(t)
	if r := f.control("PUT", "/sandbox/faults", `{"endpoint":"token","fault":"status","status":503,"times":1}`); r.status != 204 {
		t.Fatalf("one fault: %d %s", r.status, r.body)
	}
	if r := f.control("PUT", "/sandbox/faults", ` [{"fault":"claims","token":"access_token","claims":{"exp":1e300,"aud":null}},{"fault":"slow","endpoint":"jwks","delay":"1ms"}]`); r.status != 204 {
		t.Fatalf("a list: %d %s", r.status, r.body)
	}
	if r := f.post("/token", "grant_type", "client_credentials"); r.status != 503 {
		t.Errorf("answer %d, want 503", r.status)
	}
	_, c := open(t, f.password()["access_token"])
	if c["exp"] != json.Number("1e300") || c["aud"] != nil {
		t.Errorf("claims %v", c)
	}
	r := f.get("/sandbox/faults")
	if len(r.json["active"].([]any)) != 2 || fmt.Sprint(r.json["fired"]) != "map[claims:1 status:1]" || len(r.json["available"].(map[string]any)) != len(FaultNames()) {
		t.Errorf("list %.300s", r.body)
	}
	f.control("DELETE", "/sandbox/faults?fault=slow", "")
	if a := f.Faults().Active(); len(a) != 1 || a[0].Name != "claims" {
		t.Errorf("after deleting one: %v", a)
	}
	f.control("DELETE", "/sandbox/faults", "")
	if a := f.Faults().Active(); len(a) != 0 {
		t.Errorf("after deleting all: %v", a)
	}
	for name, body := range map[string]string{
		"unknown fault":  `{"fault":"x"}`,
		"unknown member": `{"fault":"slow","endpont":"token"}`,
		"not JSON":       `{`,
		"bad delay":      `{"fault":"slow","delay":"soon"}`,
	} {
		if r := f.control("PUT", "/sandbox/faults", body); r.status != 400 || r.json["error_description"] == "" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
}

func TestControlIsForThisMachine(t *testing.T) {
	f := start(t)
	send := func(p *Provider, remote, host, origin string) int {
		r := httptest.NewRequest("DELETE", "http://"+host+"/sandbox/faults", nil)
		r.RemoteAddr = remote
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w.Code
	}
	for _, c := range []struct {
		remote, host, origin string
		want                 int
	}{
		{"127.0.0.1:5", "localhost:8080", "", 204},
		{"[::1]:5", "[::1]:8080", "http://[::1]:8080", 204},
		{"192.0.2.1:5", "localhost:8080", "", 403},
		{"127.0.0.1:5", "rebound.example.test:8080", "", 403},
		{"127.0.0.1:5", "localhost:8080", "http://localhost:8000", 403},
		{"127.0.0.1:5", "localhost:8080", "null", 403},
	} {
		if got := send(f.Provider, c.remote, c.host, c.origin); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if r := f.control("POST", "/sandbox/faults", `{}`); r.status != 405 {
		t.Errorf("POST: %d", r.status)
	}
	req, _ := http.NewRequest("PUT", f.URL+"/sandbox/faults", strings.NewReader(`{"fault":"slow"}`))
	req.Header.Set("Content-Type", "text/plain")
	if r := f.do(req); r.status != 415 {
		t.Errorf("a body that a form could send: %d, want 415", r.status)
	}
	if _, err := Start("0.0.0.0:0", Options{}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("listening everywhere: %v", err)
	}
}

func TestControlRequests(t *testing.T) {
	f := start(t)
	f.password()
	f.get("/jwks")
	r := f.get("/sandbox/requests?endpoint=token")
	if fmt.Sprint(r.json["counts"]) != "map[jwks:1 token:1]" {
		t.Errorf("counts %v", r.json["counts"])
	}
	list := r.json["requests"].([]any)
	rec := list[0].(map[string]any)
	if len(list) != 1 || rec["client_id"] != "kong" || rec["auth_method"] != AuthBasic || rec["grant_type"] != "password" || rec["status"] != 200.0 {
		t.Errorf("record %v", rec)
	}
	form := rec["form"].(map[string]any)
	if fmt.Sprint(form["username"]) != "[alex]" || fmt.Sprint(form["password"]) != "[[redacted]]" || strings.Contains(string(r.body), kongSecret) {
		t.Errorf("form %v", form)
	}
	if got := f.Records(EndpointToken)[0].Form.Get("password"); got != "doe" {
		t.Errorf("the Go form shows %q", got)
	}
	f.control("DELETE", "/sandbox/requests", "")
	if len(f.Records("")) != 0 || f.Count(EndpointToken) != 0 {
		t.Error("records are left")
	}
}

func TestControlToken(t *testing.T) {
	f := start(t)
	mint := func(body string) string {
		r := f.control("POST", "/sandbox/token", body)
		if r.status != 200 {
			t.Fatalf("%s: %d %s", body, r.status, r.body)
		}
		return r.json["token"].(string)
	}
	plain := mint(`{}`)
	_, c := open(t, plain)
	if f.verify(plain) != nil || c["sub"] != "sub-alex" || c["azp"] != "kong" || f.userinfo(plain).status != 200 {
		t.Errorf("plain token %v", c)
	}
	h, c := open(t, mint(`{"user":"blake","alg":"ES256","seconds":5,"scopes":["a","b"],"claims":{"extra":{"deep":[1]},"email":null,"exp":"soon"},"header":{"kid":"other","crit":["x"]}}`))
	if h["alg"] != ES256 || h["kid"] != "other" || c["scope"] != "a b email profile" || c["exp"] != "soon" || c["email"] != nil || c["preferred_username"] != "blake" {
		t.Errorf("token %v %v", h, c)
	}
	if _, c := open(t, mint(`{"user":"-"}`)); c["sub"] != "service-account-kong" {
		t.Errorf("a client's token %v", c)
	}
	if h, c := open(t, mint(`{"kind":"logout_token","claims":{"sid":"s"}}`)); h["typ"] != "logout+jwt" || c["sid"] != "s" || c["events"] == nil {
		t.Errorf("logout token %v %v", h, c)
	}
	if _, c := open(t, mint(`{"kind":"id_token","faults":["bad-azp","expired"]}`)); c["azp"] != otherClient || unix(c["exp"]) >= f.clock.Now().Unix() {
		t.Errorf("ID token %v", c)
	}
	for _, bad := range []string{`{"client":"x"}`, `{"user":"x"}`, `{"kind":"x"}`, `{"alg":"x"}`, `{"faults":["slow"]}`, `{"kind":"id_token","user":"-"}`} {
		if r := f.control("POST", "/sandbox/token", bad); r.status != 400 {
			t.Errorf("%s: %d", bad, r.status)
		}
	}
}

func TestControlRegistersAndMovesTheClock(t *testing.T) {
	f := start(t)
	f.control("PUT", "/sandbox/clients", `{"client_id":"new","client_secret":"new-secret-0123456789abcdef012345","access_token_seconds":5}`)
	f.control("PUT", "/sandbox/users", `{"username":"new","password":"pw","claims":{"quota":12345678901234567890}}`)
	r := f.post("/token", "grant_type", "password", "username", "new", "password", "pw", "client_id", "new", "client_secret", "new-secret-0123456789abcdef012345")
	if _, c := open(t, r.json["access_token"]); r.json["expires_in"] != 5.0 || c["quota"] != json.Number("12345678901234567890") {
		t.Errorf("answer %s", r.body)
	}
	f.control("PUT", "/sandbox/clock", `{"offset":"-1h"}`)
	_, c := open(t, f.password()["access_token"])
	if want := f.clock.Now().Add(-time.Hour).Unix(); unix(c["iat"]) != want {
		t.Errorf("iat %v, want %d", c["iat"], want)
	}
	if r := f.control("DELETE", "/sandbox/sessions?username=alex", ""); r.status != 204 {
		t.Errorf("ending sessions: %d", r.status)
	}
	for path, body := range map[string]string{"clients": `{}`, "users": `{"username":"x"}`, "clock": `{"offset":true}`} {
		if r := f.control("PUT", "/sandbox/"+path, body); r.status != 400 {
			t.Errorf("%s %s: %d", path, body, r.status)
		}
	}
}

// With -race: everything at once.
func TestConcurrentUse(t *testing.T) {
	f := startWith(t, nil)
	refresh := f.password()["refresh_token"].(string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 20 {
		wg.Go(func() {
			if r := f.post("/token", "grant_type", "refresh_token", "refresh_token", refresh); r.status == 200 {
				mu.Lock()
				fresh++
				mu.Unlock()
			}
			f.authorize()
			f.get("/jwks")
			f.Faults().Set(Fault{Name: "token-without-expires-in", Times: 1})
			f.userinfo(f.password()["access_token"].(string))
			f.Records("")
			f.Counts()
			switch i {
			case 5:
				f.Keys().Rotate(true)
			case 10:
				f.get("/logout")
				f.RevokeSessions("alex")
			case 15:
				f.SetUser(User{Username: "alex", Password: "doe"})
				f.SetClockOffset(time.Second)
			}
		})
	}
	wg.Wait()
	if fresh != 1 {
		t.Errorf("%d of 20 parallel refreshes succeeded, want 1", fresh)
	}
	if n := f.Count(EndpointJWKS); n != 20 {
		t.Errorf("%d key fetches counted", n)
	}
}

func TestStateIsSwept(t *testing.T) {
	c := &clock{t: time.Unix(1_700_000_000, 0)}
	p, err := New(Options{Issuer: "http://127.0.0.1:1", Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	for range sweepAt + 10 {
		if _, err := p.newAccessToken(newGrant(p.client("opaque"), p.user("alex"), nil), nil, EndpointToken); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.state.access); n != sweepAt+10 {
		t.Errorf("%d tokens that live, want all", n)
	}
	c.Add(time.Hour)
	for range sweepAt {
		p.newAccessToken(newGrant(p.client("opaque"), p.user("alex"), nil), nil, EndpointToken)
	}
	if n := len(p.state.access); n > sweepAt+1 {
		t.Errorf("%d tokens after a sweep", n)
	}
}
