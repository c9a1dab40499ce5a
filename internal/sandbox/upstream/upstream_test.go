package upstream

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// ask sends raw requests over one connection and returns the answers.
func ask(t *testing.T, s *Service, raw ...string) (out []*http.Response, bodies []Request) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	for _, r := range raw {
		io.WriteString(c, r)
		method, _, _ := strings.Cut(r, " ")
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		var seen Request
		_ = json.Unmarshal(b, &seen)
		out, bodies = append(out, resp), append(bodies, seen)
	}
	return out, bodies
}

func start(t *testing.T) *Service {
	t.Helper()
	s, err := Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestHeadersAreAnsweredAsSent(t *testing.T) {
	s := start(t)
	_, seen := ask(t, s, "GET /base/p?a=%20b&c HTTP/1.1\r\nHost: h\r\nX_User: 1\r\nx-user: 2\r\nX-USER: 3\r\nX-Empty:\r\n: x\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n\xff\x00")
	want := []Header{{"Host", "h"}, {"X_User", "1"}, {"x-user", "2"}, {"X-USER", "3"}, {"X-Empty", ""}, {"", "x"}}
	if !reflect.DeepEqual(seen[0].Headers, want) || seen[0].Target != "/base/p?a=%20b&c" || seen[0].Query != "a=%20b&c" {
		t.Errorf("got %+v", seen[0])
	}
	if got := seen[0].GetFold("X-User"); len(got) != 3 {
		t.Errorf("GetFold found %v, want all three spellings", got)
	}
	if got := seen[0].Get("X-USER"); !reflect.DeepEqual(got, []string{"3"}) {
		t.Errorf("Get found %v", got)
	}
	if seen[1].Body != "abc" || seen[2].BodyBase64 != "/wA=" || s.Count() != 3 || s.Last().BodyBase64 != "/wA=" {
		t.Errorf("bodies %q %q, count %d", seen[1].Body, seen[2].BodyBase64, s.Count())
	}
}

func TestPathsOfTheService(t *testing.T) {
	s := start(t)
	resp, _ := ask(t, s, "GET /base/status/404 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /status/204 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /slow?ms=1 HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /cookie HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for i, want := range []int{404, 204, 200, 200, 200} {
		if resp[i].StatusCode != want {
			t.Errorf("request %d: status %d, want %d", i, resp[i].StatusCode, want)
		}
	}
	if resp[3].Header.Get("Set-Cookie") == "" {
		t.Error("/cookie sets none")
	}
}

func TestWebSocketEchoes(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nping")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v %v", resp, err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(br, b); err != nil || string(b) != "ping" {
		t.Errorf("echo %q %v", b, err)
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /slow?ms=60000 HTTP/1.1\r\nHost: h\r\n\r\n")
	for s.Count() == 0 {
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for a slow request")
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := readRequest(bufio.NewReader(strings.NewReader(string(b))))
		if err == nil && req == nil {
			t.Fatal("neither request nor error")
		}
	})
}
