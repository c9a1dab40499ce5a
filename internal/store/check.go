package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// CheckKey reports whether a discovery object's key may be stored.
func CheckKey(k Key) error {
	for _, s := range []string{k.Issuer, k.Scope} {
		if len(s) > MaxIssuer {
			return fmt.Errorf("issuer of %d bytes: %w", len(s), ErrTooLarge)
		}
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fmt.Errorf("issuer is not text")
		}
	}
	if k.Issuer == "" {
		return fmt.Errorf("issuer is empty")
	}
	return nil
}

// CheckObject reports whether an object may be stored.
func CheckObject(d *Discovery) error {
	if err := CheckKey(d.Key); err != nil {
		return err
	}
	if err := CheckKey(Key{Issuer: d.Key.Issuer, Scope: d.Configured}); err != nil {
		return err
	}
	if len(d.Configuration) > MaxDocument {
		return fmt.Errorf("configuration of %d bytes: %w", len(d.Configuration), ErrTooLarge)
	}
	if len(d.KeySets) > MaxKeySets {
		return fmt.Errorf("%d key sets: %w", len(d.KeySets), ErrTooLarge)
	}
	if d.Configuration != nil && !json.Valid(d.Configuration) {
		return fmt.Errorf("configuration is not JSON")
	}
	size := len(d.Configuration)
	for _, s := range d.KeySets {
		size += len(s.Issuer) + len(s.URI) + len(s.JWKS)
		if !json.Valid(s.JWKS) {
			return fmt.Errorf("key set is not JSON")
		}
	}
	if size > MaxContent {
		return fmt.Errorf("object of %d bytes: %w", size, ErrTooLarge)
	}
	return nil
}

// CheckName reports whether the key of a revocation or lock may be stored.
func CheckName(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes, allowed are 1 to %d: %w", len(key), MaxKey, ErrTooLarge)
	}
	if !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return fmt.Errorf("key is not text")
	}
	return nil
}

// CheckSpan reports whether a revocation's span makes sense.
func CheckSpan(from, until time.Time) error {
	if from.IsZero() || !until.After(from) {
		return fmt.Errorf("a revocation must end after it begins")
	}
	return nil
}
