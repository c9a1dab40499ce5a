package certcheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// list is a CRL whose signature holds.
type list struct {
	serials    map[string]struct{} // in big-endian bytes
	this, next time.Time
	scope      scope
}

// listKey names a list: the address alone does not say who signed it.
type listKey struct {
	address string
	issuer  [sha256.Size]byte
}

// crl looks cert up in the list at an address.
func (c *Checker) crl(ctx context.Context, address string, cert, issuer *x509.Certificate) (time.Time, error) {
	l, err := c.list(ctx, address, issuer)
	if err != nil {
		return time.Time{}, fmt.Errorf("CRL: %w", err)
	}
	until, err := c.current(l.this, l.next)
	if err != nil {
		return time.Time{}, fmt.Errorf("CRL: %w", err)
	}
	if err := l.scope.covers(cert); err != nil {
		return time.Time{}, fmt.Errorf("CRL: %w", err)
	}
	if _, listed := l.serials[string(cert.SerialNumber.Bytes())]; listed {
		return until, fmt.Errorf("CRL: %w", ErrRevoked)
	}
	return until, nil
}

// list fetches and verifies the list at an address, once for all certificates
// that name it.
func (c *Checker) list(ctx context.Context, address string, issuer *x509.Certificate) (*list, error) {
	key := listKey{address, sha256.Sum256(issuer.Raw)}
	if l, ok := c.lists.get(key); ok {
		return l, nil
	}
	v, err, _ := c.flight.Do("crl "+address+" "+string(key.issuer[:]), func() (any, error) {
		if l, ok := c.lists.get(key); ok {
			return l, nil
		}
		body, err := c.fetch(ctx, address, "", nil, maxCRL)
		if err != nil {
			return nil, err
		}
		l, err := parseList(body, issuer)
		if err != nil {
			return nil, err
		}
		c.lists.put(key, l, c.options.Now().Add(c.options.TTL))
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*list), nil
}

// parseList reads a CRL in DER or PEM form and checks that issuer signed it.
func parseList(body []byte, issuer *x509.Certificate) (*list, error) {
	if bytes.HasPrefix(body, []byte("-----BEGIN")) {
		block, _ := pem.Decode(body)
		if block == nil || block.Type != "X509 CRL" {
			return nil, errors.New("its answer is not a list")
		}
		body = block.Bytes
	}
	r, err := x509.ParseRevocationList(body)
	if err != nil {
		return nil, errors.New("its answer is not a list")
	}
	if !bytes.Equal(r.RawIssuer, issuer.RawSubject) || r.CheckSignatureFrom(issuer) != nil {
		return nil, errors.New("its list is not signed by the authority")
	}
	l := &list{serials: make(map[string]struct{}, len(r.RevokedCertificateEntries)), this: r.ThisUpdate, next: r.NextUpdate}
	for _, e := range r.Extensions {
		switch {
		case e.Id.Equal(oidIssuingDistributionPoint):
			if err := l.scope.read(e.Value); err != nil {
				return nil, err
			}
		case e.Critical:
			// A delta list, first of all.
			return nil, errors.New("its list has a critical extension that is not understood")
		}
	}
	for i := range r.RevokedCertificateEntries {
		e := &r.RevokedCertificateEntries[i]
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, errors.New("an entry of its list has a critical extension that is not understood")
			}
		}
		l.serials[string(e.SerialNumber.Bytes())] = struct{}{}
	}
	return l, nil
}

var oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// scope is what a list is about (RFC 5280 section 5.2.5). A list for others
// says nothing about a certificate by not naming it.
type scope struct {
	users, authorities bool
	addresses          []string // nil: everywhere
}

// issuingDistributionPoint is the extension as it is encoded.
type issuingDistributionPoint struct {
	DistributionPoint  asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUserCerts      bool           `asn1:"optional,tag:1"`
	OnlyCACerts        bool           `asn1:"optional,tag:2"`
	OnlySomeReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect           bool           `asn1:"optional,tag:4"`
	OnlyAttributeCerts bool           `asn1:"optional,tag:5"`
}

func (s *scope) read(der []byte) error {
	var p issuingDistributionPoint
	if rest, err := asn1.Unmarshal(der, &p); err != nil || len(rest) > 0 {
		return errors.New("its list does not say clearly what it is about")
	}
	if p.OnlySomeReasons.BitLength > 0 || p.Indirect || p.OnlyAttributeCerts {
		return errors.New("its list is about a part of what is asked")
	}
	s.users, s.authorities = p.OnlyUserCerts, p.OnlyCACerts
	if len(p.DistributionPoint.FullBytes) == 0 {
		return nil
	}
	// DistributionPointName: fullName [0] of general names, of which the URI is [6].
	var name asn1.RawValue
	if _, err := asn1.Unmarshal(p.DistributionPoint.Bytes, &name); err != nil || name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
		return errors.New("its list is named in a way that is not understood")
	}
	s.addresses = []string{}
	for rest := name.Bytes; len(rest) > 0; {
		var general asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &general); err != nil {
			return errors.New("its list is named in a way that is not understood")
		}
		if general.Class == asn1.ClassContextSpecific && general.Tag == 6 {
			s.addresses = append(s.addresses, string(general.Bytes))
		}
	}
	return nil
}

// covers reports, by nil, that the list is about cert.
func (s *scope) covers(cert *x509.Certificate) error {
	if s.users && cert.IsCA || s.authorities && !cert.IsCA {
		return errors.New("its list is about another kind of certificate")
	}
	if s.addresses != nil && !slices.ContainsFunc(s.addresses, func(a string) bool { return slices.Contains(cert.CRLDistributionPoints, a) }) {
		return errors.New("its list is about other certificates")
	}
	return nil
}
