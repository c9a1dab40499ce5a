package plugin

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/quiet"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// Secrets gives the session secret of a discovery object, which an issuer and
// op.Config.Scope name, for configurations that name none. It is made once for
// all nodes that are to agree on it; an error means that it cannot be learned
// now.
type Secrets interface {
	SessionSecret(ctx context.Context, issuer, scope string) ([]byte, error)
}

// Environment is what all instances of a process share.
type Environment struct {
	Providers     *op.Registry
	Tokens        *token.Cache
	Caches        *Caches
	Secrets       Secrets
	OwnSigner     func(algorithm string) (*token.Signer, error) // signs with the plugin's own published keys
	Entities      Entities                                      // Kong's own data
	UsedLogins    *session.Used
	Openings      *session.Openings   // of sessions; nil: each request opens its own
	Revocations   session.Revocations // ids of sessions that were ended before their time
	SharedList    bool                // other nodes read Revocations too
	DataPlane     bool                // of a hybrid cluster: there are other nodes
	Ends          SessionEnds         // what ends sessions of several configurations
	Locks         store.Locks         // one refresh at a time among all nodes; nil: this process is alone
	Claims        store.Claims        // what may be used once among all nodes; nil where nodes share nothing
	Replays       token.Replays       // DPoP proofs that this process has seen
	Proofs        store.Claims        // where all nodes claim those of theirs; nil: this process is alone
	Directory     rp.Directory        // of principals; nil: there is none
	Connections   *Connections        // to Redis
	MaxHeaderLine int                 // bytes that one request header line may have; 0 for Kong's default
	Now           func() time.Time
	Log           *slog.Logger
	Observer      Observer     // is told what happens; nil for nobody
	Audit         *slog.Logger // takes the record of logins, logouts, refreshes and refusals; nil for none
}

// logOf returns the log for what requests of a configuration meet: each line at
// most once in quiet.Every, and with its issuer, as instances share the policy.
func (e *Environment) logOf(c *Config) *slog.Logger {
	return quiet.New(e.Log.With("issuer", c.Issuer), e.Now)
}

// Plugin makes instances. Equal configurations share one compiled policy, its
// caches and its connections for as long as any instance uses it.
type Plugin struct {
	env *Environment

	counts   *requestCounts // nil: nobody counts
	mu       sync.Mutex
	policies map[[sha256.Size]byte]weak.Pointer[compiled]
	started  atomic.Uint64 // instances
	compiles atomic.Uint64 // policies
}

// compiled is a policy, or why there is none.
type compiled struct {
	policy   *rp.Policy
	err      error
	findings param.Findings
}

// New returns a plugin whose instances share env.
func New(env *Environment) *Plugin {
	p := &Plugin{env: env, policies: map[[sha256.Size]byte]weak.Pointer[compiled]{}}
	if env.Observer != nil {
		p.counts = &requestCounts{observer: env.Observer}
	}
	return p
}

// Stats returns how many instances were started and how many policies were
// compiled for them.
func (p *Plugin) Stats() (instances, policies uint64) { return p.started.Load(), p.compiles.Load() }

// Start implements server.Plugin.
func (p *Plugin) Start(ctx context.Context, config []byte) server.Instance {
	p.started.Add(1)
	cfg, decoded, err := Read(config)
	i := &instance{
		id: decoded.Meta.PluginID, route: decoded.Meta.RouteID, service: decoded.Meta.ServiceID,
		volatile: len(decoded.References) > 0, ws: decoded.Meta.WorkspaceID, audit: p.env.Audit, counts: p.counts,
		log: p.env.Log.With("plugin_id", decoded.Meta.PluginID, "route_id", decoded.Meta.RouteID, "service_id", decoded.Meta.ServiceID),
	}
	if err != nil {
		i.compiled = &compiled{err: err}
		i.report(ctx, decoded.Findings)
		return i
	}
	fresh := false
	i.compiled, fresh = p.share(cfg)
	if fresh {
		i.report(ctx, append(decoded.Findings, i.compiled.findings...))
	} else if i.compiled.err != nil {
		i.report(ctx, nil)
	}
	return i
}

// share returns the policy of an equal configuration, or compiles one. fresh
// tells which.
func (p *Plugin) share(cfg *Config) (c *compiled, fresh bool) {
	key := cfg.Digest()
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.policies[key]; ok {
		if c := w.Value(); c != nil {
			return c, false
		}
	}
	p.compiles.Add(1)
	c = p.compile(cfg)
	p.policies[key] = weak.Make(c)
	runtime.AddCleanup(c, p.forget, key)
	return c, true
}

// forget drops the entry of a policy that nobody uses any more.
func (p *Plugin) forget(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.policies[key]; ok && w.Value() == nil {
		delete(p.policies, key)
	}
}

func (p *Plugin) compile(cfg *Config) *compiled {
	c := &compiled{findings: Validate(cfg)}
	if p.env.Directory == nil {
		c.findings = append(c.findings, withoutDirectory(cfg)...)
	}
	if c.err = c.findings.Err(); c.err != nil {
		return c
	}
	c.policy, c.err = compile(cfg, p.env)
	return c
}

// instance is one configuration of one worker of Kong.
type instance struct {
	id       string
	route    string
	service  string
	volatile bool
	ws       string // workspace
	log      *slog.Logger
	audit    *slog.Logger
	counts   *requestCounts // nil: nobody counts
	compiled *compiled
}

// report logs once what was found when the instance started.
func (i *instance) report(ctx context.Context, found param.Findings) {
	for _, f := range found {
		if f.Severity == param.Warning {
			i.log.WarnContext(ctx, "openid-connect: configuration", "finding", f.String())
		}
	}
	if err := i.compiled.err; err != nil {
		i.log.ErrorContext(ctx, "openid-connect: the configuration cannot be used, so every request is answered with 500: correct it in Kong", "error", err)
	}
}

// Needs implements server.Instance.
func (i *instance) Needs() rp.Needs {
	if i.compiled.policy == nil {
		return 0
	}
	if i.audit != nil {
		return i.compiled.policy.Needs() | rp.NeedClient
	}
	return i.compiled.policy.Needs()
}

// Access implements server.Instance.
func (i *instance) Access(ctx context.Context, r *rp.Request) *rp.Decision {
	began := time.Now()
	var d *rp.Decision
	if i.compiled.policy == nil {
		d = rp.Unusable(r, i.compiled.err)
	} else {
		r.Workspace = i.ws
		d = i.compiled.policy.Decide(traced(ctx, r), r)
	}
	i.observe(ctx, r, d, time.Since(began))
	return d
}

// Close implements server.Instance.
func (i *instance) Close() {}

// Volatile implements server.Instance.
func (i *instance) Volatile() bool { return i.volatile }
