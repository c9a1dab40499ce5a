package op

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"kong-openid-connect/internal/jwks"
)

// KeySource is what a look at one key set found.
type KeySource struct {
	URI        string
	Keys       int
	Algorithms []string // that keys name, or their key types; sorted
	Skipped    []error  // keys that cannot verify signatures
	Err        error    // why the set could not be read
}

// Inspection is what a look at a provider found.
type Inspection struct {
	Metadata *Metadata // nil with Err
	Err      error     // why there is no metadata
	// IssuerDiffers says that the discovery document is of another issuer than
	// the configured one, whose tokens are then expected.
	IssuerDiffers bool
	Keys          []KeySource
	// Skew is how far this machine's clock is ahead of the provider's, by the
	// Date of its answer, which has whole seconds; nil where it gave none.
	Skew *time.Duration
}

// Inspect asks the provider for its metadata and keys, and says what it found.
// It is for operators; no request waits for it.
func (p *Provider) Inspect(ctx context.Context) *Inspection {
	var in Inspection
	in.Metadata, in.Err = p.Metadata(ctx)
	if in.Err == nil {
		in.IssuerDiffers = !p.config.PseudoIssuer && in.Metadata.Issuer != "" && !sameIssuer(in.Metadata.Issuer, p.config.Issuer)
	}
	if s := p.state.Peek(); s != nil {
		for _, f := range slices.Concat([]jwks.Fetched{s.ring.Primary}, s.ring.Bound, s.ring.Loose) {
			in.Keys = append(in.Keys, keySource(f))
		}
	}
	in.Skew = p.skew(ctx)
	return &in
}

func keySource(f jwks.Fetched) KeySource {
	k := KeySource{URI: f.URI, Err: f.Err}
	if f.Set == nil {
		return k
	}
	k.Keys, k.Skipped = len(f.Set.Keys()), f.Set.Skipped()
	for _, key := range f.Set.Keys() {
		name := key.Algorithm
		if name == "" {
			name = fmt.Sprintf("%T", key.Key)
		}
		if !slices.Contains(k.Algorithms, name) {
			k.Algorithms = append(k.Algorithms, name)
		}
	}
	slices.Sort(k.Algorithms)
	return k
}

// skew compares the clocks.
func (p *Provider) skew(ctx context.Context) *time.Duration {
	for _, address := range metadataURLs(p.config.Issuer) {
		began := p.env.Now()
		a, err := p.client.do(ctx, call{name: "discovery", method: http.MethodGet, url: address})
		if err != nil {
			return nil
		}
		date, err := http.ParseTime(a.header.Get("Date"))
		if err != nil {
			continue
		}
		// The answer was made in between, and its second had begun.
		middle := began.Add(p.env.Now().Sub(began) / 2)
		d := middle.Sub(date.Add(500 * time.Millisecond)).Round(100 * time.Millisecond)
		return &d
	}
	return nil
}

// Probe asks for a page as a browser would and follows nothing. It returns the
// status, and the error of an authorization response where the answer is one.
func (p *Provider) Probe(ctx context.Context, address string) (status int, code string, err error) {
	a, err := p.client.do(ctx, call{name: "authorization endpoint", method: http.MethodGet, url: address, header: http.Header{"Accept": {"text/html"}}})
	if err != nil {
		return 0, "", err
	}
	if to, err := url.Parse(a.header.Get("Location")); err == nil {
		code = to.Query().Get("error")
	}
	return a.status, printable(code, 64), nil
}
