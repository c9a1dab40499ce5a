package token

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

const resource = "https://api.example/orders/1"

// proofOf makes a proof with a key of the keyring; edits change header and claims.
func proofOf(t testing.TB, name, alg string, at time.Time, edit func(h head, c map[string]any)) string {
	t.Helper()
	h := head{"typ": "dpop+jwt", "jwk": public(t, name, "", "")}
	c := map[string]any{"jti": "j", "htm": "GET", "htu": resource, "iat": at.Unix(), "ath": athOf("at")}
	if edit != nil {
		edit(h, c)
	}
	return sign(t, alg, private(t, name), h, c)
}

func athOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func thumbprint(t testing.TB, name string) string {
	t.Helper()
	k := public(t, name, "", "")
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func dpopVerifier(clock func() time.Time) *DPoPVerifier {
	return &DPoPVerifier{Lifetime: 300 * time.Second, Leeway: 5 * time.Second, Replays: NewMemoryReplays(0, clock), Now: clock}
}

func dpopRequest(jkt string, proofs ...string) DPoPRequest {
	return DPoPRequest{Proofs: proofs, Method: "GET", URL: resource + "?page=2", AccessToken: "at", JKT: jkt}
}

func still() time.Time { return now }

func TestDPoPAccepts(t *testing.T) {
	for name, alg := range map[string]string{"rsa": "PS256", "rsa2": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512", "ed25519": "EdDSA"} {
		got, err := dpopVerifier(still).Verify(t.Context(), dpopRequest(thumbprint(t, name), proofOf(t, name, alg, now, nil)))
		if err != nil || got.Nonce != "" {
			t.Errorf("%s: %+v, %v", alg, got, err)
		}
	}
}

// Case 53: wrong htm, htu, ath, jkt; stale iat; private key in jwk; alg none or
// HS, each refused with the right challenge.
func TestCase53DPoP(t *testing.T) {
	jkt := thumbprint(t, "p256")
	proof := func(edit func(h head, c map[string]any)) string { return proofOf(t, "p256", "ES256", now, edit) }
	claim := func(name string, v any) string { return proof(func(_ head, c map[string]any) { c[name] = v }) }
	without := func(name string) string { return proof(func(_ head, c map[string]any) { delete(c, name) }) }
	header := func(name string, v any) string { return proof(func(h head, _ map[string]any) { h[name] = v }) }
	good := proof(nil)
	parts := strings.Split(good, ".")
	for _, c := range []struct {
		name string
		r    DPoPRequest
		code string // "" for accepted
	}{
		{"good", dpopRequest(jkt, good), ""},
		{"iat at the end of its life", dpopRequest(jkt, claim("iat", now.Unix()-305)), ""},
		{"iat in the future within leeway", dpopRequest(jkt, claim("iat", now.Unix()+5)), ""},
		{"htu with query and fragment", dpopRequest(jkt, claim("htu", resource+"?a=b#c")), ""},
		{"htu spelled otherwise", dpopRequest(jkt, claim("htu", "HTTPS://API.example:443/x/../%6Frders/1")), ""},
		{"a nonce that nobody asked for", dpopRequest(jkt, claim("nonce", "x")), ""},
		{"no proof", dpopRequest(jkt), InvalidDPoPProof},
		{"two proofs", dpopRequest(jkt, good, good), InvalidDPoPProof},
		{"two proofs in one", dpopRequest(jkt, good+", "+good), InvalidDPoPProof},
		{"empty", dpopRequest(jkt, ""), InvalidDPoPProof},
		{"too long", dpopRequest(jkt, claim("x", strings.Repeat("a", maxProof))), InvalidDPoPProof},
		{"wrong typ", dpopRequest(jkt, header("typ", "JWT")), InvalidDPoPProof},
		{"no typ", dpopRequest(jkt, proof(func(h head, _ map[string]any) { delete(h, "typ") })), InvalidDPoPProof},
		{"crit", dpopRequest(jkt, proof(func(h head, _ map[string]any) { h["crit"], h["x"] = []string{"x"}, 1 })), InvalidDPoPProof},
		{"no jwk", dpopRequest(jkt, proof(func(h head, _ map[string]any) { delete(h, "jwk") })), InvalidDPoPProof},
		{"jwk is text", dpopRequest(jkt, header("jwk", "x")), InvalidDPoPProof},
		{"another's jwk", dpopRequest(jkt, header("jwk", public(t, "p384", "", ""))), InvalidDPoPProof},
		{"another key of the type", dpopRequest(thumbprint(t, "rsa"), proofOf(t, "rsa2", "RS256", now, func(h head, _ map[string]any) { h["jwk"] = public(t, "rsa", "", "") })), InvalidDPoPProof},
		{"private key in jwk", dpopRequest(jkt, forgeJWK(t, parts, "d", "AAAA")), InvalidDPoPProof},
		{"private member in another case", dpopRequest(jkt, forgeJWK(t, parts, "D", "AAAA")), InvalidDPoPProof},
		{"alg none", dpopRequest(jkt, forge(`{"typ":"dpop+jwt","alg":"none"}`, `{}`, "")), InvalidDPoPProof},
		{"HS256", dpopRequest(jkt, sign(t, "HS256", []byte("a secret that is long enough, really"), head{"typ": "dpop+jwt"}, map[string]any{"htm": "GET"})), InvalidDPoPProof},
		{"signature of another payload", dpopRequest(jkt, parts[0]+"."+parts[1]+"."+strings.Split(claim("jti", "k"), ".")[2]), InvalidDPoPProof},
		{"wrong htm", dpopRequest(jkt, claim("htm", "POST")), InvalidDPoPProof},
		{"htm in another case", dpopRequest(jkt, claim("htm", "get")), InvalidDPoPProof},
		{"no htm", dpopRequest(jkt, without("htm")), InvalidDPoPProof},
		{"wrong path in htu", dpopRequest(jkt, claim("htu", "https://api.example/orders/2")), InvalidDPoPProof},
		{"wrong host in htu", dpopRequest(jkt, claim("htu", "https://evil.example/orders/1")), InvalidDPoPProof},
		{"wrong scheme in htu", dpopRequest(jkt, claim("htu", "http://api.example/orders/1")), InvalidDPoPProof},
		{"wrong port in htu", dpopRequest(jkt, claim("htu", "https://api.example:8443/orders/1")), InvalidDPoPProof},
		{"relative htu", dpopRequest(jkt, claim("htu", "/orders/1")), InvalidDPoPProof},
		{"htu is no string", dpopRequest(jkt, claim("htu", []string{resource})), InvalidDPoPProof},
		{"no htu", dpopRequest(jkt, without("htu")), InvalidDPoPProof},
		{"wrong ath", dpopRequest(jkt, claim("ath", athOf("another"))), InvalidDPoPProof},
		{"no ath", dpopRequest(jkt, without("ath")), InvalidDPoPProof},
		{"no jti", dpopRequest(jkt, without("jti")), InvalidDPoPProof},
		{"jti is a number", dpopRequest(jkt, claim("jti", 1)), InvalidDPoPProof},
		{"jti too long", dpopRequest(jkt, claim("jti", strings.Repeat("a", maxJTI+1))), InvalidDPoPProof},
		{"stale iat", dpopRequest(jkt, claim("iat", now.Unix()-306)), InvalidDPoPProof},
		{"iat in the future", dpopRequest(jkt, claim("iat", now.Unix()+6)), InvalidDPoPProof},
		{"no iat", dpopRequest(jkt, without("iat")), InvalidDPoPProof},
		{"iat of the far future", dpopRequest(jkt, claim("iat", 1e300)), InvalidDPoPProof},
		{"iat is text", dpopRequest(jkt, claim("iat", "now")), InvalidDPoPProof},
		{"wrong jkt", dpopRequest(thumbprint(t, "p384"), good), InvalidToken},
		{"token without jkt", dpopRequest("", good), InvalidToken},
		{"no access token", DPoPRequest{Proofs: []string{claim("ath", athOf(""))}, Method: "GET", URL: resource, JKT: jkt}, InvalidDPoPProof},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := dpopVerifier(still).Verify(t.Context(), c.r)
			e, _ := errors.AsType[*DPoPError](err)
			if c.code == "" && err != nil || c.code != "" && (e == nil || e.Code != c.code || e.Nonce != "") {
				t.Errorf("got %v", err)
			}
		})
	}
	v := dpopVerifier(still)
	v.Algorithms = []string{"ES384", "HS256", "none"}
	if _, err := v.Verify(t.Context(), dpopRequest(jkt, good)); err == nil || v.AcceptedAlgorithms() != "ES384" {
		t.Errorf("an algorithm that is not configured: %v, %s", err, v.AcceptedAlgorithms())
	}
}

// forgeJWK puts a member into the jwk of a proof's header. The signature is
// made anew, so that nothing else is wrong.
func forgeJWK(t *testing.T, parts []string, name, value string) string {
	t.Helper()
	b, _ := base64.RawURLEncoding.DecodeString(parts[0])
	var h map[string]any
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	h["jwk"].(map[string]any)[name] = value
	delete(h, "alg")
	var c map[string]any
	b, _ = base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return sign(t, "ES256", private(t, "p256"), head(h), c)
}

func TestCase53ReplayedProof(t *testing.T) {
	jkt, at := thumbprint(t, "p256"), now
	v := dpopVerifier(func() time.Time { return at })
	first := dpopRequest(jkt, proofOf(t, "p256", "ES256", now, nil))
	if _, err := v.Verify(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, r DPoPRequest) {
		t.Helper()
		if e, ok := errors.AsType[*DPoPError](func() error { _, err := v.Verify(t.Context(), r); return err }()); !ok || e.Code != InvalidDPoPProof {
			t.Errorf("%s: %v", what, e)
		}
	}
	refused("the same proof", first)
	refused("another proof of the same jti", dpopRequest(jkt, proofOf(t, "p256", "ES256", now.Add(-time.Second), nil)))
	// Another node that shares the store.
	other := *v
	if _, err := other.Verify(t.Context(), first); err == nil {
		t.Error("another node accepted the proof again")
	}
	for s := 0; s <= 320; s++ {
		at = now.Add(time.Duration(s) * time.Second)
		refused(fmt.Sprintf("after %d s", s), first)
	}
	// The jti belongs to its key.
	at = now
	if _, err := v.Verify(t.Context(), dpopRequest(thumbprint(t, "p384"), proofOf(t, "p384", "ES384", now, nil))); err != nil {
		t.Errorf("another key: %v", err)
	}
	// A refused proof leaves no trace: a wrong binding cannot use up a jti.
	fresh := dpopVerifier(still)
	if _, err := fresh.Verify(t.Context(), dpopRequest("wrong", proofOf(t, "p256", "ES256", now, nil))); err == nil {
		t.Fatal("accepted")
	}
	if fresh.Replays.(*MemoryReplays).Len() != 0 {
		t.Error("a refused proof took room")
	}
}

// Case 54: nonce required, challenge, then accept.
func TestCase54Nonce(t *testing.T) {
	jkt, at := thumbprint(t, "p256"), now
	clock := func() time.Time { return at }
	secrets := []Opaque{"shared secret"}
	v := dpopVerifier(clock)
	v.Nonces = NewDPoPNonces(func(context.Context) ([]Opaque, error) { return secrets, nil })
	jti := 0
	ask := func(v *DPoPVerifier, nonce any) (*DPoPResult, *DPoPError) {
		t.Helper()
		jti++
		// The caller's clock is wrong: with nonces that does not matter.
		got, err := v.Verify(t.Context(), dpopRequest(jkt, proofOf(t, "p256", "ES256", at.Add(-time.Hour), func(_ head, c map[string]any) {
			c["jti"] = fmt.Sprint(jti)
			if nonce != nil {
				c["nonce"] = nonce
			}
		})))
		if err == nil {
			return got, nil
		}
		e, ok := errors.AsType[*DPoPError](err)
		if !ok {
			t.Fatal(err)
		}
		return nil, e
	}
	_, e := ask(v, nil)
	if e == nil || e.Code != UseDPoPNonce || e.Nonce == "" {
		t.Fatalf("got %+v", e)
	}
	nonce := e.Nonce
	if got, e := ask(v, nonce); e != nil || got.Nonce != "" {
		t.Errorf("got %+v, %v", got, e)
	}
	// Another node of the secret knows it too.
	node := dpopVerifier(clock)
	node.Nonces = NewDPoPNonces(func(context.Context) ([]Opaque, error) { return []Opaque{"newer secret", "shared secret"}, nil })
	if _, e := ask(node, nonce); e != nil {
		t.Errorf("another node: %v", e)
	}
	stranger := dpopVerifier(clock)
	stranger.Nonces = NewDPoPNonces(func(context.Context) ([]Opaque, error) { return []Opaque{"newer secret"}, nil })
	for what, n := range map[string]any{"empty": "", "a number": 1, "junk": "junk", "tampered": "AAAA" + nonce[4:], "too long": nonce + nonce, "not base64": strings.Repeat("!", len(nonce))} {
		if _, e := ask(v, n); e == nil || e.Code != UseDPoPNonce || e.Nonce == "" {
			t.Errorf("%s: %v", what, e)
		}
	}
	if _, e := ask(stranger, nonce); e == nil || e.Code != UseDPoPNonce {
		t.Errorf("another secret: %v", e)
	}
	at = now.Add(150 * time.Second)
	if got, e := ask(v, nonce); e != nil || got.Nonce != "" {
		t.Errorf("at half its life: %+v, %v", got, e)
	}
	at = now.Add(151 * time.Second)
	got, e := ask(v, nonce)
	if e != nil || got.Nonce == "" || got.Nonce == nonce {
		t.Fatalf("past half its life: %+v, %v", got, e)
	}
	at = now.Add(305 * time.Second)
	if _, e := ask(v, nonce); e != nil {
		t.Errorf("at its end: %v", e)
	}
	at = now.Add(306 * time.Second)
	if _, e := ask(v, nonce); e == nil || e.Code != UseDPoPNonce {
		t.Errorf("past its end: %v", e)
	}
	if _, e := ask(v, got.Nonce); e != nil {
		t.Errorf("the fresh one: %v", e)
	}
	at = now.Add(-time.Minute)
	if _, e := ask(v, nonce); e == nil {
		t.Error("a nonce from the future was accepted")
	}
}

func TestNoncesNeedASecret(t *testing.T) {
	away := errors.New("secret is away")
	for _, f := range []func(context.Context) ([]Opaque, error){
		func(context.Context) ([]Opaque, error) { return nil, nil },
		func(context.Context) ([]Opaque, error) { return []Opaque{""}, nil },
		func(context.Context) ([]Opaque, error) { return nil, away },
	} {
		v := dpopVerifier(still)
		v.Nonces = NewDPoPNonces(f)
		_, err := v.Verify(t.Context(), dpopRequest(thumbprint(t, "p256"), proofOf(t, "p256", "ES256", now, func(_ head, c map[string]any) { c["nonce"] = "x" })))
		if _, ok := errors.AsType[*DPoPError](err); err == nil || ok {
			t.Errorf("got %v", err)
		}
	}
}

func TestNoMemoryNoProof(t *testing.T) {
	jkt := thumbprint(t, "p256")
	v := dpopVerifier(still)
	v.Replays = NewMemoryReplays(2, still)
	verify := func(jti string) error {
		_, err := v.Verify(t.Context(), dpopRequest(jkt, proofOf(t, "p256", "ES256", now, func(_ head, c map[string]any) { c["jti"] = jti })))
		return err
	}
	if err := verify("1"); err != nil {
		t.Fatal(err)
	}
	if err := verify("2"); !errors.Is(err, ErrReplays) {
		t.Errorf("full: %v", err)
	}
	v.Replays = nil
	if err := verify("3"); !errors.Is(err, ErrReplays) {
		t.Errorf("none: %v", err)
	}
}

func TestMemoryReplays(t *testing.T) {
	at := now
	m := NewMemoryReplays(8, func() time.Time { return at })
	id := func(i int) [32]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	remember := func(key string, i int, d time.Duration) (bool, error) {
		return m.Remember(t.Context(), key, id(i), at.Add(d))
	}
	for i := range 8 {
		if fresh, err := remember(fmt.Sprint("key", i/2), i, time.Duration(10+i)*time.Second); !fresh || err != nil {
			t.Fatalf("%d: %v, %v", i, fresh, err)
		}
	}
	if fresh, err := remember("new", 100, time.Minute); fresh || err == nil {
		t.Error("a full memory took more")
	}
	if fresh, err := remember("key0", 0, time.Minute); fresh || err != nil {
		t.Error("a full memory forgot what it holds")
	}
	at = now.Add(11 * time.Second)
	if fresh, err := remember("new", 100, time.Minute); !fresh || err != nil || m.Len() != 8 {
		t.Errorf("what cannot come again still takes room: %v, %v, %d", fresh, err, m.Len())
	}
	at = now.Add(time.Hour)
	if fresh, err := remember("new", 1, 20*time.Second); !fresh || err != nil || m.Len() != 1 || len(m.counts) != 1 || len(m.due) != 1 {
		t.Errorf("after an hour: %v, %v, %d", fresh, err, m.Len())
	}
	if fresh, err := remember("new", 2, 20*time.Second); !fresh || err != nil {
		t.Errorf("second of a key: %v", err)
	}
	if fresh, err := remember("new", 3, 20*time.Second); fresh || err == nil {
		t.Error("one key took more than its share")
	}
	if fresh, err := remember("other", 4, 20*time.Second); !fresh || err != nil {
		t.Error("one key locked the others out")
	}
}

func TestNormaliseHTU(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example": "https://a.example/", "https://A.Example:443/x?y#z": "https://a.example/x", "http://a:80/": "http://a/", "http://a:443/": "http://a:443/",
		"https://a/b/./c/../d": "https://a/b/d", "https://a/../../b": "https://a/b", "https://a/b/..": "https://a/", "https://a/b/.": "https://a/b/", "https://a//b/": "https://a//b/",
		"https://a/%7Eb%2fc%2F": "https://a/~b%2Fc%2F", "https://a/%41": "https://a/A", "https://a/b%2e%2e/c": "https://a/b../c", "https://a/b/%2e%2e/c": "https://a/c",
		"https://[::1]:443/": "https://[::1]/", "https://[::1]:8443/": "https://[::1]:8443/", "https://a/\u00fc": "https://a/%C3%BC", "https://a/%C3%BC": "https://a/%C3%BC",
		"": "", "/a": "", "a.example/": "", "ftp://a/": "", "https:///a": "", "https://user@a/": "", "https:a": "", "https://a/%zz": "", "https://a/\x00": "", "https://:443/": "",
	} {
		got, ok := normaliseHTU(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}

func TestConfirmation(t *testing.T) {
	der := []byte("a certificate")
	for _, c := range []struct {
		in   string
		want Confirmation
		ok   bool
	}{
		{`{}`, Confirmation{}, true},
		{`{"cnf":null}`, Confirmation{}, true},
		{`{"cnf":{}}`, Confirmation{}, true},
		{`{"cnf":{"jkt":"a"}}`, Confirmation{JKT: "a"}, true},
		{`{"cnf":{"x5t#S256":"b","jkt":"a"}}`, Confirmation{JKT: "a", X5T: "b"}, true},
		{`{"cnf":{"jwk":{}}}`, Confirmation{Other: true}, true},
		{`{"cnf":"a"}`, Confirmation{}, false},
		{`{"cnf":["a"]}`, Confirmation{}, false},
		{`{"cnf":{"jkt":1}}`, Confirmation{}, false},
		{`{"cnf":{"jkt":""}}`, Confirmation{}, false},
		{`{"cnf":{"x5t#S256":null}}`, Confirmation{}, false},
	} {
		o, err := claims.Decode([]byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadConfirmation(UseAccess, o)
		if got != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrClaims) {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
	}
	// Of RFC 8705 there is no vector of this size: the hash is written out.
	bound := Confirmation{X5T: athOf("a certificate")}
	if !bound.MatchesCertificate(der) || bound.MatchesCertificate([]byte("another")) || bound.MatchesCertificate(nil) || (Confirmation{}).MatchesCertificate(der) || (Confirmation{X5T: athOf("")}).MatchesCertificate(nil) {
		t.Error("binding to a certificate is judged wrongly")
	}
}

func FuzzDPoP(f *testing.F) {
	jkt := thumbprint(f, "p256")
	good := proofOf(f, "p256", "ES256", now, nil)
	f.Add(good, resource)
	f.Add(proofOf(f, "rsa", "RS256", now, nil), "https://a/b/../%2e%2e/%zz")
	f.Add(forge(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}`, `{}`, ""), "https://[::1")
	b, _ := (&jose.JSONWebKey{Key: private(f, "p256")}).MarshalJSON()
	f.Add(forge(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+string(b)+`}`, `{"htm":"GET"}`, "x"), "https://a")
	f.Fuzz(func(t *testing.T, proof, address string) {
		r := dpopRequest(jkt, proof)
		r.URL = address
		_, err := dpopVerifier(still).Verify(t.Context(), r)
		if _, ok := errors.AsType[*DPoPError](err); err != nil && !ok {
			t.Errorf("got %v", err)
		}
		if n, ok := normaliseHTU(address); ok {
			if again, ok := normaliseHTU(n); !ok || again != n {
				t.Errorf("%q becomes %q, then %q", address, n, again)
			}
		}
	})
}

func BenchmarkDPoP(b *testing.B) {
	v := dpopVerifier(still)
	v.Replays = NewMemoryReplays(1<<30, still)
	r := dpopRequest(thumbprint(b, "p256"), proofOf(b, "p256", "ES256", now, nil))
	b.ReportAllocs()
	for b.Loop() {
		v.Replays = NewMemoryReplays(4, still)
		if _, err := v.Verify(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
