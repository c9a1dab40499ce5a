package adminapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/entities"
)

const (
	bob  = "00000000-0000-4000-8000-000000000001"
	cert = "00000000-0000-4000-8000-0000000000c1"
	cred = "00000000-0000-4000-8000-0000000000d1"
	none = "00000000-0000-4000-8000-0000000000ff"
)

// kong answers as the Admin API of Kong does.
func kong(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if r.Header.Get("Kong-Admin-Token") != "hush" {
		w.WriteHeader(401)
		fmt.Fprint(w, `{"message":"Invalid credentials. Token or User credentials required"}`)
		return
	}
	bobs := `{"id":"` + bob + `","username":"bob","custom_id":"c/1","tags":["vip"],"created_at":1}`
	switch path := r.URL.EscapedPath(); {
	case path == "/consumers/"+bob, path == "/consumers/bob":
		fmt.Fprint(w, bobs)
	case path == "/consumers/a%2Fb%20c":
		fmt.Fprint(w, `{"id":"`+none+`","username":"a/b c","custom_id":null}`)
	case path == "/consumers" && r.URL.Query().Get("custom_id") == "c/1":
		fmt.Fprint(w, `{"data":[`+bobs+`],"next":null}`)
	case path == "/consumers" && r.URL.Query().Has("custom_id"):
		fmt.Fprint(w, `{"data":[],"next":null}`)
	case path == "/consumers":
		page, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		switch page {
		case 0:
			fmt.Fprint(w, `{"data":[`+bobs+`,{"id":"2","username":"carol","custom_id":null}],"next":"/consumers?offset=1","offset":"1"}`)
		case 1:
			fmt.Fprint(w, `{"data":[{"id":"3","username":"CAROL"},{"id":"4","username":"Dora","custom_id":"x"},{"id":"5","username":"`+none+`"}],"next":null}`)
		}
	case path == "/certificates/"+cert:
		fmt.Fprint(w, `{"id":"`+cert+`","cert":"CERT","key":"KEY"}`)
	case path == "/ca_certificates/"+cert:
		fmt.Fprint(w, `{"id":"`+cert+`","cert":"CA"}`)
	case path == "/oauth2_tokens" && r.URL.Query().Get("offset") == "":
		fmt.Fprint(w, `{"data":[{"id":"1","access_token":"good","created_at":1000,"expires_in":7200,"scope":"email","authenticated_userid":null,"service":null,"credential":{"id":"`+cred+`"}}],"offset":"1"}`)
	case path == "/oauth2_tokens":
		fmt.Fprint(w, `{"data":[{"id":"2","access_token":"late","created_at":1,"credential":{"id":"`+cred+`"}},{"id":"`+bob+`","access_token":"bare"}],"next":null}`)
	case path == "/oauth2/"+cred:
		fmt.Fprint(w, `{"id":"`+cred+`","name":"app","client_id":"client","consumer":{"id":"`+bob+`"}}`)
	default:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"message":"Not found"}`)
	}
}

func open(t *testing.T, h http.HandlerFunc) *Lookups {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	l, err := New(Options{URL: s.URL + "/", TokenHeader: "Kong-Admin-Token", Token: entities.NewPEM("hush"), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLookups(t *testing.T) {
	l := open(t, kong)
	ctx := t.Context()
	consumer := func(c *entities.Consumer, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return c.ID, nil
	}
	for _, c := range []struct {
		name string
		f    func() (string, error)
		want string
		err  error
	}{
		{"id", func() (string, error) { return consumer(l.ConsumerByID(ctx, "", bob)) }, bob, nil},
		{"unknown id", func() (string, error) { return consumer(l.ConsumerByID(ctx, "", none)) }, "", entities.ErrNotFound},
		{"a name as id", func() (string, error) { return consumer(l.ConsumerByID(ctx, "", "bob")) }, "", entities.ErrNotFound},
		{"user", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "bob", false)) }, bob, nil},
		{"user with a slash", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "a/b c", false)) }, none, nil},
		{"unknown user", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "x", false)) }, "", entities.ErrNotFound},
		{"user in the form of an id", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", bob, false)) }, "", entities.ErrNotFound},
		{"user named as an id", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", none, false)) }, "5", nil},
		{"user of dots", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "..", false)) }, "", entities.ErrNotFound},
		{"ignoring case on the second page", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "DORA", true)) }, "4", nil},
		{"ignoring case, exact of two", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "CAROL", true)) }, "3", nil},
		{"ignoring case, unknown", func() (string, error) { return consumer(l.ConsumerByUsername(ctx, "", "x", true)) }, "", entities.ErrNotFound},
		{"custom_id", func() (string, error) { return consumer(l.ConsumerByCustomID(ctx, "", "c/1", false)) }, bob, nil},
		{"custom_id ignoring case", func() (string, error) { return consumer(l.ConsumerByCustomID(ctx, "", "C/1", true)) }, bob, nil},
		{"unknown custom_id", func() (string, error) { return consumer(l.ConsumerByCustomID(ctx, "", "C/1", false)) }, "", entities.ErrNotFound},
		{"empty custom_id", func() (string, error) { return consumer(l.ConsumerByCustomID(ctx, "", "", true)) }, "", entities.ErrNotFound},
		{"certificate", func() (string, error) {
			c, err := l.Certificate(ctx, "", cert)
			if err != nil {
				return "", err
			}
			return c.Cert + c.Key.Reveal(), nil
		}, "CERTKEY", nil},
		{"unknown certificate", func() (string, error) { _, err := l.Certificate(ctx, "", none); return "", err }, "", entities.ErrNotFound},
		{"CA certificate", func() (string, error) {
			c, err := l.CACertificate(ctx, cert)
			if err != nil {
				return "", err
			}
			return c.Cert, nil
		}, "CA", nil},
		{"token", func() (string, error) {
			v, err := l.OAuth2Token(ctx, "", "good")
			if err != nil {
				return "", err
			}
			return fmt.Sprint(v.CreatedAt.Unix(), v.ExpiresIn, v.Scope, v.Credential.ClientID, v.Credential.ConsumerID), nil
		}, "1000 7200emailclient" + bob, nil},
		{"unknown token", func() (string, error) { _, err := l.OAuth2Token(ctx, "", "x"); return "", err }, "", entities.ErrNotFound},
		{"token in the form of an id", func() (string, error) { _, err := l.OAuth2Token(ctx, "", bob); return "", err }, "", entities.ErrNotFound},
		{"group", func() (string, error) { _, err := l.GroupByName(ctx, "", "gold"); return "", err }, "", entities.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.f()
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
	var ambiguous *entities.AmbiguousError
	if _, err := l.ConsumerByUsername(ctx, "", "Carol", true); !errors.As(err, &ambiguous) {
		t.Errorf("neither of two: %v", err)
	}
	var failed *entities.LookupError
	if _, err := l.OAuth2Token(ctx, "", "bare"); !errors.As(err, &failed) {
		t.Errorf("a token without a credential: %v", err)
	}
	if v, err := l.OAuth2Token(ctx, "", "late"); err != nil || v.ID != "2" {
		t.Errorf("a token on the second page: %v", err)
	}
	if ok, err := l.KnowsGroups(ctx); ok || err != nil {
		t.Errorf("knows groups: %t, %v", ok, err)
	}
}

// Nothing but Kong's own word is "not found".
func TestFailuresAreNotNotFound(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"500":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"401":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"a redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://127.0.0.1:1/", 302) },
		"another's 404": func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"no route": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"message":"no Route matched with those values"}`)
		},
		"no JSON":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) },
		"too large":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `"`, strings.Repeat("x", maxBody), `"`) },
		"a closed one":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"204":               func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"never-ending list": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"data":[],"offset":"x"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, h)
			var failed *entities.LookupError
			if _, err := l.ConsumerByUsername(t.Context(), "", "secret-name", true); !errors.As(err, &failed) || errors.Is(err, entities.ErrNotFound) {
				t.Errorf("%v", err)
			}
			_, err := l.OAuth2Token(t.Context(), "", "secret-token")
			if !errors.As(err, &failed) || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("%v", err)
			}
		})
	}
	l, err := New(Options{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	var failed *entities.LookupError
	if _, err := l.OAuth2Token(t.Context(), "", "secret-token"); !errors.As(err, &failed) || strings.Contains(err.Error(), "secret-token") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := l.KnowsGroups(t.Context()); err == nil {
		t.Error("nobody there, and yet it is known that there are no groups")
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.socket")
	s := httptest.NewUnstartedServer(http.HandlerFunc(kong))
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = ln
	s.Start()
	defer s.Close()
	l, err := New(Options{URL: "unix:" + path, TokenHeader: "Kong-Admin-Token", Token: entities.NewPEM("hush")})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := l.ConsumerByID(t.Context(), "", bob); err != nil || c.Username != "bob" || c.Tags[0] != "vip" {
		t.Errorf("%v, %v", c, err)
	}
}

func TestAddress(t *testing.T) {
	for _, u := range []string{"", "127.0.0.1:8001", "ftp://x", "http://", "http://user:secret@x", "http://x?y", "http://x#y"} {
		if _, err := New(Options{URL: u}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// The Admin API logs the addresses that it is asked for: no token may stand in one.
func TestNoTokenGoesIntoAnAddress(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	l := open(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.RequestURI)
		mu.Unlock()
		kong(w, r)
	})
	for _, value := range []string{"good", "secret-of-a-provider", bob} {
		_, _ = l.OAuth2Token(t.Context(), "", value)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, address := range asked {
		if strings.Contains(address, "good") || strings.Contains(address, "secret") || strings.Contains(address, bob) {
			t.Errorf("asked for %s", address)
		}
	}
	none, err := open(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(404)
		fmt.Fprint(w, `{"message":"Not found"}`)
	}).OAuth2Token(t.Context(), "", "x")
	if none != nil || !errors.Is(err, entities.ErrNotFound) {
		t.Errorf("a Kong without OAuth2 tokens: %v", err)
	}
}
