package token

import "testing"

func TestDerivedDPoPKey(t *testing.T) {
	derive := func(secret, purpose string) *DPoPSigner {
		t.Helper()
		s, err := DeriveDPoPSigner([]byte(secret), purpose)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// All nodes and all versions have the same: tokens are bound to it.
	a := derive("a secret of the nodes", "https://idp.example.com")
	if got := a.Thumbprint(); got != "Z_sm-o4eqdR4KoIhapMLA6SEs-GLlC2UvftarN3vbHI" {
		t.Errorf("the key is another one than before: %s", got)
	}
	for _, other := range []*DPoPSigner{derive("another secret of the nodes", "https://idp.example.com"), derive("a secret of the nodes", "https://other.example.com")} {
		if other.Thumbprint() == a.Thumbprint() {
			t.Error("two keys are one")
		}
	}
	proof, err := a.Proof("GET", resource, "at", "", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dpopVerifier(still).Verify(t.Context(), dpopRequest(a.Thumbprint(), proof.Reveal())); err != nil {
		t.Error(err)
	}
	if _, err := DeriveDPoPSigner(nil, "x"); err == nil {
		t.Error("a key follows from nothing")
	}
}
