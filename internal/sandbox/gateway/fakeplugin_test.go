package gateway

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	kong "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// TestMain lets the test binary be the plugin server that a gateway under
// test launches.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "-dump":
		fmt.Print(os.Getenv("FAKE_DUMP"))
		os.Exit(0)
	case len(os.Args) > 2 && os.Args[1] == "-kong-prefix":
		fakePlugin(os.Args[2])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakePlugin serves the protocol. What it does with a request stands in the
// request's query; by default it sets X-Instance to "pid/id/seq".
func fakePlugin(prefix string) {
	path := filepath.Join(prefix, "openid-connect.socket")
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	ln, err := net.Listen("unix", tmp)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(tmp, path); err != nil {
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		fmt.Println("got SIGTERM")
		os.Exit(0)
	}()
	fmt.Println("serving")
	f := &fake{instances: map[int32]map[string]any{}}
	for {
		c, err := ln.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer c.Close()
			for f.call(c) {
			}
		}()
	}
}

type fake struct {
	mu        sync.Mutex
	last      int32
	instances map[int32]map[string]any
}

func send(c net.Conn, frames ...[]byte) {
	var b []byte
	for _, f := range frames {
		b = protocol.AppendFrame(b, f)
	}
	c.Write(b)
}

func (f *fake) call(c net.Conn) bool {
	b, err := protocol.ReadFrame(c)
	if err != nil {
		return false
	}
	var m kong.RpcCall
	if proto.Unmarshal(b, &m) != nil {
		return false
	}
	ret := &kong.RpcReturn{Sequence: m.Sequence}
	f.mu.Lock()
	switch x := m.Call.(type) {
	case *kong.RpcCall_CmdStartInstance:
		f.last++
		var conf map[string]any
		_ = json.Unmarshal(x.CmdStartInstance.Config, &conf)
		f.instances[f.last] = conf
		ret.Return = &kong.RpcReturn_InstanceStatus{InstanceStatus: &kong.InstanceStatus{Name: x.CmdStartInstance.Name, InstanceId: f.last}}
	case *kong.RpcCall_CmdCloseInstance:
		delete(f.instances, x.CmdCloseInstance.InstanceId)
		ret.Return = &kong.RpcReturn_InstanceStatus{InstanceStatus: &kong.InstanceStatus{InstanceId: x.CmdCloseInstance.InstanceId}}
	case *kong.RpcCall_CmdHandleEvent:
		id := x.CmdHandleEvent.InstanceId
		conf := f.instances[id]
		f.mu.Unlock()
		return conf != nil && f.event(c, m.Sequence, id, conf)
	}
	f.mu.Unlock()
	out, _ := proto.Marshal(ret)
	send(c, out)
	return true
}

func (f *fake) event(c net.Conn, seq int64, id int32, conf map[string]any) bool {
	end := func(extra ...byte) bool {
		out, _ := proto.Marshal(&kong.RpcReturn{Sequence: seq})
		c.Write(append(protocol.AppendFrame(protocol.AppendFrame(nil, nil), out), extra...))
		return true
	}
	ask := func(method string, args []byte) []byte {
		send(c, []byte(method), args)
		b, err := protocol.ReadFrame(c)
		if err != nil {
			return nil
		}
		return b
	}
	exit := func(body string) bool {
		b, _ := proto.Marshal(&kong.ExitArgs{Status: 200, Body: []byte(body)})
		send(c, []byte("kong.response.exit"), b)
		return true
	}
	query, _ := protocol.DecodeString(ask("kong.request.get_raw_query", nil))
	switch query {
	case "env":
		return exit(strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n"))
	case "seq":
		return exit(fmt.Sprint(seq))
	case "config":
		b, _ := json.Marshal(conf)
		return exit(string(b))
	case "die":
		os.Exit(3)
	case "close":
		return false
	case "extra":
		return end('x')
	case "promise":
		c.Write([]byte{0xff, 0xff, 0xff, 0xff, 'a'})
		b := make([]byte, 1)
		c.Read(b)
		return false
	case "silent":
		b := make([]byte, 1)
		c.Read(b)
		return false
	case "vars":
		var out []string
		for _, v := range []string{"ssl_client_raw_cert", "ssl_client_verify", "ssl_client_s_dn", "ssl_client_serial", "ssl_protocol", "ssl_server_name", "scheme"} {
			s, _ := protocol.DecodeString(ask("kong.nginx.get_var", protocol.String(v)))
			out = append(out, v+"="+s)
		}
		s, _ := protocol.DecodeString(ask("kong.nginx.get_tls1_version_str", nil))
		return exit(strings.Join(append(out, s), "\n"))
	}
	kv := protocol.AppendString(nil, 1, "X-Instance")
	kv = protocol.AppendString(kv, 2, string(protocol.EncodeValue(fmt.Sprintf("%d/%d/%d", os.Getpid(), id, seq))))
	ask("kong.service.request.set_header", kv)
	return end()
}
