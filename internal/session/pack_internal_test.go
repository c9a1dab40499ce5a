package session

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzPack(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte(strings.Repeat("A", 31)))
	f.Add([]byte(strings.Repeat("A", 33) + "." + strings.Repeat("_-", 17) + "\x00" + strings.Repeat("Z", 34)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := pack(b)
		if got, ok := unpack(p, len(b)); !ok || !bytes.Equal(got, b) {
			t.Fatalf("%q packed and unpacked is %q", b, got)
		}
		if len(p) > len(b)+16 {
			t.Fatalf("%d bytes packed to %d", len(b), len(p))
		}
		if len(b) > 0 {
			if _, ok := unpack(p, len(b)-1); ok {
				t.Fatal("no limit")
			}
		}
		unpack(b, 1<<20)
	})
}

func FuzzReadCookies(f *testing.F) {
	f.Add("session=1abc; session2=def; other=x", "session3=;session")
	f.Add("session=9~~~...;;;=;session2", " \t")
	f.Fuzz(func(t *testing.T, a, b string) {
		j := readJar([]string{a, b}, func(name string) bool { return chunkIndex("session", name) > 0 })
		if len(j.pairs) > maxCookieJar || j.foreign > 2*maxCookieBytes+len(a)+len(b) {
			t.Fatalf("%d pairs, %d foreign bytes", len(j.pairs), j.foreign)
		}
		list := j.assemble("session")
		if len(list) > maxCandidates {
			t.Fatalf("%d candidates", len(list))
		}
		for _, text := range list {
			if !sealedText(text) || len(segments(text)) > maxSegments {
				t.Fatalf("%q", text)
			}
		}
		c := Cookie{Name: "session", Path: "/"}
		set, _, _ := c.emit(&j, "session", "", "https", -1, false)
		if len(set) > maxChunks {
			t.Fatalf("%d removals", len(set))
		}
		for _, line := range set {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%q", line)
			}
		}
	})
}

func FuzzOpenSession(f *testing.F) {
	m, err := NewManager(Config{Secret: []byte("secret")})
	if err != nil {
		f.Fatal(err)
	}
	set, err := m.Save(f.Context(), Input{}, New("alex", []byte(strings.Repeat("data", 300))))
	if err != nil {
		f.Fatal(err)
	}
	good, _, _ := strings.Cut(set[0], ";")
	f.Add(good)
	f.Add("session=1" + strings.Repeat("A", 256) + "." + strings.Repeat("A", 40) + "~")
	f.Fuzz(func(t *testing.T, line string) {
		s, _, err := m.Open(t.Context(), Input{Cookies: []string{line}})
		if err != nil {
			t.Fatal(err)
		}
		// The workers' seeds are sealed under other random values, but by the same secret.
		if s != nil && (s.Subject != "alex" || string(s.Data) != strings.Repeat("data", 300)) {
			t.Fatalf("%q opens as %q", line, s.Data)
		}
	})
}

// The parsers behind the seals must bear anything too: a seal is only as good as its secret.
func FuzzSealedParts(f *testing.F) {
	h := header{created: 1 << 30, rolled: 1<<30 + 5, touched: 1<<30 + 6, until: 1<<30 + 7}
	f.Add(h.marshal())
	l := Login{Nonce: "n", ReturnTo: "/"}
	f.Add(l.marshal(&state{}, [32]byte{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h header
		if h.unmarshal(b) && !bytes.Equal(h.marshal(), b) && h.until != h.created {
			t.Fatalf("%x is another header's text", b)
		}
		var l Login
		var id [stateIDSize]byte
		var digest [digestTag]byte
		if l.unmarshal(bytes.Clone(b), &id, &digest) && len(l.ReturnTo)+len(l.Nonce) > len(b) {
			t.Fatal("more came out than went in")
		}
		var c codec
		if out, err := c.inflate(b); err == nil && len(out) > maxPayload+maxSubject+16 {
			t.Fatalf("%d bytes inflated", len(out))
		}
	})
}

func FuzzState(f *testing.F) {
	ring, err := newKeys([]byte("secret"), [][]byte{[]byte("old")})
	if err != nil {
		f.Fatal(err)
	}
	s := state{began: 1 << 30, attempt: 1, trimmed: true, returnTo: "/a?b"}
	good, err := s.seal(ring[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := openState(ring, text)
		if ok && (text != good || got != s) {
			t.Fatalf("%q opens", text)
		}
	})
}

func FuzzLogins(f *testing.F) {
	l, err := NewLogins(LoginConfig{Secret: []byte("secret")})
	if err != nil {
		f.Fatal(err)
	}
	state, set, err := l.Begin(Login{ReturnTo: "/seed"}, Input{})
	if err != nil {
		f.Fatal(err)
	}
	good, _, _ := strings.Cut(set[0], ";")
	f.Add(state, good)
	f.Add("", "authorization_AAAAAAAAAAAA=x; authorization=")
	f.Fuzz(func(t *testing.T, text, line string) {
		in := Input{Cookies: []string{line}}
		if login, outcome := l.Resume(text, in); outcome == Resumed && login.ReturnTo != "/seed" {
			t.Fatalf("%q with %q is resumed", text, line)
		}
		l.Finish(text, in)
		state, set, err := l.Begin(Login{ReturnTo: text}, in)
		if err != nil || len(state) > MaxState {
			t.Fatalf("state of %d: %v", len(state), err)
		}
		for _, line := range set {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%q", line)
			}
		}
	})
}

func TestInflateIsBounded(t *testing.T) {
	var c codec
	bomb := c.deflate(make([]byte, 64<<20))
	if _, err := c.inflate(bomb[1:]); err == nil {
		t.Fatalf("%d bytes inflate to 64 MiB", len(bomb))
	}
	if out, err := c.inflate(c.deflate([]byte("after it"))[1:]); err != nil || string(out) != "after it" {
		t.Fatalf("%q, %v", out, err)
	}
}
