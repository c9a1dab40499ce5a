package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/metrics"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
	"kong-openid-connect/plugin"
)

// logger returns the log of the process: on errs, or in the file of -log-file.
func logger(o *options, errs io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(o.logLevel))); err != nil {
		return nil, fmt.Errorf("-log-level %q: write debug, info, warn or error", o.logLevel)
	}
	w := errs
	if o.logFile != "" {
		f, err := appendTo("-log-file", o.logFile)
		if err != nil {
			return nil, err
		}
		w = f
	}
	h := &slog.HandlerOptions{Level: l}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, h)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, h)), nil
	}
	return nil, fmt.Errorf("-log-format %q: write text or json", o.logFormat)
}

// auditLog returns the record of logins, logouts, refreshes and refusals, a
// JSON object a line; nil where it is off.
func auditLog(o *options, errs io.Writer) (*slog.Logger, error) {
	w := errs
	switch o.auditLog {
	case "", "off":
		return nil, nil
	case "stderr":
	default:
		f, err := appendTo("-audit-log", o.auditLog)
		if err != nil {
			return nil, err
		}
		w = f
	}
	h := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.LevelKey:
			return slog.Attr{}
		case slog.MessageKey:
			a.Key = "event"
		}
		return a
	}}
	return slog.New(slog.NewJSONHandler(w, h)).With("log", "openid-connect audit"), nil
}

// appendTo opens a file for lines. Each is appended by one write, so it may be
// truncated while it is open (logrotate's copytruncate).
func appendTo(flag, path string) (io.Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return f, nil
}

// publish adds what is counted elsewhere to the metrics.
func publish(m *metrics.Metrics, tokens *token.Cache, openings *session.Openings, caches *plugin.Caches, list session.Revocations) {
	cache := func(name string, count func() plugin.Count) {
		labels := map[string]string{"cache": name}
		m.Counter("cache_hits_total", "Values that were found in a cache.", labels, func() uint64 { return count().Hits })
		m.Counter("cache_misses_total", "Values that were not found in a cache, or were no longer fresh.", labels, func() uint64 { return count().Misses })
		m.Gauge("cache_entries", "Values that a cache holds, roughly.", labels, func() float64 { return float64(count().Entries) })
		m.Gauge("cache_bytes", "Memory that the values of a cache take, by an estimate.", labels, func() float64 { return float64(count().Bytes) })
	}
	cache("verified", func() plugin.Count {
		h, miss := tokens.Counts()
		return plugin.Count{Hits: h, Misses: miss, Entries: tokens.Len(), Bytes: tokens.Weight()}
	})
	cache("sessions", func() plugin.Count {
		h, miss := openings.Counts()
		return plugin.Count{Hits: h, Misses: miss, Entries: openings.Len(), Bytes: openings.Weight()}
	})
	m.Gauge("revocations", "Ended sessions and logins that this node lists in memory, of at most 2097152.", nil, func() float64 {
		if l, ok := list.(interface{ Listed() int }); ok {
			return float64(l.Listed())
		}
		return 0
	})
	for k, c := range caches.Counts() {
		cache(c.Name, func() plugin.Count { return caches.Counts()[k] })
	}
}

// publishServer adds the counts of the plugin server.
func publishServer(m *metrics.Metrics, s *server.Server, p *plugin.Plugin) {
	count := func(name, help string, of func(server.Stats) uint64) {
		m.Counter(name, help, nil, func() uint64 { return of(s.Stats()) })
	}
	count("kong_events_total", "Events that Kong sent.", func(s server.Stats) uint64 { return s.Events })
	count("kong_exits_total", "Events that were answered at the gateway.", func(s server.Stats) uint64 { return s.Exits })
	count("kong_failures_total", "Events answered by 500 because no decision could be made or written.", func(s server.Stats) uint64 { return s.Failures })
	count("kong_refused_total", "Decisions that Kong refused, and answered by 500 itself.", func(s server.Stats) uint64 { return s.Refused })
	count("kong_unknown_instances_total", "Events for an instance that this process does not know; Kong starts it anew.", func(s server.Stats) uint64 { return s.Unknown })
	count("kong_round_trips_total", "Round trips to Kong, of which an event needs one to read and one to write.", func(s server.Stats) uint64 { return s.Turns })
	count("kong_writes_total", "Writes to connections of Kong.", func(s server.Stats) uint64 { return s.Writes })
	m.Gauge("kong_connections", "Connections of Kong that are open.", nil, func() float64 { return float64(s.Stats().Connections) })
	m.Gauge("instances", "Instances that Kong has started and not closed.", nil, func() float64 { return float64(s.Stats().Instances) })
	m.Counter("policies_compiled_total", "Configurations that were compiled; equal ones share one.", nil, func() uint64 { _, n := p.Stats(); return n })
}
