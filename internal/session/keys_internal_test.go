package session

import (
	"testing"

	"github.com/gorilla/securecookie"
)

func TestEveryKeyHasOnePurpose(t *testing.T) {
	ring, err := newKeys([]byte("a"), [][]byte{[]byte("b")})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var boxes []*securecookie.SecureCookie
	for _, k := range ring {
		for _, key := range [][]byte{k.payload, k.moved, k.tags, k.state} {
			if len(key) != 32 || seen[string(key)] {
				t.Fatalf("a key of %d bytes, used twice: %v", len(key), seen[string(key)])
			}
			seen[string(key)] = true
		}
		boxes = append(boxes, k.header, k.remember, k.login)
	}
	for i, from := range boxes {
		text, err := sealBox(from, "name", []byte("plain"))
		if err != nil {
			t.Fatal(err)
		}
		for j, to := range boxes {
			if _, ok := openBox(to, "name", text); ok != (i == j) {
				t.Fatalf("what box %d sealed, box %d opens: %v", i, j, ok)
			}
		}
		if _, ok := openBox(from, "other", text); ok {
			t.Fatal("opened under another name")
		}
	}
}

func TestTagsDoNotRunTogether(t *testing.T) {
	k, err := deriveKeys([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	if k.tag("a", "bc") == k.tag("ab", "c") || k.tag("a", "b", "c") == k.tag("a", "bc") || k.tag("a", "b") != k.tag("a", "b") {
		t.Fatal("tags of different parts are equal, or of equal parts different")
	}
}
