package token

import (
	"fmt"
	"strings"
	"testing"
)

func TestDPoPSigner(t *testing.T) {
	for name, alg := range map[string]string{"rsa": "PS256", "p256": "", "p384": "ES384", "ed25519": ""} {
		jwk := privateJWK(t, name, "kid", "", "sig")
		s, err := NewDPoPSigner(jwk, alg)
		if err != nil {
			t.Fatal(err)
		}
		if s.Thumbprint() != thumbprint(t, name) {
			t.Errorf("%s: thumbprint is that of another key", name)
		}
		proof, err := s.Proof("GET", resource+"?q#f", "at", "n", now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dpopVerifier(still).Verify(t.Context(), dpopRequest(s.Thumbprint(), proof.Reveal())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		u, err := Parse(proof.Reveal(), 0)
		if err != nil || u.Claims["htu"] != resource || u.Claims["nonce"] != "n" || u.Header.KeyID != "" {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
		if out := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(out, "0x") || strings.Contains(out, "kid") {
			t.Errorf("prints %s", out)
		}
	}
	for name, jwk := range map[string][]byte{
		"Ed448":  []byte(`{"kty":"OKP","crv":"Ed448","x":"` + strings.Repeat("A", 76) + `","d":"` + strings.Repeat("A", 76) + `"}`),
		"secret": []byte(`{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`), "public": []byte(`{"kty":"EC"}`), "junk": []byte("x"),
	} {
		if _, err := NewDPoPSigner(jwk, ""); err == nil {
			t.Errorf("%s key signs proofs", name)
		}
	}
}
