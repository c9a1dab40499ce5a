package hosttest

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// Text encodes a message with one string field, whatever bytes it holds. An
// absent string is an empty message, as Kong sends it.
func Text(num protowire.Number, s string) []byte {
	if s == "" {
		return []byte{}
	}
	return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s)
}

// String encodes Kong's String reply.
func String(s string) []byte { return Text(1, s) }

// Int encodes Kong's Int and Bool.
func Int(n int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(n))
}

// Headers encodes a google.protobuf.Struct of header fields: one value as a
// string, several as a list. Bytes need not be UTF-8.
func Headers(h map[string][]string) []byte {
	b := []byte{}
	for name, values := range h {
		var v []byte
		if len(values) == 1 {
			v = protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), values[0])
		} else {
			var list []byte
			for _, s := range values {
				item := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), s)
				list = protowire.AppendBytes(protowire.AppendTag(list, 1, protowire.BytesType), item)
			}
			v = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), list)
		}
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), v)
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), entry)
	}
	return b
}

// Request is a request as Kong would describe it.
type Request struct {
	Method  string // GET when empty
	Target  string // path and query as sent; / when empty
	Headers map[string][]string
	Scheme  string // forwarded; http when empty
	Host    string // forwarded; localhost when empty
	Port    int    // forwarded; 8000 when 0
	Client  string // forwarded address; 127.0.0.1 when empty
	Trusted bool   // the peer stands in trusted_ips

	Credential string // id of the credential of an earlier plugin
	Body       []byte
	BodyFile   string // the file that holds the body instead
	Variables  map[string]string
}

// Answers returns the replies to everything that a plugin may ask of r, and
// records its calls.
func (r Request) Answers() *Answers {
	or := func(v, preset string) string {
		if v == "" {
			return preset
		}
		return v
	}
	port := r.Port
	if port == 0 {
		port = 8000
	}
	trusted := int64(0)
	if r.Trusted {
		trusted = 1
	}
	body := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), r.Body)
	if r.BodyFile != "" {
		body = Text(2, r.BodyFile)
	}
	replies := map[string][]byte{
		"kong.request.get_headers":          Headers(r.Headers),
		"kong.request.get_method":           String(or(r.Method, "GET")),
		"kong.request.get_path_with_query":  String(or(r.Target, "/")),
		"kong.request.get_forwarded_scheme": String(or(r.Scheme, "http")),
		"kong.request.get_forwarded_host":   String(or(r.Host, "localhost")),
		"kong.request.get_forwarded_port":   Int(int64(port)),
		"kong.request.get_raw_body":         body,
		"kong.client.get_forwarded_ip":      String(or(r.Client, "127.0.0.1")),
		"kong.client.get_ip":                String("127.0.0.1"),
		"kong.client.get_credential":        Text(1, r.Credential),
		"kong.ip.is_trusted":                Int(trusted),
	}
	return &Answers{Record: true, Replies: replies, Reply: func(method string, args []byte) ([]byte, bool) {
		if method != "kong.nginx.get_var" {
			return nil, true
		}
		m := &kong_plugin_protocol.String{}
		if proto.Unmarshal(args, m) != nil {
			return nil, false
		}
		return String(r.Variables[m.V]), true
	}}
}

// UpstreamHeaders returns the fields that set_headers calls set.
func (o *Outcome) UpstreamHeaders() (map[string][]string, error) {
	h := map[string][]string{}
	for _, c := range o.Calls {
		if c.Method != "kong.service.request.set_headers" {
			continue
		}
		m := &structpb.Struct{}
		if err := proto.Unmarshal(c.Args, m); err != nil {
			return nil, fmt.Errorf("set_headers: %w", err)
		}
		for name, v := range m.AsMap() {
			switch v := v.(type) {
			case string:
				h[name] = []string{v}
			case []any:
				h[name] = nil
				for _, s := range v {
					h[name] = append(h[name], fmt.Sprint(s))
				}
			default:
				return nil, fmt.Errorf("set_headers: %s is a %T", name, v)
			}
		}
	}
	return h, nil
}

// Cleared returns the names of the request headers that were cleared.
func (o *Outcome) Cleared() []string {
	var names []string
	for _, c := range o.Calls {
		if c.Method == "kong.service.request.clear_header" {
			m := &kong_plugin_protocol.String{}
			if proto.Unmarshal(c.Args, m) == nil {
				names = append(names, m.V)
			}
		}
	}
	return names
}

// Pairs returns the arguments of the calls of a method that takes a name and
// a string, such as kong.response.add_header.
func (o *Outcome) Pairs(method string) [][2]string {
	var pairs [][2]string
	for _, c := range o.Calls {
		if c.Method == method {
			m := &kong_plugin_protocol.KV{}
			if proto.Unmarshal(c.Args, m) == nil {
				pairs = append(pairs, [2]string{m.K, m.V.GetStringValue()})
			}
		}
	}
	return pairs
}

// Worker is an nginx worker's view of one plugin configuration: it keeps a
// connection and an instance, and repeats an event whose connection is closed,
// as Kong does; unlike Kong not without end.
type Worker struct {
	Path   string
	Config []byte
	// Tries bounds the deliveries of one event; 3 when 0.
	Tries int

	Starts int // instances started so far

	host *Host
	id   int32
}

// ErrLoop says that an event was answered by a closed connection each time.
var ErrLoop = errors.New("the plugin server closed the connection each time: Kong would repeat the event without end")

// Do delivers one request.
func (w *Worker) Do(a *Answers) (*Outcome, error) {
	tries := w.Tries
	if tries == 0 {
		tries = 3
	}
	for range tries {
		out, err := w.once(a)
		if err != nil && !errors.Is(err, ErrClosed) {
			return nil, err
		}
		if err == nil && !out.Closed {
			if !out.Passed {
				w.drop()
			}
			return out, nil
		}
		w.drop()
		w.id = 0
	}
	return nil, ErrLoop
}

func (w *Worker) once(a *Answers) (*Outcome, error) {
	var err error
	if w.host == nil {
		if w.host, err = Dial(w.Path); err != nil {
			return nil, err
		}
	}
	if w.id == 0 {
		if w.id, err = w.host.Start(w.Config); err != nil {
			return nil, err
		}
		w.Starts++
	}
	return w.host.Event(w.id, a)
}

// Instance returns the id of the worker's instance; 0 before the first event.
func (w *Worker) Instance() int32 { return w.id }

// Use makes the worker believe that it has an instance of that id.
func (w *Worker) Use(id int32) { w.id = id }

func (w *Worker) drop() {
	if w.host != nil {
		w.host.Close()
		w.host = nil
	}
}

// Close closes the worker's connection.
func (w *Worker) Close() { w.drop() }
