package gateway

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	kong "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// transcript is a recorded exchange with Kong.
type transcript struct {
	name      string
	requests  []recordedRequest
	responses []recordedResponse
	log       []string
	frames    []recordedFrame
}

type recordedRequest struct {
	bytes     []byte
	bodyLater []byte
}

type recordedResponse struct {
	Status  int         `json:"status"`
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
}

type recordedFrame struct {
	Conn    any    `json:"conn"`
	Dir     string `json:"dir"`
	Hex     string `json:"hex"`
	Decoded string `json:"decoded"`
	Note    string `json:"note"`
}

func (f recordedFrame) data() []byte { b, _ := hex.DecodeString(f.Hex); return b }

func one[T any](t *testing.T, raw json.RawMessage) []T {
	t.Helper()
	var list []T
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("transcript: %v in %.80s", err, raw)
	}
	return []T{v}
}

// readFrames reads the lines below the head of a transcript.
func readFrames(t *testing.T, name string) []recordedFrame {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "transcripts", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []recordedFrame
	for _, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n"))[1:] {
		var f recordedFrame
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func readTranscript(t *testing.T, name string) *transcript {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "testdata", "transcripts", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	tr := &transcript{name: name}
	for first := true; sc.Scan(); first = false {
		if first {
			var head struct {
				Request  json.RawMessage `json:"request"`
				Response json.RawMessage `json:"response"`
				Log      []string        `json:"kong_error_log"`
			}
			if err := json.Unmarshal(sc.Bytes(), &head); err != nil {
				t.Fatal(err)
			}
			tr.log = head.Log
			tr.responses = one[recordedResponse](t, head.Response)
			for _, r := range one[any](t, head.Request) {
				tr.requests = append(tr.requests, parseRecordedRequest(r))
			}
			continue
		}
		var fr recordedFrame
		if err := json.Unmarshal(sc.Bytes(), &fr); err != nil {
			t.Fatal(err)
		}
		tr.frames = append(tr.frames, fr)
	}
	return tr
}

var manyX = regexp.MustCompile(`\((one chunk of )?(\d+) times x\)`)

func parseRecordedRequest(r any) recordedRequest {
	if m, ok := r.(map[string]any); ok {
		b, _ := hex.DecodeString(m["hex"].(string))
		return recordedRequest{bytes: b}
	}
	s := r.(string)
	if strings.HasPrefix(s, "curl") { // 35: the head asks for leave to send the body
		return recordedRequest{
			bytes:     []byte("POST /get/b HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nExpect: 100-continue\r\nContent-Length: 3\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"),
			bodyLater: []byte("a=1"),
		}
	}
	i := strings.Index(s, "\r\n\r\n") + 4
	m := manyX.FindStringSubmatch(s[i:])
	if m == nil {
		return recordedRequest{bytes: []byte(s)}
	}
	n, _ := strconv.Atoi(m[2])
	body := bytes.Repeat([]byte("x"), n)
	if m[1] != "" {
		body = []byte(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, body))
	}
	if strings.Contains(s, "head first") {
		return recordedRequest{bytes: []byte(s[:i]), bodyLater: body}
	}
	return recordedRequest{bytes: append([]byte(s[:i]), body...)}
}

// scripted is a plugin server that does what the recorded one did, and holds
// what it gets against what the recorded one got.
type scripted struct {
	name         string
	t            *testing.T
	ln           net.Listener
	frames       []recordedFrame
	started      chan struct{} // the recorded client sends its body here
	port         string        // of the proxy, in place of the recorded 8000
	upstreamPort string
	variable     string // the last one asked for
	conns        map[int]net.Conn
	delta        map[int]int64 // actual minus recorded sequence, by connection
	method       map[int][]string
}

var instanceIDText = regexp.MustCompile(`instance_id: (\d+)`)

func (s *scripted) conn(n int) net.Conn {
	if c := s.conns[n]; c != nil {
		return c
	}
	for {
		c, err := s.ln.Accept()
		if err != nil {
			s.t.Errorf("accept connection %d: %v", n, err)
			return nil
		}
		// The gateway looks whether anyone is there by opening a connection and closing it.
		br := &peekConn{Conn: c, r: bufio.NewReader(c)}
		if _, err := br.r.Peek(1); err != nil {
			c.Close()
			continue
		}
		s.conns[n] = br
		return br
	}
}

type peekConn struct {
	net.Conn
	r *bufio.Reader
}

func (p *peekConn) Read(b []byte) (int, error) { return p.r.Read(b) }

func connNumber(v any) int { f, _ := v.(float64); return int(f) }

func (s *scripted) run() {
	var pending []byte
	pendingConn := 0
	flush := func() {
		if len(pending) > 0 {
			if _, err := s.conns[pendingConn].Write(pending); err != nil && !errors.Is(err, net.ErrClosed) {
				s.t.Logf("write on connection %d: %v", pendingConn, err)
			}
			pending = nil
		}
	}
	for i, f := range s.frames {
		n := connNumber(f.Conn)
		switch f.Dir {
		case "plugin>kong":
			b := f.data()
			if f.Decoded != "" && strings.HasPrefix(f.Decoded, "PDK method ") {
				s.method[n] = append(s.method[n], string(b))
			}
			if strings.HasPrefix(f.Decoded, "arguments String{v: ") {
				s.variable, _ = protocol.DecodeString(b)
			}
			if strings.HasPrefix(f.Decoded, "RpcReturn{") {
				var m kong.RpcReturn
				if err := proto.Unmarshal(b, &m); err != nil {
					s.t.Fatal(err)
				}
				m.Sequence += s.delta[n]
				b, _ = proto.Marshal(&m)
			}
			pendingConn = n
			pending = protocol.AppendFrame(pending, b)
			same := i+1 < len(s.frames) && s.frames[i+1].Dir == f.Dir && connNumber(s.frames[i+1].Conn) == n && s.frames[i+1].Note != "" && f.Note != ""
			if !same {
				flush()
			}
		case "kong>plugin":
			flush()
			if !s.receive(n, f) {
				return
			}
		case "note":
			flush()
			switch {
			case strings.Contains(f.Decoded, "request 1 is sent"):
				close(s.started)
			case strings.Contains(f.Decoded, "the plugin closes the connection"):
				s.conns[n].Close()
				delete(s.conns, n)
			case strings.Contains(f.Decoded, "kong closed the connection"):
				s.conns[n].SetReadDeadline(time.Now().Add(10 * time.Second))
				if b, err := io.ReadAll(s.conns[n]); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
					s.t.Errorf("connection %d: got %x, %v; the recorded one was closed: %s", n, b, err, f.Decoded)
				}
				s.conns[n].Close()
				delete(s.conns, n)
			}
		}
	}
	flush()
}

// receive reads a frame and compares it with the recorded one.
func (s *scripted) receive(n int, f recordedFrame) bool {
	c := s.conn(n)
	if c == nil {
		return false
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got, err := protocol.ReadFrame(c)
	if err != nil {
		s.t.Errorf("connection %d: %v; recorded: %.200s", n, err, f.Decoded)
		return false
	}
	if strings.HasPrefix(f.Decoded, "reply to ") {
		method := s.method[n][0]
		s.method[n] = s.method[n][1:]
		s.compareReply(method, got, f)
		return true
	}
	var g, w kong.RpcCall
	if err := proto.Unmarshal(got, &g); err != nil {
		s.t.Fatal(err)
	}
	if err := proto.Unmarshal(f.data(), &w); err != nil {
		s.t.Fatal(err)
	}
	if g.GetCmdStartInstance() != nil && w.GetCmdHandleEvent() != nil {
		// The recorded instance was started before the recording began.
		id, _ := strconv.Atoi(instanceIDText.FindStringSubmatch(f.Decoded)[1])
		b, _ := proto.Marshal(&kong.RpcReturn{Sequence: g.Sequence, Return: &kong.RpcReturn_InstanceStatus{InstanceStatus: &kong.InstanceStatus{Name: "openid-connect", InstanceId: int32(id)}}})
		c.Write(protocol.AppendFrame(nil, b))
		return s.receive(n, f)
	}
	s.delta[n] = g.Sequence - w.Sequence
	g.Sequence = w.Sequence
	if gs, ws := g.GetCmdStartInstance(), w.GetCmdStartInstance(); gs != nil && ws != nil {
		compareConfig(s.t, s.name, gs.Config, ws.Config)
		gs.Config, ws.Config = nil, nil
	}
	if !proto.Equal(&g, &w) {
		s.t.Errorf("connection %d: got %v\nrecorded %v", n, &g, &w)
	}
	return true
}

// compareConfig compares the JSON of two StartInstance calls; what names the
// database or counts is not compared.
func compareConfig(t *testing.T, name string, got, want []byte) {
	t.Helper()
	var g, w map[string]any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Errorf("configuration: %v\n%s", err, got)
		return
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	for _, m := range []map[string]any{g, w} {
		for _, k := range []string{"__seq__", "__plugin_id", "__ws_id"} {
			if m[k] == nil {
				t.Errorf("configuration without %s: %s", k, got)
			}
		}
		key, _ := m["__key__"].(string)
		m["__key__"] = strings.TrimSuffix(key, m["__ws_id"].(string))
		delete(m, "__seq__")
		delete(m, "__plugin_id")
		delete(m, "__ws_id")
		if !strings.HasPrefix(name, "07") {
			delete(m, "mode") // the recorder told its plugin by it what to do
		}
	}
	if a, b := cjson(g), cjson(w); a != b {
		t.Errorf("configuration\n     got %s\nrecorded %s", a, b)
	}
	// Numbers and slashes in the text itself.
	for _, p := range []string{`1e+20`, `1234567890123500`, `"burst":3`, `\/\/idp`, `2147483648`} {
		if bytes.Contains(want, []byte(p)) != bytes.Contains(got, []byte(p)) {
			t.Errorf("configuration: %q is in one of\n     got %s\nrecorded %s", p, got, want)
		}
	}
}
