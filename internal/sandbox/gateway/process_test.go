package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/upstream"
)

const twoRoutes = `
_format_version: "3.0"
services:
- name: echo
  url: http://UPSTREAM
  routes:
  - {name: a, paths: [/a], plugins: [{name: openid-connect, config: {mode: a}}]}
  - {name: b, paths: [/b], plugins: [{name: openid-connect, config: {mode: b}}]}
  - {name: open, paths: [/open]}
`

// launch starts a gateway that runs this test binary as its plugin server.
func launch(t *testing.T, change func(*Options)) (*Gateway, *upstream.Service) {
	t.Helper()
	echo, err := upstream.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		ConfigData: []byte(strings.ReplaceAll(twoRoutes, "UPSTREAM", echo.Addr())), Plugin: exe, Dump: recordedDump(t), Workers: 1,
		Timing: Timing{Respawn: 20 * time.Millisecond, Reload: 20 * time.Millisecond},
	}
	if change != nil {
		change(&opts)
	}
	g, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g, echo
}

// fetch asks the proxy over a connection of its own and returns status and body.
func fetch(t *testing.T, g *Gateway, path string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := c.Get("http://" + g.ProxyAddr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// instance is the X-Instance that the service saw: pid, instance id, sequence.
func instanceOf(t *testing.T, g *Gateway, path string) (pid, id, seq string) {
	t.Helper()
	status, body := fetch(t, g, path)
	var seen upstream.Request
	if err := json.Unmarshal([]byte(body), &seen); err != nil || status != 200 {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	parts := strings.Split(strings.Join(seen.Get("X-Instance"), ""), "/")
	if len(parts) != 3 {
		t.Fatalf("%s: the plugin did not run: %v", path, seen.Headers)
	}
	return parts[0], parts[1], parts[2]
}

func TestPluginGetsKongsEnvironment(t *testing.T) {
	t.Setenv("SOMETHING_SECRET", "x")
	g, _ := launch(t, func(o *Options) { o.PluginEnv = []string{"GIVEN=1"} })
	_, body := fetch(t, g, "/a?env")
	lines := strings.Split(body, "\n")
	if len(lines) != 2 || lines[0] != "GIVEN=1" || !strings.HasPrefix(lines[1], "PWD=") {
		t.Errorf("environment %q, want PWD and what was configured", lines)
	}
}

func TestQueryCommandHasTheFullEnvironment(t *testing.T) {
	t.Setenv("FAKE_DUMP", string(recordedDump(t)))
	g, _ := launch(t, func(o *Options) { o.Dump = nil })
	if g.st().plugins["openid-connect"] == nil {
		t.Error("the dump was not read")
	}
}

func TestPrefixHoldsKongEnv(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.KongEnv = map[string]string{"pg_password": "a#b"} })
	b, err := os.ReadFile(filepath.Join(g.Prefix(), ".kong_env"))
	if err != nil || !bytes.Contains(b, []byte("\ndatabase = off\n")) || !bytes.Contains(b, []byte(`pg_password = a\#b`)) {
		t.Errorf(".kong_env: %v\n%s", err, b)
	}
	st, _ := os.Stat(filepath.Join(g.Prefix(), ".kong_env"))
	if st.Mode().Perm() != 0o640 {
		t.Errorf(".kong_env has mode %v", st.Mode())
	}
	g.Close()
	if _, err := os.Stat(g.Prefix()); !os.IsNotExist(err) {
		t.Error("Close left the prefix of its own making")
	}
}

// Transcript 83.
func TestKilledPluginIsStartedAgain(t *testing.T) {
	g, _ := launch(t, nil)
	pid1, _, _ := instanceOf(t, g, "/a")
	_, idB, _ := instanceOf(t, g, "/b")
	if err := g.KillPlugin(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a second process", func() bool { return g.Counters().Spawns.Load() == 2 && g.waitReady(g.proc) == nil })
	starts := g.Counters().Starts.Load()
	pid2, idB2, seq := instanceOf(t, g, "/b")
	if pid1 == pid2 || idB2 != "1" || idB != "2" || seq != "8" {
		t.Errorf("process %s then %s, instance %s then %s, sequence %s; recorded: a new process, 2 then 1, 8", pid1, pid2, idB, idB2, seq)
	}
	if g.Counters().Retries.Load() != 1 {
		t.Errorf("%d events were delivered again, want one", g.Counters().Retries.Load())
	}
	// The other instance is started anew too, and none is closed.
	if _, id, _ := instanceOf(t, g, "/a"); id != "2" || g.Counters().Starts.Load() != starts+2 || g.Counters().Closes.Load() != 0 {
		t.Errorf("instance %s, %d starts, %d closes", id, g.Counters().Starts.Load()-starts, g.Counters().Closes.Load())
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
}

func TestRespawnIsRateLimited(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.Timing.Respawn = 400 * time.Millisecond })
	started := time.Now()
	g.KillPlugin(syscall.SIGKILL)
	waitFor(t, "the respawn", func() bool { return g.Counters().Spawns.Load() == 2 })
	if d := time.Since(started); d < 200*time.Millisecond {
		t.Errorf("started again after %v, want no sooner than the interval since its start", d)
	}
}

func TestPluginThatDiesInAnEvent(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.MaxRetries = 3 })
	// The event dies with the process; tried again, it kills the next one or finds none.
	if status, body := fetch(t, g, "/a?die"); status != 500 || !strings.Contains(body, "An unexpected error occurred") {
		t.Errorf("%d %s", status, body)
	}
	waitFor(t, "service again", func() bool { s, _ := fetch(t, g, "/a"); return s == 200 })
}

// Transcript 10.
func TestReload(t *testing.T) {
	g, _ := launch(t, nil)
	pid1, _, _ := instanceOf(t, g, "/a")
	adminCall(t, g, "POST", "/routes/open/plugins", `{"name":"request-termination"}`, 201)
	_, _, seq := instanceOf(t, g, "/a")
	if seq != "6" { // start 2, event 3, start 4, close 5, event 6
		t.Errorf("sequence %s, recorded 6", seq)
	}
	before := pluginSeq(t, g, "/a")
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	pid2, id, seq := instanceOf(t, g, "/a")
	if pid1 == pid2 || id != "1" || seq != "3" {
		t.Errorf("process %s then %s, instance %s, sequence %s; recorded: a new one, 1, 3", pid1, pid2, id, seq)
	}
	if after := pluginSeq(t, g, "/a"); after >= before {
		t.Errorf("__seq__ %v, then after the reload %v, want a lower one", before, after)
	}
	waitFor(t, "SIGTERM to the old process", func() bool {
		return slices.ContainsFunc(g.Log(), func(l string) bool { return strings.Contains(l, pid1+"] got SIGTERM") })
	})
	if status, _ := fetch(t, g, "/a"); status != 200 {
		t.Errorf("after the old process ended: %d", status)
	}
}

func pluginSeq(t *testing.T, g *Gateway, path string) float64 {
	t.Helper()
	_, body := fetch(t, g, path+"?config")
	var conf map[string]any
	if err := json.Unmarshal([]byte(body), &conf); err != nil {
		t.Fatal(err)
	}
	return conf["__seq__"].(float64)
}

func TestReloadOfABadFileChangesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kong.yml")
	var good []byte
	g, _ := launch(t, func(o *Options) {
		good = o.ConfigData
		os.WriteFile(file, good, 0o600)
		o.Config, o.ConfigData = file, nil
	})
	pid, _, _ := instanceOf(t, g, "/a")
	os.WriteFile(file, []byte("_format_version: \"3.0\"\nroute: []\n"), 0o600)
	if err := g.Reload(); err == nil || !strings.Contains(err.Error(), "route: unknown field") {
		t.Errorf("error %v", err)
	}
	if again, _, _ := instanceOf(t, g, "/a"); again != pid {
		t.Error("the plugin server was replaced")
	}
	os.WriteFile(file, bytes.ReplaceAll(good, []byte("paths: [/b]"), []byte("paths: [/c]")), 0o600)
	if err := g.Reload(); err != nil {
		t.Fatal(err)
	}
	if status, _ := fetch(t, g, "/b"); status != 404 {
		t.Errorf("the route that is gone answers %d", status)
	}
	instanceOf(t, g, "/c")
}

// Transcripts 11 and 83: with one plugin __seq__ is 2, with two it is 3 and 4.
func TestSeqStartsAsRecorded(t *testing.T) {
	g, _ := launch(t, nil)
	if a, b := pluginSeq(t, g, "/a"), pluginSeq(t, g, "/b"); a != 3 || b != 4 {
		t.Errorf("__seq__ %v and %v, recorded 3 and 4", a, b)
	}
}

// Transcript 06.
func TestEveryWorkerHasItsOwn(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.Workers = 2 })
	seen := map[string]bool{}
	for range 4 {
		_, id, seq := instanceOf(t, g, "/a")
		seen[id+"/"+seq] = true
	}
	if want := map[string]bool{"1/3": true, "2/3": true, "1/4": true, "2/4": true}; !mapsEqual(seen, want) {
		t.Errorf("instance/sequence %v, want %v", seen, want)
	}
	if a, b := pluginSeq(t, g, "/a"), pluginSeq(t, g, "/a"); a != b {
		t.Errorf("__seq__ %v and %v, recorded the same in both workers", a, b)
	}
}

func mapsEqual(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

func TestEndlessCloseIsCutShort(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.MaxRetries = 25 })
	if status, _ := fetch(t, g, "/a?close"); status != 500 {
		t.Errorf("status %d", status)
	}
	c := g.Counters()
	if c.Retries.Load() != 26 || c.Valve.Load() != 1 || c.Starts.Load() != 26 {
		t.Errorf("%d retries, %d starts, valve %d", c.Retries.Load(), c.Starts.Load(), c.Valve.Load())
	}
	if !slices.ContainsFunc(g.Log(), func(l string) bool { return strings.HasPrefix(l, "[crit]") }) {
		t.Error("nothing in the log tells of it")
	}
}

func TestBytesAfterTheEventCloseTheConnection(t *testing.T) {
	g, _ := launch(t, nil)
	instanceOf(t, g, "/a")
	n := g.Counters().Connections.Load()
	if status, _ := fetch(t, g, "/a?extra"); status != 200 {
		t.Errorf("status %d", status)
	}
	instanceOf(t, g, "/a")
	if got := g.Counters().Connections.Load() - n; got != 1 {
		t.Errorf("%d new connections, want one", got)
	}
}

func TestSilenceIsBounded(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.Timing.Event = 100 * time.Millisecond })
	for _, q := range []string{"promise", "silent"} {
		if status, _ := fetch(t, g, "/a?"+q); status != 500 {
			t.Errorf("%s: status %d", q, status)
		}
	}
	if !slices.ContainsFunc(g.Log(), func(l string) bool { return strings.Contains(l, "timeout") }) {
		t.Errorf("log %v", g.Log())
	}
	if g.Counters().Retries.Load() != 0 {
		t.Error("a timeout was delivered again")
	}
}

// Transcripts 44 and 44b.
func TestClientCertificateVariables(t *testing.T) {
	g, _ := launch(t, func(o *Options) { o.ProxyTLSAddr = "127.0.0.1:0" })
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(0x49f), Subject: pkix.Name{CommonName: "client1"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(certs ...tls.Certificate) string {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "api.example.com", Certificates: certs}}}
		resp, err := c.Get("https://" + g.ProxyTLSAddr() + "/a?vars")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	got := ask(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	for _, want := range []string{"ssl_client_raw_cert=-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", "ssl_client_verify=FAILED:self-signed certificate\n", "ssl_client_s_dn=CN=client1\n", "ssl_client_serial=049F\n", "ssl_protocol=TLSv1.3\n", "ssl_server_name=api.example.com\n", "scheme=https\n", "\nTLSv1.3"} {
		if !strings.Contains(got, want) {
			t.Errorf("with a certificate: %q is not in\n%s", want, got)
		}
	}
	tmpl.NotAfter = time.Now().Add(-time.Minute)
	if der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	if got := ask(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}); !strings.Contains(got, "400 The SSL certificate error") {
		t.Errorf("with one that has expired: %s", got)
	}
	if got := ask(); !strings.HasPrefix(got, "ssl_client_raw_cert=\nssl_client_verify=NONE\nssl_client_s_dn=\n") {
		t.Errorf("without: %s", got)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	exe, _ := os.Executable()
	for name, c := range map[string]struct {
		opts Options
		want string
	}{
		"no binary":       {Options{Plugin: "/nonexistent/plugin"}, "query command /nonexistent/plugin -dump"},
		"no JSON":         {Options{Plugin: exe, Dump: []byte("oops")}, "printed no JSON"},
		"protocol":        {Options{Plugin: exe, Dump: []byte(`{"Protocol":"MsgPack:1"}`)}, "ProtoBuf:1"},
		"description":     {Options{Plugin: exe, Dump: dumpWith(`{"issuer":{"type":"string","description":"short"}}`)}, "config.issuer.description: length must be at least 10"},
		"type any":        {Options{Plugin: exe, Dump: dumpWith(`{"issuer":{"type":"any"}}`)}, "config.issuer.type: expected one of"},
		"attribute":       {Options{Plugin: exe, Dump: dumpWith(`{"issuer":{"type":"string","custom_validator":"f"}}`)}, "config.issuer.custom_validator: unknown field"},
		"default":         {Options{Plugin: exe, Dump: dumpWith(`{"n":{"type":"integer","default":"1"}}`)}, "config.n.default: expected an integer"},
		"elements":        {Options{Plugin: exe, Dump: dumpWith(`{"l":{"type":"array"}}`)}, "config.l.elements: field of type 'array' must declare 'elements'"},
		"config":          {Options{Plugin: exe, Dump: recordedDump(t), ConfigData: []byte("_format_version: '3.0'\nplugins: [{name: openid-connect, config: {verify: 1, nope: 2}}]")}, "2 schema violations (config.nope: unknown field; config.verify: expected a boolean)"},
		"trusted":         {Options{Plugin: exe, Dump: recordedDump(t), TrustedIPs: []string{"x"}}, `trusted address "x"`},
		"port":            {Options{Plugin: exe, Dump: recordedDump(t)}, "listen for the proxy"},
		"no plugin there": {Options{External: true, Dump: recordedDump(t), Timing: Timing{Start: 30 * time.Millisecond}}, "does not answer on"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "port" {
				busy, _ := launch(t, nil)
				c.opts.ProxyAddr = busy.ProxyAddr()
			}
			g, err := Start(c.opts)
			if err == nil {
				g.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q lacks %q", err, c.want)
			}
		})
	}
}

func dumpWith(field string) []byte {
	return []byte(`{"Protocol":"ProtoBuf:1","Plugins":[{"Name":"openid-connect","Phases":["access"],"Priority":1050,"Version":"1","Schema":{"name":"openid-connect","fields":[{"config":{"type":"record","required":true,"fields":[` + field + `]}}]}}]}`)
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	g, echo := launch(t, nil)
	for range 5 {
		instanceOf(t, g, "/a")
	}
	pid := g.PluginPID()
	g.Reload()
	pid2 := g.PluginPID()
	g.Close()
	echo.Close()
	http.DefaultClient.CloseIdleConnections()
	for _, p := range []int{pid, pid2} {
		if err := syscall.Kill(p, 0); err == nil {
			t.Errorf("process %d still runs", p)
		}
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+1 })
}
