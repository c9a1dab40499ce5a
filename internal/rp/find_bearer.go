package rp

import (
	"context"
	"strings"

	"kong-openid-connect/internal/token"
)

// bearerHeaders are the headers of their own that may hold a bearer token, in order.
var bearerHeaders = [...]string{"authorization", "access-token", "x-access-token"}

// findBearer looks for the bearer token that bearer, kong_oauth2,
// introspection and userinfo share. It searches once a request.
func (x *Exchange) findBearer(ctx context.Context) (*Credential, error) {
	if x.searched {
		return x.bearer, nil
	}
	c, err := x.searchBearer(ctx)
	if err != nil {
		return nil, err
	}
	x.bearer, x.searched = c, true
	return c, nil
}

func (x *Exchange) searchBearer(ctx context.Context) (*Credential, error) {
	p, r := &x.Policy.Bearer, x.Request
	if p.Places.Header {
		if c := bearerInHeader(p, r.Header); c != nil {
			return c, nil
		}
	}
	v, place, err := r.arg(ctx, p.Places, "access_token")
	if err != nil {
		return nil, err
	}
	if v != "" {
		return &Credential{Method: MethodBearer, Place: place, Name: "access_token", Token: token.Opaque(v)}, nil
	}
	if p.Places.Cookie && p.CookieName != "" {
		if v := cookie(r.Header, p.CookieName); v != "" {
			return &Credential{Method: MethodBearer, Place: PlaceCookie, Name: p.CookieName, Token: token.Opaque(v)}, nil
		}
	}
	return nil, nil
}

func bearerInHeader(p *BearerPolicy, h Header) *Credential {
	if p.HeaderName != "" {
		name, v := fold(h, p.HeaderName)
		if v == "" {
			return nil
		}
		if p.HeaderName == "authorization" {
			t, dpop, ok := tokenScheme(p, v)
			if !ok {
				return nil
			}
			return &Credential{Method: MethodBearer, Place: PlaceHeader, Name: name, Token: token.Opaque(t), dpop: dpop}
		} else if t, ok := scheme(v, "bearer"); ok {
			v = t
		}
		return &Credential{Method: MethodBearer, Place: PlaceHeader, Name: name, Token: token.Opaque(v)}
	}
	for _, name := range bearerHeaders {
		v := h.Get(name)
		if v == "" {
			continue
		}
		t, dpop, ok := tokenScheme(p, v)
		if !ok || dpop && name != "authorization" {
			if name == "authorization" {
				continue
			}
			t, dpop = v, false
		}
		if t == "" {
			continue
		}
		return &Credential{Method: MethodBearer, Place: PlaceHeader, Name: name, Token: token.Opaque(t), dpop: dpop}
	}
	return nil
}

// tokenScheme splits a value of the Bearer scheme, or of DPoP's where that is
// switched on (U57).
func tokenScheme(p *BearerPolicy, v string) (t string, dpop, ok bool) {
	if t, ok = scheme(v, "bearer"); ok {
		return t, false, true
	}
	if p.DPoP {
		t, ok = scheme(v, "dpop")
	}
	return t, ok, ok
}

// scheme splits an Authorization value into the credentials of the named
// scheme, which is compared ignoring case (RFC 9110 11.1).
func scheme(v, name string) (string, bool) {
	if len(v) <= len(name) || v[len(name)] != ' ' || !strings.EqualFold(v[:len(name)], name) {
		return "", false
	}
	return strings.Trim(v[len(name)+1:], " "), true
}

// fold returns the header that equals name when `_` and `-` are taken as one,
// and its spelling. The exact spelling wins.
func fold(h Header, name string) (spelling, value string) {
	if v := h.Get(name); v != "" {
		return name, v
	}
	want := Canonical(name)
	for k, v := range h {
		if len(k) == len(want) && len(v) > 0 && Canonical(k) == want && (spelling == "" || k < spelling) {
			spelling, value = k, v[0]
		}
	}
	return spelling, value
}

// cookie returns the value of the first cookie named name, or "".
func cookie(h Header, name string) string {
	value, found := "", false
	eachCookiePair(h, func(n, pair string) {
		if v, ok := strings.CutPrefix(pair, n+"="); ok && !found && n == name {
			value, found = strings.Trim(v, "\""), true
		}
	})
	return value
}
