package admin

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const (
	sessionA = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	sessionB = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
	sessionC = "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA"
)

// fakeSessions are three sessions of alex.
type fakeSessions struct{ *fake }

func (f fakeSessions) List(_ context.Context, subject, after string, size int) ([]Session, error) {
	var all []Session
	for _, id := range []string{sessionA, sessionB, sessionC} {
		if subject == "alex" && id > after && len(all) < size {
			all = append(all, Session{id, "default", "redis"})
		}
	}
	return all, f.err
}

func (f fakeSessions) note(call string) error {
	f.calls = append(f.calls, call)
	return f.err
}

func (f fakeSessions) EndSubject(_ context.Context, issuer, subject string) error {
	return f.note("subject " + issuer + " " + subject)
}

func (f fakeSessions) EndLogin(_ context.Context, issuer, sid string) error {
	return f.note("sid " + issuer + " " + sid)
}

func (f fakeSessions) End(_ context.Context, id string) error { return f.note("id " + id) }

func TestSessionsAreListedInPages(t *testing.T) {
	f := newFake()
	var got []string
	for next := "/default/openid-connect/sessions?subject=alex&size=2"; next != ""; {
		w := do(f.handler(), "GET", next)
		var p struct {
			Data []struct{ ID, Subject, Audience, Storage string }
			Next *string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", next, w.Code, w.Body)
		}
		for _, s := range p.Data {
			if s.Subject != "alex" || s.Audience != "default" || s.Storage != "redis" {
				t.Errorf("%+v", s)
			}
			got = append(got, s.ID)
		}
		if next = ""; p.Next != nil {
			next = *p.Next
			if !strings.HasPrefix(next, "/default/openid-connect/sessions?subject=alex&offset=") || !strings.HasSuffix(next, "&size=2") {
				t.Errorf("next %s", next)
			}
		}
	}
	if !slices.Equal(got, []string{sessionA, sessionB, sessionC}) {
		t.Errorf("%q", got)
	}
	if w := do(f.handler(), "GET", "/openid-connect/sessions?subject=blake"); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"data":[],"next":null}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSessionsEnd(t *testing.T) {
	iss := url.QueryEscape(issX)
	for _, c := range []struct {
		method, target string
		status         int
		call           string
	}{
		{"DELETE", "?issuer=" + iss + "&subject=alex", 204, "subject " + issX + " alex"},
		{"DELETE", "?issuer=" + iss + "&sid=s%201", 204, "sid " + issX + " s 1"},
		{"DELETE", "/" + sessionA, 204, "id " + sessionA},
		{"DELETE", "", 400, ""},
		{"DELETE", "?subject=alex", 400, ""},
		{"DELETE", "?issuer=" + iss, 400, ""},
		{"DELETE", "?issuer=" + iss + "&subject=alex&sid=s", 400, ""},
		{"DELETE", "?issuer=" + iss + "&subject=alex&subject=blake", 400, ""},
		{"DELETE", "?issuer=" + iss + "&subject=", 400, ""},
		{"DELETE", "?issuer=" + iss + "&subject=" + strings.Repeat("x", maxName+1), 400, ""},
		{"DELETE", "/" + sessionA[1:], 404, ""},
		{"DELETE", "/revoked:" + sessionA[8:], 404, ""},
		{"GET", "", 400, ""},
		{"GET", "?subject=alex&size=0", 400, ""},
		{"GET", "?subject=alex&offset=x", 400, ""},
		{"GET", "?subject=alex&offset=" + url.QueryEscape(encodeOffset(idX)), 400, ""},
		{"GET", "/" + sessionA, 405, ""},
		{"POST", "?subject=alex", 405, ""},
	} {
		f := newFake()
		w := do(f.handler(), c.method, "/openid-connect/sessions"+c.target)
		if w.Code != c.status || strings.Join(f.calls, ",") != c.call {
			t.Errorf("%s %s: %d %q %s", c.method, c.target, w.Code, f.calls, w.Body)
		}
	}
}

func TestSessionsOfAStorageWithoutMetadata(t *testing.T) {
	f := newFake()
	f.err = ErrNoMetadata
	if w := do(f.handler(), "GET", "/openid-connect/sessions?subject=alex"); w.Code != 501 || !strings.Contains(w.Body.String(), "session_store_metadata") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSessionsAreOffUnlessSwitchedOn(t *testing.T) {
	h := New(Options{Discovery: newFake(), Keys: newFake()})
	for _, target := range []string{"/openid-connect/sessions?subject=alex", "/openid-connect/sessions/" + sessionA} {
		if w := do(h, "DELETE", target); w.Code != 404 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}
