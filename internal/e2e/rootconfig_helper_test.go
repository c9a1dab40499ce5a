package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// authority stands in the place of the one in kong.yml, whose key nobody has.
type authority struct {
	pem    string
	client []byte // DER of a certificate that it has issued
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := func(name string, serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		}
	}
	ca, leaf := template("authority of the test", 1), template("client", 2)
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	signed, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))}
	if a.client, err = x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	return a
}

var pemOfFile = regexp.MustCompile(`(?s) *-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n`)

// replace puts the authority in the place of the one certificate of a file.
func (a *authority) replace(t *testing.T, file []byte) []byte {
	t.Helper()
	if n := len(pemOfFile.FindAll(file, -1)); n != 1 {
		t.Fatalf("%d certificates in the file, want one", n)
	}
	return pemOfFile.ReplaceAllLiteral(file, []byte("    "+strings.ReplaceAll(strings.TrimSpace(a.pem), "\n", "\n    ")+"\n"))
}

// bound are the claims of a token that is bound to the client's certificate
// (RFC 8705 3.1).
func (a *authority) bound() object {
	sum := sha256.Sum256(a.client)
	return object{"cnf": object{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}
}

// claims reads a JWT without verifying it.
func (x *examples) claims(jwt string) object {
	x.t.Helper()
	var c object
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		x.t.Fatal("the service sees no JWT")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// refreshToken logs alex in at the provider itself.
func (x *examples) refreshToken() string {
	x.t.Helper()
	r, err := http.NewRequest("POST", x.Issuer+"/token", strings.NewReader(url.Values{
		"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid"},
	}.Encode()))
	if err != nil {
		x.t.Fatal(err)
	}
	r.SetBasicAuth("kong", kongSecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.RefreshToken == "" {
		x.t.Fatalf("the provider issues no refresh token: %v", err)
	}
	return answer.RefreshToken
}
