package bench

import (
	"context"
	"testing"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/token"
)

// BenchmarkDecideDPoPCached is a bound token that is kept with a fresh proof
// each time; it is to be held against BearerCached. What it adds is mostly the
// signature of the proof.
func BenchmarkDecideDPoPCached(b *testing.B) {
	bed := newBed(b)
	c := bed.Bearer()
	c["proof_of_possession_dpop"], c["dpop_proof_lifetime"] = "strict", 60
	i := start(b, bed.Plugin(), c)
	key, err := token.DeriveDPoPSigner([]byte("of the benchmark"), "")
	if err != nil {
		b.Fatal(err)
	}
	access, err := bed.Provider.Mint(provider.TokenRequest{
		Scopes: []string{"openid", "profile", "email"}, Seconds: 3600, Claims: map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint()}},
	})
	if err != nil {
		b.Fatal(err)
	}
	prove := func() rp.Header {
		proof, err := key.Proof("GET", "http://localhost:8000/", token.Opaque(access), "", time.Now())
		if err != nil {
			b.Fatal(err)
		}
		h := Headers("")
		h["authorization"], h["dpop"] = []string{"DPoP " + access}, []string{proof.Reveal()}
		return h
	}
	ctx, needs := context.Background(), i.Needs()
	batch := make([]rp.Header, 64)
	n := len(batch)
	b.ReportAllocs()
	for b.Loop() {
		if n == len(batch) {
			b.StopTimer()
			for j := range batch {
				batch[j] = prove()
			}
			n = 0
			b.StartTimer()
		}
		k := &Call{Method: "GET", Target: "/", Header: batch[n]}
		n++
		r := rp.NewRequest(k, k.Header, 0)
		if err := r.Need(ctx, needs); err != nil {
			b.Fatal(err)
		}
		if d := i.Access(ctx, r); d.Respond != nil {
			b.Fatal(d.Err)
		}
	}
}
