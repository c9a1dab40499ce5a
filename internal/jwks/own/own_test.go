package own

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

// shelf is a Store for tests: one for all nodes.
type shelf struct {
	mu    sync.Mutex
	keys  []Key
	err   error
	added int
	reads int
	told  []*Set
}

func (s *shelf) OwnKeys(context.Context) ([]Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return slices.Clone(s.keys), s.err
}

func (s *shelf) AddOwnKey(_ context.Context, k Key) (Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return k, s.err
	}
	for _, old := range s.keys {
		if !old.Previous && old.Algorithm == k.Algorithm {
			return old, nil
		}
	}
	s.added++
	s.keys = append(s.keys, k)
	s.tell()
	return k, nil
}

func (s *shelf) RotateOwnKeys(_ context.Context, next []Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	keys := slices.Clone(next)
	for _, k := range s.keys {
		if !k.Previous {
			k.Previous = true
			keys = append(keys, k)
		}
	}
	s.keys = keys
	s.tell()
	return nil
}

func (s *shelf) DeleteOwnKey(_ context.Context, kid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.keys)
	s.keys = slices.DeleteFunc(s.keys, func(k Key) bool { return k.KID == kid })
	if len(s.keys) == n {
		return ErrNotFound
	}
	s.tell()
	return nil
}

func (s *shelf) tell() {
	for _, set := range s.told {
		set.Invalidate()
	}
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) node(algorithms ...string) *Set {
	set := New(Options{Store: s, Algorithms: algorithms})
	s.told = append(s.told, set)
	return set
}

type member struct {
	Kid, Alg, Use, Kty, Crv string
	raw                     string
}

func public(t *testing.T, s *Set) []member {
	t.Helper()
	b, err := s.Public(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var all []member
	for _, raw := range doc.Keys {
		m := member{raw: string(raw)}
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func kids(ms []member) string {
	var all []string
	for _, m := range ms {
		all = append(all, m.Kid)
	}
	return strings.Join(all, " ")
}

// verify checks a signature by what is published, and returns the key that made it.
func verify(t *testing.T, s *Set, signer *token.Signer) string {
	t.Helper()
	raw, err := signer.Sign(map[string]any{"iss": "us"})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(raw.Reveal(), []jose.SignatureAlgorithm{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
	if err != nil {
		t.Fatal(err)
	}
	kid := jws.Signatures[0].Header.KeyID
	b, err := s.PublicKey(t.Context(), kid)
	if err != nil {
		t.Fatalf("key %q is not published: %v", kid, err)
	}
	key, err := token.ParsePublicKey(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(key.Key); err != nil {
		t.Errorf("%s: %v", jws.Signatures[0].Header.Algorithm, err)
	}
	return kid
}

func TestOnePairForEachAlgorithm(t *testing.T) {
	s := (&shelf{}).node()
	keys := public(t, s)
	if len(keys) != len(Algorithms()) {
		t.Fatalf("%d keys for %d algorithms", len(keys), len(Algorithms()))
	}
	seen := map[string]bool{}
	for i, alg := range Algorithms() {
		k := keys[i]
		if k.Alg != jwsAlgorithm(alg) || k.Use != "sig" || k.Kid == "" || seen[k.Kid] {
			t.Errorf("%s: %+v", alg, k)
		}
		seen[k.Kid] = true
		signer, err := s.Signer(t.Context(), alg)
		if err != nil {
			t.Fatal(err)
		}
		if kid := verify(t, s, signer); kid != k.Kid {
			t.Errorf("%s is signed by %s, published is %s", alg, kid, k.Kid)
		}
	}
	if keys[9].Crv != "Ed25519" || keys[10].Crv != "Ed448" {
		t.Errorf("EdDSA is %s, then %s", keys[9].Crv, keys[10].Crv)
	}
	signer, err := s.Signer(t.Context(), "")
	if err != nil || signer.Algorithm() != "RS256" {
		t.Errorf("default: %v, %v", signer, err)
	}
	for _, alg := range []string{"HS256", "none", "RS1"} {
		if _, err := s.Signer(t.Context(), alg); err == nil {
			t.Errorf("%s was signed with", alg)
		}
	}
}

func TestNoPrivateMemberIsPublished(t *testing.T) {
	sh := &shelf{}
	s := sh.node()
	for _, k := range public(t, s) {
		var all map[string]any
		if err := json.Unmarshal([]byte(k.raw), &all); err != nil {
			t.Fatal(err)
		}
		for name := range all {
			if !slices.Contains(publicMembers[:], name) {
				t.Errorf("%s: member %s is published", k.Alg, name)
			}
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", sh.keys, sh.keys, sh.keys); strings.Contains(text, `"d"`) {
		t.Error("a key prints its private part")
	}
	// A key whose private JWK has odd members beside it.
	odd := Key{KID: "x", Private: `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","k":"secret","oth":[],"hint":"secret","kid":"x"}`}
	b, err := odd.public()
	if err != nil || strings.Contains(string(b), "secret") || strings.Contains(string(b), `"d"`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestRotation(t *testing.T) {
	sh := &shelf{}
	a, b := sh.node("ES256", "EdDSA"), sh.node("ES256", "EdDSA")
	first := public(t, a)
	if kids(first) != kids(public(t, b)) {
		t.Fatal("two nodes publish different keys")
	}
	old, err := b.Signer(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := public(t, b)
	if len(second) != 4 || kids(second[2:]) != kids(first) || second[0].Kid == first[0].Kid {
		t.Fatalf("after a rotation: %s, before: %s", kids(second), kids(first))
	}
	verify(t, b, old) // what was signed before still verifies
	signer, err := b.Signer(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	if kid := verify(t, b, signer); kid != second[0].Kid {
		t.Errorf("the other node signs with %s, current is %s", kid, second[0].Kid)
	}
	if err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := public(t, a)
	if len(third) != 4 || kids(third[2:]) != kids(second[:2]) {
		t.Errorf("after two rotations: %s, before: %s", kids(third), kids(second))
	}
}

func TestDeletedKeyIsMadeAgainOnDemand(t *testing.T) {
	sh := &shelf{}
	a, b := sh.node("ES256", "EdDSA"), sh.node("ES256", "EdDSA")
	before := public(t, a)
	public(t, b)
	if err := a.DeleteKey(t.Context(), before[0].Kid); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteKey(t.Context(), before[0].Kid); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	for _, s := range []*Set{a, b} {
		if got := kids(public(t, s)); got != before[1].Kid {
			t.Errorf("left: %s", got)
		}
		if _, err := s.PublicKey(t.Context(), before[0].Kid); !errors.Is(err, ErrNotFound) {
			t.Errorf("the deleted key is published: %v", err)
		}
	}
	var wg sync.WaitGroup
	added := sh.added
	for i := range 20 {
		s := []*Set{a, b}[i%2]
		wg.Go(func() {
			if _, err := s.Signer(context.Background(), "ES256"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sh.added != added+1 {
		t.Errorf("%d keys were made", sh.added-added)
	}
	if got := public(t, b); len(got) != 2 || got[0].Kid == before[0].Kid {
		t.Errorf("after the demand: %s", kids(got))
	}
}

func TestStoreAway(t *testing.T) {
	away := errors.New("away")
	sh := &shelf{err: away}
	s := sh.node("ES256")
	if _, err := s.Public(t.Context()); !errors.Is(err, away) {
		t.Errorf("public: %v", err)
	}
	if _, err := s.Signer(t.Context(), "ES256"); !errors.Is(err, away) {
		t.Errorf("a key was made up while the store is away: %v", err)
	}
	if err := s.Rotate(t.Context()); !errors.Is(err, away) {
		t.Errorf("rotate: %v", err)
	}
	sh.fail(nil)
	before := kids(public(t, s))
	sh.fail(away)
	s.Invalidate()
	if got := kids(public(t, s)); got != before {
		t.Errorf("what was read does not serve on: %s", got)
	}
	if _, err := s.Signer(t.Context(), "ES256"); err != nil {
		t.Errorf("signer: %v", err)
	}
}

func TestRunTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{err: errors.New("away")}
		s := sh.node("ES256", "EdDSA")
		go s.Run(t.Context())
		time.Sleep(time.Minute)
		sh.mu.Lock()
		reads := sh.reads
		sh.mu.Unlock()
		if reads < 5 || reads > 30 {
			t.Errorf("the store was asked %d times in a minute", reads)
		}
		sh.fail(nil)
		time.Sleep(5 * time.Second)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		if sh.added != 2 {
			t.Errorf("%d keys were made", sh.added)
		}
	})
}

func TestChangeWithoutWordIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{}
		a := sh.node("EdDSA")
		b := New(Options{Store: sh, Algorithms: []string{"EdDSA"}}) // nobody tells it
		before := kids(public(t, b))
		if err := a.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := kids(public(t, b)); got != before {
			t.Fatalf("the test shows nothing: %s", got)
		}
		time.Sleep(maxAge)
		if got := kids(public(t, b)); got != kids(public(t, a)) {
			t.Errorf("after %v: %s", maxAge, got)
		}
	})
}

func BenchmarkSigner(b *testing.B) {
	s := (&shelf{}).node("ES256")
	if _, err := s.Signer(b.Context(), "ES256"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Signer(b.Context(), "ES256"); err != nil {
			b.Fatal(err)
		}
	}
}
