package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"kong-openid-connect/internal/store"
)

func objectByKey(t *testing.T, n Nodes) {
	if _, err := n.A.Object(t.Context(), keyX); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("empty store: %v, want ErrNotFound", err)
	}
	put(t, n.A, object(keyX, `{"issuer":"x"}`))
	put(t, n.A, object(keyY, `{"issuer":"y"}`))
	if d := get(t, n.A, keyX); string(d.Configuration) != `{"issuer":"x"}` || d.Key != keyX {
		t.Errorf("x = %s of %v", d.Configuration, d.Key)
	}
	d := get(t, n.A, keyY)
	if string(d.Configuration) != `{"issuer":"y"}` || d.Configured != keyY.Issuer+"/" {
		t.Errorf("y = %s as %s", d.Configuration, d.Configured)
	}
	if len(d.KeySets) != 2 || d.KeySets[0].URI != keyY.Issuer+"/jwks" || d.KeySets[0].Issuer != keyY.Issuer ||
		string(d.KeySets[0].JWKS) != `{"keys":[{"kty":"RSA","kid":"1"}]}` || d.KeySets[1].Issuer != "" {
		t.Errorf("key sets = %+v", d.KeySets)
	}
}

func objectIdentity(t *testing.T, n Nodes) {
	put(t, n.A, object(keyX, `{"v":1}`))
	first := *get(t, n.A, keyX)
	if first.ID == "" || first.CreatedAt.IsZero() || first.UpdatedAt.IsZero() {
		t.Fatalf("id %q, created %v, updated %v", first.ID, first.CreatedAt, first.UpdatedAt)
	}
	again := object(keyX, `{"v":2}`)
	again.ID = "00000000-0000-4000-8000-000000000000"
	put(t, n.A, again)
	d := get(t, n.A, keyX)
	if d.ID != first.ID || !d.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("id %s -> %s, created %v -> %v", first.ID, d.ID, first.CreatedAt, d.CreatedAt)
	}
	if string(d.Configuration) != `{"v":2}` {
		t.Errorf("configuration = %s", d.Configuration)
	}
	// A put without a document leaves none.
	empty := object(keyX, "")
	empty.Configuration, empty.KeySets = nil, nil
	put(t, n.A, empty)
	if d := get(t, n.A, keyX); d.Configuration != nil || len(d.KeySets) != 0 {
		t.Errorf("after an empty put: %s, %d key sets", d.Configuration, len(d.KeySets))
	}
}

func objectPages(t *testing.T, n Nodes) {
	for i := range 7 {
		put(t, n.A, object(store.Key{Issuer: fmt.Sprintf("https://%d.test", i)}, `{}`))
	}
	seen := map[string]bool{}
	after := ""
	for page := 0; ; page++ {
		ds, err := n.A.ListObjects(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(ds) == 0 {
			if page != 3 {
				t.Errorf("%d pages", page)
			}
			break
		}
		for _, d := range ds {
			if d.ID <= after || seen[d.Issuer] {
				t.Errorf("%s stands after %s or twice", d.ID, after)
			}
			after = d.ID
			seen[d.Issuer] = true
		}
	}
	if len(seen) != 7 {
		t.Errorf("listed %d of 7", len(seen))
	}
}

func objectFound(t *testing.T, n Nodes) {
	put(t, n.A, object(keyX, `{}`))
	put(t, n.A, object(keyY, `{}`))
	put(t, n.A, object(keyZ, `{}`))
	x := get(t, n.A, keyX)
	d, err := n.A.ObjectByID(t.Context(), x.ID)
	if err != nil || d.Key != keyX {
		t.Fatalf("by id: %v, %v", d, err)
	}
	for _, id := range []string{"00000000-0000-4000-8000-000000000000", "no id", ""} {
		if _, err := n.A.ObjectByID(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("id %q: %v, want ErrNotFound", id, err)
		}
	}
	ds, err := n.A.ObjectsOf(t.Context(), keyX.Issuer)
	if err != nil || len(ds) != 2 {
		t.Fatalf("by issuer: %d, %v", len(ds), err)
	}
	if ds, err := n.A.ObjectsOf(t.Context(), "https://none.test"); err != nil || len(ds) != 0 {
		t.Errorf("unknown issuer: %d, %v", len(ds), err)
	}
}

func objectDeleted(t *testing.T, n Nodes) {
	put(t, n.A, object(keyX, `{}`))
	put(t, n.A, object(keyZ, `{}`))
	before := secret(t, n.A, keyX)
	id := get(t, n.A, keyX).ID
	n.Eventually(t, "the other node has the secret", func() bool { return secret(t, n.B, keyX).Equal(before) })
	if err := n.A.DeleteObject(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		n.A.DeleteObject(t.Context(), id),
		func() error { _, err := n.A.Object(t.Context(), keyX); return err }(),
		func() error { _, err := n.A.ObjectByID(t.Context(), id); return err }(),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after deletion: %v, want ErrNotFound", err)
		}
	}
	get(t, n.A, keyZ)
	after := secret(t, n.A, keyX)
	if after.Equal(before) {
		t.Error("the secret outlived its object")
	}
	n.Eventually(t, "the other node has the new secret", func() bool { return secret(t, n.B, keyX).Equal(after) })
}

func objectsDeleted(t *testing.T, n Nodes) {
	put(t, n.A, object(keyX, `{}`))
	put(t, n.A, object(keyZ, `{}`))
	before := secret(t, n.A, keyZ)
	if err := n.A.DeleteObjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := list(t, n.A); len(all) != 0 {
		t.Errorf("%d objects left", len(all))
	}
	if err := n.A.DeleteObjects(t.Context()); err != nil {
		t.Errorf("deleting nothing: %v", err)
	}
	if secret(t, n.A, keyZ).Equal(before) {
		t.Error("the secret outlived its object")
	}
}

func objectTooLarge(t *testing.T, n Nodes) {
	big := object(keyX, `"`+strings.Repeat("x", store.MaxDocument)+`"`)
	if err := n.A.PutObject(t.Context(), big); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("large document: %v", err)
	}
	long := object(store.Key{Issuer: strings.Repeat("x", store.MaxIssuer+1)}, `{}`)
	if err := n.A.PutObject(t.Context(), long); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("long issuer: %v", err)
	}
	for name, d := range map[string]store.Discovery{
		"a NUL":      object(store.Key{Issuer: "https://x\x00"}, `{}`),
		"no issuer":  object(store.Key{}, `{}`),
		"no JSON":    object(keyX, `{`),
		"bytes":      object(store.Key{Issuer: "https://\xff"}, `{}`),
		"odd keyset": {Key: keyX, KeySets: []store.KeySet{{JWKS: json.RawMessage("{")}}},
	} {
		if err := n.A.PutObject(t.Context(), d); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
	// What JSON allows is stored byte for byte.
	odd := `{"a":"\u0000\ud800","b":1e400,"c":1,"c":2}`
	put(t, n.A, object(keyX, odd))
	if d := get(t, n.A, keyX); string(d.Configuration) != odd {
		t.Errorf("odd document = %s", d.Configuration)
	}
}

func secretOnce(t *testing.T, n Nodes) {
	var mu sync.Mutex
	var all [][]byte
	var wg sync.WaitGroup
	for i := range 20 {
		s := n.A
		if i%2 == 1 {
			s = n.B
		}
		wg.Go(func() {
			v, err := s.SessionSecret(background(), keyX, keyX.Issuer)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			all = append(all, v.Reveal())
		})
	}
	wg.Wait()
	if len(slices.CompactFunc(all, bytes.Equal)) != 1 {
		t.Error("nodes made different secrets")
	}
	v := secret(t, n.A, keyX)
	if text := fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v); strings.Contains(text, string(v.Reveal())) || strings.Count(text, "redacted") != 5 {
		t.Errorf("secret prints %q", text)
	}
	if b, err := json.Marshal(map[string]any{"s": v}); err != nil || string(b) != `{"s":"[redacted]"}` {
		t.Errorf("secret as JSON: %s, %v", b, err)
	}
}

func secretScopes(t *testing.T, n Nodes) {
	if secret(t, n.A, keyX).Equal(secret(t, n.A, keyY)) {
		t.Error("two scopes share a secret")
	}
	if secret(t, n.A, keyX).Equal(secret(t, n.A, keyZ)) {
		t.Error("two issuers share a secret")
	}
}

func secretMakesObject(t *testing.T, n Nodes) {
	v := secret(t, n.A, keyX)
	d := get(t, n.A, keyX)
	if d.ID == "" || d.CreatedAt.IsZero() || d.Configuration != nil || len(d.KeySets) != 0 || d.Configured != keyX.Issuer {
		t.Errorf("object = %+v", d)
	}
	put(t, n.A, object(keyX, `{"v":1}`))
	e := get(t, n.A, keyX)
	if e.ID != d.ID || string(e.Configuration) != `{"v":1}` {
		t.Errorf("after a put: id %s -> %s, %s", d.ID, e.ID, e.Configuration)
	}
	if !secret(t, n.A, keyX).Equal(v) {
		t.Error("a put changed the secret")
	}
}
