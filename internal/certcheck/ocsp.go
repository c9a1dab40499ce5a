package certcheck

import (
	"bytes"
	"context"
	_ "crypto/sha1" // linked for crypto.Hash: the hash of most responders
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// ocsp asks a responder about cert.
func (c *Checker) ocsp(ctx context.Context, server string, cert, issuer *x509.Certificate) (time.Time, error) {
	request, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return time.Time{}, errors.New("OCSP: the request cannot be made")
	}
	body, err := c.fetch(ctx, server, "application/ocsp-request", request, maxOCSP)
	if err != nil {
		return time.Time{}, fmt.Errorf("OCSP: %w", err)
	}
	until, err := c.judgeOCSP(body, cert, issuer)
	if err != nil {
		return until, fmt.Errorf("OCSP: %w", err)
	}
	return until, nil
}

// judgeOCSP reads a responder's answer (RFC 6960 section 3.2).
func (c *Checker) judgeOCSP(body []byte, cert, issuer *x509.Certificate) (time.Time, error) {
	r, err := ocsp.ParseResponseForCert(body, cert, issuer)
	if err != nil {
		return time.Time{}, errors.New("its answer is not one, or is not signed by the authority")
	}
	if err := c.checkResponder(r.Certificate, issuer); err != nil {
		return time.Time{}, err
	}
	if !concerns(r, cert, issuer) {
		return time.Time{}, errors.New("its answer is about another certificate")
	}
	until, err := c.current(r.ThisUpdate, r.NextUpdate)
	if err != nil {
		return time.Time{}, err
	}
	switch r.Status {
	case ocsp.Good:
		return until, nil
	case ocsp.Revoked:
		return until, ErrRevoked
	}
	return time.Time{}, errors.New("it does not know the certificate")
}

// checkResponder judges who signed an answer in the authority's stead (RFC 6960
// section 4.2.2.2). The library checks that the authority issued its
// certificate, which holds for every client's too.
func (c *Checker) checkResponder(responder, issuer *x509.Certificate) error {
	if responder == nil || bytes.Equal(responder.Raw, issuer.Raw) {
		return nil
	}
	if !slices.Contains(responder.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return errors.New("its answer is signed by somebody who is not authorised to")
	}
	if now := c.options.Now(); now.Before(responder.NotBefore) || now.After(responder.NotAfter) {
		return errors.New("its certificate has expired or is not valid yet")
	}
	return nil
}

// responseData is ResponseData of RFC 6960 section 4.2.1, as far as it is read.
type responseData struct {
	Raw         asn1.RawContent
	Version     int `asn1:"optional,default:0,explicit,tag:0"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []asn1.RawValue
}

type certID struct {
	HashAlgorithm pkix.AlgorithmIdentifier
	NameHash      []byte
	KeyHash       []byte
	SerialNumber  asn1.RawValue
}

// concerns reports whether the answer names the authority of cert: the library
// compares serial numbers only, which two authorities may give alike.
func concerns(r *ocsp.Response, cert, issuer *x509.Certificate) bool {
	var data responseData
	if rest, err := asn1.Unmarshal(r.TBSResponseData, &data); err != nil || len(rest) > 0 || !r.IssuerHash.Available() {
		return false
	}
	serial, err := asn1.Marshal(cert.SerialNumber)
	if err != nil {
		return false
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki); err != nil {
		return false
	}
	h := r.IssuerHash.New()
	h.Write(issuer.RawSubject)
	name := h.Sum(nil)
	h.Reset()
	h.Write(spki.Key.RightAlign())
	key := h.Sum(nil)
	for _, single := range data.Responses {
		var id certID
		if _, err := asn1.Unmarshal(single.Bytes, &id); err != nil {
			return false
		}
		if bytes.Equal(id.SerialNumber.FullBytes, serial) {
			// The first of the serial is the one that the library has read.
			return bytes.Equal(id.NameHash, name) && bytes.Equal(id.KeyHash, key)
		}
	}
	return false
}
