// Package roots reads the certificate authorities that an operator names, as
// Kong's lua_ssl_trusted_certificate lists them. Imported by whoever dials out;
// imports nothing of ours.
package roots

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// system is the name that stands for the system's authorities.
const system = "system"

// Load reads authorities from PEM files. The word "system" stands for the
// system's own. No names at all mean the system's, by a nil pool.
func Load(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if slices.Contains(files, system) {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil { // a copy of our own
			return nil, fmt.Errorf("trusted certificates of the system cannot be read: %w", err)
		}
	}
	for _, f := range files {
		if f == system {
			continue
		}
		if err := appendPEM(pool, f); err != nil {
			return nil, err
		}
	}
	return pool, nil
}

func appendPEM(pool *x509.CertPool, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("trusted certificates cannot be read: %w", err)
	}
	if !pool.AppendCertsFromPEM(b) {
		return errors.New("trusted certificates: no certificate in PEM form in " + file)
	}
	return nil
}
