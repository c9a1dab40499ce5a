package certcheck

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Format is how a header holds a certificate (certificate_header_format).
type Format string

// The formats.
const (
	// URLEncoded is PEM with percent-encoding; further certificates of the chain
	// may follow the client's.
	URLEncoded Format = "url_encoded"
	// Base64Encoded is the base64 of the DER form, without delimiters. The colons
	// of RFC 9440 may stand around it.
	Base64Encoded Format = "base64_encoded"
)

const (
	// MaxHeader bounds the header's value in bytes.
	MaxHeader = 64 << 10
	// maxCertificates bounds what one header may hold.
	maxCertificates = 8
)

// ErrMalformed says that a header holds no certificate in the expected format.
var ErrMalformed = errors.New("malformed client certificate header")

// Presented is what a header held: a certificate and what came with it. Nothing
// of it has been verified.
type Presented struct {
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate
}

// ParseHeader reads the value of a certificate header. Every error is
// ErrMalformed.
func ParseHeader(value string, f Format) (*Presented, error) {
	if len(value) > MaxHeader {
		return nil, fmt.Errorf("%w: %d bytes are more than the %d allowed", ErrMalformed, len(value), MaxHeader)
	}
	var ders [][]byte
	var err error
	switch f {
	case URLEncoded:
		ders, err = readPEM(value)
	case Base64Encoded:
		ders, err = readBase64(value)
	default:
		err = fmt.Errorf("format %.32q is unknown", f)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	out := &Presented{}
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d cannot be read", ErrMalformed, i+1)
		}
		if i == 0 {
			out.Leaf = c
		} else {
			out.Intermediates = append(out.Intermediates, c)
		}
	}
	return out, nil
}

// readPEM undoes percent-encoding and reads certificates until the text ends. A
// plus sign stands for itself: some proxies leave it unencoded.
func readPEM(value string) ([][]byte, error) {
	text, err := url.PathUnescape(value)
	if err != nil {
		return nil, errors.New("its percent-encoding is wrong")
	}
	var ders [][]byte
	for rest := []byte(text); ; {
		if strings.TrimSpace(string(rest)) == "" {
			break
		}
		block, next := pem.Decode(rest)
		// The decoder would skip what stands before.
		if block == nil || !strings.HasPrefix(strings.TrimSpace(string(rest)), "-----BEGIN") {
			return nil, errors.New("it is not PEM")
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("it holds something other than certificates")
		}
		if ders = append(ders, block.Bytes); len(ders) > maxCertificates {
			return nil, fmt.Errorf("it holds more than %d certificates", maxCertificates)
		}
		rest = next
	}
	if len(ders) == 0 {
		return nil, errors.New("it is empty")
	}
	return ders, nil
}

func readBase64(value string) ([][]byte, error) {
	value = strings.TrimSpace(value)
	if len(value) > 2 && value[0] == ':' && value[len(value)-1] == ':' {
		value = value[1 : len(value)-1]
	}
	if value == "" {
		return nil, errors.New("it is empty")
	}
	// A line break would be skipped by the decoder.
	if strings.ContainsAny(value, "\r\n") {
		return nil, errors.New("it is not base64")
	}
	der, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		if der, err = base64.RawStdEncoding.DecodeString(value); err != nil {
			return nil, errors.New("it is not base64")
		}
	}
	return [][]byte{der}, nil
}
