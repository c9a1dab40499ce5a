package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/jwks/own"
	"kong-openid-connect/internal/metrics"
)

// statusObjects bounds the issuers that the status page lists.
const statusObjects = 100

// status collects what the status page shows.
func (p *process) status(started time.Time, discovery admin.Discovery) func(context.Context) admin.Status {
	return func(ctx context.Context) admin.Status {
		now := time.Now()
		health := p.backing.Health(ctx)
		s := admin.Status{Version: version, Up: age(now, started), Now: now.UTC().Format(time.RFC3339), Store: p.backing.Mode, Ready: health.Ready}
		for part, err := range health.Parts {
			if err != nil {
				s.Store += " (" + part + " unavailable)"
			}
		}
		values := p.metrics.Values()
		s.Tables = []admin.Table{
			p.issuers(ctx, now, discovery),
			p.keys(now),
			counted("Requests", values["requests_total"], "method", "outcome"),
			counted("Refusals by reason", values["denials_total"], "reason"),
			counted("Sessions", values["sessions_total"], "event"),
			counted("Session cookies refused", values["session_refusals_total"], "reason"),
			counted("Calls to providers", values["provider_calls_total"], "endpoint", "outcome"),
			caches(values),
		}
		return s
	}
}

func (p *process) issuers(ctx context.Context, now time.Time, d admin.Discovery) admin.Table {
	t := admin.Table{Title: "Issuers", Head: []string{"Issuer, as configured", "Known for", "Metadata", "Keys"}}
	objects, err := d.List(ctx, "", statusObjects)
	if err != nil {
		t.Title += " (the store cannot be asked)"
		return t
	}
	for _, o := range objects {
		metadata := "none"
		if len(o.Configuration) > 2 {
			metadata = "yes"
		}
		t.Rows = append(t.Rows, []string{o.Issuer, age(now, o.CreatedAt), metadata, strconv.Itoa(len(o.Keys))})
	}
	return t
}

func (p *process) keys(now time.Time) admin.Table {
	t := admin.Table{Title: "The plugin's own keys", Head: []string{"Key", "Algorithm", "Age", "Use"}}
	pairs := p.backing.Keys.Pairs()
	slices.SortFunc(pairs, func(a, b own.Pair) int {
		return cmp.Or(strings.Compare(a.Algorithm, b.Algorithm), b.Created.Compare(a.Created))
	})
	for _, k := range pairs {
		use := "signs"
		if k.Previous {
			use = "published only"
		}
		t.Rows = append(t.Rows, []string{k.KID, k.Algorithm, age(now, k.Created), use})
	}
	return t
}

// counted shows the series of a metric by its labels.
func counted(title string, series []metrics.Value, labels ...string) admin.Table {
	t := admin.Table{Title: title}
	for _, l := range labels {
		t.Head = append(t.Head, strings.ToUpper(l[:1])+l[1:])
	}
	t.Head = append(t.Head, "Count")
	for _, v := range series {
		row := make([]string, 0, len(labels)+1)
		for _, l := range labels {
			row = append(row, v.Labels[l])
		}
		t.Rows = append(t.Rows, append(row, count(v)))
	}
	return t
}

func caches(values map[string][]metrics.Value) admin.Table {
	t := admin.Table{Title: "Caches", Head: []string{"Cache", "Entries", "Size", "Hits", "Misses"}}
	bytes, hits, misses := values["cache_bytes"], values["cache_hits_total"], values["cache_misses_total"]
	for i, e := range values["cache_entries"] {
		t.Rows = append(t.Rows, []string{e.Labels["cache"], count(e), size(bytes[i].Value), count(hits[i]), count(misses[i])})
	}
	return t
}

func count(v metrics.Value) string { return strconv.FormatFloat(v.Value, 'f', -1, 64) }

// size says how many bytes those are, in the unit that keeps it short.
func size(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if bytes < 1024 {
			return strconv.FormatFloat(bytes, 'f', 0, 64) + " " + unit
		}
		bytes /= 1024
	}
	return strconv.FormatFloat(bytes, 'f', 1, 64) + " GiB"
}

// age says how long ago something was, in its largest two units.
func age(now, then time.Time) string {
	d := now.Sub(then)
	switch {
	case then.IsZero():
		return "unknown"
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}
