// Package metrics counts what the plugin server does, for Prometheus. It owns
// the client library: others hand it plain values through small interfaces of
// their own, and cmd wires them together. Labels take few values, all of them
// the program's own words: nothing that a client or a provider sent is one.
package metrics

import (
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// namespace begins every name.
const namespace = "openid_connect"

// maxReasons bounds the values of the label reason.
const maxReasons = 200

// Metrics is one process's. Its methods are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests  *prometheus.CounterVec
	latency   *prometheus.HistogramVec
	denials   *words
	sessions  *prometheus.CounterVec
	refusals  *words
	events    *prometheus.CounterVec
	calls     *prometheus.CounterVec
	callTime  *prometheus.HistogramVec
	discovery *prometheus.CounterVec
	rotations prometheus.Counter
}

// New returns metrics of a process of the given version, with those of the Go
// runtime and of the process beside its own.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("requests_total", "Requests decided, by the method whose credential was judged and what came of it.", "method", "outcome"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "request_duration_seconds", Help: "Time that deciding a request took, with the calls to the provider inside it.",
			Buckets: []float64{25e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 250e-3, 1, 2.5, 10, 30},
		}, []string{"outcome"}),
		denials:  bounded(counters("denials_total", "Requests denied, by reason.", "reason")),
		sessions: counters("sessions_total", "What became of sessions: started, touched, refreshed, ended, failed.", "event"),
		refusals: bounded(counters("session_refusals_total", "Session cookies that did not hold, by reason.", "reason")),
		events:   counters("events_total", "Logins, logouts and refreshes of sessions.", "event"),
		calls:    counters("provider_calls_total", "Calls to OpenID Providers by endpoint and outcome.", "endpoint", "outcome"),
		callTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "provider_call_duration_seconds", Help: "Time that calls to OpenID Providers took.",
			Buckets: []float64{1e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10, 20},
		}, []string{"endpoint"}),
		discovery: counters("discoveries_total", "Attempts to learn a provider's metadata and keys.", "outcome"),
		rotations: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "key_rotations_total", Help: "Rotations of the plugin's own keys that were asked of this process."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "1, with the version in its labels.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(build, m.requests, m.latency, m.denials.vec, m.sessions, m.refusals.vec, m.events, m.calls, m.callTime, m.discovery, m.rotations,
		// What is live after a collection tells a leak from garbage.
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)})),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func bounded(vec *prometheus.CounterVec) *words { return &words{vec: vec, limit: maxReasons} }

// Handler answers with all of them, in the text formats of Prometheus and OpenMetrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Request returns what counts the requests of one method, "" where no
// credential was found, and one outcome. Callers keep it, so that a request
// looks no label up.
func (m *Metrics) Request(method, outcome string) func(took time.Duration) {
	if method == "" {
		method = "none"
	}
	count, latency := m.requests.WithLabelValues(method, outcome), m.latency.WithLabelValues(outcome)
	return func(took time.Duration) {
		count.Inc()
		latency.Observe(took.Seconds())
	}
}

// Denied counts a request that was denied.
func (m *Metrics) Denied(reason string) { m.denials.count(reason) }

// Session returns what counts one thing that becomes of sessions.
func (m *Metrics) Session(event string) func() { return m.sessions.WithLabelValues(event).Inc }

// SessionRefused counts a session cookie that did not hold.
func (m *Metrics) SessionRefused(reason string) { m.refusals.count(reason) }

// Event counts a login, a logout or a refresh.
func (m *Metrics) Event(kind string) { m.events.WithLabelValues(kind).Inc() }

// ProviderCall counts a call. status is that of the answer, 0 where none came.
func (m *Metrics) ProviderCall(endpoint string, status int, took time.Duration) {
	endpoint = strings.ReplaceAll(endpoint, " ", "_")
	m.calls.WithLabelValues(endpoint, statusClass(status)).Inc()
	m.callTime.WithLabelValues(endpoint).Observe(took.Seconds())
}

func statusClass(status int) string {
	switch {
	case status == 0:
		return "failed"
	case status < 200 || status > 599:
		return "other"
	}
	return string(rune('0'+status/100)) + "xx"
}

// Discovered counts an attempt to learn a provider's metadata and keys.
func (m *Metrics) Discovered(err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	m.discovery.WithLabelValues(outcome).Inc()
}

// Rotated counts a rotation of the plugin's own keys.
func (m *Metrics) Rotated() { m.rotations.Inc() }

// Counter publishes a count that is kept elsewhere. labels are pairs of names and values.
func (m *Metrics) Counter(name, help string, labels map[string]string, value func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(value()) }))
}

// Gauge publishes a state that is kept elsewhere.
func (m *Metrics) Gauge(name, help string, labels map[string]string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, value))
}
