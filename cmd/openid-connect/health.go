package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"kong-openid-connect/internal/admin"
)

const maxHealthAnswer = 64 << 10

// health asks the plugin server beside it how it is, for the health checks of
// containers, which have no shell. It answers 0 where the server takes
// connections of Kong and calls itself ready.
func health(ctx context.Context, args []string, out, errs io.Writer) int {
	var o options
	var within time.Duration
	f := flag.NewFlagSet("openid-connect health", flag.ContinueOnError)
	f.SetOutput(errs)
	f.Usage = func() {
		fmt.Fprint(errs, "usage: openid-connect health [flags, as the plugin server has them; with -admin-listen off only its socket is tried]\n\nflags:\n")
		f.PrintDefaults()
	}
	whereabouts(f, &o)
	f.DurationVar(&within, "timeout", 4*time.Second, "`time` for everything")
	if code, done := parse(f, args, errs); done {
		return code
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", o.socketPath())
	if err != nil {
		return exitCode(fmt.Errorf("the plugin server does not take connections: %w", err), errs)
	}
	_ = c.Close()
	if o.adminListen == "off" {
		fmt.Fprintln(out, "ok")
		return 0
	}
	return exitCode(askHealth(ctx, &o, out), errs)
}

func askHealth(ctx context.Context, o *options, out io.Writer) error {
	token, err := secretFile("-admin-token-file", o.adminTokenFile)
	if err != nil {
		return err
	}
	network, address := "unix", filepath.Join(o.prefix, admin.Socket)
	if o.adminListen != "" {
		host, port, err := net.SplitHostPort(o.adminListen)
		if err != nil {
			return fmt.Errorf("-admin-listen %q is not host:port", o.adminListen)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		network, address = "tcp", net.JoinHostPort(host, port)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/"+admin.Root+"/health", nil)
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("the admin endpoints do not answer: %w", err)
	}
	defer resp.Body.Close()
	var state struct {
		Status string            `json:"status"`
		Parts  map[string]string `json:"parts"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHealthAnswer)).Decode(&state); err != nil {
		return fmt.Errorf("the admin endpoints answer %s and no state: %w", resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the plugin server answers %s: %s", resp.Status, state.Status)
	}
	fmt.Fprintln(out, state.Status)
	for _, part := range slices.Sorted(maps.Keys(state.Parts)) {
		fmt.Fprintf(out, "%s: %s\n", part, state.Parts[part])
	}
	return nil
}
