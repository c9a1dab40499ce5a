package gateway

import (
	"fmt"
	"maps"
	"strings"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// A pdkMethod runs one call of the plugin and returns the reply. An error is
// what Lua would have raised: it ends the event.
type pdkMethod func(r *request, args []byte) ([]byte, error)

var pdkMethods = func() map[string]pdkMethod {
	m := map[string]pdkMethod{}
	for _, part := range []map[string]pdkMethod{requestMethods(), clientMethods(), serviceMethods(), responseMethods(), contextMethods(), nginxMethods()} {
		maps.Copy(m, part)
	}
	return m
}()

// stringCall is a method that takes nothing and returns a string.
func stringCall(f func(*request) string) pdkMethod {
	return func(r *request, _ []byte) ([]byte, error) { return protocol.String(f(r)), nil }
}

// notInAccess is a method of the PDK that Kong refuses in the access phase.
func notInAccess(name, phases string) pdkMethod {
	return func(*request, []byte) ([]byte, error) {
		return nil, fmt.Errorf("function cannot be called in access phase (only in: %s): %s", phases, name)
	}
}

// headerValues turns a Lua value into header values. ok is false where Kong raises.
func headerValues(name string, v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case float64:
		return []string{formatG(v, 14)}, nil
	case bool:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		out := []string{}
		for _, e := range v {
			s, err := headerValues(name, e)
			if err != nil || len(s) != 1 {
				return nil, fmt.Errorf("invalid header value in array for %q: got %s, expected string, number or boolean", name, luaType(e))
			}
			out = append(out, s[0])
		}
		return out, nil
	case map[string]any:
		// Kong looks at the list part of a table, and this one has none.
		return nil, nil
	}
	return nil, fmt.Errorf("invalid header value for %q: got %s, expected array of string, string, number or boolean", name, luaType(v))
}

func luaType(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "table"
}

func requestMethods() map[string]pdkMethod {
	const p = "kong.request."
	return map[string]pdkMethod{
		p + "get_scheme":           stringCall(func(r *request) string { return r.scheme }),
		p + "get_host":             stringCall(func(r *request) string { return r.host }),
		p + "get_port":             func(r *request, _ []byte) ([]byte, error) { return protocol.Int(int64(r.port)), nil },
		p + "get_forwarded_scheme": stringCall(func(r *request) string { return lower(r.xForwardedProto()) }),
		p + "get_forwarded_host":   stringCall(func(r *request) string { return lower(stripPort(r.xForwardedHost())) }),
		p + "get_forwarded_port":   forwardedPort,
		p + "get_http_version": func(r *request, _ []byte) ([]byte, error) {
			return protocol.Number(r.httpVersion()), nil
		},
		p + "get_method":          stringCall(func(r *request) string { return r.method }),
		p + "get_path":            stringCall(func(r *request) string { return r.normal }),
		p + "get_raw_path":        stringCall(func(r *request) string { return r.path }),
		p + "get_path_with_query": stringCall(func(r *request) string { return r.target }),
		p + "get_raw_query":       stringCall(func(r *request) string { return r.args }),
		p + "get_query_arg":       getQueryArg,
		p + "get_query":           getQuery,
		p + "get_header":          getHeader,
		p + "get_headers":         getHeaders,
		p + "get_raw_body":        getRawBody,
		p + "get_uri_captures":    getURICaptures,
	}
}

func forwardedPort(r *request, _ []byte) ([]byte, error) {
	n := 0
	for _, c := range r.xForwardedPort() {
		if c < '0' || c > '9' || n > 99999 {
			return protocol.Int(int64(r.port)), nil
		}
		n = n*10 + int(c-'0')
	}
	return protocol.Int(int64(n)), nil
}

func getQueryArg(r *request, args []byte) ([]byte, error) {
	name, err := protocol.DecodeString(args)
	if err != nil {
		return nil, err
	}
	v := queryArgs(r.args, 100)[name]
	if l, ok := v.([]any); ok {
		v = l[0]
	}
	if v == true {
		return nil, fmt.Errorf("bad argument #2 to 'encode' (string expected for field 'v', got boolean)")
	}
	return protocol.String(str(v)), nil
}

func limited(args []byte, what string) (int, error) {
	n, err := protocol.DecodeInt(args)
	switch {
	case err != nil:
		return 0, err
	case n < 1:
		return 0, fmt.Errorf("%s must be >= 1", what)
	case n > 1000:
		return 0, fmt.Errorf("%s must be <= 1000", what)
	}
	return int(n), nil
}

func getQuery(r *request, args []byte) ([]byte, error) {
	n, err := limited(args, "max_args")
	if err != nil {
		return nil, err
	}
	return protocol.EncodeStruct(queryArgs(r.args, n)), nil
}

func getHeader(r *request, args []byte) ([]byte, error) {
	name, err := protocol.DecodeString(args)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(name, "cookie") {
		return protocol.String(strings.Join(all(r.headers, name), "; ")), nil
	}
	for _, h := range r.headers {
		if lower(h.name) == name {
			return protocol.String(h.value), nil
		}
	}
	// Lua's table of headers answers a name that it does not hold by its canonical form.
	canonical := strings.ReplaceAll(lower(name), "_", "-")
	return protocol.String(get(r.headers, canonical)), nil
}

func getHeaders(r *request, args []byte) ([]byte, error) {
	n, err := limited(args, "max_headers")
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	for i, h := range r.headers {
		if i >= n {
			break
		}
		k := lower(h.name)
		switch old := m[k].(type) {
		case nil:
			m[k] = h.value
		case []any:
			m[k] = append(old, h.value)
		default:
			m[k] = []any{old, h.value}
		}
	}
	return protocol.EncodeStruct(m), nil
}

func getRawBody(r *request, _ []byte) ([]byte, error) {
	if err := r.body.read(); err != nil {
		return nil, err
	}
	if r.body.file != "" {
		return protocol.RawBodyFile(r.body.file), nil
	}
	return protocol.RawBodyContent(r.body.data), nil
}

func getURICaptures(r *request, _ []byte) ([]byte, error) {
	var b []byte
	if r.match == nil || !r.match.regex {
		return nil, nil
	}
	b = protocol.AppendStrings(b, 1, r.match.unnamed)
	for _, k := range sortedKeys(r.match.named) {
		e := protocol.AppendString(protocol.AppendString(nil, 1, k), 2, r.match.named[k])
		b = protocol.AppendString(b, 2, string(e))
	}
	return b, nil
}
