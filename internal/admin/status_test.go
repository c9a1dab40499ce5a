package admin

import (
	"context"
	"strings"
	"testing"
)

func TestStatusPage(t *testing.T) {
	if w := do(newFake().handler(), "GET", "/openid-connect/"); w.Code != 404 {
		t.Errorf("without being asked for: %d", w.Code)
	}
	h := New(Options{Status: func(context.Context) Status {
		return Status{Version: "1.2.3", Ready: true, Tables: []Table{
			{Title: "Issuers", Head: []string{"Issuer"}, Rows: [][]string{{`https://a.example/<script>alert(1)</script>`}}},
			{Title: "Empty", Head: []string{"x"}},
		}}
	}})
	w := do(h, "GET", "/openid-connect/")
	body := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "style-src 'sha256-"} {
		if !strings.Contains(policy, want) {
			t.Errorf("%q is not in the policy %q", want, policy)
		}
	}
	if strings.Contains(body, "<script") || !strings.Contains(body, "&lt;script&gt;") {
		t.Error("text of a configuration is not escaped")
	}
	// What the hash in the policy covers is what the page holds.
	_, style, _ := strings.Cut(body, "<style>")
	if style, _, _ = strings.Cut(style, "</style>"); style != statusCSS {
		t.Error("the style was changed on its way into the page")
	}
	if w := do(h, "POST", "/openid-connect/"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/openid-connect", "/openid-connect//", "/x/openid-connect/"} {
		if w := do(h, "GET", path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
