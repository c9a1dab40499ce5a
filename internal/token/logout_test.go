package token

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

func logoutRules() *LogoutRules {
	return &LogoutRules{Issuers: Issuers{Expected: []string{issuer}}, ClientID: "client", Leeway: 5 * time.Second, Algorithms: []string{"ES256", "HS256"}}
}

func logoutClaims(edit func(map[string]any)) map[string]any {
	c := map[string]any{
		"iss": issuer, "aud": "client", "iat": now.Unix(), "exp": now.Unix() + 120, "jti": "j", "sub": "alex", "sid": "s",
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	if edit != nil {
		edit(c)
	}
	return c
}

// verifyLogout is what a caller does with a logout token.
func verifyLogout(t testing.TB, raw string, v Verifier, r *LogoutRules) (*Logout, error) {
	u, err := v.Parse(t.Context(), raw, UseLogout)
	if err != nil {
		return nil, err
	}
	return VerifyLogout(t.Context(), &v, u, r, now)
}

func TestVerifyLogout(t *testing.T) {
	k := private(t, "p256")
	good := Verifier{Keys: keys(public(t, "p256", "k", ""))}
	typed := func(typ string, edit func(map[string]any)) string {
		return sign(t, "ES256", k, head{"kid": "k", "typ": typ}, logoutClaims(edit))
	}
	ok := func(edit func(map[string]any)) string {
		return sign(t, "ES256", k, head{"kid": "k"}, logoutClaims(edit))
	}
	without := func(names ...string) string {
		return ok(func(c map[string]any) {
			for _, n := range names {
				delete(c, n)
			}
		})
	}
	with := func(name string, v any) string { return ok(func(c map[string]any) { c[name] = v }) }
	skip := good
	skip.SkipSignature = true
	secret := good
	secret.HMACSecret = "a secret that is long enough, really"
	d := good
	d.Decrypter = decrypter(t, DecrypterOptions{JWKs: [][]byte{privateJWK(t, "rsa", "", "", "")}})
	to := private(t, "rsa").(*rsa.PrivateKey).Public()
	payload := `{"iss":"` + issuer + `","aud":"client","iat":1700000000,"jti":"j","sub":"alex","events":{"` + logoutEvent + `":{}}}`
	for _, c := range []struct {
		name string
		raw  string
		v    Verifier
		err  error
	}{
		{"good", ok(nil), good, nil},
		{"type logout+jwt", typed("logout+jwt", nil), good, nil},
		{"type application/logout+jwt", typed("application/Logout+JWT", nil), good, nil},
		{"type JWT", typed("JWT", nil), good, nil},
		{"sub alone", without("sid"), good, nil},
		{"sid alone", without("sub"), good, nil},
		{"no exp", without("exp"), good, nil},
		{"audience in a list", with("aud", []string{"client"}), good, nil},
		{"trailing slash of the issuer", with("iss", issuer+"/"), good, nil},
		{"within leeway", ok(func(c map[string]any) { c["exp"], c["iat"] = now.Unix()-5, now.Unix()+5 }), good, nil},
		{"encrypted", encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", ok(nil)), d, nil},
		{"HS256 by leave", sign(t, "HS256", []byte(secret.HMACSecret), nil, logoutClaims(nil)), secret, nil},

		{"case 50: nonce", with("nonce", "n"), good, ErrClaims},
		{"case 50: empty nonce", with("nonce", ""), good, ErrClaims},
		{"case 50: null nonce", with("nonce", nil), good, ErrClaims},
		{"case 50: no events", without("events"), good, ErrClaims},
		{"case 50: other events", with("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}), good, ErrClaims},
		{"case 50: events is a text", with("events", logoutEvent), good, ErrClaims},
		{"case 50: the event is no object", with("events", map[string]any{logoutEvent: true}), good, ErrClaims},
		{"case 50: alg none", forge(`{"alg":"none"}`, payload, ""), good, ErrAlgorithm},
		{"case 50: alg none, signatures skipped", forge(`{"alg":"none"}`, payload, ""), skip, ErrAlgorithm},
		{"case 50: an algorithm that the provider has not", sign(t, "RS256", private(t, "rsa"), head{"kid": "k"}, logoutClaims(nil)), Verifier{Keys: keys(public(t, "rsa", "k", ""))}, ErrAlgorithm},
		{"case 50: HS256 without leave", sign(t, "HS256", []byte(secret.HMACSecret), nil, logoutClaims(nil)), good, ErrAlgorithm},
		{"case 50: wrong iss", with("iss", "https://evil.example"), good, ErrClaims},
		{"case 50: no iss", without("iss"), good, ErrClaims},
		{"case 50: wrong aud", with("aud", "other"), good, ErrClaims},
		{"case 50: no aud", without("aud"), good, ErrClaims},
		{"case 50: no iat", without("iat"), good, ErrClaims},
		{"case 50: no jti", without("jti"), good, ErrClaims},
		{"jti is empty", with("jti", ""), good, ErrClaims},
		{"jti is a number", with("jti", 1), good, ErrClaims},
		{"iat is a text", with("iat", "today"), good, ErrClaims},
		{"from the future", with("iat", now.Unix()+6), good, ErrClaims},
		{"not yet valid", with("nbf", now.Unix()+60), good, ErrClaims},
		{"expired", with("exp", now.Unix()-6), good, ErrExpired},
		{"more than an hour old", ok(func(c map[string]any) { c["iat"], c["exp"] = now.Unix()-3605, now.Unix()+1e9 }), good, ErrExpired},
		{"neither sub nor sid", without("sub", "sid"), good, ErrClaims},
		{"empty sid beside sub", with("sid", ""), good, ErrClaims},
		{"sid is an object", with("sid", map[string]any{}), good, ErrClaims},
		{"sub is long", with("sub", strings.Repeat("x", maxLogoutName+1)), good, ErrClaims},
		{"an ID token", without("events", "jti"), good, ErrClaims},
		{"an access token", typed("at+jwt", nil), good, ErrMalformed},
		{"another security event", typed("secevent+jwt", nil), good, ErrMalformed},
		{"an unknown type", typed("something", nil), good, ErrMalformed},
		{"a key of somebody else", ok(nil), Verifier{Keys: keys(public(t, "p384", "k", ""))}, ErrNoKey},
		{"invalid signature", ok(nil)[:len(ok(nil))-6] + "AAAAAA", good, ErrSignature},
		{"invalid signature, signatures skipped", ok(nil)[:len(ok(nil))-6] + "AAAAAA", skip, ErrSignature},
		{"encrypted and not signed", encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", payload), d, ErrMalformed},
		{"not a token", "logout", good, ErrMalformed},
		{"nothing", "", good, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := verifyLogout(t, c.raw, c.v, logoutRules())
			if !errors.Is(err, c.err) || (err == nil) != (l != nil) {
				t.Fatalf("%+v, %v, want %v", l, err, c.err)
			}
			if l != nil && (!claims.SameIssuer(l.Issuer, issuer) || l.JTI != "j" || l.Subject+l.SID == "" || l.Until.Before(now.Add(time.Hour))) {
				t.Errorf("%+v", l)
			}
		})
	}
}

func FuzzLogoutToken(f *testing.F) {
	k := private(f, "p256")
	v := Verifier{Keys: keys(public(f, "p256", "k", ""))}
	f.Add(`{"alg":"ES256","kid":"k"}`, `{"iss":"`+issuer+`","aud":"client","iat":1700000000,"jti":"j","sid":"s","events":{"`+logoutEvent+`":{}}}`)
	f.Add(`{"alg":"none"}`, `{"events":[],"iat":1e300,"aud":[[]],"sid":{}}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		if _, err := verifyLogout(t, forge(header, payload, "AAAA"), v, logoutRules()); err == nil {
			t.Fatalf("%q %q was never signed", header, payload)
		}
		var c map[string]any
		if json.Unmarshal([]byte(payload), &c) != nil {
			return
		}
		l, err := verifyLogout(t, sign(t, "ES256", k, head{"kid": "k"}, c), v, logoutRules())
		if err != nil {
			return
		}
		_, nonce := c["nonce"]
		if nonce || l.JTI == "" || l.Subject == "" && l.SID == "" || len(l.JTI)+len(l.SID)+len(l.Subject) > 3*maxLogoutName || l.Until.Sub(now) > 2*time.Hour {
			t.Fatalf("%q is %+v", payload, l)
		}
	})
}
