package provider

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Record is one request that the provider received. Its JSON form shows the
// names of all arguments and the values of those that are no secrets; the Go
// form holds all of them.
type Record struct {
	Time     time.Time
	Endpoint string
	Method   string
	// Client and AuthMethod are what the request claimed, true or not.
	Client     string
	AuthMethod string
	GrantType  string
	Status     int // 0 while unanswered, and for a broken connection
	Header     http.Header
	// Form holds the arguments of query and body.
	Form url.Values
}

// MarshalJSON leaves secrets out.
func (r Record) MarshalJSON() ([]byte, error) {
	form := url.Values{}
	for name, values := range r.Form {
		if secretArguments[name] {
			values = slices.Repeat([]string{"[redacted]"}, len(values))
		}
		form[name] = values
	}
	return json.Marshal(map[string]any{
		"time": r.Time.UTC().Format(time.RFC3339Nano), "endpoint": r.Endpoint, "method": r.Method, "client_id": r.Client,
		"auth_method": r.AuthMethod, "grant_type": r.GrantType, "status": r.Status, "form": form,
		"headers": slices.Sorted(maps.Keys(r.Header)),
	})
}

// secretArguments is never written to.
var secretArguments = map[string]bool{
	"password": true, "client_secret": true, "client_assertion": true, "code": true, "code_verifier": true,
	"refresh_token": true, "access_token": true, "token": true, "id_token_hint": true, "request": true,
	"subject_token": true, "actor_token": true, "login": true, "assertion": true,
}

// maxRecords bounds what is remembered in full; counts go on.
const maxRecords = 2000

type records struct {
	mu     sync.Mutex
	counts map[string]int
	list   []*Record
}

// begin counts a request as soon as it is known, so that one which is never
// answered is seen too.
func (r *records) begin(rec Record) *Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = map[string]int{}
	}
	r.counts[rec.Endpoint]++
	if len(r.list) >= maxRecords {
		r.list = slices.Delete(r.list, 0, maxRecords/2)
	}
	r.list = append(r.list, &rec)
	return &rec
}

func (r *records) end(rec *Record, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.Status = status
}

// Count is the number of requests that an endpoint has received since the last
// ResetRecords.
func (p *Provider) Count(endpoint string) int {
	p.records.mu.Lock()
	defer p.records.mu.Unlock()
	return p.records.counts[endpoint]
}

// Counts are the numbers of requests of all endpoints that had any.
func (p *Provider) Counts() map[string]int {
	p.records.mu.Lock()
	defer p.records.mu.Unlock()
	out := map[string]int{}
	maps.Copy(out, p.records.counts)
	return out
}

// Records lists the last requests of an endpoint, or of all if it is "", oldest
// first. The status of a request that is still being answered is 0.
func (p *Provider) Records(endpoint string) []Record {
	p.records.mu.Lock()
	defer p.records.mu.Unlock()
	out := []Record{}
	for _, r := range p.records.list {
		if endpoint == "" || r.Endpoint == endpoint {
			c := *r
			c.Form, c.Header = maps.Clone(r.Form), maps.Clone(r.Header)
			out = append(out, c)
		}
	}
	return out
}

// ResetRecords forgets all requests and counts.
func (p *Provider) ResetRecords() {
	p.records.mu.Lock()
	defer p.records.mu.Unlock()
	p.records.counts, p.records.list = nil, nil
}

// statusWriter remembers the status for the record.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find Flush and Hijack.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
