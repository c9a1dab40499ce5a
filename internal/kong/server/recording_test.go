package server_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"kong-openid-connect/internal/kong/hosttest"
)

// exchange is one RpcCall recorded from a real Kong, with what followed.
type exchange struct {
	call    *kong_plugin_protocol.RpcCall
	calls   []hosttest.Call     // what the recorded plugin asked
	replies map[string][][]byte // what Kong replied, by method
}

// recording reads a file of testdata/transcripts.
func recording(t *testing.T, name string) []exchange {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join("../../../testdata/transcripts", name+"-*.jsonl"))
	if len(files) != 1 {
		t.Fatalf("%d files for %s", len(files), name)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	lines.Scan()
	var all []exchange
	var method string
	for lines.Scan() {
		var l struct {
			Dir, Decoded string
			Hex          *string
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Hex == nil {
			continue
		}
		b, err := hex.DecodeString(*l.Hex)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(l.Decoded, "RpcCall"):
			m := &kong_plugin_protocol.RpcCall{}
			if err := proto.Unmarshal(b, m); err != nil {
				t.Fatal(err)
			}
			all = append(all, exchange{call: m, replies: map[string][][]byte{}})
		case len(all) == 0:
		case strings.HasPrefix(l.Decoded, "PDK method "):
			method = string(b)
		case strings.HasPrefix(l.Decoded, "arguments "):
			last := &all[len(all)-1]
			last.calls = append(last.calls, hosttest.Call{Method: method, Args: b})
		case strings.HasPrefix(l.Decoded, "reply to "):
			m, _, _ := strings.Cut(strings.TrimPrefix(l.Decoded, "reply to "), ":")
			last := &all[len(all)-1]
			last.replies[m] = append(last.replies[m], b)
		}
	}
	return all
}

// events returns the recorded access events.
func events(t *testing.T, name string) (all []exchange) {
	for _, e := range recording(t, name) {
		if e.call.GetCmdHandleEvent() != nil {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no event", name)
	}
	return all
}

// answers replies as Kong did; what the recorded plugin had not asked is
// answered as for an ordinary request.
func (e exchange) answers() *hosttest.Answers {
	a := hosttest.Request{}.Answers()
	next := map[string]int{}
	a.Reply = func(method string, _ []byte) ([]byte, bool) {
		if n := next[method]; n < len(e.replies[method]) {
			next[method]++
			return append([]byte{}, e.replies[method][n]...), true
		}
		return nil, true
	}
	return a
}

func (e exchange) args(method string) (args [][]byte) {
	for _, c := range e.calls {
		if c.Method == method {
			args = append(args, c.Args)
		}
	}
	return args
}
