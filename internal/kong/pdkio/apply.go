package pdkio

import (
	"fmt"
	"strings"

	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/client"
	"github.com/Kong/go-pdk/entities"
	"google.golang.org/protobuf/encoding/protowire"

	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// Finish carries out d and ends the event, all in one write; ret is the
// RpcReturn. A decision that can not be written is an error before anything
// has left, and the event is still open to be answered otherwise.
//
// With Respond the request ends here, so nothing toward the service is written.
func (x *Exchange) Finish(d *rp.Decision, ret []byte) error {
	if err := check(d); err != nil {
		return err
	}
	if err := x.notice(d.Notice); err != nil {
		return err
	}
	if d.Respond != nil {
		return x.respond(d)
	}
	if err := x.pass(d); err != nil {
		return err
	}
	x.over.Store(true)
	return x.link.conn.Finish(ret)
}

// maxNotice bounds a line for Kong's error log, which cuts longer ones.
const maxNotice = 1800

// notice queues a line for Kong's error log.
func (x *Exchange) notice(text string) error {
	if text == "" {
		return nil
	}
	if len(text) > maxNotice {
		text = text[:maxNotice]
	}
	if err := x.link.pdk.Log.Err(cleanText(text)); err != nil {
		return fmt.Errorf("writing to kong's error log: %w", err)
	}
	return nil
}

// check finds what Kong would refuse or, worse, send on as it is. A refused
// call would end the event with 500, after half of the decision was run.
func check(d *rp.Decision) error {
	if d.Respond != nil {
		if s := d.Respond.Status; s < 100 || s > 599 {
			return fmt.Errorf("%d is not a status to answer with", s)
		}
		return checkNames(d.Downstream.Set, d.Downstream.Add)
	}
	if m := d.Request.Method; m != "" && !settableMethod(m) {
		return fmt.Errorf("kong can not change a request's method to %.32q", m)
	}
	return checkNames(d.Upstream.Set, d.Upstream.Add, d.Downstream.Set, d.Downstream.Add)
}

func checkNames(lists ...[]rp.Field) error {
	for _, list := range lists {
		for _, f := range list {
			if err := checkName(f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// settableMethod reports whether kong.service.request.set_method takes m.
func settableMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK", "PATCH", "TRACE":
		return true
	}
	return false
}

// pass queues what lets the request through.
func (x *Exchange) pass(d *rp.Decision) error {
	if err := x.principal(d.Authenticate); err != nil {
		return err
	}
	if err := x.requestEdits(&d.Request); err != nil {
		return err
	}
	if err := x.upstream(&d.Upstream); err != nil {
		return err
	}
	return x.downstream(&d.Downstream)
}

func (x *Exchange) principal(p *rp.Principal) error {
	if p == nil {
		return nil
	}
	var consumer *entities.Consumer
	var credential *client.AuthenticatedCredential
	if c := p.Consumer; c != nil {
		consumer = &entities.Consumer{Id: cleanText(c.ID), Username: cleanText(c.Username), CustomId: cleanText(c.CustomID)}
	}
	if p.CredentialID != "" {
		credential = &client.AuthenticatedCredential{Id: cleanText(p.CredentialID)}
		if consumer != nil {
			credential.ConsumerId = consumer.Id
		}
	}
	if consumer != nil || credential != nil {
		if err := x.link.pdk.Client.Authenticate(consumer, credential); err != nil {
			return fmt.Errorf("telling kong who the caller is: %w", err)
		}
	}
	if err := x.exactly(consumer, credential); err != nil {
		return fmt.Errorf("telling kong who the caller is: %w", err)
	}
	if p.DirectoryID != "" {
		if err := x.link.pdk.Ctx.SetShared("authenticated_principal", cleanText(p.DirectoryID)); err != nil {
			return fmt.Errorf("telling kong the caller's principal: %w", err)
		}
	}
	if err := x.share("authenticated_groups", p.Groups); err != nil {
		return err
	}
	return x.share("authenticated_consumer_groups", p.ConsumerGroups)
}

// exactly sets in ngx.ctx what the message of authenticate cannot say.
func (x *Exchange) exactly(consumer *entities.Consumer, credential *client.AuthenticatedCredential) error {
	nginx := x.link.pdk.Nginx
	switch {
	case consumer != nil:
		return nil
	case credential != nil:
		// A consumer_id that is left out is "" to Lua, which plugins such as acl
		// take for a consumer's.
		return nginx.SetCtx("authenticated_credential", map[string]any{"id": credential.Id})
	}
	// Authenticate refuses to be told of nobody, and an earlier plugin's anonymous
	// consumer would stay. Lua reads false as nil.
	if err := nginx.SetCtx("authenticated_consumer", false); err != nil {
		return err
	}
	return nginx.SetCtx("authenticated_credential", false)
}

// share puts names into kong.ctx.shared; nil is left out.
func (x *Exchange) share(key string, names []string) error {
	if names == nil {
		return nil
	}
	list := make([]any, len(names))
	for i, n := range names {
		list[i] = cleanText(n)
	}
	if err := x.link.pdk.Ctx.SetShared(key, list); err != nil {
		return fmt.Errorf("telling kong the caller's groups: %w", err)
	}
	return nil
}

func (x *Exchange) requestEdits(e *rp.RequestEdits) error {
	service := x.link.pdk.ServiceRequest
	if e.Method != "" {
		if err := service.SetMethod(e.Method); err != nil {
			return fmt.Errorf("changing the request's method: %w", err)
		}
	}
	if e.RawQuery != nil {
		// Kong escapes neither `#` nor what is not ASCII.
		q := bridge.WrapByteString([]byte(escapeQuery(*e.RawQuery)))
		if err := service.Ask("kong.service.request.set_raw_query", q, nil); err != nil {
			return fmt.Errorf("changing the request's query: %w", err)
		}
	}
	if e.Body != nil {
		// Not go-pdk's SetRawBody: it sends a string, which must be UTF-8. Kong
		// sets Content-Length itself.
		if err := service.Ask("kong.service.request.set_raw_body", bridge.WrapByteString(*e.Body), nil); err != nil {
			return fmt.Errorf("changing the request's body: %w", err)
		}
	}
	return nil
}

// upstream edits the request's header fields. Values may be any bytes, such as
// a client's cookies that are passed on, so the messages are encoded here.
func (x *Exchange) upstream(e *rp.HeaderEdits) error {
	c := x.link.conn
	for _, name := range e.Clear {
		if name == "" || sets(e.Set, name) {
			continue
		}
		arg := wire.AppendText(nil, 1, name)
		if err := c.Set("kong.service.request.clear_header", arg); err != nil {
			return fmt.Errorf("clearing request headers: %w", err)
		}
	}
	if len(e.Set) > 0 {
		if err := c.Set("kong.service.request.set_headers", headerStruct(e.Set)); err != nil {
			return fmt.Errorf("setting request headers: %w", err)
		}
	}
	for _, f := range e.Add {
		if err := c.Set("kong.service.request.add_header", keyValue(f)); err != nil {
			return fmt.Errorf("adding request headers: %w", err)
		}
	}
	return nil
}

// downstream edits the response's header fields in the access phase: they
// stand beside those of the service.
func (x *Exchange) downstream(e *rp.HeaderEdits) error {
	response := x.link.pdk.Response
	for _, name := range e.Clear {
		if !validName(name) || sets(e.Set, name) {
			continue
		}
		if err := response.ClearHeader(name); err != nil {
			return fmt.Errorf("clearing response headers: %w", err)
		}
	}
	for _, f := range e.Set {
		if err := response.SetHeader(f.Name, cleanText(f.Value)); err != nil {
			return fmt.Errorf("setting response headers: %w", err)
		}
	}
	for _, f := range e.Add {
		if err := response.AddHeader(f.Name, cleanText(f.Value)); err != nil {
			return fmt.Errorf("adding response headers: %w", err)
		}
	}
	return nil
}

// Fail answers the event with 500: whatever went wrong, the request is not let
// through. gRPC callers get no Content-Type, so that Kong makes it a grpc-status.
func (x *Exchange) Fail() error {
	d := &rp.Decision{Respond: &rp.Response{Status: 500, Body: []byte(failure)}}
	if !x.grpc {
		d.Downstream.Set = []rp.Field{{Name: "Content-Type", Value: "application/json; charset=utf-8"}, {Name: "Cache-Control", Value: "no-store"}}
	}
	return x.respond(d)
}

const failure = `{"message":"An unexpected error occurred"}`

// FailArgs returns the ExitArgs message of a bare 500, for wire.Conn.Abort.
func FailArgs() []byte { return exitArgs(500, []byte(failure)) }

// exitArgs encodes Kong's ExitArgs without headers.
func exitArgs(status int, body []byte) []byte {
	b := wire.AppendInt(nil, 1, int64(status))
	if len(body) > 0 {
		b = wire.AppendMessage(b, 2, body)
	}
	return b
}

// respond ends the request. The header fields go into the exit itself, as
// its headers replace those that were added before.
func (x *Exchange) respond(d *rp.Decision) error {
	args := exitArgs(d.Respond.Status, d.Respond.Body)
	if fields := responseFields(&d.Downstream); len(fields) > 0 {
		args = wire.AppendMessage(args, 3, headerStruct(fields))
	}
	for _, name := range d.Downstream.Clear {
		if !validName(name) || sets(d.Downstream.Set, name) {
			continue
		}
		if err := x.link.pdk.Response.ClearHeader(name); err != nil {
			return fmt.Errorf("clearing response headers: %w", err)
		}
	}
	x.over.Store(true)
	return x.link.conn.Exit(args)
}

// responseFields merges Set and Add. Of a list Kong keeps the last value
// unless the field is Set-Cookie, so other fields are joined to one value.
func responseFields(e *rp.HeaderEdits) []rp.Field {
	fields := make([]rp.Field, 0, len(e.Set)+len(e.Add))
	of := func(name string) *rp.Field {
		for i := range fields {
			if strings.EqualFold(fields[i].Name, name) {
				return &fields[i]
			}
		}
		return nil
	}
	for _, f := range e.Set {
		f.Value = cleanText(f.Value)
		if old := of(f.Name); old != nil {
			old.Value = f.Value
			continue
		}
		fields = append(fields, f)
	}
	for _, f := range e.Add {
		f.Value = cleanText(f.Value)
		if old := of(f.Name); old != nil && !strings.EqualFold(f.Name, "Set-Cookie") {
			old.Value += ", " + f.Value
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

// sets reports whether a field of that name is set, which replaces it anyway.
func sets(list []rp.Field, name string) bool {
	for _, f := range list {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

// headerStruct encodes fields as a google.protobuf.Struct: a single value as a
// string, as Kong can not take a list for Host; several of one name as a list.
func headerStruct(list []rp.Field) []byte {
	size := 0
	for _, f := range list {
		size += len(f.Name) + len(f.Value) + 16
	}
	b := make([]byte, 0, size)
	for i, f := range list {
		if sets(list[:i], f.Name) {
			continue // stands in the list of the first
		}
		var value []byte
		if !sets(list[i+1:], f.Name) {
			v := cleanValue(f.Value)
			inner := protowire.SizeTag(3) + protowire.SizeBytes(len(v))
			entry := protowire.SizeTag(1) + protowire.SizeBytes(len(f.Name)) + protowire.SizeTag(2) + protowire.SizeBytes(inner)
			b = appendPrefix(b, 1, entry)
			b = wire.AppendText(b, 1, f.Name)
			b = appendPrefix(b, 2, inner)
			b = wire.AppendText(b, 3, v)
			continue
		}
		for _, g := range list[i:] {
			if strings.EqualFold(g.Name, f.Name) {
				value = wire.AppendMessage(value, 1, stringValue(g.Value))
			}
		}
		entry := wire.AppendText(nil, 1, f.Name)
		entry = wire.AppendMessage(entry, 2, wire.AppendMessage(nil, 6, value))
		b = wire.AppendMessage(b, 1, entry)
	}
	return b
}

// keyValue encodes a field as Kong's KV message.
func keyValue(f rp.Field) []byte {
	b := wire.AppendText(nil, 1, f.Name)
	return wire.AppendMessage(b, 2, stringValue(f.Value))
}

// stringValue encodes a google.protobuf.Value. It writes an empty string too:
// without it the value would be null.
func stringValue(s string) []byte {
	return wire.AppendText(nil, 3, cleanValue(s))
}

func appendPrefix(b []byte, num protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.BytesType), uint64(size))
}
