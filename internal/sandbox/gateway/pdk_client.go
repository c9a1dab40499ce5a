package gateway

import (
	"errors"
	"fmt"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
	"kong-openid-connect/internal/sandbox/gateway/schema"
)

func clientMethods() map[string]pdkMethod {
	const p = "kong.client."
	return map[string]pdkMethod{
		p + "get_ip":           stringCall(func(r *request) string { return r.peer.Addr().Unmap().String() }),
		p + "get_forwarded_ip": stringCall(func(r *request) string { return r.remoteAddr }),
		p + "get_port": func(r *request, _ []byte) ([]byte, error) {
			return protocol.Int(int64(r.peer.Port())), nil
		},
		p + "get_forwarded_port": func(r *request, _ []byte) ([]byte, error) { return protocol.Int(int64(r.remotePort)), nil },
		p + "get_protocol":       getProtocol,
		p + "get_consumer":       func(r *request, _ []byte) ([]byte, error) { return r.consumer.Encode(), nil },
		p + "get_credential":     func(r *request, _ []byte) ([]byte, error) { return r.credential.Encode(), nil },
		p + "load_consumer":      loadConsumer,
		p + "authenticate":       authenticate,
		"kong.ip.is_trusted": func(r *request, args []byte) ([]byte, error) {
			ip, err := protocol.DecodeString(args)
			return protocol.Bool(r.g.isTrusted(ip)), err
		},
	}
}

func getProtocol(r *request, args []byte) ([]byte, error) {
	allow, err := protocol.DecodeInt(args)
	if err != nil {
		return nil, err
	}
	if allow != 0 {
		return protocol.String(lower(r.xForwardedProto())), nil
	}
	return protocol.String(r.scheme), nil
}

func loadConsumer(r *request, args []byte) ([]byte, error) {
	id, byName, err := protocol.DecodeConsumerSpec(args)
	if err != nil {
		return nil, err
	}
	if !byName && !schema.IsUUID(id) {
		return nil, errors.New("cannot load a consumer with an id that is not a uuid")
	}
	return r.g.findConsumer(id, byName).Encode(), nil
}

// findConsumer finds a consumer by its id and, with byName, by its username.
func (g *Gateway) findConsumer(id string, byName bool) *protocol.Consumer {
	if id == "" {
		return nil
	}
	e := g.st().find("consumers", "id", id)
	if e == nil && byName {
		e = g.st().find("consumers", "username", id)
	}
	if e == nil {
		return nil
	}
	return &protocol.Consumer{ID: str(e["id"]), Username: str(e["username"]), CustomID: str(e["custom_id"]), CreatedAt: int64(num(e["created_at"])), Tags: strs(e["tags"])}
}

func authenticate(r *request, args []byte) ([]byte, error) {
	consumer, credential, err := protocol.DecodeAuthenticate(args)
	if err != nil {
		return nil, err
	}
	if consumer == nil && credential == nil {
		return nil, errors.New("either credential or consumer must be provided")
	}
	r.consumer, r.credential = consumer, credential
	return nil, nil
}

func contextMethods() map[string]pdkMethod {
	m := map[string]pdkMethod{
		"kong.ctx.shared.set": func(r *request, args []byte) ([]byte, error) { return nil, setKV(r.ctx, args) },
		"kong.ctx.shared.get": func(r *request, args []byte) ([]byte, error) { return getKey(r.ctx, args) },
		"kong.log.set_serialize_value": func(r *request, args []byte) ([]byte, error) {
			return nil, setKV(r.serialize, args)
		},
		"kong.log.serialize": stringCall(func(r *request) string { return cjson(r.serialize) }),
		"kong.node.get_id":   stringCall(func(r *request) string { return r.g.nodeID }),
		"kong.node.get_memory_stats": func(*request, []byte) ([]byte, error) {
			return nil, nil
		},
		"kong.router.get_route":   func(r *request, _ []byte) ([]byte, error) { return encodeRoute(r.match.e), nil },
		"kong.router.get_service": func(r *request, _ []byte) ([]byte, error) { return encodeService(r.service), nil },
	}
	for name, level := range map[string]string{"alert": "alert", "crit": "crit", "err": "error", "warn": "warn", "notice": "notice", "info": "info", "debug": "debug"} {
		m["kong.log."+name] = func(r *request, args []byte) ([]byte, error) {
			l, err := protocol.DecodeList(args)
			if err != nil {
				return nil, err
			}
			text := ""
			for _, v := range l {
				switch v := v.(type) {
				case string:
					text += v
				case float64:
					text += formatG(v, 14)
				case nil:
					text += "nil"
				case bool:
					text += fmt.Sprint(v)
				default:
					text += cjson(v)
				}
			}
			r.g.logf(level, "%s", text)
			return nil, nil
		}
	}
	return m
}

func setKV(m map[string]any, args []byte) error {
	k, v, err := protocol.DecodeKV(args)
	if err != nil {
		return err
	}
	if v == nil {
		delete(m, k)
		return nil
	}
	m[k] = v
	return nil
}

func getKey(m map[string]any, args []byte) ([]byte, error) {
	k, err := protocol.DecodeString(args)
	if err != nil {
		return nil, err
	}
	return protocol.EncodeValue(m[k]), nil
}

func encodeRoute(e entity) []byte {
	var b []byte
	b = protocol.AppendString(b, 1, str(e["id"]))
	b = protocol.AppendInt(b, 2, int64(num(e["created_at"])))
	b = protocol.AppendInt(b, 3, int64(num(e["updated_at"])))
	b = protocol.AppendString(b, 4, str(e["name"]))
	b = protocol.AppendStrings(b, 5, strs(e["protocols"]))
	b = protocol.AppendStrings(b, 6, strs(e["methods"]))
	b = protocol.AppendStrings(b, 7, strs(e["hosts"]))
	b = protocol.AppendStrings(b, 8, strs(e["paths"]))
	b = protocol.AppendInt(b, 10, int64(num(e["https_redirect_status_code"])))
	b = protocol.AppendInt(b, 11, int64(num(e["regex_priority"])))
	b = protocol.AppendBool(b, 12, e["strip_path"] == true)
	b = protocol.AppendBool(b, 13, e["preserve_host"] == true)
	b = protocol.AppendStrings(b, 14, strs(e["snis"]))
	b = protocol.AppendStrings(b, 17, strs(e["tags"]))
	if id := refID(e, "service"); id != "" {
		b = protocol.AppendString(b, 18, string(protocol.String(id)))
	}
	return b
}

func encodeService(e entity) []byte {
	if e == nil {
		return nil
	}
	var b []byte
	b = protocol.AppendString(b, 1, str(e["id"]))
	b = protocol.AppendInt(b, 2, int64(num(e["created_at"])))
	b = protocol.AppendInt(b, 3, int64(num(e["updated_at"])))
	b = protocol.AppendString(b, 4, str(e["name"]))
	b = protocol.AppendInt(b, 5, int64(num(e["retries"])))
	b = protocol.AppendString(b, 6, str(e["protocol"]))
	b = protocol.AppendString(b, 7, str(e["host"]))
	b = protocol.AppendInt(b, 8, int64(num(e["port"])))
	b = protocol.AppendString(b, 9, str(e["path"]))
	b = protocol.AppendInt(b, 10, int64(num(e["connect_timeout"])))
	b = protocol.AppendInt(b, 11, int64(num(e["write_timeout"])))
	b = protocol.AppendInt(b, 12, int64(num(e["read_timeout"])))
	b = protocol.AppendStrings(b, 13, strs(e["tags"]))
	if id := refID(e, "client_certificate"); id != "" {
		b = protocol.AppendString(b, 14, string(protocol.String(id)))
	}
	return b
}
