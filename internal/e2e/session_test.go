package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// loggedIn returns a browser with a session of /app and its Cookie header.
func loggedIn(t *testing.T) (*browser, string) {
	t.Helper()
	b := newBrowser(t)
	b.login("/app", "alex").want(t, 302)
	u, _ := url.Parse(env.Proxy)
	var parts []string
	for _, c := range b.c.Jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return b, strings.Join(parts, "; ")
}

func TestCase26NewSessionAtLogin(t *testing.T) {
	b, before := loggedIn(t)
	// A second login in the same browser, in a tab that was opened before.
	fresh := newBrowser(t)
	start := fresh.get("/app/two").want(t, 302)
	u, _ := url.Parse(env.Proxy)
	b.c.Jar.SetCookies(u, start.Cookies())
	a := b.back(b.atProvider(start.location(t), "alex")).want(t, 302)
	c := a.setCookies()["session"]
	if c == nil || strings.Contains(before, c.Value) {
		t.Error("the session before the login goes on under its id")
	}
}

func TestCases42And43BadCookies(t *testing.T) {
	_, good := loggedIn(t)
	value := ""
	for _, pair := range strings.Split(good, "; ") {
		if v, ok := strings.CutPrefix(pair, "session="); ok {
			value = v
		}
	}
	if value == "" {
		t.Fatalf("no session cookie in one piece: %d bytes of cookies", len(good))
	}
	flip := func(i int) string {
		b := []byte(value)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		return "session=" + string(b)
	}
	if a := newBrowser(t).get("/app", "Cookie", good); a.StatusCode != 200 {
		t.Fatalf("the cookie itself: %d", a.StatusCode)
	}
	for title, cookie := range map[string]string{
		"empty": "session=", "blank": "session=%20", "truncated": "session=" + value[:len(value)/2], "one": "session=x", "head flipped": flip(4),
		"middle flipped": flip(len(value) / 2), "end flipped": flip(len(value) - 2), "binary": "session=\xff\xfe\x00", "only a later chunk": "session2=" + value,
		"case 41: a count of 2^31": "session=" + value + "; session2147483648=x",
	} {
		t.Run(title, func(t *testing.T) {
			if strings.ContainsAny(cookie, "\x00") {
				cookie = strings.ReplaceAll(cookie, "\x00", "")
			}
			a := newBrowser(t).get("/app", "Cookie", cookie)
			if strings.HasPrefix(title, "case 41") {
				a.want(t, 200)
				return
			}
			a.want(t, 302)
		})
	}
}

func TestCase44SessionsOfOtherConfigurations(t *testing.T) {
	_, cookie := loggedIn(t)
	newBrowser(t).get("/equal", "Cookie", cookie).want(t, 200)
	newBrowser(t).get("/stricter", "Cookie", cookie).want(t, 401)
	newBrowser(t).get("/other-audience", "Cookie", cookie).want(t, 401)
	newBrowser(t).get("/both", "Cookie", cookie).want(t, 302)
}

func TestCase45BoundSession(t *testing.T) {
	b := newBrowser(t)
	a := b.get("/bound", "Authorization", "Bearer "+mint(t, provider.TokenRequest{}), "User-Agent", "one").want(t, 200)
	var cookie string
	for _, c := range a.setCookies() {
		cookie = c.Name + "=" + c.Value
	}
	if cookie == "" {
		t.Fatal("no session")
	}
	newBrowser(t).get("/bound", "Cookie", cookie, "User-Agent", "one").want(t, 200)
	newBrowser(t).get("/bound", "Cookie", cookie, "User-Agent", "two").want(t, 401)
	newBrowser(t).from("127.0.0.3").get("/bound", "Cookie", cookie, "User-Agent", "one").want(t, 401)
}

func TestSessionServesWithoutTheProvider(t *testing.T) {
	b, _ := loggedIn(t)
	faults(t, provider.Fault{Name: "connection-reset"})
	b.get("/app").want(t, 200)
}

func TestSecureCookieOverHTTPS(t *testing.T) {
	b := newBrowser(t).from(trustedPeer)
	a := b.get("/bound", "Authorization", "Bearer "+mint(t, provider.TokenRequest{}), "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.7", "User-Agent", "one").want(t, 200)
	c := a.setCookies()["bound"]
	if c == nil || !c.Secure || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %v", c)
	}
}
