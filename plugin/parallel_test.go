package plugin_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/rp"
)

// TestParallelRequestsShareASessionsOpening is for the race detector: requests of
// one session that is kept inject headers, map consumers, refresh, touch and log
// out at once. Each sees the same person, and none gets through afterwards.
func TestParallelRequestsShareASessionsOpening(t *testing.T) {
	field := func(name string, path ...any) any { return map[string]any{"header": name, "path": path} }
	for name, edit := range map[string]func(map[string]any){
		"kept":               func(map[string]any) {},
		"refreshed":          func(c map[string]any) { c["leeway"], c["cache_tokens"] = 600, false },
		"verified each time": func(c map[string]any) { c["reverify"] = true },
		"an own route":       func(c map[string]any) { c["session_audience"] = "desk" },
	} {
		t.Run(name, func(t *testing.T) {
			config := passwordSession(map[string]any{
				"search_user_info": true, "session_store_metadata": false,
				"upstream_headers":          []any{field("x-up-name", "name"), field("x-up-sid", "sid"), field("x-up-email", "email")},
				"downstream_headers":        []any{field("x-down-sid", "sid"), field("x-down-name", "name")},
				"upstream_user_info_header": "x-userinfo", "upstream_access_token_jwk_header": "x-key", "upstream_id_token_header": "x-id-token",
				"session_request_headers": []any{"id", "subject"},
				"consumer_claims":         []any{[]any{"preferred_username"}}, "consumer_optional": true,
			})
			edit(config)
			w := newWorld(t, &decisionCase{Consumers: []entities.Consumer{{ID: "1", Username: "alex"}}})
			w.lifetime(300)
			w.start(&decisionCase{Config: config})
			w.send(withPassword)
			w.want(0)
			who := func(w *world) (out []string) {
				for _, f := range slices.Concat(w.answer.Upstream.Set, w.answer.Downstream.Set) {
					if n := strings.ToLower(f.Name); strings.HasPrefix(n, "x-up-") || strings.HasPrefix(n, "x-down-") || n == "x-userinfo" {
						out = append(out, n+": "+f.Value)
					}
				}
				return out
			}
			w.send(withCookies)
			w.want(0)
			want := who(w)
			if len(want) < 4 || len(w.answer.Upstream.Set) < 6 {
				t.Fatalf("headers %v", w.answer.Upstream.Set)
			}
			sid := ""
			for _, f := range w.answer.Downstream.Set {
				if strings.EqualFold(f.Name, "x-down-sid") {
					sid = f.Value
				}
			}
			logout := w.mintLogout(map[string]any{"sid": sid})
			late := make([]world, 32)
			run := func(end func(i int) bool) {
				var wg sync.WaitGroup
				for i := range late {
					l := &late[i]
					*l = *w
					l.answer = &rp.Decision{}
					l.jar, l.saved, l.seen, l.front = maps.Clone(w.jar), map[string]string{}, map[string]int{}, &front{Server: w.front.Server, w: l}
					wg.Go(func() {
						if end(i) {
							l.logoutToken(logout)
							return
						}
						l.send(withCookies)
					})
				}
				wg.Wait()
			}
			run(func(int) bool { return false })
			for i := range late {
				late[i].want(0)
				if got := who(&late[i]); !slices.Equal(got, want) {
					t.Fatalf("headers %q, want %q", got, want)
				}
			}
			*w = late[0]
			run(func(i int) bool { return i == 16 })
			for i := range late {
				l := &late[i]
				if i == 16 {
					l.want(200)
				} else if l.status() == 0 && !slices.Equal(who(l), want) {
					t.Errorf("headers %q", who(l))
				} else if l.status() != 0 && l.status() != 401 {
					t.Errorf("status %d: %v", l.status(), l.answer.Err)
				}
			}
			for i := range late { // whatever each of them was given
				if i != 16 {
					late[i].send(withCookies)
					late[i].want(401)
				}
			}
		})
	}
}
