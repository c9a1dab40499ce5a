package bench

import (
	"context"
	"testing"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/testservers"
)

func newBed(b testing.TB) *Bed {
	b.Helper()
	bed, err := NewBed()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bed.Close)
	return bed
}

func start(b testing.TB, p server.Plugin, c fromkong.Config) server.Instance {
	b.Helper()
	i, err := Start(p, c)
	if err != nil {
		b.Fatal(err)
	}
	return i
}

func mint(b testing.TB, bed *Bed, alg string) string {
	b.Helper()
	raw, err := bed.Provider.Mint(provider.TokenRequest{Alg: alg, Scopes: []string{"openid", "profile", "email"}, Seconds: 3600})
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func nothing() {}

// decide has the calls decided in turn, over and over; lap is done after each
// round. status 0 stands for a request that is let through.
func decide(b *testing.B, i server.Instance, status int, lap func(), calls ...*Call) {
	b.Helper()
	for _, c := range calls {
		d, err := c.Decide(b.Context(), i)
		got := 0
		if d != nil && d.Respond != nil {
			got = d.Respond.Status
		}
		if got != status {
			b.Fatalf("status %d, want %d: %v", got, status, err)
		}
	}
	lap()
	ctx, needs, n := context.Background(), i.Needs(), 0
	b.ReportAllocs()
	for b.Loop() {
		if n == len(calls) {
			lap()
			n = 0
		}
		c := calls[n]
		n++
		r := rp.NewRequest(c, c.Header, 0)
		if err := r.Need(ctx, needs); err != nil {
			b.Fatal(err)
		}
		if d := i.Access(ctx, r); (d.Respond != nil) != (status != 0) {
			b.Fatal(d.Err)
		}
	}
}

func BenchmarkDecideBearerCached(b *testing.B) {
	bed := newBed(b)
	i := start(b, bed.Plugin(), bed.Bearer())
	decide(b, i, 0, nothing, &Call{Method: "GET", Target: "/", Header: Headers(mint(b, bed, "RS256"))})
}

// BenchmarkDecideIntrospectionCached and BenchmarkDecidePasswordCached answer
// from what the provider said once; they are to be held against BearerCached.
func BenchmarkDecideIntrospectionCached(b *testing.B) {
	bed := newBed(b)
	i := start(b, bed.Plugin(), bed.Introspection())
	decide(b, i, 0, nothing, &Call{Method: "GET", Target: "/", Header: Headers(mint(b, bed, "RS256"))})
}

func BenchmarkDecidePasswordCached(b *testing.B) {
	bed := newBed(b)
	i := start(b, bed.Plugin(), bed.Password())
	decide(b, i, 0, nothing, &Call{Method: "GET", Target: "/", Header: BasicHeaders()})
}

func BenchmarkDecideBearerUncached(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg, func(b *testing.B) {
			bed := newBed(b)
			i := start(b, bed.Plugin(), bed.Bearer())
			var calls []*Call
			for range 64 {
				calls = append(calls, &Call{Method: "GET", Target: "/", Header: Headers(mint(b, bed, alg))})
			}
			decide(b, i, 0, bed.Tokens.Clear, calls...)
		})
	}
}

func BenchmarkDecideSessionCookie(b *testing.B) {
	bed := newBed(b)
	in := decideSession(b, bed, bed.Login())
	tokens, err := bed.SessionTokens(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(tokens), "token-B")
}

// BenchmarkDecideSessionCookieAnew opens the session for each request, as for one
// that comes for the first time, or after more others than are kept.
func BenchmarkDecideSessionCookieAnew(b *testing.B) {
	bed := newBed(b)
	bed.env.Openings = nil
	decideSession(b, bed, bed.Login())
}

func BenchmarkDecideSessionRedis(b *testing.B) {
	s := testservers.StartRedis(b, testservers.RedisOptions{})
	bed := newBed(b)
	decideSession(b, bed, InRedis(bed.Login(), s.Host, s.Port))
}

func decideSession(b *testing.B, bed *Bed, c fromkong.Config) *Call {
	b.Helper()
	i := start(b, bed.Plugin(), c)
	in, err := bed.LogIn(b.Context(), i)
	if err != nil {
		b.Fatal(err)
	}
	decide(b, i, 0, nothing, in)
	b.ReportMetric(float64(len(in.Header["cookie"][0])), "cookie-B")
	return in
}

func BenchmarkDecideLoginRedirect(b *testing.B) {
	bed := newBed(b)
	i := start(b, bed.Plugin(), bed.Login())
	decide(b, i, 302, nothing, &Call{Method: "GET", Target: "/app?x=1", Header: Headers("")})
}

// BenchmarkStartFirst compiles the policy; BenchmarkStartEqual shares it, as
// every worker but the first does.
func BenchmarkStartFirst(b *testing.B) {
	bed := newBed(b)
	raw := configJSON(b, bed.Login())
	b.ReportAllocs()
	for b.Loop() {
		bed.Plugin().Start(context.Background(), raw).Close()
	}
}

func BenchmarkStartEqual(b *testing.B) {
	bed := newBed(b)
	raw := configJSON(b, bed.Login())
	p := bed.Plugin()
	first := p.Start(context.Background(), raw)
	defer first.Close()
	b.ReportAllocs()
	for b.Loop() {
		p.Start(context.Background(), raw).Close()
	}
	if _, policies := p.Stats(); policies != 1 {
		b.Fatalf("%d policies were compiled, want 1", policies)
	}
}

func configJSON(b testing.TB, c fromkong.Config) []byte {
	b.Helper()
	raw, err := c.JSON()
	if err != nil {
		b.Fatal(err)
	}
	return raw
}
