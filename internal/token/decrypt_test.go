package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// encrypt makes a JWE in compact form.
func encrypt(t testing.TB, alg jose.KeyAlgorithm, enc jose.ContentEncryption, key any, kid, plain string, edit ...func(*jose.EncrypterOptions)) string {
	t.Helper()
	o := (&jose.EncrypterOptions{}).WithContentType("JWT")
	for _, f := range edit {
		f(o)
	}
	e, err := jose.NewEncrypter(enc, jose.Recipient{Algorithm: alg, Key: key, KeyID: kid}, o)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := e.Encrypt([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// privateJWK is a key of the keyring as a JWK.
func privateJWK(t testing.TB, name, kid, alg, use string) []byte {
	t.Helper()
	b, err := (&jose.JSONWebKey{Key: private(t, name), KeyID: kid, Algorithm: alg, Use: use}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decrypter(t testing.TB, o DecrypterOptions) *Decrypter {
	t.Helper()
	d, err := NewDecrypter(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpen(t *testing.T) {
	d := decrypter(t, DecrypterOptions{JWKs: [][]byte{
		privateJWK(t, "rsa2", "other", "", "sig"), privateJWK(t, "rsa", "r", "RS256", "sig"), privateJWK(t, "p256", "e", "", ""), privateJWK(t, "p521", "f", "", "enc"),
		privateJWK(t, "ed25519", "o", "", ""),
	}})
	rsaKey, ecKey, ecLarge := private(t, "rsa").(*rsa.PrivateKey).Public(), private(t, "p256").(*ecdsa.PrivateKey).Public(), private(t, "p521").(*ecdsa.PrivateKey).Public()
	for _, c := range []struct {
		alg jose.KeyAlgorithm
		enc jose.ContentEncryption
		key any
		kid string
	}{
		{jose.RSA_OAEP, jose.A128GCM, rsaKey, "r"},
		{jose.RSA_OAEP_256, jose.A256GCM, rsaKey, ""},
		{jose.RSA_OAEP_256, jose.A256CBC_HS512, rsaKey, "unknown"},
		{jose.ECDH_ES, jose.A256GCM, ecKey, "e"},
		{jose.ECDH_ES, jose.A128CBC_HS256, ecLarge, ""},
		{jose.ECDH_ES_A128KW, jose.A192GCM, ecKey, ""},
		{jose.ECDH_ES_A192KW, jose.A192CBC_HS384, ecLarge, "f"},
		{jose.ECDH_ES_A256KW, jose.A256GCM, ecKey, "e"},
	} {
		for _, zip := range []bool{false, true} {
			raw := encrypt(t, c.alg, c.enc, c.key, c.kid, "plain", func(o *jose.EncrypterOptions) {
				if zip {
					o.Compression = jose.DEFLATE
				}
			})
			if got, err := d.Open(t.Context(), raw); err != nil || string(got) != "plain" {
				t.Errorf("%s %s kid %q zip %v: %q, %v", c.alg, c.enc, c.kid, zip, got, err)
			}
		}
	}
}

// Keys are derived from the secret as OpenID Connect Core section 10.2 says.
func TestOpenWithSecret(t *testing.T) {
	const secret = "a client secret"
	s256, s384, s512 := sha256.Sum256([]byte(secret)), sha512.Sum384([]byte(secret)), sha512.Sum512([]byte(secret))
	d := decrypter(t, DecrypterOptions{Secret: secret})
	for _, c := range []struct {
		alg jose.KeyAlgorithm
		enc jose.ContentEncryption
		key []byte
	}{
		{jose.DIRECT, jose.A128GCM, s256[:16]}, {jose.DIRECT, jose.A192GCM, s256[:24]}, {jose.DIRECT, jose.A256GCM, s256[:]},
		{jose.DIRECT, jose.A128CBC_HS256, s256[:]}, {jose.DIRECT, jose.A192CBC_HS384, s384[:]}, {jose.DIRECT, jose.A256CBC_HS512, s512[:]},
		{jose.A128KW, jose.A256GCM, s256[:16]}, {jose.A192KW, jose.A256CBC_HS512, s256[:24]}, {jose.A256KW, jose.A128GCM, s256[:]},
		{jose.A128GCMKW, jose.A256GCM, s256[:16]}, {jose.A192GCMKW, jose.A128GCM, s256[:24]}, {jose.A256GCMKW, jose.A256CBC_HS512, s256[:]},
	} {
		raw := encrypt(t, c.alg, c.enc, c.key, "", "plain")
		if got, err := d.Open(t.Context(), raw); err != nil || string(got) != "plain" {
			t.Errorf("%s %s: %q, %v", c.alg, c.enc, got, err)
		}
		if _, err := decrypter(t, DecrypterOptions{Secret: "another"}).Open(t.Context(), raw); !errors.Is(err, ErrDecryption) {
			t.Errorf("%s: another secret: %v", c.alg, err)
		}
	}
	// A secret that is none never becomes a key.
	for _, s := range []Opaque{"", "x"} {
		sum := sha256.Sum256([]byte(s))
		if _, err := decrypter(t, DecrypterOptions{Secret: s}).Open(t.Context(), encrypt(t, jose.A256KW, jose.A256GCM, sum[:], "", "plain")); err == nil {
			t.Errorf("secret of %d characters was used", len(s))
		}
	}
	oct := []byte(`{"kty":"oct","k":"` + base64.RawURLEncoding.EncodeToString(s256[:]) + `"}`)
	if _, err := decrypter(t, DecrypterOptions{JWKs: [][]byte{oct}}).Open(t.Context(), encrypt(t, jose.A256KW, jose.A256GCM, s256[:], "", "plain")); err != nil {
		t.Errorf("symmetric JWK: %v", err)
	}
}

func TestOpenWithOwnKeys(t *testing.T) {
	raw := encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, private(t, "rsa").(*rsa.PrivateKey).Public(), "own", "plain")
	own := func(context.Context) ([]Opaque, error) {
		return []Opaque{Opaque(privateJWK(t, "rsa2", "x", "", "")), "junk", Opaque(privateJWK(t, "rsa", "own", "", ""))}, nil
	}
	if got, err := decrypter(t, DecrypterOptions{Own: own}).Open(t.Context(), raw); err != nil || string(got) != "plain" {
		t.Errorf("got %q, %v", got, err)
	}
	away := func(context.Context) ([]Opaque, error) { return nil, errors.New("store away") }
	if _, err := decrypter(t, DecrypterOptions{Own: away}).Open(t.Context(), raw); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("store away: %v", err)
	}
}

// Case 17: empty and short encrypted keys, a zip bomb, and all else that must
// neither crash nor open.
func TestCase17JWE(t *testing.T) {
	const secret = "a client secret"
	sum := sha256.Sum256([]byte(secret))
	rsaKey, ecKey := private(t, "rsa").(*rsa.PrivateKey).Public(), private(t, "p256").(*ecdsa.PrivateKey).Public()
	d := decrypter(t, DecrypterOptions{JWKs: [][]byte{privateJWK(t, "rsa", "r", "", ""), privateJWK(t, "p256", "e", "", "")}, Secret: secret})
	good := encrypt(t, jose.A256KW, jose.A256GCM, sum[:], "", "plain")
	replace := func(raw string, part int, with string) string {
		p := strings.Split(raw, ".")
		p[part] = with
		return strings.Join(p, ".")
	}
	header := func(h map[string]any) string {
		b, _ := json.Marshal(h)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for name, raw := range map[string]string{
		"empty encrypted_key, A256KW":  replace(good, 1, ""),
		"short encrypted_key, A256KW":  replace(good, 1, "AAAAAAAAAAA"),
		"odd encrypted_key, A256KW":    replace(good, 1, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		"empty encrypted_key, RSA":     replace(encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, rsaKey, "", "plain"), 1, ""),
		"empty encrypted_key, ECDH":    replace(encrypt(t, jose.ECDH_ES_A128KW, jose.A256GCM, ecKey, "", "plain"), 1, ""),
		"empty encrypted_key, GCMKW":   replace(encrypt(t, jose.A256GCMKW, jose.A256GCM, sum[:], "", "plain"), 1, ""),
		"an encrypted_key for dir":     replace(encrypt(t, jose.DIRECT, jose.A256GCM, sum[:], "", "plain"), 1, "AAAA"),
		"an encrypted_key for ECDH-ES": replace(encrypt(t, jose.ECDH_ES, jose.A256GCM, ecKey, "", "plain"), 1, "AAAA"),
		"no tag":                       replace(good, 4, ""),
		"no iv":                        replace(good, 2, ""),
		"no ciphertext":                replace(good, 3, ""),
		"tampered":                     replace(good, 3, "AAAAAAA"),
		"RSA1_5":                       encrypt(t, jose.RSA1_5, jose.A256GCM, rsaKey, "", "plain"),
		"PBES2":                        encrypt(t, jose.PBES2_HS256_A128KW, jose.A256GCM, []byte(secret), "", "plain"),
		"alg none":                     replace(good, 0, header(map[string]any{"alg": "none", "enc": "A256GCM"})),
		"no enc":                       replace(good, 0, header(map[string]any{"alg": "A256KW"})),
		"ECDH without epk":             replace(encrypt(t, jose.ECDH_ES, jose.A256GCM, ecKey, "", "plain"), 0, header(map[string]any{"alg": "ECDH-ES", "enc": "A256GCM"})),
		"ECDH with a point off its curve": replace(encrypt(t, jose.ECDH_ES, jose.A256GCM, ecKey, "", "plain"), 0, header(map[string]any{
			"alg": "ECDH-ES", "enc": "A256GCM", "epk": map[string]string{"kty": "EC", "crv": "P-256", "x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}})),
		"crit":                 encrypt(t, jose.A256KW, jose.A256GCM, sum[:], "", "plain", func(o *jose.EncrypterOptions) { o.WithHeader("crit", []string{"x"}).WithHeader("x", 1) }),
		"zip bomb":             encrypt(t, jose.A256KW, jose.A256GCM, sum[:], "", strings.Repeat("a", 8<<20), func(o *jose.EncrypterOptions) { o.Compression = jose.DEFLATE }),
		"larger than allowed":  encrypt(t, jose.A256KW, jose.A256GCM, sum[:], "", strings.Repeat("a", DefaultLimit)),
		"four parts":           strings.TrimSuffix(good, good[strings.LastIndex(good, "."):]),
		"six parts":            good + ".AAAA",
		"padding":              good + "=",
		"empty":                "",
		"dots":                 "....",
		"for another key":      encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, private(t, "rsa2").(*rsa.PrivateKey).Public(), "", "plain"),
		"public key as secret": encrypt(t, jose.A256KW, jose.A256GCM, make([]byte, 32), "r", "plain"),
	} {
		if got, err := d.Open(t.Context(), raw); !errors.Is(err, ErrDecryption) || !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		} else if strings.Contains(err.Error(), "plain") {
			t.Errorf("%s: the error shows the content: %v", name, err)
		}
	}
	if got, err := d.Open(t.Context(), good); err != nil || string(got) != "plain" {
		t.Fatalf("the control: %v", err)
	}
	if _, err := (*Decrypter)(nil).Open(t.Context(), good); !errors.Is(err, ErrDecryption) {
		t.Errorf("without keys: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v", d, d, d); strings.Contains(s, secret) {
		t.Errorf("prints %s", s)
	}
}

func TestKeysThatCannotDecrypt(t *testing.T) {
	ed448JWK := []byte(`{"kty":"OKP","crv":"Ed448","x":"` + strings.Repeat("A", 76) + `","d":"` + strings.Repeat("A", 76) + `"}`)
	if d := decrypter(t, DecrypterOptions{JWKs: [][]byte{ed448JWK, privateJWK(t, "ed25519", "", "", "")}}); len(d.keys) != 0 {
		t.Errorf("kept %d", len(d.keys))
	}
	for _, bad := range []string{"", "[]", `{"kty":"RSA"}`, `{"kty":"??"}`} {
		if _, err := NewDecrypter(DecrypterOptions{JWKs: [][]byte{[]byte(bad)}}); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
	// A key that is marked for one algorithm is not used with another.
	raw := encrypt(t, jose.RSA_OAEP, jose.A256GCM, private(t, "rsa").(*rsa.PrivateKey).Public(), "", "plain")
	if _, err := decrypter(t, DecrypterOptions{JWKs: [][]byte{privateJWK(t, "rsa", "", "RSA-OAEP-256", "enc")}}).Open(t.Context(), raw); !errors.Is(err, ErrDecryption) {
		t.Errorf("got %v", err)
	}
}

// An encrypted token is judged by the signed one within, for every use but as
// an access token.
func TestVerifyEncrypted(t *testing.T) {
	inner := sign(t, "ES256", private(t, "p256"), head{"kid": "k"}, map[string]any{"sub": "alex"})
	to := private(t, "rsa").(*rsa.PrivateKey).Public()
	v := &Verifier{Keys: keys(public(t, "p256", "k", "")), Decrypter: decrypter(t, DecrypterOptions{JWKs: [][]byte{privateJWK(t, "rsa", "", "", "")}})}
	wrap := func(plain string) string { return encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", plain) }
	for _, use := range []Use{UseID, UseUserinfo, UseIntrospection, UseAuthorization, UseLogout} {
		if tok, err := v.Verify(t.Context(), wrap(inner), use); err != nil || tok.Claims["sub"] != "alex" || tok.Raw.Reveal() != inner {
			t.Errorf("%s: %v", use, err)
		}
	}
	for name, raw := range map[string]string{
		"not signed within": wrap(`{"sub":"alex"}`),
		"alg none within":   wrap(forge(`{"alg":"none"}`, `{"sub":"alex"}`, "")),
		"forged within":     wrap(sign(t, "ES384", private(t, "p384"), head{"kid": "k"}, map[string]any{"sub": "alex"})),
		"encrypted twice":   wrap(wrap(inner)),
		"bad signature":     wrap(inner[:len(inner)-4] + "AAAA"),
		"nothing within":    wrap(""),
	} {
		if _, err := v.Verify(t.Context(), raw, UseID); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := v.Verify(t.Context(), wrap(inner), UseAccess); !errors.Is(err, ErrMalformed) {
		t.Errorf("as an access token: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	const secret = "a client secret"
	sum := sha256.Sum256([]byte(secret))
	for _, c := range []struct {
		alg jose.KeyAlgorithm
		key any
	}{{jose.RSA_OAEP_256, private(f, "rsa").(*rsa.PrivateKey).Public()}, {jose.ECDH_ES, private(f, "p256").(*ecdsa.PrivateKey).Public()}, {jose.A256KW, sum[:]}, {jose.A256GCMKW, sum[:]}, {jose.DIRECT, sum[:]}} {
		f.Add(encrypt(f, c.alg, jose.A256GCM, c.key, "", "plain"))
	}
	d := decrypter(f, DecrypterOptions{JWKs: [][]byte{privateJWK(f, "rsa", "r", "", ""), privateJWK(f, "p256", "e", "", "")}, Secret: secret})
	f.Fuzz(func(t *testing.T, raw string) {
		plain, err := d.Open(t.Context(), raw)
		if err != nil && !errors.Is(err, ErrDecryption) || len(plain) > maxPlaintext {
			t.Errorf("got %d bytes, %v", len(plain), err)
		}
	})
}
