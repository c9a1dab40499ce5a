package op

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// systemRoots is the name that stands for the system's authorities.
const systemRoots = "system"

// LoadRoots reads authorities from PEM files. The word "system" stands for the
// system's own. No names at all mean the system's, by a nil pool.
func LoadRoots(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if slices.Contains(files, systemRoots) {
		var err error
		if pool, err = x509.SystemCertPool(); err != nil { // a copy of our own
			return nil, fmt.Errorf("trusted certificates of the system cannot be read: %w", err)
		}
	}
	for _, f := range files {
		if f == systemRoots {
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
