package gateway

import (
	"errors"
	"fmt"
	"strings"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

const settableMethods = " GET HEAD PUT POST DELETE OPTIONS MKCOL COPY MOVE PROPFIND PROPPATCH LOCK UNLOCK PATCH TRACE CONNECT "

func serviceMethods() map[string]pdkMethod {
	const p = "kong.service.request."
	m := map[string]pdkMethod{
		p + "set_scheme": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err != nil {
				return nil, err
			}
			if s != "http" && s != "https" {
				return nil, errors.New("invalid scheme: " + s)
			}
			r.up.scheme = s
			return nil, nil
		},
		p + "set_path": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err != nil {
				return nil, err
			}
			if !strings.HasPrefix(s, "/") {
				return nil, errors.New("path must start with /")
			}
			r.up.uri = escapePath(s)
			return nil, nil
		},
		p + "set_raw_query": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			r.up.args = escapeRawQuery(s)
			return nil, err
		},
		p + "set_method": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err != nil {
				return nil, err
			}
			if s == "" || !strings.Contains(settableMethods, " "+s+" ") {
				return nil, errors.New("invalid method: " + s)
			}
			r.method = s
			return nil, nil
		},
		p + "set_query":   setQuery,
		p + "set_header":  setUpstreamHeader,
		p + "add_header":  addUpstreamHeader,
		p + "set_headers": setUpstreamHeaders,
		p + "clear_header": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err == nil {
				r.headers = setHeader(r.headers, s)
			}
			return nil, err
		},
		p + "set_raw_body": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err != nil {
				return nil, err
			}
			if err := r.body.read(); err != nil {
				return nil, err
			}
			r.up.body, r.up.bodySet = []byte(s), true
			return nil, nil
		},
		"kong.service.set_target": func(r *request, args []byte) ([]byte, error) {
			host, port, err := protocol.DecodeTarget(args)
			if err != nil {
				return nil, err
			}
			if host == "" || port < 0 || port > 65535 {
				return nil, errors.New("port must be an integer between 0 and 65535: given " + fmt.Sprint(port))
			}
			r.up.host, r.up.port = host, port
			return nil, nil
		},
		"kong.service.set_upstream": func(*request, []byte) ([]byte, error) {
			// The sandbox has no upstream entities; Kong answers false for a name that it does not know.
			return protocol.Bool(false), nil
		},
	}
	for _, name := range []string{"get_status", "get_header", "get_headers", "get_raw_body"} {
		m["kong.service.response."+name] = notInAccess("kong.service.response."+name, "header_filter, body_filter, log")
	}
	return m
}

func setQuery(r *request, args []byte) ([]byte, error) {
	m, err := protocol.DecodeStruct(args)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, k := range sortedKeys(m) {
		values, isList := m[k].([]any)
		if !isList {
			values = []any{m[k]}
		}
		for _, v := range values {
			switch v := v.(type) {
			case string:
				parts = append(parts, escapeArg(k)+"="+escapeArg(v))
			case float64:
				parts = append(parts, escapeArg(k)+"="+formatG(v, 14))
			case bool:
				parts = append(parts, escapeArg(k))
			default:
				return nil, fmt.Errorf("invalid query value for %q: got %s", k, luaType(v))
			}
		}
	}
	r.up.args = strings.Join(parts, "&")
	return nil, nil
}

// setHeaderLines puts values under a name, escaped, in the request's own list:
// what is set is what get_headers answers from then on.
func (r *request) setHeaderLines(name string, values []string) {
	if strings.EqualFold(name, "host") && len(values) > 0 {
		r.up.hostHeader = escapeHeaderValue(values[len(values)-1])
	}
	for i := range values {
		values[i] = escapeHeaderValue(values[i])
	}
	r.headers = setHeader(r.headers, escapeHeaderName(name), values...)
}

func setUpstreamHeader(r *request, args []byte) ([]byte, error) {
	k, v, err := protocol.DecodeKV(args)
	if err != nil {
		return nil, err
	}
	values, err := headerValues(k, v)
	if err != nil {
		return nil, err
	}
	r.setHeaderLines(k, values)
	return nil, nil
}

func addUpstreamHeader(r *request, args []byte) ([]byte, error) {
	k, v, err := protocol.DecodeKV(args)
	if err != nil {
		return nil, err
	}
	values, err := headerValues(k, v)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(k, "host") {
		r.setHeaderLines(k, values)
		return nil, nil
	}
	for _, v := range values {
		r.headers = append(r.headers, header{escapeHeaderName(k), escapeHeaderValue(v)})
	}
	return nil, nil
}

func setUpstreamHeaders(r *request, args []byte) ([]byte, error) {
	m, err := protocol.DecodeStruct(args)
	if err != nil {
		return nil, err
	}
	for _, k := range sortedKeys(m) {
		values, err := headerValues(k, m[k])
		if err != nil {
			return nil, err
		}
		if _, isMap := m[k].(map[string]any); isMap {
			// A table without a list part is an empty list to Lua.
			values = nil
		}
		r.setHeaderLines(k, values)
	}
	return nil, nil
}

// Response headers of which nginx keeps one value only.
var singleResponseHeader = map[string]bool{
	"www-authenticate": true, "location": true, "content-type": true, "content-length": true, "content-encoding": true, "server": true,
	"date": true, "etag": true, "expires": true, "last-modified": true, "refresh": true, "content-range": true, "accept-ranges": true,
}

func (r *request) setResponse(hs []header, name string, values []string, add bool) []header {
	if name == "" {
		return hs
	}
	n := escapeHeaderName(name)
	if len(values) > 1 && singleResponseHeader[lower(n)] {
		values = values[len(values)-1:]
	}
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = escapeHeaderValue(v)
	}
	if add && !singleResponseHeader[lower(n)] {
		for _, v := range escaped {
			hs = append(hs, header{n, v})
		}
		return hs
	}
	return setHeader(hs, n, escaped...)
}

func responseMethods() map[string]pdkMethod {
	const p = "kong.response."
	setter := func(add bool) pdkMethod {
		return func(r *request, args []byte) ([]byte, error) {
			k, v, err := protocol.DecodeKV(args)
			if err != nil {
				return nil, err
			}
			values, err := headerValues(k, v)
			if err != nil {
				return nil, err
			}
			r.respHdr = r.setResponse(r.respHdr, k, values, add)
			return nil, nil
		}
	}
	m := map[string]pdkMethod{
		p + "set_header": setter(false),
		p + "add_header": setter(true),
		p + "clear_header": func(r *request, args []byte) ([]byte, error) {
			s, err := protocol.DecodeString(args)
			if err == nil {
				r.respHdr = setHeader(r.respHdr, s)
			}
			return nil, err
		},
		p + "set_headers": func(r *request, args []byte) ([]byte, error) {
			m, err := protocol.DecodeStruct(args)
			if err != nil {
				return nil, err
			}
			for _, k := range sortedKeys(m) {
				values, err := headerValues(k, m[k])
				if err != nil {
					return nil, err
				}
				r.respHdr = r.setResponse(r.respHdr, k, values, false)
			}
			return nil, nil
		},
		p + "set_status": func(r *request, args []byte) ([]byte, error) {
			n, err := protocol.DecodeInt(args)
			if err != nil {
				return nil, err
			}
			if n < 100 || n > 599 {
				return nil, errors.New("code must be a number between 100 and 599")
			}
			return nil, nil
		},
		p + "exit": exit,
	}
	for _, name := range []string{"get_status", "get_header", "get_headers", "get_source"} {
		m[p+name] = notInAccess(p+name, "response, header_filter, body_filter, log, admin_api")
	}
	return m
}

func exit(r *request, args []byte) ([]byte, error) {
	e, err := protocol.DecodeExit(args)
	if err != nil {
		return nil, err
	}
	if e.Status < 100 || e.Status > 599 {
		return nil, errors.New("code must be a number between 100 and 599")
	}
	a := &answer{status: int(e.Status), body: e.Body}
	for _, k := range sortedKeys(e.Headers) {
		values, err := headerValues(k, e.Headers[k])
		if err != nil {
			return nil, err
		}
		if lower(k) == "content-length" {
			continue
		}
		a.headers = r.setResponse(a.headers, k, values, false)
	}
	grpcDenial(r, a)
	r.answer = a
	return nil, errExit
}
