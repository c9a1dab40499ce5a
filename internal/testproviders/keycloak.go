package testproviders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Keycloak's bootstrap administrator; it lives as long as the process.
const adminUser, adminPassword = "admin", "admin"

func javaProgram() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java := filepath.Join(home, "bin", "java")
		if _, err := os.Stat(java); err == nil {
			return java, nil
		}
	}
	return exec.LookPath("java")
}

// keycloakCommand runs the distribution's launcher class as its shell script
// does, but without the shell in between: the signal that ends a child with
// its parent reaches the JVM so. dist holds the program, home its data.
func keycloakCommand(java, dist, home string, args ...string) *exec.Cmd {
	cmd := nicely(java, append([]string{
		"-Xms64m", "-Xmx512m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
		"-Dfile.encoding=UTF-8", "-Djava.security.egd=file:/dev/urandom", "-Duser.language=en", "-Duser.country=US",
		"--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
		"--add-opens=java.base/java.security=ALL-UNNAMED",
		"-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory",
		"-Dkc.home.dir=" + home, "-cp", filepath.Join(dist, "lib", "quarkus-run.jar"),
		"io.quarkus.bootstrap.runner.QuarkusEntryPoint",
	}, args...)...)
	cmd.Dir = home
	cmd.Env = environment("KC_BOOTSTRAP_ADMIN_USERNAME="+adminUser, "KC_BOOTSTRAP_ADMIN_PASSWORD="+adminPassword)
	return cmd
}

// startKeycloak runs Keycloak with an in-memory database, whose realms a and b
// come from testdata/keycloak.
func startKeycloak(p *Provider) error {
	installed, err := InstallKeycloak(nil)
	if err != nil {
		return err
	}
	java, err := javaProgram()
	if err != nil {
		return err
	}
	home := filepath.Join(p.dir, "keycloak")
	if err := keycloakHome(installed.KeycloakHome, home); err != nil {
		return err
	}
	p.Version = KeycloakVersion
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(p.dir, name) }
	began := time.Now()
	p.proc, err = start(keycloakCommand(java, installed.KeycloakHome, home, "start", "--optimized", "--import-realm", "--cache=local",
		"--http-enabled=true", "--http-host=127.0.0.1", "--http-port="+ports[0], "--https-port="+ports[1], "--hostname-strict=false",
		"--https-certificate-file="+in("server.pem"), "--https-certificate-key-file="+in("server-key.pem"),
		"--truststore-paths="+in("ca.pem"), "--log-level=warn"), nil)
	if err != nil {
		return fmt.Errorf("starting Keycloak: %w", err)
	}
	backend := &url.URL{Scheme: "http", Host: "127.0.0.1:" + ports[0]}
	if err := p.ready(backend.String()+"/realms/b/.well-known/openid-configuration", 3*time.Minute); err != nil {
		return err
	}
	p.front.backend(backend)
	p.StartTime = time.Since(began)
	p.Issuer = "http://" + p.front.addr + "/realms/a"
	p.IssuerB = "http://" + p.front.addr + "/realms/b"
	p.TLSIssuer = "https://127.0.0.1:" + ports[1] + "/realms/a"
	p.control = keycloakControl{base: backend.String()}
	return nil
}

// keycloakHome makes a home whose program is that of the cache and whose data,
// the realm files among them, is its own.
func keycloakHome(dist, home string) error {
	root, err := checkout()
	if err != nil {
		return err
	}
	imports := filepath.Join(home, "data", "import")
	if err := os.MkdirAll(imports, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"lib", "providers", "themes", "conf"} {
		if err := os.Symlink(filepath.Join(dist, name), filepath.Join(home, name)); err != nil {
			return err
		}
	}
	replacements := []string{}
	for placeholder, use := range map[string]string{`"@CLIENT_JWKS@"`: "sig", `"@CLIENT_ENC_JWKS@"`: "enc"} {
		set, err := publicKeySet(use)
		if err != nil {
			return err
		}
		quoted, err := json.Marshal(string(set))
		if err != nil {
			return err
		}
		replacements = append(replacements, placeholder, string(quoted))
	}
	for _, name := range []string{"realm-a.json", "realm-b.json"} {
		raw, err := os.ReadFile(filepath.Join(root, "testdata", "keycloak", name))
		if err != nil {
			return err
		}
		keys, err := realmKeys()
		if err != nil {
			return err
		}
		with := append([]string{`"@REALM_KEYS@"`, string(keys)}, replacements...)
		raw = []byte(strings.NewReplacer(with...).Replace(string(raw)))
		if err := os.WriteFile(filepath.Join(imports, name), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns loopback ports that nobody listens on at this moment.
func freePorts(n int) ([]string, error) {
	ports := []string{}
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = ln.Close() }()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// keycloakControl uses Keycloak's Admin API, past the front.
type keycloakControl struct{ base string }

func (keycloakControl) tlsCounts(context.Context) (map[string]int, error) { return nil, nil }
func (keycloakControl) resetTLSCounts(context.Context) error              { return nil }

func (k keycloakControl) updateClient(ctx context.Context, id string, changes map[string]any) error {
	client := &http.Client{Timeout: 30 * time.Second}
	token, err := k.adminToken(ctx, client)
	if err != nil {
		return fmt.Errorf("asking Keycloak for an administrator's token: %w", err)
	}
	header := http.Header{"Authorization": {"Bearer " + token}}
	var found []map[string]any
	list := k.base + "/admin/realms/a/clients"
	if err := fetchJSON(ctx, client, http.MethodGet, list+"?clientId="+url.QueryEscape(id), header, nil, &found); err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("keycloak knows %d clients %q", len(found), id)
	}
	attributes, ok := found[0]["attributes"].(map[string]any)
	if !ok {
		return errors.New("the client has no attributes")
	}
	for name, value := range changes {
		attributes[name] = value
	}
	internal, _ := found[0]["id"].(string)
	return fetchJSON(ctx, client, http.MethodPut, list+"/"+url.PathEscape(internal), header, found[0], nil)
}

func (k keycloakControl) adminToken(ctx context.Context, client *http.Client) (string, error) {
	form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {adminUser}, "password": {adminPassword}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.base+"/realms/master/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return "", err
	}
	if answer.AccessToken == "" {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return answer.AccessToken, nil
}
