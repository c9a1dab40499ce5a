package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/kong/env"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/plugin"
)

// doctorTimeout bounds the examination of one configuration.
const doctorTimeout = time.Minute

// doctorStore is how long the database may take to answer.
const doctorStore = 5 * time.Second

// doctor examines what the plugin depends on: Kong's prefix and database, the
// sockets, and for each configuration its provider, client and storage. Each
// line says ok, or what to do; the exit code is 1 where something fails.
func doctor(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	var o options
	f := flags(&o, errs)
	f.Init("openid-connect doctor", flag.ContinueOnError)
	config := f.String("config", "", "`file` with configurations: a kong.yml, or JSON; - for standard input")
	issuer := f.String("issuer", "", "`URL` of a provider to look at without a configuration")
	f.Usage = func() {
		fmt.Fprint(errs, "usage: openid-connect doctor [-config FILE] [-issuer URL] [flags of the plugin server]\n\nflags:\n")
		f.PrintDefaults()
	}
	if code, done := parse(f, args, errs); done {
		return code
	}
	r := &report{out: out}
	proc, err := r.surroundings(ctx, &o)
	if err != nil {
		return exitCode(err, errs)
	}
	defer proc.Close()
	configs, code := r.configurations(*config, *issuer, in, errs)
	if code != 0 {
		return code
	}
	for _, c := range configs {
		r.head(c, *config)
		r.examine(ctx, c.Config, proc)
	}
	if r.failed {
		return 1
	}
	return 0
}

// report writes the lines.
type report struct {
	out    io.Writer
	failed bool
}

// head says which configuration the lines below are about.
func (r *report) head(c plugin.Configuration, file string) {
	var where []string
	if c.Owner != "" {
		where = append(where, c.Owner)
	}
	if c.Line > 0 && file != "-" {
		where = append(where, fmt.Sprintf("%s:%d", file, c.Line))
	}
	if c.Path != "" {
		where = append(where, c.Path)
	}
	if len(where) > 0 {
		fmt.Fprintf(r.out, "\n%s\n", strings.Join(where, ", "))
	}
}

// say writes a line, and one below with what to do.
func (r *report) say(v plugin.Verdict, part, text, do string) {
	r.failed = r.failed || v == plugin.Bad
	// Errors of libraries may have several lines.
	fmt.Fprintf(r.out, "%-5s %-14s %s\n", v, part, strings.Join(strings.Fields(text), " "))
	if do != "" && v != plugin.Good {
		fmt.Fprintf(r.out, "%-20s -> %s\n", "", do)
	}
}

// configurations reads those of a file, or makes one for an issuer alone.
func (r *report) configurations(file, issuer string, in io.Reader, errs io.Writer) ([]plugin.Configuration, int) {
	var all []plugin.Configuration
	if issuer != "" {
		text, _ := json.Marshal(map[string]any{"issuer": issuer, "auth_methods": []string{"bearer"}})
		c, found := plugin.Configurations(strings.NewReader(string(text)), "-issuer", nil)
		for _, f := range found {
			r.finding(f)
		}
		for _, c := range c {
			all = append(all, plugin.Configuration{Owner: issuer, Config: c.Config})
		}
	}
	if file != "" {
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				fmt.Fprintf(errs, "openid-connect: %v\n", err)
				return nil, 2
			}
			defer f.Close()
			in = f
		}
		c, found := plugin.Configurations(in, file, fromEnvironment)
		for _, f := range found {
			r.finding(f)
		}
		all = append(all, c...)
	}
	return all, 0
}

func (r *report) finding(f param.Finding) {
	v := plugin.Warn
	if f.Severity == param.Error {
		v = plugin.Bad
	}
	r.say(v, "configuration", f.String(), "")
}

// fromEnvironment resolves references to Kong's env vault as Kong does:
// {vault://env/my-secret} is MY_SECRET.
func fromEnvironment(reference string) (string, bool) {
	name, ok := strings.CutPrefix(reference, "{vault://env/")
	name, closed := strings.CutSuffix(name, "}")
	if !ok || !closed || strings.ContainsAny(name, "/?#") {
		return "", false
	}
	v := os.Getenv(strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	return v, v != ""
}

// surroundings examines what no configuration names.
func (r *report) surroundings(ctx context.Context, o *options) (*process, error) {
	quiet := slog.New(slog.DiscardHandler)
	if settings, err := env.Load(o.prefix); err != nil {
		r.say(plugin.Warn, "kong", err.Error(), "give the prefix that Kong runs with by -kong-prefix, or the settings by -kong-setting")
	} else {
		r.say(plugin.Good, "kong", fmt.Sprintf("%s: database %s", filepath.Join(o.prefix, env.File), cmp.Or(settings["database"], "postgres")), "")
	}
	r.listener(ctx, "plugin server", "unix", o.socketPath(), "start Kong, or the plugin server; check pluginserver_openid_connect_socket and -socket-mode")
	if o.adminListen == "" {
		r.listener(ctx, "admin socket", "unix", filepath.Join(o.prefix, admin.Socket), "start the plugin server; another user needs -admin-socket-mode 0660")
	}
	// Without a database nothing is to be written beside what a running process keeps.
	scratch, err := os.MkdirTemp("", "openid-connect-doctor")
	if err != nil {
		return nil, err
	}
	own := *o
	own.stateDir = scratch
	proc, err := newProcess(&own, quiet, nil)
	if err != nil {
		_ = os.RemoveAll(scratch)
		return nil, err
	}
	proc.scratch = scratch
	r.store(ctx, proc)
	if o.adminListen != "" && o.adminListen != "off" {
		r.listener(ctx, "admin address", "tcp", o.adminListen, "start the plugin server, or correct -admin-listen")
	}
	proc.env.Providers = op.NewRegistry(op.Environment{Roots: proc.roots, Now: time.Now, Log: quiet})
	return proc, nil
}

// store examines where discovery objects, generated secrets and keys are kept.
func (r *report) store(ctx context.Context, proc *process) {
	ctx, cancel := context.WithTimeout(ctx, doctorStore)
	defer cancel()
	err := proc.backing.WaitReady(ctx)
	if err == nil {
		err = proc.backing.Health(ctx).Parts["store"]
	}
	away, cause := err, ""
	if u, ok := errors.AsType[*store.Unavailable](err); ok {
		away = u.Err
	}
	if away != nil {
		cause = away.Error()
	}
	const meanwhile = "; logins are answered by 503 meanwhile"
	switch {
	case err == nil:
		r.say(plugin.Good, "store", proc.backing.Mode+" answers", "")
	case proc.backing.Mode == "postgres":
		r.say(plugin.Bad, "store", "postgres: "+cause, "check the pg_* settings of Kong, and that this machine reaches its database"+meanwhile)
	default:
		r.say(plugin.Bad, "store", cause, "give Kong's prefix by -kong-prefix, or what is missing by -kong-setting database=off (or postgres, with pg_host and the like)"+meanwhile)
	}
}

// dialTimeout is how long a listener of this machine may take to answer.
const dialTimeout = 2 * time.Second

// listener tries an address that the plugin server listens on.
func (r *report) listener(ctx context.Context, part, network, address, do string) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		r.say(plugin.Warn, part, err.Error(), do)
		return
	}
	_ = c.Close()
	r.say(plugin.Good, part, address+" takes connections", "")
}

func (r *report) examine(ctx context.Context, c *plugin.Config, proc *process) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	for _, s := range plugin.Diagnose(ctx, c, proc.env) {
		r.say(s.Verdict, s.Part, s.Text, s.Do)
	}
}
