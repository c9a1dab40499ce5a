package token

import (
	"errors"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
)

func TestExchangeDecide(t *testing.T) {
	const foreign = "https://other.example"
	base := map[string]any{"exp": now.Unix() + 60, "aud": []string{"client-2", "account"}, "scope": "openid email"}
	with := func(iss string, more map[string]any) map[string]any {
		c := map[string]any{"iss": iss}
		for k, v := range base {
			c[k] = v
		}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	conditions := func(c ExchangeConditions) []ExchangeIssuer {
		return []ExchangeIssuer{{Issuer: issuer, Conditions: c}}
	}
	verified := []ExchangeIssuer{{Issuer: foreign, Verifier: &Verifier{Keys: keys(public(t, "p256", "k", ""))}}}
	for _, c := range []struct {
		name    string
		issuers []ExchangeIssuer
		claims  map[string]any
		typ     string
		want    bool
		err     error
	}{
		{"foreign issuer", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, nil), "", true, nil},
		{"foreign issuer with a slash", []ExchangeIssuer{{Issuer: foreign + "/"}}, with(foreign, nil), "", true, nil},
		{"issuer not listed", []ExchangeIssuer{{Issuer: foreign}}, with("https://third.example", nil), "", false, nil},
		{"no issuer", []ExchangeIssuer{{Issuer: ""}}, map[string]any{}, "", false, nil},
		{"issuer not listed, expired", []ExchangeIssuer{{Issuer: foreign}}, with("https://third.example", map[string]any{"exp": 1}), "", false, nil},
		{"expired", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, map[string]any{"exp": now.Unix() - 6}), "", false, ErrExpired},
		{"within leeway", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, map[string]any{"exp": now.Unix() - 4}), "", true, nil},
		{"not yet valid", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, map[string]any{"nbf": now.Unix() + 60}), "", false, ErrClaims},
		{"exp is text", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, map[string]any{"exp": "soon"}), "", false, ErrClaims},
		{"another kind of token", []ExchangeIssuer{{Issuer: foreign}}, with(foreign, nil), "logout+jwt", false, ErrMalformed},
		{"signature holds", verified, with(foreign, nil), "", true, nil},
		{"own issuer without conditions", conditions(ExchangeConditions{}), with(issuer, nil), "", false, nil},
		{"own issuer, has audience", conditions(ExchangeConditions{HasAudience: []string{"account", "client-2"}}), with(issuer, nil), "", true, nil},
		{"own issuer, lacks one audience", conditions(ExchangeConditions{HasAudience: []string{"account", "client-3"}}), with(issuer, nil), "", false, nil},
		{"own issuer, missing audience", conditions(ExchangeConditions{MissingAudience: []string{"client-3"}}), with(issuer, nil), "", true, nil},
		{"own issuer, one of missing audience is there", conditions(ExchangeConditions{MissingAudience: []string{"client-3", "account"}}), with(issuer, nil), "", false, nil},
		{"own issuer, has scopes", conditions(ExchangeConditions{HasScopes: []string{"email"}}), with(issuer, nil), "", true, nil},
		{"own issuer, lacks a scope", conditions(ExchangeConditions{HasScopes: []string{"mail"}}), with(issuer, nil), "", false, nil},
		{"own issuer, missing scopes", conditions(ExchangeConditions{MissingScopes: []string{"profile"}}), with(issuer, nil), "", true, nil},
		{"own issuer, one of missing scopes is there", conditions(ExchangeConditions{MissingScopes: []string{"profile", "openid"}}), with(issuer, nil), "", false, nil},
		{"own issuer, all conditions", conditions(ExchangeConditions{HasAudience: []string{"account"}, MissingAudience: []string{"x"}, HasScopes: []string{"openid"}, MissingScopes: []string{"y"}}), with(issuer, nil), "", true, nil},
		{"own issuer, one condition fails", conditions(ExchangeConditions{HasAudience: []string{"account"}, MissingAudience: []string{"x"}, HasScopes: []string{"openid"}, MissingScopes: []string{"email"}}), with(issuer, nil), "", false, nil},
		{"own issuer, no scope claim", conditions(ExchangeConditions{MissingScopes: []string{"y"}}), map[string]any{"iss": issuer}, "", true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := head{"kid": "k"}
			if c.typ != "" {
				h["typ"] = c.typ
			}
			u, err := Parse(sign(t, "ES256", private(t, "p256"), h, c.claims), 0)
			if err != nil {
				t.Fatal(err)
			}
			e := &Exchange{Issuers: c.issuers, Audience: claims.Path{"aud"}, Scopes: claims.Path{"scope"}, Leeway: 5 * time.Second}
			got, err := e.Decide(t.Context(), u, issuer+"/", now)
			if got != c.want || !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	u, _ := Parse(sign(t, "ES256", private(t, "p256"), head{"kid": "other"}, with(foreign, nil)), 0)
	e := &Exchange{Issuers: []ExchangeIssuer{{Issuer: foreign, Verifier: &Verifier{Keys: keys(public(t, "rsa", "k", ""))}}}}
	if got, err := e.Decide(t.Context(), u, issuer, now); got || !errors.Is(err, ErrNoKey) {
		t.Errorf("bad signature: %v, %v", got, err)
	}
}
