package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
)

// control mounts the interface for tests below /sandbox/:
//
//	GET    /sandbox/faults        faults in force, how often each acted, all that exist
//	PUT    /sandbox/faults        one Fault, or a list of them
//	DELETE /sandbox/faults        all, or those of ?fault=
//	POST   /sandbox/rotate-keys   {"keep": true} publishes the replaced keys further
//	GET    /sandbox/requests      counts and records, of ?endpoint= if given
//	DELETE /sandbox/requests      forgets them
//	POST   /sandbox/token         a TokenRequest; answers {"token": ...}
//	PUT    /sandbox/clients       one Client; PUT /sandbox/users one User
//	DELETE /sandbox/sessions      ends all sessions and grants of ?username=
//	PUT    /sandbox/clock         {"offset": "1h"} moves the provider's clock
func (p *Provider) control() {
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !p.mayControl(r) {
				writeError(w, oauthError{http.StatusForbidden, "access_denied", "the control interface answers to programs on this machine only"})
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := h(w, r); err != nil {
				var e oauthError
				if !errors.As(err, &e) {
					e = refuse("invalid_request", err.Error())
				}
				writeError(w, e)
			}
		})
	}
	handle("GET /sandbox/faults", func(w http.ResponseWriter, _ *http.Request) error {
		fired, docs := map[string]int{}, map[string]string{}
		for name, kind := range catalogue {
			docs[name] = kind.doc
			if n := p.faults.Fired(name); n > 0 {
				fired[name] = n
			}
		}
		writeJSON(w, http.StatusOK, map[string]any{"active": p.faults.Active(), "fired": fired, "available": docs})
		return nil
	})
	handle("PUT /sandbox/faults", func(w http.ResponseWriter, r *http.Request) error {
		var raw json.RawMessage
		if err := read(r, &raw); err != nil {
			return err
		}
		var list []Fault
		if json.Unmarshal(raw, new([]json.RawMessage)) != nil {
			raw = append(append([]byte{'['}, raw...), ']')
		}
		if err := strict(raw, &list); err != nil {
			return err
		}
		for _, f := range list {
			if err := p.faults.Set(f); err != nil {
				return err
			}
		}
		return done(w)
	})
	handle("DELETE /sandbox/faults", func(w http.ResponseWriter, r *http.Request) error {
		if name := r.URL.Query().Get("fault"); name != "" {
			p.faults.Remove(name)
		} else {
			p.faults.Clear()
		}
		return done(w)
	})
	handle("POST /sandbox/rotate-keys", func(w http.ResponseWriter, r *http.Request) error {
		var q struct {
			Keep bool `json:"keep"`
		}
		if r.ContentLength != 0 {
			if err := read(r, &q); err != nil {
				return err
			}
		}
		if err := p.keys.Rotate(q.Keep); err != nil {
			return err
		}
		kids := map[string]string{}
		for _, alg := range asymmetric {
			kids[alg] = p.keys.KeyID(alg)
		}
		writeJSON(w, http.StatusOK, kids)
		return nil
	})
	handle("GET /sandbox/requests", func(w http.ResponseWriter, r *http.Request) error {
		writeJSON(w, http.StatusOK, map[string]any{"counts": p.Counts(), "requests": p.Records(r.URL.Query().Get("endpoint"))})
		return nil
	})
	handle("DELETE /sandbox/requests", func(w http.ResponseWriter, _ *http.Request) error {
		p.ResetRecords()
		return done(w)
	})
	handle("POST /sandbox/token", func(w http.ResponseWriter, r *http.Request) error {
		var q TokenRequest
		if err := read(r, &q); err != nil {
			return err
		}
		token, err := p.Mint(q)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, map[string]any{"token": token})
		return nil
	})
	handle("PUT /sandbox/clients", func(w http.ResponseWriter, r *http.Request) error {
		var c Client
		if err := read(r, &c); err != nil {
			return err
		}
		if err := p.SetClient(c); err != nil {
			return err
		}
		return done(w)
	})
	handle("PUT /sandbox/users", func(w http.ResponseWriter, r *http.Request) error {
		var u User
		if err := read(r, &u); err != nil {
			return err
		}
		if err := p.SetUser(u); err != nil {
			return err
		}
		return done(w)
	})
	handle("DELETE /sandbox/sessions", func(w http.ResponseWriter, r *http.Request) error {
		p.RevokeSessions(r.URL.Query().Get("username"))
		return done(w)
	})
	handle("PUT /sandbox/clock", func(w http.ResponseWriter, r *http.Request) error {
		var q struct {
			Offset Duration `json:"offset"`
		}
		if err := read(r, &q); err != nil {
			return err
		}
		p.offset.Store(int64(q.Offset))
		return done(w)
	})
}

// mayControl keeps other machines out, and web pages that a browser of this
// machine shows: those name their origin, or a host that is not loopback.
func (p *Provider) mayControl(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return false
		}
	}
	if p.remote {
		return true
	}
	peer, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !loopbackHost(peer) {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return loopbackHost(host)
}

func read(r *http.Request, v any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return oauthError{http.StatusUnsupportedMediaType, "invalid_request", "send the body with Content-Type: application/json"}
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return oauthError{http.StatusRequestEntityTooLarge, "invalid_request", "reading the body failed, or it is larger than 1 MB"}
	}
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = b
		return nil
	}
	return strict(b, v)
}

// strict refuses misspelt members, and keeps numbers as they are written.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return refuse("invalid_request", "reading the body: "+err.Error())
	}
	return nil
}

func done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
