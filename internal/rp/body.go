package rp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/url"
	"strings"
)

// MaxBody bounds the request bodies that are searched for credentials. A
// larger body holds none.
const MaxBody = 1 << 20

// MaxArgs bounds the arguments of a query or form that are looked at.
const MaxArgs = 1000

type form struct {
	kind   formKind
	values url.Values     // form bodies
	object map[string]any // JSON bodies
}

type formKind uint8

const (
	formNone formKind = iota
	formURLEncoded
	formJSON
)

// Query returns the first value of a query argument. ok tells an empty one from none.
func (r *Request) Query(ctx context.Context, name string) (string, bool, error) {
	q, err := r.queryValues(ctx)
	if err != nil {
		return "", false, err
	}
	v, ok := q[name]
	if !ok || len(v) == 0 {
		return "", false, nil
	}
	return v[0], true, nil
}

func (r *Request) queryValues(ctx context.Context) (url.Values, error) {
	if r.hasQuery {
		return r.query, nil
	}
	if err := r.Need(ctx, NeedTarget); err != nil {
		return nil, err
	}
	r.query = parseArgs(r.RawQuery)
	r.hasQuery = true
	return r.query, nil
}

// parseArgs reads application/x-www-form-urlencoded text. Pairs that do not
// decode are left out: they cannot be a credential.
func parseArgs(s string) url.Values {
	if s == "" {
		return nil
	}
	v := url.Values{}
	for n := 0; s != "" && n < MaxArgs; n++ {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		key, value, _ := strings.Cut(pair, "=")
		k, err := url.QueryUnescape(key)
		if err != nil {
			continue
		}
		val, err := url.QueryUnescape(value)
		if err != nil {
			continue
		}
		v[k] = append(v[k], val)
	}
	return v
}

// BodyArg returns an argument of a form or JSON body. JSON null is absent, and
// so is anything in a body that is neither or that is too large.
func (r *Request) BodyArg(ctx context.Context, name string) (string, bool, error) {
	if err := r.parseForm(ctx); err != nil {
		return "", false, err
	}
	switch r.form.kind {
	case formURLEncoded:
		if v := r.form.values[name]; len(v) > 0 {
			return v[0], true, nil
		}
	case formJSON:
		switch v := r.form.object[name].(type) {
		case string:
			return v, true, nil
		case json.Number:
			return v.String(), true, nil
		}
	}
	return "", false, nil
}

// formValue returns an argument of a form body that stands there once; "" where
// it does not, or where the body is no form.
func (r *Request) formValue(ctx context.Context, name string) (string, error) {
	if err := r.parseForm(ctx); err != nil {
		return "", err
	}
	if v := r.form.values[name]; r.form.kind == formURLEncoded && len(v) == 1 {
		return v[0], nil
	}
	return "", nil
}

func (r *Request) parseForm(ctx context.Context) error {
	if r.form != nil {
		return nil
	}
	kind := bodyKind(r.Header.Get("content-type"))
	if kind != formNone {
		if err := r.Need(ctx, NeedMethod); err != nil {
			return err
		}
		if r.Method == "GET" || r.Method == "HEAD" || isUpgrade(r.Header) {
			kind = formNone
		}
	}
	if kind == formNone {
		r.form = &form{}
		return nil
	}
	body, err := r.Gateway.Body(ctx, MaxBody)
	if errors.Is(err, ErrBodyTooLarge) {
		r.form = &form{}
		return nil
	}
	if err != nil {
		return err
	}
	f := &form{kind: kind}
	switch kind {
	case formURLEncoded:
		f.values = parseArgs(string(body))
	case formJSON:
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		if dec.Decode(&f.object) != nil {
			f.object = nil
		} else if _, err := dec.Token(); err != io.EOF {
			f.object = nil
		}
	}
	r.form = f
	return nil
}

// isUpgrade reports whether a request opens a WebSocket or the like: what
// follows its header is no body (behaviour.md 15.5).
func isUpgrade(h Header) bool { return h.Get("upgrade") != "" }

func bodyKind(contentType string) formKind {
	if contentType == "" {
		return formNone
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return formNone
	}
	switch t {
	case "application/x-www-form-urlencoded":
		return formURLEncoded
	case "application/json":
		return formJSON
	}
	return formNone
}

// arg returns an argument by the places query and body, in that order.
func (r *Request) arg(ctx context.Context, p Places, name string) (string, Place, error) {
	if p.Query {
		if v, ok, err := r.Query(ctx, name); err != nil || ok && v != "" {
			return v, PlaceQuery, err
		}
	}
	if p.Body {
		if v, ok, err := r.BodyArg(ctx, name); err != nil || ok && v != "" {
			return v, PlaceBody, err
		}
	}
	return "", 0, nil
}
