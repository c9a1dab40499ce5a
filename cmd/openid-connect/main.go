// Command openid-connect is the plugin server that Kong launches, or that runs
// as a process of its own beside Kong. It also checks configurations without
// Kong (check) and prints the configuration's JSON Schema (schema).
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/plugin"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	prefix     string
	dump       bool
	version    bool
	socket     string
	mode       string
	logLevel   string
	logFile    string
	logFormat  string
	auditLog   string
	statusPage bool
	sessions   bool
	trustedCA  string
	maxHeader  int
	cacheSize  int
	timeout    time.Duration
	drain      time.Duration

	settings            list
	stateDir            string
	sealKeyFile         string
	keysFile            string
	adminListen         string
	adminMode           string
	adminTokenFile      string
	adminAPI            string
	adminAPITokenFile   string
	adminAPITokenHeader string
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(v string) error {
	if name, _, ok := strings.Cut(v, "="); !ok || strings.TrimSpace(name) == "" {
		return errors.New("write name=value, such as database=off")
	}
	*l = append(*l, v)
	return nil
}

func flags(o *options, errs io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("openid-connect", flag.ContinueOnError)
	f.SetOutput(errs)
	whereabouts(f, o)
	f.BoolVar(&o.dump, "dump", false, "print the plugin's description for Kong and exit")
	f.BoolVar(&o.version, "version", false, "print the version and exit")
	f.StringVar(&o.mode, "socket-mode", "0600", "`mode` of the socket; 0660 where Kong runs as another user of a shared group")
	f.StringVar(&o.logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn, error")
	f.StringVar(&o.logFile, "log-file", "", "`file` that log lines are appended to (default standard error, which Kong logs at level info)")
	f.StringVar(&o.logFormat, "log-format", "text", "`format` of log lines: text or json")
	f.StringVar(&o.auditLog, "audit-log", "off", "`file` that a record of logins, logouts, refreshes and refusals is appended to as JSON lines; \"stderr\" or \"off\"")
	f.StringVar(&o.trustedCA, "trusted-ca", "", "comma-separated PEM `files` of authorities that sign providers' certificates; \"system\" for the system's (default: Kong's lua_ssl_trusted_certificate, else the system's)")
	f.IntVar(&o.maxHeader, "max-header-line", 0, "`bytes` that one request header line may have, where large_client_header_buffers was raised (default 8192)")
	f.IntVar(&o.cacheSize, "cache-memory", defaultCacheMiB, "`MiB` of memory for verified tokens and opened sessions, half for each")
	f.DurationVar(&o.timeout, "event-timeout", 0, "`time` that one request may take in the plugin (default 30s, at most 55s)")
	f.DurationVar(&o.drain, "drain-timeout", 20*time.Second, "`time` that requests under way have to end after SIGTERM")
	f.Var(&o.settings, "kong-setting", "a setting of Kong's as `name=value`, in place of .kong_env's; may be repeated (database=off, pg_host=..., pg_password=...)")
	f.StringVar(&o.stateDir, "state-dir", "", "`directory` for generated secrets and keys where Kong has no database (default <kong-prefix>/openid-connect-state)")
	f.StringVar(&o.sealKeyFile, "seal-key-file", "", "`file` whose key seals generated secrets and private keys at rest; the same on all nodes")
	f.StringVar(&o.keysFile, "keys-file", "", "JWKS `file` with the plugin's own private keys, in place of generated ones")
	f.StringVar(&o.adminMode, "admin-socket-mode", "0600", "`mode` of the admin socket")
	f.BoolVar(&o.statusPage, "status-page", false, "show a page about this process at /openid-connect/ of the admin endpoints")
	f.BoolVar(&o.sessions, "admin-sessions", false, "serve /openid-connect/sessions of the admin endpoints, which lists and ends people's sessions")
	f.StringVar(&o.adminAPI, "admin-api", "", "`URL` of Kong's Admin API (or unix:/path), where consumers and certificates are found without a database")
	f.StringVar(&o.adminAPITokenFile, "admin-api-token-file", "", "`file` with the token for Kong's Admin API")
	f.StringVar(&o.adminAPITokenHeader, "admin-api-token-header", "Kong-Admin-Token", "`header` that carries it")
	f.Usage = func() {
		fmt.Fprint(errs, "usage: openid-connect [flags]\n       openid-connect check FILE    check the plugin's entries of a kong.yml (- for a JSON configuration on standard input)\n       openid-connect doctor [-config FILE] [-issuer URL] [flags]    look at everything that it depends on, and say what to do\n       openid-connect schema        print the configuration's JSON Schema\n       openid-connect health        ask a running plugin server how it is (see health -help)\n\nEach command tells more with -help.\n\nflags:\n")
		f.PrintDefaults()
	}
	return f
}

// whereabouts declares the flags by which the plugin server is found, for the
// server itself and for those who ask it.
func whereabouts(f *flag.FlagSet, o *options) {
	f.StringVar(&o.prefix, "kong-prefix", "/usr/local/kong", "Kong's `directory` (prefix); the socket and the state live below it")
	f.StringVar(&o.socket, "socket", "", "Unix socket `path` of the plugin server (default <kong-prefix>/openid-connect.socket)")
	f.StringVar(&o.adminListen, "admin-listen", "", "`host:port` of the admin endpoints, or \"off\" (default a Unix socket in the prefix)")
	f.StringVar(&o.adminTokenFile, "admin-token-file", "", "`file` with the token that admin requests must bring; needed where -admin-listen is not loopback")
}

// socketPath is the socket that Kong connects to.
func (o *options) socketPath() string {
	return cmp.Or(o.socket, filepath.Join(o.prefix, "openid-connect.socket"))
}

// parse reads a command line without arguments. done says that this was all,
// with the exit code.
func parse(f *flag.FlagSet, args []string, errs io.Writer) (code int, done bool) {
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0, true
	} else if err != nil {
		return 2, true
	}
	if f.NArg() > 0 {
		fmt.Fprintf(errs, "%s: unknown command or argument %q: see -help\n", f.Name(), f.Arg(0))
		return 2, true
	}
	return 0, false
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "check":
			return check(args[1:], in, out, errs)
		case "doctor":
			return doctor(ctx, args[1:], in, out, errs)
		case "health":
			return health(ctx, args[1:], out, errs)
		case "schema":
			if len(args) > 1 {
				fmt.Fprintln(errs, "usage: openid-connect schema    print the configuration's JSON Schema")
				return helpCode(args[1:])
			}
			_, err := fmt.Fprintf(out, "%s\n", plugin.JSONSchema())
			return exitCode(err, errs)
		}
	}
	var o options
	f := flags(&o, errs)
	if code, done := parse(f, args, errs); done {
		return code
	}
	o.socket = o.socketPath()
	info := server.Info{Name: plugin.Name, Version: plugin.Version, Priority: plugin.Priority, Phases: []string{"access"}, Schema: plugin.Schema(), SocketPath: o.socket}
	switch {
	case o.version:
		_, err := fmt.Fprintln(out, versionText())
		return exitCode(err, errs)
	case o.dump:
		return exitCode(server.Dump(out, info), errs)
	}
	return exitCode(serve(ctx, &o, info, errs), errs)
}

func exitCode(err error, errs io.Writer) int {
	if err != nil {
		fmt.Fprintf(errs, "openid-connect: %v\n", err)
		return 1
	}
	return 0
}

// helpCode is 0 for whoever asked for help, and 2 for a wrong use.
func helpCode(args []string) int {
	if len(args) == 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		return 0
	}
	return 2
}

// check reports what is wrong with the openid-connect plugins of a file.
func check(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) != 1 || strings.HasPrefix(args[0], "-") && args[0] != "-" {
		fmt.Fprintln(errs, "usage: openid-connect check FILE    check the plugin's entries of a kong.yml, of KongPlugin resources, or a JSON configuration (- for standard input); exits with 1 where something is wrong")
		return helpCode(args)
	}
	name := args[0]
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			fmt.Fprintf(errs, "openid-connect: %v\n", err)
			return 2
		}
		defer file.Close()
		in = file
	} else {
		name = "standard input"
	}
	code := 0
	for _, f := range plugin.Check(in, name) {
		fmt.Fprintln(out, f)
		if f.Severity == param.Error {
			code = 1
		}
	}
	return code
}

// storeWait is how long a new process waits for the store before it serves
// without: bearer tokens need no store, so a database that is down must not
// stop them.
const storeWait = 3 * time.Second

// serve runs the plugin server until SIGTERM or SIGINT.
func serve(ctx context.Context, o *options, info server.Info, errs io.Writer) error {
	log, err := logger(o, errs)
	if err != nil {
		return err
	}
	audit, err := auditLog(o, errs)
	if err != nil {
		return err
	}
	mode, err := fileMode("-socket-mode", o.mode)
	if err != nil {
		return err
	}
	if o.cacheSize < 1 || o.cacheSize > maxCacheMiB {
		return fmt.Errorf("-cache-memory %d: write a number of MiB from 1 to %d", o.cacheSize, maxCacheMiB)
	}
	if o.timeout < 0 || o.timeout > 55*time.Second {
		return fmt.Errorf("-event-timeout %v: write at most 55s, as Kong gives up after 60s", o.timeout)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	proc, err := newProcess(o, log, audit)
	if err != nil {
		return err
	}
	defer proc.Close()
	if err := proc.listen(o, log); err != nil {
		return err
	}
	p := plugin.New(proc.env)
	s := server.New(server.Options{Info: info, Plugin: p, Logger: log, EventTimeout: o.timeout})
	publishServer(proc.metrics, s, p)
	proc.Start(log)
	// At a reload the predecessor serves until this process takes the socket:
	// taken before the store was read, sessions would be answered 503.
	first, cancelFirst := context.WithTimeout(ctx, storeWait)
	if err := proc.backing.WaitReady(first); err != nil && ctx.Err() == nil {
		log.Warn("openid-connect: serving before the store could be read: sessions and logins are answered 503 until it can", "waited", storeWait.String(), "error", err)
	}
	cancelFirst()
	l, err := server.Listen(o.socket, mode)
	if err != nil {
		return err
	}
	log.Info("openid-connect: serving", "socket", o.socket, "version", version, "pid", os.Getpid())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	log.Info("openid-connect: stopping: requests under way end first", "within", o.drain.String())
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drain)
	defer cancel()
	err = s.Shutdown(end)
	if rerr := l.Remove(); rerr != nil {
		log.Warn("openid-connect: the socket could not be removed", "error", rerr)
	}
	return err
}
