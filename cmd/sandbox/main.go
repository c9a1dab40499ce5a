// Command sandbox runs everything around the plugin server on one machine: a
// gateway that stands for Kong, an OpenID Provider and an echo service, all on
// loopback. It is for trying the plugin and for its tests, not for production.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"kong-openid-connect/internal/sandbox/gateway"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// The addresses that kong.yml names. Where a flag moves the provider or the
// service, the configuration is read as if it named the new address.
const (
	defaultProvider = "127.0.0.1:8080"
	defaultUpstream = "127.0.0.1:8090"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, nil))
}

const usage = `usage: sandbox run [flags]

runs a gateway in place of Kong, an OpenID Provider and an echo service on
this machine, and the plugin server behind the gateway, until Ctrl-C.
SIGHUP reloads the gateway as "kong reload" does.

flags of run:
`

// settings are the flags of run.
type settings struct {
	config, proxy, admin, tls, provider, upstream, plugin, prefix, trusted string
	workers                                                                int
	pluginArgs                                                             string
	quiet                                                                  bool
}

func flags(s *settings, errs io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("sandbox run", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&s.config, "config", "kong.yml", "declarative configuration `file`")
	f.StringVar(&s.proxy, "proxy", "127.0.0.1:8000", "`address` of the proxy")
	f.StringVar(&s.admin, "admin", "127.0.0.1:8001", "`address` of the Admin API")
	f.StringVar(&s.tls, "tls", "", "`address` of the proxy with TLS, which asks for client certificates (default: none)")
	f.StringVar(&s.provider, "provider", defaultProvider, "`address` of the OpenID Provider")
	f.StringVar(&s.upstream, "upstream", defaultUpstream, "`address` of the echo service")
	f.StringVar(&s.plugin, "plugin", "bin/openid-connect", "`path` of the plugin server")
	f.StringVar(&s.pluginArgs, "plugin-args", "", "more `arguments` for the plugin server, separated by blanks")
	f.StringVar(&s.prefix, "prefix", "", "Kong's prefix `directory` (default: a new one, removed at the end)")
	f.StringVar(&s.trusted, "trusted-ips", "", "comma-separated `addresses` or CIDRs whose forwarding headers are believed")
	f.IntVar(&s.workers, "workers", 2, "`number` of gateway workers, each with its own plugin instances")
	f.BoolVar(&s.quiet, "quiet", false, "keep the error log to yourself")
	f.Usage = func() { fmt.Fprint(errs, usage); f.PrintDefaults() }
	return f
}

// run is main without the process around it. ready, if not nil, is told the
// running gateway.
func run(ctx context.Context, args []string, out, errs io.Writer, ready func(*gateway.Gateway)) int {
	var s settings
	f := flags(&s, errs)
	if len(args) == 0 || args[0] != "run" {
		f.Usage()
		if len(args) > 0 && strings.Contains(" -h -help --help help ", " "+args[0]+" ") {
			return 0
		}
		return 2
	}
	if err := f.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(errs, "sandbox: unexpected argument %q\n", f.Arg(0))
		return 2
	}
	if err := serve(ctx, &s, out, errs, ready); err != nil {
		fmt.Fprintf(errs, "sandbox: %v\n", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, s *settings, out, errs io.Writer, ready func(*gateway.Gateway)) error {
	plugin, err := filepath.Abs(s.plugin)
	if err != nil {
		return err
	}
	if _, err := os.Stat(plugin); err != nil {
		return fmt.Errorf("no plugin server at %s: build it with make, or name it with -plugin", s.plugin)
	}
	// Every address is looked at first, so that nothing starts in vain.
	for _, a := range []struct{ flag, addr string }{{"proxy", s.proxy}, {"admin", s.admin}, {"tls", s.tls}, {"provider", s.provider}, {"upstream", s.upstream}} {
		if err := free(a.flag, a.addr); err != nil {
			return err
		}
	}
	op, err := provider.Start(s.provider, provider.Options{})
	if err != nil {
		return taken("provider", s.provider, err)
	}
	defer op.Close()
	echo, err := upstream.Start(s.upstream)
	if err != nil {
		return taken("upstream", s.upstream, err)
	}
	defer echo.Close()
	issuer := op.URL
	opts := gateway.Options{
		Config: s.config, ProxyAddr: s.proxy, AdminAddr: s.admin, ProxyTLSAddr: s.tls, Prefix: s.prefix, Plugin: plugin,
		PluginArgs: strings.Fields(s.pluginArgs), Workers: s.workers, Rewrite: rewrite(issuer, "http://"+echo.Addr()),
	}
	// Without a database the plugin server finds consumers and certificates at
	// the Admin API; a port that is chosen at the start cannot be told to it.
	if _, port, _ := net.SplitHostPort(s.admin); port != "0" && !slices.Contains(opts.PluginArgs, "-admin-api") {
		opts.PluginArgs = append(opts.PluginArgs, "-admin-api", "http://"+s.admin)
	}
	if s.trusted != "" {
		opts.TrustedIPs = strings.Split(s.trusted, ",")
	}
	if !s.quiet {
		opts.Log = errs
	}
	g, err := gateway.Start(opts)
	if err != nil {
		return err
	}
	defer g.Close()
	fmt.Fprint(out, hints(s, g, issuer))
	if ready != nil {
		ready(g)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			if err := g.Reload(); err != nil {
				fmt.Fprintf(errs, "sandbox: reload: %v\n", err)
			}
		case <-ctx.Done():
			fmt.Fprintln(out, "\nstopping")
			return nil
		}
	}
}

// rewrite puts the provider's and the service's addresses in the place of the default ones.
func rewrite(issuer, service string) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.ReplaceAll(b, []byte("http://"+defaultProvider), []byte(issuer))
		return bytes.ReplaceAll(b, []byte("http://"+defaultUpstream), []byte(service))
	}
}

// free says whether an address can be listened on.
func free(name, addr string) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("-%s %q is not host:port", name, addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("-%s %s is not a loopback address: the sandbox has no protection and stays on this machine", name, addr)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return taken(name, addr, err)
	}
	return ln.Close()
}

func taken(name, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr)
		hint := ""
		if name == "proxy" || name == "admin" || name == "provider" {
			hint = fmt.Sprintf(" (make run %s=%s:PORT)", strings.ToUpper(name), host)
		}
		return fmt.Errorf("%s is taken by another program: stop that one, or choose another port with -%s %s:PORT%s", addr, name, host, hint)
	}
	return fmt.Errorf("-%s %s: %w", name, addr, err)
}

func hints(s *settings, g *gateway.Gateway, issuer string) string {
	proxy, admin := "http://"+g.ProxyAddr(), "http://"+g.AdminAddr()
	tls := ""
	if a := g.ProxyTLSAddr(); a != "" {
		tls = "\n  proxy, TLS    https://" + a
	}
	return fmt.Sprintf(`The sandbox runs, with the routes of %s:
  proxy         %s%s
  Admin API     %s
  provider      %s (users alex, blake, casey; password doe)

No token:     curl -i %[2]s/bearer
A token:      TOKEN=$(curl -s -u kong:kong-secret-0123456789abcdef0123456789abcdef \
                -d grant_type=password -d username=alex -d password=doe -d 'scope=openid profile' \
                %[5]s/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
With it:      curl -i -H "Authorization: Bearer $TOKEN" %[2]s/bearer
Log in:       open %[2]s/app/some/page?x=1 in a browser
Plugins:      curl %[4]s/plugins

Ctrl-C stops everything.
`, s.config, proxy, tls, admin, issuer)
}
