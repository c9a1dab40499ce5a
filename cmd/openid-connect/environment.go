package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
	"kong-openid-connect/internal/token"
	"kong-openid-connect/plugin"
)

const (
	tokenCacheBytes = 64 << 20
	tokenCacheAge   = time.Hour
	maxRevocations  = 1_000_000
)

// newEnvironment builds what all instances share.
func newEnvironment(o *options, log *slog.Logger) (*plugin.Environment, error) {
	files, err := trusted(o)
	if err != nil {
		return nil, err
	}
	roots, err := op.LoadRoots(files)
	if err != nil {
		return nil, err
	}
	now := time.Now
	return &plugin.Environment{
		Providers:     op.NewRegistry(op.Environment{Roots: roots, Now: now, Log: log}),
		Tokens:        token.NewCache(token.CacheOptions{Bytes: tokenCacheBytes, MaxAge: tokenCacheAge, Now: now}),
		Caches:        plugin.NewCaches(now),
		Entities:      entities.NewCache(entities.None{}, 5*time.Second, now),
		Secrets:       &processSecrets{log: log},
		UsedLogins:    session.NewUsed(now),
		Revocations:   memory.New(maxRevocations, now),
		MaxHeaderLine: o.maxHeader,
		Now:           now,
		Log:           log,
	}, nil
}

// trusted returns the authorities' files: the flag's, else those that Kong
// itself trusts.
func trusted(o *options) ([]string, error) {
	list := o.trustedCA
	if list == "" {
		list = kongSetting(filepath.Join(o.prefix, ".kong_env"), "lua_ssl_trusted_certificate")
	}
	var files []string
	for _, f := range strings.Split(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			files = append(files, f)
		}
	}
	if len(files) > 16 {
		return nil, fmt.Errorf("-trusted-ca: %d files are listed, at most 16 are read", len(files))
	}
	return files, nil
}

// kongSetting reads one setting of the environment file that Kong writes into
// its prefix; "" where the file or the setting is not there.
func kongSetting(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil || len(b) > 1<<20 {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// processSecrets makes session secrets that live as long as the process.
type processSecrets struct {
	log  *slog.Logger
	mu   sync.Mutex
	made map[string][]byte
}

// SessionSecret implements plugin.Secrets.
func (s *processSecrets) SessionSecret(_ context.Context, issuer string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.made[issuer]; ok {
		return b, nil
	}
	if s.made == nil {
		s.made = map[string][]byte{}
	}
	b := make([]byte, 32)
	rand.Read(b)
	s.made[issuer] = b
	s.log.Warn("openid-connect: session_secret is not set, so sessions end when this process does: set session_secret", "issuer", issuer)
	return b, nil
}
