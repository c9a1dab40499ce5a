package plugin

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
)

// TestWhatAnOpenedSessionWeighs holds the estimate against the heap for what the
// plugin keeps: of usual sessions, and of those whose claims an enemy has chosen.
func TestWhatAnOpenedSessionWeighs(t *testing.T) {
	jwt := func(i int) token.Opaque {
		return token.Opaque(fmt.Sprintf("%06d.%s.x", i, strings.Repeat("eyJ", 400)))
	}
	list := func(of string, n int) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(of+",", n), ",") + `]}`
	}
	var all []any // what was measured is not given back while something else is
	defer func() { runtime.KeepAlive(all) }()
	for name, userinfo := range map[string]string{
		"usual":         `{"sub":"alex","name":"Alex Doe","email":"alex@example.com","groups":["a","b"]}`,
		"small objects": list(`{"":1}`, 520),
		"deep objects":  list(strings.Repeat(`{"":`, 28)+"1"+strings.Repeat("}", 28), 25),
		"numbers":       list("1", 1800),
	} {
		t.Run(name, func(t *testing.T) {
			ui, err := claims.Decode([]byte(userinfo))
			if err != nil {
				t.Fatal(err)
			}
			o := session.NewOpenings(session.OpeningsOptions{Bytes: 1 << 30, MaxAge: time.Hour})
			m, err := session.NewManager(session.Config{Secret: []byte("0123456789abcdef"), Decode: decodePayload, Openings: o, MaxHeaderLine: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			heap := func() uint64 {
				runtime.GC()
				runtime.GC()
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				return s.HeapAlloc
			}
			const n = 300
			before := heap()
			for i := range n {
				s := session.New("alex", pack(rp.StoredTokens{Method: rp.MethodPassword, AccessToken: jwt(i), IDToken: jwt(i + n), UserInfo: ui}))
				cookies, err := m.Save(t.Context(), session.Input{}, s)
				if err != nil {
					t.Fatal(err)
				}
				var line []string
				for _, c := range cookies {
					pair, _, _ := strings.Cut(c, ";")
					line = append(line, pair)
				}
				if s, why, err := m.Open(t.Context(), session.Input{Cookies: []string{strings.Join(line, "; ")}}); s == nil {
					t.Fatal(why, err)
				}
			}
			took := heap() - before
			t.Logf("%d bytes each in memory, %d by the estimate", took/n, o.Weight()/n)
			if o.Len() != n || took > o.Weight() {
				t.Errorf("%d openings take %d bytes, %d by the estimate", o.Len(), took, o.Weight())
			}
			all = append(all, m, o)
		})
	}
}
