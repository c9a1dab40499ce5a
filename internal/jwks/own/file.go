package own

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"kong-openid-connect/internal/token"
)

// MaxFile bounds a file of keys, MaxFileKeys the keys in it.
const (
	MaxFile     = 1 << 20
	MaxFileKeys = 64
)

// File is a Store that reads private keys from a JWKS document (-keys-file).
// It is read anew when the file changes; one that has become unreadable
// leaves the keys as they were.
type File struct {
	path string

	mu   sync.Mutex
	info os.FileInfo // of the keys
	keys []Key
}

// Loose reports that others than the owner may read the file.
func (f *File) Loose() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.info.Mode().Perm()&0o077 != 0
}

// OpenFile reads a file of keys. The error names no content.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// OwnKeys implements Store.
func (f *File) OwnKeys(context.Context) ([]Key, error) {
	keys, err := f.read()
	if err != nil && keys != nil {
		return keys, nil
	}
	return keys, err
}

// AddOwnKey implements Store.
func (f *File) AddOwnKey(context.Context, Key) (Key, error) { return Key{}, ErrReadOnly }

// RotateOwnKeys implements Store.
func (f *File) RotateOwnKeys(context.Context, []Key) error { return ErrReadOnly }

// DeleteOwnKey implements Store.
func (f *File) DeleteOwnKey(context.Context, string) error { return ErrReadOnly }

func (f *File) read() ([]Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.path)
	if err != nil {
		return f.keys, fmt.Errorf("own keys: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return f.keys, fmt.Errorf("own keys: %w", err)
	}
	if f.info != nil && os.SameFile(info, f.info) && info.Size() == f.info.Size() && info.ModTime().Equal(f.info.ModTime()) {
		return f.keys, nil
	}
	b, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return f.keys, fmt.Errorf("own keys: %w", err)
	}
	keys, err := ParseFile(b, info.ModTime())
	if err != nil {
		return f.keys, fmt.Errorf("own keys: %s: %w", f.path, err)
	}
	f.info, f.keys = info, keys
	return keys, nil
}

// ParseFile reads a JWKS document of private keys for signatures. A key
// without alg serves any algorithm that it fits; one without kid is refused.
func ParseFile(b []byte, created time.Time) ([]Key, error) {
	if len(b) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if dec.Decode(&doc) != nil || len(doc.Keys) == 0 {
		return nil, errors.New(`it is no JWKS document: {"keys":[...]} with private keys`)
	}
	if len(doc.Keys) > MaxFileKeys {
		return nil, fmt.Errorf("it holds more than %d keys", MaxFileKeys)
	}
	var keys []Key
	seen := map[string]bool{}
	for i, raw := range doc.Keys {
		var m struct {
			Kid string `json:"kid"`
			Alg string `json:"alg"`
			Crv string `json:"crv"`
		}
		if json.Unmarshal(raw, &m) != nil || m.Kid == "" || len(m.Kid) > 256 {
			return nil, fmt.Errorf("key %d has no kid", i+1)
		}
		if seen[m.Kid] {
			return nil, fmt.Errorf("key %d has the kid of another one", i+1)
		}
		seen[m.Kid] = true
		k := Key{KID: m.Kid, Algorithm: m.Alg, Created: created, Private: token.Opaque(raw)}
		if m.Crv == "Ed448" {
			k.Algorithm = Ed448
		}
		if k.Algorithm != "" && !slices.Contains(Algorithms(), k.Algorithm) {
			return nil, fmt.Errorf("key %d has alg %.16q, which does not sign", i+1, k.Algorithm)
		}
		if _, err := token.NewKeySigner(raw, jwsAlgorithm(k.Algorithm)); err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		if _, err := k.public(); err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}
