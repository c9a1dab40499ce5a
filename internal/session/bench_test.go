package session_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"kong-openid-connect/internal/session"
)

// tokens is what a caller keeps of a login with a provider of the usual kind:
// three tokens of together about size bytes, in JSON.
func tokens(size int) []byte {
	encode := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	random := func(n int, seed string) []byte {
		var b []byte
		for i := 0; len(b) < n; i++ {
			s := sha256.Sum256(fmt.Append(nil, seed, i))
			b = append(b, s[:]...)
		}
		return b[:n]
	}
	jwt := func(seed string, roles int) string {
		claims := map[string]any{
			"iss": "https://idp.example.com/realms/production", "aud": []string{"gateway", "account"}, "azp": "gateway",
			"sub": fmt.Sprintf("%x-%x", random(4, seed+"a"), random(6, seed+"b")), "exp": 1750003600, "iat": 1750000000,
			"jti": fmt.Sprintf("%x", random(16, seed+"c")), "sid": fmt.Sprintf("%x", random(16, "sid")), "scope": "openid profile email",
			"name": "Alexandra Example", "preferred_username": "alex", "email": "alex@example.com", "email_verified": true,
		}
		var list []string
		for i := range roles {
			list = append(list, fmt.Sprintf("role-%x-of-department", random(3, fmt.Sprint(seed, "role", i))))
		}
		claims["realm_access"] = map[string]any{"roles": list}
		return encode(map[string]string{"alg": "RS256", "typ": "JWT", "kid": base64.RawURLEncoding.EncodeToString(random(32, "kid"))}) + "." +
			encode(claims) + "." + base64.RawURLEncoding.EncodeToString(random(256, seed+"sig"))
	}
	for roles := 0; ; roles++ {
		access, id, refresh := jwt("access", roles), jwt("id", 0), jwt("refresh", 0)
		if len(access)+len(id)+len(refresh) >= size {
			b, _ := json.Marshal(map[string]any{"access_token": access, "id_token": id, "refresh_token": refresh, "token_type": "Bearer", "expires_at": 1750003600})
			return b
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{500, 4096, 6000} {
		for _, kind := range []string{"cookie", "memory"} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				c := newClock()
				m := c.manager(b, func(o *session.Config) {
					o.MaxHeaderLine = 16 << 10
					if kind == "memory" {
						o.Store = c.store()
					}
				})
				browser := newBrowser(b)
				data := string(tokens(size))
				if size < 1000 {
					data = noise(size)
				}
				browser.login(m, "alex", data)
				in := browser.input()
				cookie := 0
				for _, v := range browser.cookies {
					cookie += len(v)
				}
				b.ReportAllocs()
				for b.Loop() {
					if s, why, err := m.Open(b.Context(), in); s == nil {
						b.Fatal(why, err)
					}
				}
				b.ReportMetric(float64(cookie), "cookie-bytes")
				b.ReportMetric(float64(cookie)/float64(len(data)), "cookie/payload")
			})
		}
	}
}

func BenchmarkSave(b *testing.B) {
	c := newClock()
	m := c.manager(b)
	data := tokens(4096)
	in := newBrowser(b).input()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Save(b.Context(), in, session.New("alex", data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	l := newClock().logins(b)
	in := newBrowser(b).input()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := l.Begin(aLogin, in); err != nil {
			b.Fatal(err)
		}
	}
}
