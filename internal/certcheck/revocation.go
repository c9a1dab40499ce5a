package certcheck

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

const (
	// skew is how far an authority's clock may be from ours.
	skew = 5 * time.Minute
	// undated is how old an answer may be that does not say when the next is due.
	undated = 24 * time.Hour
	// errorPause is how long a certificate is refused after a check that failed,
	// so that an authority that is down does not cost every request its timeout.
	errorPause = 5 * time.Second
	// maxServers bounds how many addresses of one kind are asked.
	maxServers = 3
)

// errNoSource says that a certificate names nobody to ask.
var errNoSource = errors.New("it names no OCSP server and no CRL that can be asked")

// revocation judges a chain below its anchor. The time, if not zero, is how
// long the verdict is good.
func (c *Checker) revocation(ctx context.Context, chain []*x509.Certificate) (error, time.Time) {
	var until time.Time
	for i := 0; i+1 < len(chain); i++ {
		cert, issuer := chain[i], chain[i+1]
		good, err := c.status(ctx, cert, issuer)
		switch {
		case err == nil:
			if until.IsZero() || good.Before(until) {
				until = good
			}
		case errors.Is(err, ErrRevoked):
			// One that was revoked stays so; the usual time is right.
			return err, time.Time{}
		case c.options.Mode == Strict && (i == 0 || !errors.Is(err, errNoSource)):
			return fmt.Errorf("%w: %w", ErrUnchecked, err), c.options.Now().Add(errorPause)
		case !errors.Is(err, errNoSource):
			c.options.Log.WarnContext(ctx, "openid-connect: revocation of a client certificate could not be checked; it is taken for good", "error", err)
		}
	}
	if len(chain) == 1 && c.options.Mode == Strict {
		return fmt.Errorf("%w: it is an authority itself", ErrUnchecked), time.Time{}
	}
	return nil, until
}

// status asks whether cert was revoked: OCSP first, then the lists. A nil error
// means that it was not, as of now and until the time returned.
func (c *Checker) status(ctx context.Context, cert, issuer *x509.Certificate) (time.Time, error) {
	var errs []error
	asked := 0
	for _, ask := range []struct {
		servers []string
		from    func(context.Context, string, *x509.Certificate, *x509.Certificate) (time.Time, error)
	}{{cert.OCSPServer, c.ocsp}, {cert.CRLDistributionPoints, c.crl}} {
		n := 0
		for _, server := range ask.servers {
			if !isHTTP(server) {
				continue // such as ldap
			}
			if n++; n > maxServers {
				break
			}
			asked++
			until, err := ask.from(ctx, server, cert, issuer)
			if err == nil || errors.Is(err, ErrRevoked) {
				return until, err
			}
			errs = append(errs, err)
		}
	}
	if asked == 0 {
		return time.Time{}, errNoSource
	}
	return time.Time{}, errors.Join(errs...)
}

// current judges the dates of an answer and returns how long it is good.
func (c *Checker) current(this, next time.Time) (time.Time, error) {
	now := c.options.Now()
	switch {
	case this.After(now.Add(skew)):
		return next, errors.New("its answer lies in the future")
	case next.IsZero():
		if now.Sub(this) > undated {
			return next, errors.New("its answer is old and does not say when the next is due")
		}
		return now.Add(undated), nil
	case !next.Add(skew).After(now):
		return next, errors.New("its answer is out of date")
	}
	return next.Add(skew), nil
}
