package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

// second sets faults at the second provider for the time of a test.
func second(t *testing.T, list ...provider.Fault) {
	t.Helper()
	for _, f := range list {
		if err := env.second.Faults().Set(f); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(env.second.Faults().Clear)
}

func mintSecond(t *testing.T, q provider.TokenRequest) string {
	t.Helper()
	raw, err := env.second.Mint(q)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + raw
}

func TestCase58DiscoveryOfAnotherIssuer(t *testing.T) {
	token := func(claims map[string]any) string {
		raw, err := env.third.Mint(provider.TokenRequest{Claims: claims})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + raw
	}
	b := newBrowser(t)
	b.get("/mismatch", "Authorization", token(map[string]any{"iss": otherIssuer})).want(t, 200)
	b.get("/mismatch", "Authorization", token(nil)).want(t, 401)
	b.get("/mismatch-strict", "Authorization", token(map[string]any{"iss": otherIssuer})).want(t, 500)
	if !strings.Contains(env.log(), otherIssuer) {
		t.Error("no warning")
	}
}

func TestCase57FloodOfUnknownKeys(t *testing.T) {
	b := newBrowser(t)
	b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
	env.second.ResetRecords()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 125 {
				b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{Faults: []string{"foreign-key", "unknown-kid"}}))
				b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{Faults: []string{"foreign-key"}}))
			}
		})
	}
	wg.Wait()
	if n := env.second.Count(provider.EndpointJWKS); n > 1 {
		t.Errorf("%d fetches of the keys", n)
	}
	b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
}

func TestCase40CachedKeysServeWhileTheProviderIsDown(t *testing.T) {
	b := newBrowser(t)
	b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
	second(t, provider.Fault{Name: "connection-reset"})
	b.get("/second", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
}

func TestCase59HostileAnswers(t *testing.T) {
	// Each stands in the way of every key fetch of this route, whose floor is 0.
	for _, f := range []provider.Fault{
		{Name: "huge-body", Endpoint: provider.EndpointJWKS},
		{Name: "drip", Endpoint: provider.EndpointJWKS, Delay: provider.Duration(200 * time.Millisecond)},
		{Name: "redirect-elsewhere", Endpoint: provider.EndpointJWKS},
		{Name: "gzip-bomb", Endpoint: provider.EndpointJWKS},
		{Name: "hang", Endpoint: provider.EndpointJWKS},
		{Name: "html", Endpoint: provider.EndpointJWKS},
	} {
		t.Run(f.Name, func(t *testing.T) {
			second(t, f)
			before := env.second.Count(provider.EndpointElsewhere)
			start := time.Now()
			a := newBrowser(t).get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{Faults: []string{"foreign-key", "unknown-kid"}}))
			if a.StatusCode != 401 && a.StatusCode != 500 {
				t.Errorf("status %d", a.StatusCode)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("the answer took %v", d)
			}
			if env.second.Count(provider.EndpointElsewhere) != before {
				t.Error("the redirect was followed")
			}
		})
	}
	for _, f := range []provider.Fault{
		{Name: "huge-body", Endpoint: provider.EndpointToken},
		{Name: "drip", Endpoint: provider.EndpointToken, Delay: provider.Duration(200 * time.Millisecond)},
		{Name: "redirect-elsewhere", Endpoint: provider.EndpointToken},
		{Name: "status", Endpoint: provider.EndpointToken, Status: 503},
		{Name: "not-json", Endpoint: provider.EndpointToken},
		{Name: "connection-reset", Endpoint: provider.EndpointToken},
	} {
		t.Run("token endpoint: "+f.Name, func(t *testing.T) {
			b := newBrowser(t)
			cb := b.secondLogin("/second-login")
			before := env.second.Count(provider.EndpointElsewhere)
			second(t, f)
			a := b.get(cb).want(t, 500)
			if a.setCookies()["second"] != nil {
				t.Error("a session is issued")
			}
			if env.second.Count(provider.EndpointElsewhere) != before {
				t.Error("the redirect was followed")
			}
		})
	}
}

// secondLogin logs in at the second provider and returns the callback's URL.
func (b *browser) secondLogin(page string) string {
	b.t.Helper()
	a := b.get(page).want(b.t, 302)
	a = b.get(a.location(b.t).String())
	if a.StatusCode == 200 {
		action, form := hiddenForm(b.t, a)
		form.Set("username", "alex")
		form.Set("password", "doe")
		a = b.post(action, form)
	}
	return a.location(b.t).String()
}

func TestCase14SameKeyIDOnTwoKeys(t *testing.T) {
	second(t, provider.Fault{Name: "jwks-duplicate-kid"})
	if err := env.second.Keys().Rotate(false); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{Alg: alg})).want(t, 200)
	}
}

func TestCase10KeyOfAnotherUse(t *testing.T) {
	second(t, provider.Fault{Name: "jwks-enc"})
	if err := env.second.Keys().Rotate(false); err != nil {
		t.Fatal(err)
	}
	a := newBrowser(t).get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{}))
	if a.StatusCode == 200 {
		t.Error("a key for encryption verified a signature")
	}
	env.second.Faults().Clear()
	newBrowser(t).get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
}

func TestKeyRotationNeedsOneFetch(t *testing.T) {
	b := newBrowser(t)
	b.get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
	if err := env.second.Keys().Rotate(false); err != nil {
		t.Fatal(err)
	}
	env.second.ResetRecords()
	b.get("/hostile", "Authorization", mintSecond(t, provider.TokenRequest{})).want(t, 200)
	if n := env.second.Count(provider.EndpointJWKS); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestCase60ProviderIsLate(t *testing.T) {
	b := newBrowser(t)
	b.get("/late", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 500)
	p, err := provider.Start(env.late, provider.Options{Keys: env.provider.Keys()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	raw, err := p.Mint(provider.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	// The pause after a failed attempt is five seconds.
	deadline := time.Now().Add(10 * time.Second)
	for {
		a := b.get("/late", "Authorization", "Bearer "+raw)
		if a.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %d long after the provider is back", a.StatusCode)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// raw sends bytes as they are and reads one response.
func raw(t *testing.T, request string) *http.Response {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(env.Proxy, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no defined answer: %v", err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

func TestCase36BytesThatAreNotUTF8(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	auth := "Authorization: Bearer " + good + "\r\n"
	for _, c := range []struct {
		name, request string
		want          int
	}{
		{"in another header, with a token", "GET /bearer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Bad: \xff\xfe\x80\r\n" + auth + "\r\n", 200},
		{"in another header, without a token", "GET /bearer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Bad: \xff\xfe\x80\r\n\r\n", 401},
		{"in the credential", "GET /bearer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer \xff" + good + "\r\n\r\n", 401},
		{"in the path, escaped", "GET /bearer/%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401},
		{"in the path", "GET /bearer/\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401},
		{"in the query", "GET /places?access_token=\xff\xfe&x=\x80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 401},
		{"in the path of a login", "GET /app/\xff\xfe?q=\xff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 302},
		{"in a cookie", "GET /app HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: session=\xff\xfe; authorization=\x80\r\n\r\n", 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Kong's router knows no path that is not UTF-8.
			if resp := raw(t, c.request); resp.StatusCode != c.want && !(resp.StatusCode == 404 && strings.Contains(c.name, "path")) {
				t.Errorf("status %d, want %d", resp.StatusCode, c.want)
			}
		})
	}
	t.Run("a spoofed header beside them", func(t *testing.T) {
		resp := raw(t, "GET /bearer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Authenticated-User: \xffadmin\r\nX_Groups: admin\xff\r\n"+auth+"\r\n")
		if resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
}

func TestCase25CallbackWithAnAttackersCode(t *testing.T) {
	attacker, victim := newBrowser(t), newBrowser(t)
	code := attacker.atProvider(attacker.begin("/app"), "blake").location(t).Query().Get("code")
	// The victim has a login of its own under way; the attacker's code comes with the attacker's state, with none, and with a made-up one.
	own := victim.begin("/app").Query().Get("state")
	env.provider.ResetRecords()
	for i, state := range []string{"made-up", "", strings.ToUpper(own)} {
		a := victim.get(fmt.Sprintf("/app?code=%s&state=%s&n=%d", code, state, i))
		if a.setCookies()["session"] != nil {
			t.Errorf("state %d: a session is issued", i)
		}
	}
	if n := count(provider.EndpointToken); n != 0 {
		t.Errorf("%d token requests", n)
	}
	// With the victim's own state PKCE refuses the code at the provider.
	a := victim.get("/app?code=" + code + "&state=" + own)
	if a.StatusCode != 401 || a.setCookies()["session"] != nil {
		t.Errorf("status %d, cookies %v", a.StatusCode, a.setCookies())
	}
}
