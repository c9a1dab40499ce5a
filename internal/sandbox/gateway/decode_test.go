package gateway

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"

	kong "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// rawTypes are the messages of the protocol with every string field turned
// into bytes, because Kong does not keep to UTF-8.
func rawTypes(t *testing.T) (types *protoregistry.Files, reply map[string]protoreflect.FullName) {
	t.Helper()
	types = &protoregistry.Files{}
	add := func(fd protoreflect.FileDescriptor) {
		p := protodesc.ToFileDescriptorProto(fd)
		p.Service, p.Extension, p.Options = nil, nil, nil
		var deps []string
		for _, d := range p.Dependency {
			if !strings.Contains(d, "descriptor.proto") {
				deps = append(deps, d)
			}
		}
		p.Dependency = deps
		var walk func([]*descriptorpb.DescriptorProto)
		walk = func(ms []*descriptorpb.DescriptorProto) {
			for _, m := range ms {
				if m.Options != nil {
					m.Options.MapEntry = nil
				}
				for _, f := range m.Field {
					if f.GetType() == descriptorpb.FieldDescriptorProto_TYPE_STRING {
						f.Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
					}
				}
				walk(m.NestedType)
			}
		}
		walk(p.MessageType)
		out, err := protodesc.NewFile(p, types)
		if err != nil {
			t.Fatal(err)
		}
		if err := types.RegisterFile(out); err != nil {
			t.Fatal(err)
		}
	}
	empty, err := protoregistry.GlobalFiles.FindFileByPath("google/protobuf/empty.proto")
	if err != nil {
		t.Fatal(err)
	}
	add(empty)
	add(structpb.File_google_protobuf_struct_proto)
	file := kong.RpcCall{}
	fd := file.ProtoReflect().Descriptor().ParentFile()
	add(fd)
	reply = map[string]protoreflect.FullName{}
	ms := fd.Services().Get(0).Methods()
	for i := range ms.Len() {
		m := ms.Get(i)
		reply[pdkName(string(m.Name()))] = m.Output().FullName()
	}
	return types, reply
}

// pdkName turns Service_Request_SetPath into kong.service.request.set_path.
func pdkName(rpc string) string {
	switch rpc {
	case "Ctx_SetShared":
		return "kong.ctx.shared.set"
	case "Ctx_GetShared":
		return "kong.ctx.shared.get"
	}
	parts := strings.Split(rpc, "_")
	for i, p := range parts {
		var b strings.Builder
		for j, c := range p {
			if c >= 'A' && c <= 'Z' {
				if j > 0 {
					b.WriteByte('_')
				}
				c += 'a' - 'A'
			}
			b.WriteRune(c)
		}
		parts[i] = b.String()
	}
	return "kong." + strings.Join(parts, ".")
}

// decodeReply turns a reply into plain values; fields by name, entries of a
// Struct in the order of their keys.
func decodeReply(t *testing.T, types *protoregistry.Files, name protoreflect.FullName, b []byte) any {
	t.Helper()
	d, err := types.FindDescriptorByName(name)
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := (proto.UnmarshalOptions{}).Unmarshal(b, m); err != nil {
		return fmt.Sprintf("undecodable %x: %v", b, err)
	}
	return plain(m)
}

func plain(m protoreflect.Message) any {
	out := map[string]any{}
	if u := m.GetUnknown(); len(u) > 0 {
		out["unknown fields"] = fmt.Sprintf("%x", []byte(u))
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		value := func(v protoreflect.Value) any {
			switch fd.Kind() {
			case protoreflect.MessageKind:
				return plain(v.Message())
			case protoreflect.BytesKind:
				return fmt.Sprintf("%q", v.Bytes())
			}
			return v.Interface()
		}
		if !fd.IsList() {
			out[string(fd.Name())] = value(v)
			return true
		}
		var l []any
		for i := range v.List().Len() {
			l = append(l, value(v.List().Get(i)))
		}
		if fd.Name() == "fields" {
			sort.Slice(l, func(i, j int) bool {
				return l[i].(map[string]any)["key"].(string) < l[j].(map[string]any)["key"].(string)
			})
		}
		out[string(fd.Name())] = l
		return true
	})
	return out
}

// Values that differ from run to run; they only have to be there on both sides.
var changing = map[string]bool{
	"kong.client.get_forwarded_port": true, "kong.client.get_port": true, "kong.node.get_id": true, "kong.nginx.req_start_time": true,
}

func (s *scripted) compareReply(method string, got []byte, f recordedFrame) {
	types, replies := rawTypes(s.t)
	g, w := decodeReply(s.t, types, replies[method], got), decodeReply(s.t, types, replies[method], f.data())
	gt, wt := fmt.Sprint(g), fmt.Sprint(w)
	if changing[method] && (gt == "map[]") == (wt == "map[]") {
		return
	}
	for _, num := range []string{s.port, s.upstreamPort} {
		gt = strings.ReplaceAll(gt, num, map[string]string{s.port: "8000", s.upstreamPort: "9001"}[num])
	}
	// A spilled body's file, and variables that differ from run to run.
	if strings.Contains(wt, "client_body_temp/") && strings.Contains(gt, "client_body_temp/0") {
		return
	}
	if method == "kong.nginx.get_var" && (strings.Contains(s.variable, "_port") && s.variable != "server_port" || s.variable == "request_id") {
		return
	}
	if gt != wt && !reflect.DeepEqual(g, w) {
		s.t.Errorf("reply to %s\n     got %s\nrecorded %s", method, gt, wt)
	}
}
