package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The transcripts that one gateway with one worker and a scripted plugin can
// replay. Elsewhere: 00, 06, 10, 44, 83 (tests of their own). Not replayed:
// 93, 93b, 94, which need HTTP/2; TestHTTP2 and TestGRPC stand for them.
var replayed = []string{
	"01-start-defaults", "02-start-all-fields", "03-start-vault-resolved", "04-start-vault-unresolved", "05-start-service-and-global",
	"07-config-patch", "08-other-plugin-changed", "09-plugin-deleted", "12-start-answered-by-close", "13-start-answered-by-empty-frame",
	"20-access-get-headers-then-pipelined-set-headers", "21-request-getters", "22-request-get-query", "22b-get-query-arg-without-value",
	"23-request-get-header", "24-headers-repeated-underscore-empty", "25-headers-150", "26-headers-limits", "26b-headers-limits-1001",
	"27-header-non-utf8", "28-path-query-non-utf8", "29-get-var-non-utf8", "29b-two-authorization-lines",
	"30-raw-body-1k", "31-raw-body-12k", "32-raw-body-10239-after-head", "32b-raw-body-10240-after-head", "32c-raw-body-10240-with-head",
	"32d-raw-body-chunked-8192-after-head", "32e-raw-body-chunked-4000-after-head", "33-raw-body-empty", "34-raw-body-chunked", "35-raw-body-expect-continue",
	"40-client-getters", "41-client-getters-trusted", "42-router-and-node", "43-nginx-get-var", "45-ctx-shared", "46-ctx-shared-groups-acl",
	"50-load-consumer", "51-load-consumer-name-without-flag", "51b-load-consumer-empty", "52-authenticate", "53-authenticate-with-neither", "54-after-key-auth",
	"60-exit-two-cookies", "61-exit-in-a-pipeline", "61b-exit-end-return-in-one-write", "61c-exit-then-20KB-more-in-the-write", "62-exit-variants",
	"62b-exit-status-0", "62c-exit-status-999", "62d-exit-header-values", "62e-exit-null-header", "63-add-header-set-cookie", "64-set-header-crlf",
	"65-service-request-setters", "66-service-set-raw-body", "67-service-set-query", "67b-set-raw-query-variants", "68-log",
	"70a-odd-argument-accepted-empty-header-name", "70b-error-in-pipeline-bad-path", "70c-error-in-pipeline-bad-method", "70d-odd-argument-accepted-null-value",
	"70e-error-in-pipeline-no-value", "70f-odd-argument-accepted-list-value", "70g-odd-argument-accepted-map-in-set-headers", "70h-odd-argument-accepted-null-in-set-headers",
	"70i-odd-argument-accepted-empty-list-in-set-headers", "70j-odd-argument-accepted-empty-set-headers", "70k-odd-argument-accepted-clear-header-empty",
	"70l-error-in-pipeline-bool-false-value", "70m-odd-argument-accepted-response-set-header-list", "70n-odd-argument-accepted-response-empty-name",
	"70o-error-in-pipeline-undecodable-arguments", "70p-odd-argument-accepted-get-header-empty",
	"71-error-sequential", "71b-error-last-in-pipeline", "71c-error-after-cookies", "71d-error-then-20KB-more-in-the-write",
	"80-unknown-method", "80b-unknown-method-case", "81-wrong-sequence", "82-close-answers-unknown-instance", "82b-close-in-mid-event", "82c-empty-rpcreturn",
	"90-options", "91-head", "92-websocket", "95-idle-close-60s", "11-start-dbless",
}

func TestTranscripts(t *testing.T) {
	for _, name := range replayed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			replay(t, name)
		})
	}
}

// seenByUpstream starts the service of the recordings: it answers what it saw.
func seenByUpstream(t *testing.T) (port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serveSeen(c)
		}
	}()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

func serveSeen(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		raw, err := readHeadFrom(br)
		if err != nil {
			return
		}
		first, hs, _ := parseHeaders(raw)
		n, _ := strconv.Atoi(get(hs, "content-length"))
		body := make([]byte, n)
		if _, err := io.ReadFull(br, body); err != nil {
			return
		}
		if strings.Contains(string(raw), "\r\nUpgrade: websocket\r\n") {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Upstream-Saw: "+first+"\r\n\r\n")
			io.Copy(c, br) // an echo
			return
		}
		if n > 200 {
			body = []byte(fmt.Sprintf("%s...(%d bytes)", body[:60], n))
		}
		saw := "UPSTREAM SAW:\n" + strings.ReplaceAll(string(raw), "\r\n", "\n") + string(body)
		cookie := ""
		if strings.Contains(first, "/cookie ") {
			cookie = "Set-Cookie: up=1; Path=/\r\n"
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %d\r\n%s\r\n", len(saw), cookie)
		if !strings.HasPrefix(first, "HEAD ") {
			io.WriteString(c, saw)
		}
	}
}

func recordedDump(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "transcripts", "00-dump.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var f recordedFrame
	if err := json.Unmarshal(bytes.Split(raw, []byte("\n"))[1], &f); err != nil {
		t.Fatal(err)
	}
	_, dump, _ := strings.Cut(f.Decoded, "printed: ")
	return []byte(dump)
}

// recordedConfigs are the plugins of the start transcripts.
var recordedConfigs = map[string]string{
	"/full":     `{"issuer": "https://idp.example.com/realms/a", "mode": "täst/✓", "scopes": ["openid", "profile", "a\"b\\c"], "audience": ["x"], "hide": [], "methods": ["bearer"], "client_secret": "sec<&>ret", "old_secrets": ["o1", "o2"], "session": {"name": "s", "secret": "0123456789", "idle": 1, "secure": false}, "limits": {"max": 2147483648, "burst": 3.0}, "providers": [{"name": "p1", "key": "k1", "weight": 5, "tags": ["a", "b"]}, {"name": "p2", "tags": []}, {"name": "p3"}], "claims": {"sub": "X-Sub", "a/b": "c d"}, "extra": {}, "leeway": -5, "count": 1234567890123456, "ratio": 0.1, "big": 1e+20, "verify": false, "strict": true}`,
	"/vault":    `{"issuer": "https://idp.example.com", "client_secret": "{vault://env/my-secret}", "old_secrets": ["plain", "{vault://env/my-old}"], "session": {"secret": "{vault://env/my-secret}"}, "providers": [{"name": "p1", "key": "{vault://env/my-old}"}]}`,
	"/vaultbad": `{"issuer": "{vault://env/not-there-issuer}", "client_secret": "{vault://env/not-there}", "old_secrets": ["plain", "{vault://env/not-there}", "last"], "session": {"secret": "{vault://env/not-there}"}, "providers": [{"name": "p1", "key": "{vault://env/not-there}"}]}`,
}

func replay(t *testing.T, name string) {
	tr := readTranscript(t, name)
	fillGap(tr)
	upstream := seenByUpstream(t)
	raw, err := os.ReadFile("testdata/transcripts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(string(raw), "UPSTREAM", upstream)
	if name == "11-start-dbless" {
		_, config, _ = strings.Cut(tr.frames[0].Decoded, "")
		config = strings.ReplaceAll(config, "9001", upstream)
		config = strings.Replace(config, "- name: dbl\n", "- name: dbl\n    id: 8e435d27-44e5-526b-a59a-f0feaa80bf7f\n", 1)
	}
	dir := t.TempDir()
	s := &scripted{t: t, name: name, frames: tr.frames, started: make(chan struct{}), upstreamPort: upstream, conns: map[int]net.Conn{}, delta: map[int]int64{}, method: map[int][]string{}}
	socket := filepath.Join(dir, "s")
	if s.ln, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	defer s.ln.Close()
	opts := Options{
		ConfigData: []byte(config), Prefix: dir, External: true, Socket: socket, Dump: recordedDump(t), Workers: 1,
		Getenv: func(n string) string {
			return map[string]string{"MY_SECRET": "s3cr3tvalue", "MY_OLD": "old-from-vault"}[n]
		},
	}
	if strings.HasPrefix(name, "41") {
		opts.TrustedIPs, opts.RealIPHeader = []string{"127.0.0.1"}, "X-Forwarded-For"
	}
	if strings.HasPrefix(name, "13") {
		opts.Timing.Claim = 50 * time.Millisecond
	}
	if strings.HasPrefix(name, "95") {
		opts.Timing.Idle = 50 * time.Millisecond
	}
	g, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, s.port, _ = net.SplitHostPort(g.ProxyAddr())
	for path, conf := range recordedConfigs {
		if bytes.HasPrefix(tr.requests[0].bytes, []byte("GET "+path+"/")) {
			adminCall(t, g, "POST", "/routes"+path+"/plugins", `{"name":"openid-connect","config":`+conf+`}`, 201)
		}
	}
	if strings.HasPrefix(name, "05") {
		adminCall(t, g, "POST", "/services/svc/plugins", `{"name":"openid-connect","instance_name":"onsvc"}`, 201)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.run() }()
	client(t, g, s, tr)
	select {
	case <-done:
	case <-time.After(15 * time.Second):
		t.Error("the scripted plugin waits for something that the recorded one got")
		s.ln.Close()
		for _, c := range s.conns {
			c.Close()
		}
		<-done
	}
	for _, line := range tr.log {
		// A file's name, and the key of an instance, differ.
		want := strings.Split(line, "<prefix>")[0]
		want, _, _ = strings.Cut(want, "(key:")
		want = strings.Replace(want, "invalid bytes length: 0 (at offset 2)", "arguments cannot be decoded", 1)
		if !slices.ContainsFunc(g.Log(), func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("error log lacks %q\n%s", want, strings.Join(g.Log(), "\n"))
		}
	}
}

// fillGap writes the lines that a shortened transcript has left out: the calls
// between the first set_header X-F.. and the last.
func fillGap(tr *transcript) {
	i := slices.IndexFunc(tr.frames, func(f recordedFrame) bool { return strings.Contains(f.Decoded, "lines are left out") })
	if i < 0 {
		return
	}
	isFiller := func(f recordedFrame) bool {
		return f.Dir == "plugin>kong" && (strings.Contains(f.Decoded, `k: "X-F`) || f.Decoded == "PDK method kong.service.request.set_header")
	}
	from, to := i, i+1
	for isFiller(tr.frames[from-1]) {
		from--
	}
	for isFiller(tr.frames[to]) {
		to++
	}
	method, args := tr.frames[from], tr.frames[from+1]
	var all []recordedFrame
	for range 60 {
		all = append(all, method, args)
	}
	tr.frames = slices.Concat(tr.frames[:from], all, tr.frames[to:])
}

func adminCall(t *testing.T, g *Gateway, method, path, body string, want int) map[string]any {
	t.Helper()
	req, _ := http.NewRequest(method, "http://"+g.AdminAddr()+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, b, want)
	}
	var m map[string]any
	_ = json.Unmarshal(b, &m)
	return m
}

// client sends the recorded requests over one connection and compares the answers.
func client(t *testing.T, g *Gateway, s *scripted, tr *transcript) {
	var c net.Conn
	var br *bufio.Reader
	for i, rq := range tr.requests {
		if i > 0 {
			between(t, g, tr.name, i)
		}
		if c == nil {
			var err error
			if c, err = net.Dial("tcp", g.ProxyAddr()); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			br = bufio.NewReader(c)
		}
		c.SetDeadline(time.Now().Add(20 * time.Second))
		c.Write(rq.bytes)
		if bytes.Contains(rq.bytes, []byte("100-continue")) {
			line, _ := br.ReadString('\n')
			br.ReadString('\n')
			if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
				t.Errorf("Expect was answered by %q", line)
			}
			c.Write(rq.bodyLater)
		} else if rq.bodyLater != nil {
			<-s.started
			c.Write(rq.bodyLater)
		}
		method, _, _ := strings.Cut(string(rq.bytes), " ")
		got, err := readRecorded(br, method)
		if err != nil {
			t.Errorf("response %d: %v", i+1, err)
			return
		}
		compareResponse(t, s, i+1, got, tr.responses[i])
		for _, h := range got.Headers {
			if h[0] == "Connection" && h[1] != "keep-alive" {
				c.Close()
				c = nil
			}
		}
	}
}

// between does what the recorder did through the Admin API.
func between(t *testing.T, g *Gateway, name string, i int) {
	switch name[:2] {
	case "05":
		if i == 1 {
			adminCall(t, g, "DELETE", "/plugins/onsvc", "", 204)
			adminCall(t, g, "POST", "/plugins", `{"name":"openid-connect"}`, 201)
		}
	case "07":
		id := ""
		for _, p := range g.st().list("plugins", "route", "f9a81616-5f81-41cc-9ba2-7cc3a84f9757") {
			id = str(p["id"])
		}
		adminCall(t, g, "PATCH", "/plugins/"+id, `{"config":{"mode":"patched"}}`, 200)
	case "08":
		adminCall(t, g, "POST", "/routes/full/plugins", `{"name":"correlation-id"}`, 201)
	case "09":
		if i == 1 {
			adminCall(t, g, "DELETE", "/plugins/34cfff49-2cdb-4620-add8-d11fa0b5d110", "", 204)
		}
	}
}

func readRecorded(br *bufio.Reader, method string) (recordedResponse, error) {
	var r recordedResponse
	raw, err := readHeadFrom(br)
	if err != nil {
		return r, err
	}
	_, rest, _ := strings.Cut(string(raw), " ")
	r.Status, _ = strconv.Atoi(rest[:3])
	for _, line := range strings.Split(string(raw), "\r\n")[1:] {
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Headers = append(r.Headers, [2]string{name, value})
		}
	}
	n := 0
	for _, h := range r.Headers {
		if h[0] == "Content-Length" {
			n, _ = strconv.Atoi(h[1])
		}
	}
	if method == "HEAD" || r.Status == 101 {
		return r, nil
	}
	b := make([]byte, n)
	_, err = io.ReadFull(br, b)
	r.Body = escaped(b)
	return r, err
}

// escaped shows bytes that are not UTF-8 as the transcripts do.
func escaped(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		if c == utf8.RuneError && n == 1 {
			fmt.Fprintf(&out, `\x%02x`, b[0])
		} else {
			out.Write(b[:n])
		}
		b = b[n:]
	}
	return out.String()
}

var requestIDText = regexp.MustCompile(`[0-9a-f]{32}`)

func compareResponse(t *testing.T, s *scripted, i int, got, want recordedResponse) {
	t.Helper()
	if got.Status != want.Status {
		t.Errorf("response %d: status %d, recorded %d: %s", i, got.Status, want.Status, got.Body)
	}
	norm := func(v string) string {
		v = requestIDText.ReplaceAllString(v, "ID")
		v = strings.ReplaceAll(v, "127.0.0.1:"+s.upstreamPort, "127.0.0.1:9001")
		return strings.ReplaceAll(v, "X-Forwarded-Port: "+s.port, "X-Forwarded-Port: 8000")
	}
	lines := func(r recordedResponse) []string {
		var out []string
		for _, h := range r.Headers {
			switch h[0] {
			case "Date", "Content-Length", "X-Kong-Upstream-Latency", "X-Kong-Proxy-Latency", "X-Kong-Response-Latency", "X-Kong-Request-Id":
				out = append(out, h[0])
			default:
				out = append(out, h[0]+": "+strings.TrimRight(h[1], " "))
			}
		}
		return out
	}
	if g, w := lines(got), lines(want); !slices.Equal(g, w) {
		t.Errorf("response %d: headers\n     got %q\nrecorded %q", i, g, w)
	}
	g, w := norm(got.Body), norm(want.Body)
	if strings.HasPrefix(s.name, "20-") || strings.HasPrefix(s.name, "65-") {
		// set_headers of several names: Lua's order of a table is any order.
		g, w = strings.Join(sorted(strings.Split(g, "\n")), "\n"), strings.Join(sorted(strings.Split(w, "\n")), "\n")
	}
	if g != w {
		t.Errorf("response %d: body\n     got %q\nrecorded %q", i, g, w)
	}
}

func sorted(l []string) []string { l = slices.Clone(l); slices.Sort(l); return l }
