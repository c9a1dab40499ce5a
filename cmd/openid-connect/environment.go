package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/backing"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/kong/entities/adminapi"
	"kong-openid-connect/internal/kong/env"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/metrics"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/roots"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
	"kong-openid-connect/plugin"
)

const (
	defaultCacheMiB = 128
	maxCacheMiB     = 64 << 10
	tokenCacheAge   = time.Hour
	openingsAge     = 10 * time.Minute
	maxReplays      = 1_000_000
	adminGrace      = 5 * time.Second
	adminRetry      = 250 * time.Millisecond
	maxSecretFile   = 64 << 10        // bytes
	maxTrusted      = 16              // files of authorities
	ownKeysWait     = 5 * time.Second // for own keys that are being made
)

// process is what runs beside the plugin server, and ends with it.
type process struct {
	env     *plugin.Environment
	backing *backing.Backing
	metrics *metrics.Metrics
	roots   *x509.CertPool               // authorities of the outside world; nil for the system's
	admin   net.Listener                 // nil: switched off, or not to be had yet
	socket  *server.Listener             // admin, where it is a Unix socket
	address func() (net.Listener, error) // tries again for an address that another process has; nil: nothing to try
	handler *admin.Handler
	guard   admin.Guard
	scratch string // directory to remove in the end; "" for none
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// newProcess builds what all instances share, and what answers the companion
// admin endpoints. It listens nowhere yet.
func newProcess(o *options, log, audit *slog.Logger) (_ *process, err error) {
	kong := kongSettings(o, log)
	files, err := trusted(o, kong)
	if err != nil {
		return nil, err
	}
	authorities, err := roots.Load(files)
	if err != nil {
		return nil, err
	}
	apiToken, err := secretFile("-admin-api-token-file", o.adminAPITokenFile)
	if err != nil {
		return nil, err
	}
	half := uint64(cmp.Or(o.cacheSize, defaultCacheMiB)) << 20 / 2
	now := time.Now
	b, err := backing.Open(backing.Options{
		Prefix: o.prefix, Kong: kong, StateDir: o.stateDir, SealKeyFile: o.sealKeyFile, KeysFile: o.keysFile,
		AdminAPI: adminapi.Options{URL: o.adminAPI, TokenHeader: o.adminAPITokenHeader, Token: entities.NewPEM(apiToken)},
		Roots:    authorities, Now: now, Log: log,
	})
	if err != nil {
		return nil, err
	}
	p := &process{backing: b, metrics: metrics.New(version), roots: authorities}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	providers := op.NewRegistry(op.Environment{Roots: authorities, Store: backing.Objects{Store: b.Store}, Now: now, Log: log, Observe: p.metrics.ProviderCall, Discovered: p.metrics.Discovered})
	b.Connect(providers)
	p.env = &plugin.Environment{
		Providers:     providers,
		Tokens:        token.NewCache(token.CacheOptions{Bytes: half, MaxAge: tokenCacheAge, Now: now}),
		Caches:        plugin.NewCaches(now),
		Entities:      b.Entities,
		Secrets:       backing.Secrets{Store: b.Store},
		OwnSigner:     p.ownSigner,
		UsedLogins:    session.NewUsed(now),
		Openings:      session.NewOpenings(session.OpeningsOptions{Bytes: half, MaxAge: openingsAge}),
		Revocations:   b.Store,
		SharedList:    b.Mode == "postgres",
		DataPlane:     kong["role"] == "data_plane",
		Locks:         b.Store,
		Claims:        b.Claims,
		Replays:       token.NewMemoryReplays(maxReplays, now),
		Proofs:        b.Proofs,
		Connections:   plugin.NewConnections(authorities, now, log),
		MaxHeaderLine: o.maxHeader,
		Now:           now,
		Log:           log,
		Observer:      p.metrics,
		Audit:         audit,
	}
	publish(p.metrics, p.env.Tokens, p.env.Openings, p.env.Caches, p.env.Revocations)
	discovery := backing.Discovery{Store: b.Store, Registry: providers}
	var status func(context.Context) admin.Status
	if o.statusPage {
		status = p.status(now(), discovery)
	}
	var sessions admin.Sessions
	if o.sessions {
		sessions = adminSessions{p.env}
	}
	p.handler = admin.New(admin.Options{
		Sessions:  sessions,
		Discovery: discovery, Status: status, Keys: backing.Keys{Set: b.Keys, Rotated: p.metrics.Rotated}, Health: b.Health, Log: log,
		Metrics: p.metrics.Handler(),
	})
	return p, nil
}

// ownSigner signs with the plugin's own published keys.
func (p *process) ownSigner(algorithm string) (*token.Signer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), ownKeysWait)
	defer cancel()
	return p.backing.Keys.Signer(ctx, algorithm)
}

// listen opens the admin endpoints: on a Unix socket in the prefix, or on the
// address of -admin-listen.
func (p *process) listen(o *options, log *slog.Logger) error {
	switch o.adminListen {
	case "off":
		return nil
	case "":
		mode, err := fileMode("-admin-socket-mode", o.adminMode)
		if err != nil {
			return err
		}
		l, err := server.Listen(filepath.Join(o.prefix, admin.Socket), mode)
		if err != nil {
			return fmt.Errorf("admin endpoints: %w (-admin-listen names an address in place of the socket)", err)
		}
		// Kong's Admin API stands in front of it and guards it.
		p.admin, p.socket, p.guard = l, l, admin.Guard{AnyHost: true}
		return nil
	}
	tok, err := secretFile("-admin-token-file", o.adminTokenFile)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(o.adminListen)
	p.guard = admin.Guard{Token: tok, Hosts: []string{host}, AnyHost: tok != ""}
	l, err := admin.ListenTCP(o.adminListen, tok)
	if errors.Is(err, syscall.EADDRINUSE) {
		// At a reload the predecessor has it until Kong stops it; requests must not wait for that.
		log.Warn("openid-connect: another process has the admin address, which is tried until it is free; requests are served meanwhile", "address", o.adminListen)
		p.address = func() (net.Listener, error) { return admin.ListenTCP(o.adminListen, tok) }
		return nil
	}
	if err != nil {
		return err
	}
	p.admin = l
	log.Info("openid-connect: admin endpoints", "address", l.Addr().String())
	return nil
}

// await waits until the admin address is free; nil when the context ends first.
func (p *process) await(ctx context.Context, log *slog.Logger) net.Listener {
	tick := time.NewTicker(adminRetry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l, err := p.address()
		switch {
		case err == nil:
			log.Info("openid-connect: admin endpoints", "address", l.Addr().String())
			return l
		case !errors.Is(err, syscall.EADDRINUSE):
			log.Error("openid-connect: there are no admin endpoints", "error", err)
			return nil
		}
	}
}

// Start runs what goes on in the background.
func (p *process) Start(log *slog.Logger) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.done.Go(func() { p.backing.Run(ctx) })
	if p.admin != nil || p.address != nil {
		p.done.Go(func() {
			l := p.admin
			if l == nil {
				l = p.await(ctx, log)
			}
			if l == nil {
				return
			}
			if err := admin.Serve(ctx, l, admin.Protect(p.handler, p.guard), adminGrace); err != nil {
				log.Error("openid-connect: the admin endpoints have ended", "error", err)
			}
		})
	}
}

// Close ends everything.
func (p *process) Close() {
	if p.stop != nil {
		p.stop()
	}
	p.done.Wait()
	if p.socket != nil {
		_ = p.socket.Close()
		_ = p.socket.Remove() // its own, never a successor's
	}
	if p.backing != nil {
		p.backing.Close()
	}
	if p.scratch != "" {
		_ = os.RemoveAll(p.scratch)
	}
}

// kongSettings reads what Kong was started with; KONG_* of the environment and
// -kong-setting stand above it.
func kongSettings(o *options, log *slog.Logger) env.Settings {
	s, err := env.Load(o.prefix)
	if err != nil {
		log.Warn("openid-connect: Kong's settings cannot be read", "error", err)
		s = env.Settings{}
	}
	s.Overlay(os.Environ())
	for _, v := range o.settings {
		name, value, _ := strings.Cut(v, "=")
		s[strings.ToLower(strings.TrimSpace(name))] = value
	}
	return s
}

// trusted returns the authorities' files: the flag's, else those that Kong
// itself trusts.
func trusted(o *options, kong env.Settings) ([]string, error) {
	list := o.trustedCA
	if list == "" {
		list = kong["lua_ssl_trusted_certificate"]
	}
	var files []string
	for f := range strings.SplitSeq(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			files = append(files, f)
		}
	}
	if len(files) > maxTrusted {
		return nil, fmt.Errorf("-trusted-ca: %d files are listed, at most %d are read", len(files), maxTrusted)
	}
	return files, nil
}

// secretFile reads a secret, without the line's end.
func secretFile(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", flag, err)
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("%s: %s is larger than %d bytes", flag, path, maxSecretFile)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("%s: %s is empty", flag, path)
	}
	return s, nil
}

// fileMode reads an octal mode.
func fileMode(flag, text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return 0, fmt.Errorf("%s %q: write an octal mode such as 0600 or 0660", flag, text)
	}
	return fs.FileMode(mode), nil
}
