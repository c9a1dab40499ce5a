package op

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/token"
)

// Case 57: a flood of unknown kids, or of forged tokens, over many goroutines.
func TestCase57FloodOfUnknownKids(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	if err := verify(t.Context(), p, k.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Fatal(err)
	}
	flood := func(kid func(int) string) {
		var wg sync.WaitGroup
		for n := range 50 {
			forged := newKey(t, kid(n)).sign(t, map[string]any{"iss": i.URL})
			wg.Go(func() {
				for range 4 {
					if err := verify(t.Context(), p, forged); !errors.Is(err, token.ErrSignature) {
						t.Errorf("forged token: %v", err)
					}
				}
			})
		}
		wg.Wait()
	}
	unknown := func(n int) string { return fmt.Sprint("unknown-", n) }
	flood(unknown)
	if n := i.count(keysPath); n != 1 {
		t.Fatalf("within the floor keys were fetched %d times", n)
	}
	w.Advance(30 * time.Second)
	flood(unknown)
	if n := i.count(keysPath); n != 2 {
		t.Fatalf("one floor later keys were fetched %d times", n)
	}
	w.Advance(30 * time.Second)
	flood(func(int) string { return "k" })
	if n := i.count(keysPath); n != 2 {
		t.Fatalf("forged tokens with a known kid caused %d fetches", n-2)
	}
}

func TestRotationIsFollowedWithOneFetch(t *testing.T) {
	old, fresh := newKey(t, "old"), newKey(t, "fresh")
	i := newIDP(t, old)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	if err := verify(t.Context(), p, old.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Fatal(err)
	}
	generation := p.Generation()
	i.set(func(i *idp) { i.keys = []key{fresh} })
	w.Advance(time.Minute)
	if err := verify(t.Context(), p, fresh.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Fatal(err)
	}
	if n := i.count(keysPath); n != 2 {
		t.Errorf("keys were fetched %d times", n)
	}
	if p.Generation() == generation {
		t.Error("the generation did not change")
	}
	if err := verify(t.Context(), p, old.sign(t, map[string]any{"iss": i.URL})); err == nil {
		t.Error("the withdrawn key still verifies")
	}
	generation = p.Generation()
	w.Advance(time.Minute)
	_ = verify(t.Context(), p, newKey(t, "x").sign(t, map[string]any{"iss": i.URL}))
	if p.Generation() != generation {
		t.Error("the generation changed without the keys")
	}
}

// Case 40: cached keys verify while the provider is down; nothing else does.
func TestCase40ProviderDown(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	good := k.sign(t, map[string]any{"iss": i.URL})
	if err := verify(t.Context(), p, good); err != nil {
		t.Fatal(err)
	}
	i.set(func(i *idp) { i.down = true })
	for range 5 {
		w.Advance(2 * time.Hour)
		if err := verify(t.Context(), p, good); err != nil {
			t.Fatal(err)
		}
		if err := verify(t.Context(), p, newKey(t, "new").sign(t, map[string]any{"iss": i.URL})); !errors.Is(err, token.ErrSignature) {
			t.Fatalf("a token of an unknown key: %v", err)
		}
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Case 40: an answer that is JSON and no metadata, as of a page for maintenance,
// takes neither keys nor endpoints away.
func TestCase40AnswerThatIsNoMetadata(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	good := k.sign(t, map[string]any{"iss": i.URL})
	if err := verify(t.Context(), p, good); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{}`, `{"message":"maintenance"}`, `{"jwks_uri":7,"token_endpoint":"javascript:alert(1)"}`} {
		i.answer(discoveryPath, 200, body)
		w.Advance(2 * time.Hour)
		// An unknown key has everything asked for anew.
		_ = verify(t.Context(), p, newKey(t, "new").sign(t, map[string]any{"iss": i.URL}))
		if err := verify(t.Context(), p, good); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if m, err := p.Metadata(t.Context()); err != nil || m.Endpoints.Token == "" {
			t.Errorf("%s: the endpoints are gone (%v)", body, err)
		}
	}
}

// Case 60: down at boot, back later: recovers within 5 s, without a restart.
func TestCase60DownAtBoot(t *testing.T) {
	for _, part := range []string{"everything", discoveryPath, keysPath} {
		t.Run(part, func(t *testing.T) {
			k := newKey(t, "k")
			i := newIDP(t, k)
			if part == "everything" {
				i.set(func(i *idp) { i.down = true })
			} else {
				i.answer(part, http.StatusBadGateway, "")
			}
			w := newWorld()
			p := w.provider(t, config(i.URL))
			good := k.sign(t, map[string]any{"iss": i.URL})
			if err := verify(t.Context(), p, good); !errors.Is(err, token.ErrKeysUnavailable) {
				t.Fatalf("while it is down: %v", err)
			}
			i.set(func(i *idp) { i.down = false; clear(i.handlers) })
			w.Advance(5*time.Second - 1)
			asked := i.count(discoveryPath)
			if err := verify(t.Context(), p, good); !errors.Is(err, token.ErrKeysUnavailable) {
				t.Fatalf("within the pause: %v", err)
			}
			if i.count(discoveryPath) != asked {
				t.Error("the pause was not kept")
			}
			w.Advance(1)
			if err := verify(t.Context(), p, good); err != nil {
				t.Fatalf("after the pause: %v", err)
			}
			if m, err := p.Metadata(t.Context()); err != nil || m.Issuer != i.URL {
				t.Fatalf("metadata after the pause: %v", err)
			}
		})
	}
}

func TestOneProviderCannotSignForAnother(t *testing.T) {
	ka, kb := newKey(t, "a"), newKey(t, "b")
	a, b := newIDP(t, ka), newIDP(t, kb)
	c := config(a.URL)
	c.ExtraJWKSURIs = []string{b.URL + keysPath}
	w := newWorld()
	p := w.provider(t, c)
	allowed := []string{a.URL, b.URL}
	for _, x := range []struct {
		name string
		key  key
		iss  string
		ok   bool
	}{
		{"A for A", ka, a.URL, true}, {"B for B", kb, b.URL, true}, {"A for B", ka, b.URL, false}, {"B for A", kb, a.URL, false},
		{"B for nobody", kb, "", false}, {"B for another", kb, "https://c.example", false},
	} {
		if err := verify(t.Context(), p, x.key.sign(t, map[string]any{"iss": x.iss}), allowed...); (err == nil) != x.ok {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if n := strings.Count(w.log.String(), "extra_jwks_uris are used"); n != 1 {
		t.Errorf("warned %d times", n)
	}
	t.Run("bound by issuer_keys", func(t *testing.T) {
		w := newWorld()
		c := config(a.URL)
		c.IssuerKeys = []IssuerKeys{{b.URL, []string{b.URL + keysPath}}}
		p := w.provider(t, c)
		if err := verify(t.Context(), p, kb.sign(t, map[string]any{"iss": b.URL}), allowed...); err != nil {
			t.Error(err)
		}
		if err := verify(t.Context(), p, ka.sign(t, map[string]any{"iss": b.URL}), allowed...); err == nil {
			t.Error("A signed for B")
		}
		if w.log.String() != "" {
			t.Errorf("logged %s", w.log)
		}
	})
}

func TestFailingExtraKeysDoNoHarm(t *testing.T) {
	k, kb := newKey(t, "k"), newKey(t, "b")
	i, b := newIDP(t, k), newIDP(t, kb)
	b.set(func(i *idp) { i.down = true })
	c := config(i.URL)
	c.ExtraJWKSURIs = []string{b.URL + keysPath}
	w := newWorld()
	p := w.provider(t, c)
	allowed := []string{i.URL, b.URL}
	if err := verify(t.Context(), p, k.sign(t, map[string]any{"iss": i.URL}), allowed...); err != nil {
		t.Fatal(err)
	}
	other := kb.sign(t, map[string]any{"iss": b.URL})
	if err := verify(t.Context(), p, other, allowed...); !errors.Is(err, token.ErrKeysUnavailable) {
		t.Fatalf("an outage is taken for a bad token: %v", err)
	}
	b.set(func(i *idp) { i.down = false })
	w.Advance(5 * time.Second)
	if err := verify(t.Context(), p, other, allowed...); err != nil {
		t.Fatal(err)
	}
}

func TestOneKeyOfAnUnknownTypeSpoilsNothing(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t)
	good := jwkOf(t, k)
	i.answer(keysPath, 200, `{"keys":[{"kty":"QUANTUM","kid":"k"},`+good+`,{"kty":"oct","k":"c2VjcmV0"}]}`)
	w := newWorld()
	if err := verify(t.Context(), w.provider(t, config(i.URL)), k.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(w.log.String(), "left out") || strings.Contains(w.log.String(), "c2VjcmV0") {
		t.Errorf("logged %s", w.log)
	}
}

func jwkOf(t *testing.T, k key) string {
	t.Helper()
	s := k.sign(t, nil) // the key has to be usable
	if s == "" {
		t.Fatal("no key")
	}
	public := publicOf(k)
	b, err := token.MarshalPublicKey(&public)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestForget(t *testing.T) {
	i := newIDP(t, newKey(t, "k"))
	w := newWorld()
	p := w.provider(t, config(i.URL+"/.well-known/openid-configuration"))
	for want := 1; want <= 2; want++ {
		for range 3 {
			if _, err := p.Metadata(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := i.count(discoveryPath); n != want {
			t.Fatalf("asked %d times", n)
		}
		generation := p.Generation()
		if err := w.Delete(t.Context(), i.URL); err != nil {
			t.Fatal(err)
		}
		if p.Generation() == generation || p.Object() != nil {
			t.Error("not forgotten")
		}
	}
}

// After a deletion one node asks the provider, and the others take what it stored.
func TestForgottenIsReadFromTheStoreAgain(t *testing.T) {
	i := newIDP(t, newKey(t, "k"))
	w := newWorld()
	p := w.provider(t, config(i.URL))
	for range 2 {
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Forget(i.URL) // as when another node deleted, and then stored what it learned
	}
	if n := i.count(discoveryPath); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// A generation names one state of the keys and never another.
func TestGenerationsAreNotReused(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	seen := map[uint64]bool{}
	fresh := func() {
		t.Helper()
		if g := p.Generation(); seen[g] {
			t.Fatalf("generation %d is used again", g)
		} else {
			seen[g] = true
		}
	}
	for range 3 {
		fresh()
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		fresh()
		i.set(func(i *idp) { i.keys = append(i.keys, newKey(t, fmt.Sprint("k", len(i.keys)))) })
		w.Advance(time.Minute)
		_ = verify(t.Context(), p, newKey(t, "x").sign(t, map[string]any{"iss": i.URL}))
		fresh()
		p.Forget()
	}
}

func TestStoreOutlivesAProvider(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	store, clock := NewMemoryStore(), newClock()
	for range 3 {
		r := NewRegistry(Environment{Now: clock.Now, Store: store})
		p, err := r.Provider(config(i.URL))
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t.Context(), p, k.sign(t, map[string]any{"iss": i.URL})); err != nil {
			t.Fatal(err)
		}
	}
	if n := i.count(discoveryPath) + i.count(keysPath); n != 2 {
		t.Errorf("asked %d times", n)
	}
	// Deleted is deleted, for providers that are yet to be made too.
	r := NewRegistry(Environment{Now: clock.Now, Store: store})
	if err := r.Delete(t.Context(), i.URL); err != nil {
		t.Fatal(err)
	}
	again, err := r.Provider(config(i.URL))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Metadata(t.Context()); err != nil || i.count(discoveryPath) != 2 {
		t.Errorf("not deleted: %v", err)
	}
	// Keys that were fetched without verifying certificates are not taken over by who verifies.
	lax := config(i.URL)
	lax.HTTP.InsecureSkipVerify = true
	p, err := NewRegistry(Environment{Now: clock.Now, Store: store}).Provider(lax)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Metadata(t.Context()); err != nil || i.count(discoveryPath) != 3 {
		t.Errorf("trust was shared: %v", err)
	}
}

// brokenStore fails at everything.
type brokenStore struct{}

func (brokenStore) Load(context.Context, string, string) (*Object, error) {
	return nil, errors.New("down")
}
func (brokenStore) Delete(context.Context, string) error { return errors.New("down") }
func (brokenStore) Save(context.Context, *Object) error  { return errors.New("down") }

// Case 64: a store that is down takes nothing away.
func TestCase64StoreDown(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	r := NewRegistry(Environment{Store: brokenStore{}})
	p, err := r.Provider(config(i.URL))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), p, k.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Fatal(err)
	}
}

func TestObjectForTheAdminEndpoints(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	if p.Object() != nil {
		t.Error("an object before anything was asked")
	}
	if _, err := p.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	created := w.Now()
	w.Advance(time.Minute)
	_ = verify(t.Context(), p, newKey(t, "x").sign(t, map[string]any{"iss": i.URL}))
	o := p.Object()
	if o.Issuer != i.URL || !o.Created.Equal(created) || o.Configuration["token_endpoint"] != i.URL+tokenPath || len(o.Sets) != 1 || o.Sets[0].Set.Keys()[0].KeyID != "k" {
		t.Errorf("got %+v", o)
	}
}

func TestRegistryShares(t *testing.T) {
	w := newWorld()
	one := config("https://a.example")
	a, b := w.provider(t, one), w.provider(t, one)
	if a != b {
		t.Error("equal configurations have two providers")
	}
	other := one
	other.CacheTTL++
	if w.provider(t, other) == a {
		t.Error("different configurations share a provider")
	}
	if len(w.Providers()) != 2 {
		t.Error("providers are not listed")
	}
	for n := range maxProviders {
		w.provider(t, config(fmt.Sprintf("https://%d.example", n)))
		w.provider(t, one) // in use, so it stays
	}
	if len(w.Providers()) != maxProviders || w.provider(t, one) != a {
		t.Error("the registry is not bounded, or drops what is in use")
	}
}
