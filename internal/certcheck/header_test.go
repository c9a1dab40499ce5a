package certcheck

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"
)

func pemOf(e *entity) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.Raw}))
}

func TestParseHeader(t *testing.T) {
	w := newWorld(t, false)
	leaf, chain := pemOf(w.leaf), pemOf(w.leaf)+pemOf(w.inter)
	std := base64.StdEncoding.EncodeToString(w.leaf.Raw)
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	for _, c := range []struct {
		name, value string
		f           Format
		chain       int // certificates beside the leaf; -1 for an error
	}{
		{"PEM", url.PathEscape(leaf), URLEncoded, 0},
		{"PEM, everything escaped", strings.ReplaceAll(url.QueryEscape(leaf), "+", "%20"), URLEncoded, 0},
		{"PEM, plus signs left alone", strings.NewReplacer(" ", "%20", "\n", "%0A").Replace(leaf), URLEncoded, 0},
		{"PEM with a chain", url.PathEscape(chain), URLEncoded, 1},
		{"PEM without the last line end", url.PathEscape(strings.TrimSpace(leaf)), URLEncoded, 0},
		{"PEM, wrong escape", leaf[:40] + "%zz", URLEncoded, -1},
		{"PEM, text before", url.PathEscape("evil\n" + leaf), URLEncoded, -1},
		{"PEM, text after", url.PathEscape(leaf + "evil"), URLEncoded, -1},
		{"PEM, a key", url.PathEscape(leaf + key), URLEncoded, -1},
		{"PEM, truncated", url.PathEscape(leaf[:len(leaf)/2]), URLEncoded, -1},
		{"PEM, too many", url.PathEscape(strings.Repeat(leaf, maxCertificates+1)), URLEncoded, -1},
		{"PEM of no certificate", url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))), URLEncoded, -1},
		{"PEM expected, base64 given", std, URLEncoded, -1},
		{"PEM, empty", "", URLEncoded, -1},
		{"PEM, the words of a proxy", "(null)", URLEncoded, -1},
		{"base64", std, Base64Encoded, 0},
		{"base64 without padding", strings.TrimRight(std, "="), Base64Encoded, 0},
		{"base64 of RFC 9440", ":" + std + ":", Base64Encoded, 0},
		{"base64 with text after", std + "%", Base64Encoded, -1},
		{"base64 in lines", std[:64] + "\n" + std[64:], Base64Encoded, -1},
		{"base64 with bytes after the certificate", base64.StdEncoding.EncodeToString(append(w.leaf.Raw[:len(w.leaf.Raw):len(w.leaf.Raw)], 0)), Base64Encoded, -1},
		{"base64 of two certificates", base64.StdEncoding.EncodeToString(append(w.leaf.Raw[:len(w.leaf.Raw):len(w.leaf.Raw)], w.inter.Raw...)), Base64Encoded, -1},
		{"base64 expected, PEM given", url.PathEscape(leaf), Base64Encoded, -1},
		{"base64, empty", "", Base64Encoded, -1},
		{"base64, colons only", "::", Base64Encoded, -1},
		{"too long", strings.Repeat("A", MaxHeader+1), Base64Encoded, -1},
		{"unknown format", std, "der", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParseHeader(c.value, c.f)
			if c.chain < 0 {
				if !errors.Is(err, ErrMalformed) || p != nil {
					t.Errorf("got %v, %v", p, err)
				}
				return
			}
			if err != nil || !p.Leaf.Equal(w.leaf.Certificate) || len(p.Intermediates) != c.chain {
				t.Errorf("got %+v, %v", p, err)
			}
		})
	}
}

func FuzzParseHeader(f *testing.F) {
	w := newWorld(f, false)
	f.Add(url.PathEscape(pemOf(w.leaf)+pemOf(w.inter)), true)
	f.Add(base64.StdEncoding.EncodeToString(w.leaf.Raw), false)
	f.Add("::", false)
	f.Add("%2D-----BEGIN CERTIFICATE-----", true)
	f.Fuzz(func(t *testing.T, value string, inPEM bool) {
		format := Base64Encoded
		if inPEM {
			format = URLEncoded
		}
		p, err := ParseHeader(value, format)
		if (err == nil) != (p != nil && p.Leaf != nil) || err != nil && !errors.Is(err, ErrMalformed) || p != nil && len(p.Intermediates) >= maxCertificates {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

// FuzzAnswers feeds a responder's answers and lists to their readers.
func FuzzAnswers(f *testing.F) {
	w := newWorld(f, true)
	ch := w.checker(f, nil)
	f.Add([]byte{0x30, 0x03, 0x0a, 0x01, 0x00})
	f.Add(w.leaf.Raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ch.judgeOCSP(b, w.leaf.Certificate, w.inter.Certificate); err == nil {
			t.Error("an answer that nobody signed is good")
		}
		if _, err := parseList(b, w.inter.Certificate); err == nil {
			t.Error("a list that nobody signed is good")
		}
		_ = (&scope{}).read(b)
	})
}
