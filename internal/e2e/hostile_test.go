package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

// rawTarget sends a request target as it is and returns the answer's head.
func rawTarget(t *testing.T, target string, header ...string) *http.Response {
	t.Helper()
	host := strings.TrimPrefix(env.Proxy, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", target, host)
	for i := 0; i+1 < len(header); i += 2 {
		fmt.Fprintf(c, "%s: %s\r\n", header[i], header[i+1])
	}
	fmt.Fprint(c, "\r\n")
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	return a
}

// Whatever page is asked for, the provider is told an address of the gateway,
// and the browser comes back to the gateway.
func TestHostileTargetsAreNotFollowed(t *testing.T) {
	for _, target := range []string{
		"/app//evil.example", "/app///evil.example/", `/app/\evil.example`, "/app/%5cevil.example", "/app/%2f%2fevil.example", "/app/%2F%2Fevil.example%2f..", "/app/%09/evil.example",
		"/app/%0d%0aLocation:%20https://evil.example", "/app/%00//evil.example", "/app/.//evil.example", "/app/..%2f..%2f%2fevil.example", "/app@evil.example", "/app.evil.example",
		"/app:8443@evil.example/", "/app?//evil.example", "/app?next=https://evil.example", "/app?x=%0d%0aSet-Cookie:%20a=b", "/app#//evil.example", "/app#@evil.example", "/app/;//evil.example",
		"/app/https://evil.example", "/app/javascript:alert(1)", `/app/"><script>alert(1)</script>`, "/app/%22%3E%3Cscript%3E", "/app/\xe3\x80\x82evil.example", "/app/%ff%fe", "/app/%zz",
		"http://evil.example/app", "//evil.example/app", "///app", `\/evil.example/app`, "/%2fevil.example/app", "/app?redirect_uri=https://evil.example&return_to=//evil.example",
	} {
		t.Run(target, func(t *testing.T) {
			a := rawTarget(t, target)
			to, err := a.Location()
			if a.StatusCode != 302 || err != nil {
				if a.StatusCode != 400 && a.StatusCode != 404 {
					t.Errorf("%s without a login", a.Status)
				}
				return
			}
			// The authority of a request line in absolute form is the caller's Host.
			allowed := env.Proxy + "/"
			if strings.HasPrefix(target, "http://evil.example") {
				allowed = "http://evil.example"
			}
			if !strings.HasPrefix(to.String(), env.Issuer+"/") || !strings.HasPrefix(to.Query().Get("redirect_uri"), allowed) {
				t.Fatalf("sent to %s with redirect_uri %q", to.Host, to.Query().Get("redirect_uri"))
			}
			if len(a.Header["Location"]) != 1 || a.Header.Get("A") != "" || len(a.Cookies()) != 1 {
				t.Errorf("head %v", a.Header)
			}
			if allowed != env.Proxy+"/" {
				return
			}
			b := newBrowser(t)
			u, _ := url.Parse(env.Proxy)
			b.c.Jar.SetCookies(u, a.Cookies())
			done := b.back(b.atProvider(to, "alex")).want(t, 302)
			got := done.Header.Get("Location")
			if !strings.HasPrefix(got, env.Proxy+"/") || strings.ContainsAny(got, "\\\"<>\t ") {
				t.Errorf("lands on %q", got)
			}
		})
	}
}

// Values of claims that are no values of a header are made safe or left out,
// for the service and for the client.
func TestHeaderValuesFromClaims(t *testing.T) {
	deep := func(levels int) any {
		var v any = "bottom"
		for range levels {
			v = map[string]any{"d": v}
		}
		return v
	}
	send := func(t *testing.T, claims map[string]any) *answer {
		t.Helper()
		form := url.Values{"access_token": {mint(t, provider.TokenRequest{Claims: claims})}}
		return newBrowser(t).post("/claim-headers", form, "X-Value", "SPOOFED", "X_Value", "SPOOFED", "X-List", "SPOOFED", "X-Deep", "SPOOFED")
	}
	const none = "\x00none"
	nested := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(`{"d":`, 20) + `"bottom"` + strings.Repeat("}", 20)))
	for _, c := range []struct {
		name  string
		value any
		up    string // none: not there
		down  string
	}{
		{"a text", "alex", "alex", "alex"},
		{"a line end with a header behind it", "a\r\nX-Injected: 1", "a  X-Injected: 1", "a  X-Injected: 1"},
		{"a header and a body behind it", "a\r\n\r\n<html>", "a    <html>", "a    <html>"},
		{"NUL and other controls", "a\x00b\x01c\x7fd", "a b c d", "a b c d"},
		{"not ASCII", "Zoë ☃ 山田", "Zoë ☃ 山田", "Zoë ☃ 山田"},
		{"line separators of Unicode", "a\u2028b\u0085c", "a\u2028b\u0085c", "a\u2028b\u0085c"},
		{"blanks around it", " admin", none, none},
		{"a line end behind it", "admin\n", none, none},
		{"nothing", "", none, none},
		{"null", nil, none, none},
		{"a number", 42, "42", "42"},
		{"true", true, "true", "true"},
		{"a list", []string{"a", "b"}, "a, b", "a, b"},
		{"a list whose members would become others", []string{"a", "b,c", "d\n", " e", "f"}, "a, f", "a, f"},
		{"an object", map[string]any{"a": "ü"}, base64.StdEncoding.EncodeToString([]byte(`{"a":"ü"}`)), base64.StdEncoding.EncodeToString([]byte(`{"a":"ü"}`))},
		{"just within a line", strings.Repeat("v", 8000), strings.Repeat("v", 8000), strings.Repeat("v", 8000)},
		{"a deep object", deep(20), nested, nested},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(t, map[string]any{"value": c.value})
			e := a.echo(t)
			want := func(where string, got []string, value string) {
				t.Helper()
				if value == none && len(got) == 0 || len(got) == 1 && got[0] == value {
					return
				}
				t.Errorf("%s: %.200q, want %.200q", where, got, value)
			}
			want("the service", e.get("X-Value"), c.up)
			want("the client", a.Header.Values("X-Down"), c.down)
			if e.get("X-Injected") != nil || a.Header.Get("X-Injected") != "" {
				t.Error("a header is injected")
			}
		})
	}
	for _, c := range []struct {
		name   string
		value  any
		status int
		body   string
	}{
		{"more than a line holds", strings.Repeat("v", 9<<10), 500, `{"message":"An unexpected error occurred"}`},
		{"40 KB", strings.Repeat("v", 40<<10), 500, `{"message":"An unexpected error occurred"}`},
		{"a list of 40 KB", strings.Split(strings.Repeat("word ", 5000), " "), 500, `{"message":"An unexpected error occurred"}`},
		{"64 KB, which is more than a token may have", strings.Repeat("v", 64<<10), 401, `{"message":"Unauthorized"}`},
		{"deeper than a token may be", deep(300), 401, `{"message":"Unauthorized"}`},
		{"2000 levels", deep(2000), 401, `{"message":"Unauthorized"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := send(t, map[string]any{"value": c.value}).want(t, c.status); a.body != c.body || a.Header.Get("X-Down") != "" {
				t.Errorf("body %.100s", a.body)
			}
		})
	}
	t.Run("a path into a list", func(t *testing.T) {
		e := send(t, map[string]any{"deep": []any{map[string]any{"leaf": "first"}, map[string]any{"leaf": "second"}}, "list": []string{"g", "h"}}).echo(t)
		if e.one(t, "X-Deep") != "second" || e.one(t, "X-List") != "g, h" || e.one(t, "X-Authenticated-Groups") != "g, h" {
			t.Errorf("the service saw %q", e.Headers)
		}
	})
}
