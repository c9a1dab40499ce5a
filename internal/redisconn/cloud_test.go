package redisconn

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/testservers"
)

// TestPresign holds the signature against the example that AWS documents for a
// presigned GET ("Authenticating Requests: Using Query Parameters").
func TestPresign(t *testing.T) {
	keys := awsKeys{id: "AKIAIOSFODNN7EXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	got := presign(keys, "s3", "us-east-1", "https", "examplebucket.s3.amazonaws.com", "/test.txt", nil, "UNSIGNED-PAYLOAD",
		time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), 24*time.Hour)
	want := "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400" +
		"&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const cloudSecret = "cl0ud-secret"

// fakeCloud answers every host over TLS and plain HTTP and notes what it was asked.
type fakeCloud struct {
	mu     sync.Mutex
	asked  []string
	answer func(r *http.Request, form url.Values) (int, string)
	server *httptest.Server
}

func newCloud(t *testing.T, answer func(*http.Request, url.Values) (int, string)) *fakeCloud {
	f := &fakeCloud{answer: answer}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(b))
		for k, v := range r.URL.Query() {
			form[k] = v
		}
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.Header.Get("X-Was")+r.URL.Path)
		f.mu.Unlock()
		status, body := f.answer(r, form)
		w.Header().Set("Location", "https://elsewhere.test/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(f.server.Close)
	return f
}

// RoundTrip sends every request to the fake, and tells it where it was to go.
func (f *fakeCloud) RoundTrip(r *http.Request) (*http.Response, error) {
	u, _ := url.Parse(f.server.URL)
	out := r.Clone(r.Context())
	out.Header.Set("X-Was", r.URL.Scheme+"://"+r.URL.Host)
	out.URL.Scheme, out.URL.Host = "http", u.Host
	return http.DefaultTransport.RoundTrip(out)
}

func (f *fakeCloud) count() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.asked) }

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func provider(t *testing.T, f *fakeCloud, c *clock, cloud Cloud, user string, env map[string]string) credentials {
	t.Helper()
	o := Options{TLS: true, Username: user, Cloud: cloud, HTTP: &http.Client{Transport: f}, Now: c.now, Getenv: func(k string) string { return env[k] }}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	o.setDefaults()
	return o.credentials()
}

func newClock() *clock { return &clock{time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func must(t *testing.T, get credentials) (user, token string) {
	t.Helper()
	user, token, err := get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return user, token
}

func TestAWSStaticKeys(t *testing.T) {
	f := newCloud(t, func(*http.Request, url.Values) (int, string) { return 500, "" })
	c := newClock()
	get := provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "My-Cache", AWSRegion: "eu-west-1", AWSServerless: true, AWSAccessKeyID: "AKID", AWSSecretAccessKey: cloudSecret}, "iam-user", nil)
	user, token := must(t, get)
	u, err := url.Parse("http://" + token)
	if err != nil || user != "iam-user" || u.Host != "my-cache" || u.Path != "/" {
		t.Fatalf("%s %s", user, token)
	}
	q := u.Query()
	for name, want := range map[string]string{"Action": "connect", "User": "iam-user", "ResourceType": "ServerlessCache", "X-Amz-Expires": "900",
		"X-Amz-Credential": "AKID/20260304/eu-west-1/elasticache/aws4_request", "X-Amz-Date": "20260304T050607Z", "X-Amz-SignedHeaders": "host"} {
		if q.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, q.Get(name), want)
		}
	}
	if strings.Contains(token, cloudSecret) || f.count() != 0 {
		t.Error("the secret is in the token, or the network was used")
	}
	c.at = c.at.Add(8 * time.Minute)
	if _, again := must(t, get); again != token {
		t.Error("a token was renewed too soon")
	}
	c.at = c.at.Add(2 * time.Minute)
	if _, next := must(t, get); next == token {
		t.Error("a token was not renewed ahead of its end")
	}
	get = provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "c", AWSAccessKeyID: "AKID", AWSSecretAccessKey: cloudSecret}, "u", map[string]string{"AWS_REGION": "eu-north-1"})
	if _, token := must(t, get); strings.Contains(token, "ResourceType") || !strings.Contains(token, "eu-north-1") {
		t.Error(token)
	}
}

func stsAnswer(action, id string, expires time.Time) string {
	return fmt.Sprintf(`<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
		`<SecretAccessKey>s</SecretAccessKey><SessionToken>tok/en+</SessionToken><Expiration>%s</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
		action, id, expires.Format(time.RFC3339))
}

func TestAWSAssumeRole(t *testing.T) {
	c := newClock()
	f := newCloud(t, func(r *http.Request, q url.Values) (int, string) {
		if q.Get("Action") != "AssumeRole" || q.Get("RoleArn") != "arn:aws:iam::1:role/r" || q.Get("RoleSessionName") != "kong" ||
			!strings.HasPrefix(q.Get("X-Amz-Credential"), "AKID/") || q.Get("X-Amz-Signature") == "" {
			return 403, "no"
		}
		return 200, stsAnswer("AssumeRole", "ASIA", c.at.Add(time.Hour))
	})
	get := provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "c", AWSRegion: "eu-west-1", AWSAccessKeyID: "AKID", AWSSecretAccessKey: cloudSecret,
		AWSAssumeRoleARN: "arn:aws:iam::1:role/r", AWSRoleSessionName: "kong"}, "u", nil)
	for range 4 { // 40 minutes: four tokens by the same keys
		if _, token := must(t, get); !strings.Contains(token, "ASIA") || !strings.Contains(token, "X-Amz-Security-Token=tok%2Fen%2B") {
			t.Fatal(token)
		}
		c.at = c.at.Add(10 * time.Minute)
	}
	if f.count() != 1 || f.asked[0] != "GET https://sts.eu-west-1.amazonaws.com/" {
		t.Errorf("asked %q", f.asked)
	}
	c.at = c.at.Add(17 * time.Minute)
	must(t, get)
	if f.count() != 2 {
		t.Error("keys of the role were not renewed before their end")
	}
}

func TestAWSChain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("web-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClock()
	keys := fmt.Sprintf(`{"AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":%q}`, c.at.Add(time.Hour).Format(time.RFC3339))
	cases := map[string]struct {
		env  map[string]string
		want string // requests; else an error
		fail string
	}{
		"environment":        {env: map[string]string{"AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}},
		"web identity":       {env: map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": file, "AWS_ROLE_ARN": "arn"}, want: "GET https://sts.r-1.amazonaws.com/"},
		"container":          {env: map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"}, want: "GET http://169.254.170.2/v2/x"},
		"pod":                {env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file}, want: "GET http://169.254.170.23/v1"},
		"container elsewere": {env: map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/v1"}, fail: "FULL_URI"},
		"machine": {want: "PUT http://169.254.169.254/latest/api/token,GET http://169.254.169.254/latest/meta-data/iam/security-credentials/," +
			"GET http://169.254.169.254/latest/meta-data/iam/security-credentials/role"},
		"switched off": {env: map[string]string{"AWS_EC2_METADATA_DISABLED": "true"}, fail: "no AWS keys"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := newCloud(t, func(r *http.Request, q url.Values) (int, string) {
				switch {
				case q.Get("Action") == "AssumeRoleWithWebIdentity" && q.Get("WebIdentityToken") == "web-token":
					return 200, stsAnswer("AssumeRoleWithWebIdentity", "ASIA", c.at.Add(time.Hour))
				case r.URL.Path == "/latest/api/token":
					return 200, "imds"
				case strings.HasPrefix(r.URL.Path, "/latest/") && r.Header.Get("X-aws-ec2-metadata-token") != "imds":
					return 401, ""
				case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
					return 200, "role\n"
				case r.URL.Path == "/v1" && r.Header.Get("Authorization") != "web-token":
					return 401, ""
				}
				return 200, keys
			})
			get := provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "c", AWSRegion: "r-1"}, "u", tc.env)
			_, token, err := get(t.Context())
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || !strings.Contains(token, "ASIA") || !strings.Contains(token, "X-Amz-Security-Token") || strings.Join(f.asked, ",") != tc.want {
				t.Errorf("%s, %v, asked %q", token, err, f.asked)
			}
		})
	}
}

func jwtWith(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func TestAzure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("federated"), 0o600); err != nil {
		t.Fatal(err)
	}
	token := jwtWith(`{"oid":"object-id"}`)
	secret := Cloud{Provider: Azure, AzureClientID: "client", AzureClientSecret: cloudSecret, AzureTenantID: "te/nant"}
	cases := map[string]struct {
		cloud Cloud
		user  string
		env   map[string]string
		asked string
		form  map[string]string
		want  string
	}{
		"client secret": {cloud: secret, asked: "POST https://login.microsoftonline.com/te/nant/oauth2/v2.0/token", want: "object-id",
			form: map[string]string{"grant_type": "client_credentials", "client_id": "client", "client_secret": cloudSecret, "scope": "https://redis.azure.com/.default"}},
		"configured user": {cloud: secret, user: "me", asked: "POST https://login.microsoftonline.com/te/nant/oauth2/v2.0/token", want: "me"},
		"workload identity": {cloud: Cloud{Provider: Azure}, asked: "POST https://login.test/t/oauth2/v2.0/token", want: "object-id",
			env:  map[string]string{"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": "https://login.test/"},
			form: map[string]string{"client_id": "c", "client_assertion": "federated", "client_secret": ""}},
		"managed identity": {cloud: Cloud{Provider: Azure, AzureClientID: "c"}, asked: "GET http://169.254.169.254/metadata/identity/oauth2/token", want: "object-id",
			form: map[string]string{"resource": "https://redis.azure.com", "client_id": "c"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got url.Values
			f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
				got = form
				return 200, fmt.Sprintf(`{"access_token":%q,"expires_in":"3600"}`, token)
			})
			user, have := must(t, provider(t, f, newClock(), tc.cloud, tc.user, tc.env))
			if user != tc.want || have != token || f.asked[0] != tc.asked {
				t.Errorf("%s %s, asked %q", user, have, f.asked)
			}
			for name, want := range tc.form {
				if got.Get(name) != want {
					t.Errorf("%s = %q, want %q", name, got.Get(name), want)
				}
			}
		})
	}
}

func TestGCP(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b", "private_key_id": "kid",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://token.test/t"})
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	t.Run("service account", func(t *testing.T) {
		f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
			parts := strings.Split(form.Get("assertion"), ".")
			sig, _ := base64.RawURLEncoding.DecodeString(parts[len(parts)-1])
			sum := sha256.Sum256([]byte(strings.Join(parts[:len(parts)-1], ".")))
			body, _ := base64.RawURLEncoding.DecodeString(parts[1])
			var claims map[string]any
			_ = json.Unmarshal(body, &claims)
			if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil || claims["iss"] != "a@b" || claims["aud"] != "https://token.test/t" ||
				claims["exp"] != float64(c.at.Unix()+3600) || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
				return 400, `{"error":"invalid_grant"}`
			}
			return 200, `{"access_token":"ya29","expires_in":3599}`
		})
		user, token := must(t, provider(t, f, c, Cloud{Provider: GCP, GCPServiceAccountJSON: Secret(account)}, "", nil))
		if user != "default" || token != "ya29" || f.asked[0] != "POST https://token.test/t" {
			t.Error(user, token, f.asked)
		}
	})
	t.Run("machine", func(t *testing.T) {
		f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
			if r.Header.Get("Metadata-Flavor") != "Google" {
				return 403, ""
			}
			return 200, `{"access_token":"ya29","expires_in":3599}`
		})
		if _, token := must(t, provider(t, f, c, Cloud{Provider: GCP}, "", nil)); token != "ya29" {
			t.Error(token)
		}
	})
	for _, bad := range []string{"", "{", `{"type":"user"}`, `{"type":"service_account","client_email":"x","private_key":"` + cloudSecret + `"}`,
		strings.Replace(string(account), "https://token", "http://token", 1), strings.Replace(string(account), "https://token.test/t", "https://"+cloudSecret+"@x", 1)} {
		f := newCloud(t, func(*http.Request, url.Values) (int, string) { return 400, `{"error":"invalid_grant"}` })
		_, _, err := provider(t, f, c, Cloud{Provider: GCP, GCPServiceAccountJSON: Secret(bad)}, "", nil)(t.Context())
		if err == nil || strings.Contains(err.Error(), cloudSecret) || bad != "" && f.count() != 0 {
			t.Errorf("%v, asked %q", err, f.asked)
		}
	}
}

func TestTokensAreRenewed(t *testing.T) {
	c := newClock()
	n, down := 0, false
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		if down {
			return 503, cloudSecret
		}
		n++
		return 200, fmt.Sprintf(`{"access_token":"token %d","expires_in":3600}`, n)
	})
	get := provider(t, f, c, Cloud{Provider: GCP}, "u", nil)
	want := func(token string) {
		t.Helper()
		if _, got := must(t, get); got != token {
			t.Errorf("%v: %q, want %q", c.at, got, token)
		}
	}
	var wg sync.WaitGroup
	for range 20 { // the first connections ask once together
		wg.Go(func() { _, _, _ = get(t.Context()) })
	}
	wg.Wait()
	want("token 1")
	c.at = c.at.Add(time.Hour - renewBefore - time.Second)
	want("token 1")
	c.at = c.at.Add(time.Second)
	want("token 2") // ahead of its end
	down = true
	c.at = c.at.Add(time.Hour - renewBefore)
	asked := f.count()
	want("token 2") // the old one lives
	want("token 2")
	if f.count() != asked+1 {
		t.Error("a failed renewal is tried again without a pause")
	}
	c.at = c.at.Add(retryAfter)
	want("token 2")
	if f.count() != asked+2 {
		t.Error("a failed renewal is not tried again")
	}
	c.at = c.at.Add(renewBefore)
	_, _, err := get(t.Context())
	if err == nil || strings.Contains(err.Error(), cloudSecret) || !strings.Contains(err.Error(), "answered 503") {
		t.Fatalf("after the end: %v", err)
	}
	down = false
	want("token 3")
}

func TestCloudAnswersAreBounded(t *testing.T) {
	for name, body := range map[string]string{"large": strings.Repeat(" ", maxCloudReply+1), "no token": `{"expires_in":1}`, "no end": `{"access_token":"x"}`,
		"past": `{"access_token":"x","expires_in":-1}`, "no JSON": "<html>"} {
		f := newCloud(t, func(*http.Request, url.Values) (int, string) { return 200, body })
		if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f := newCloud(t, nil)
	f.answer = func(*http.Request, url.Values) (int, string) { return 302, "" }
	if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(t.Context()); err == nil || f.count() != 1 {
		t.Errorf("a redirect: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(ctx); err == nil {
		t.Error("a dead context asked")
	}
}

// TestCloudErrorReachesTheCaller: what failed is named, on the connection of a real dial.
func TestCloudErrorReachesTheCaller(t *testing.T) {
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		return 400, `{"error":"invalid_client","error_description":"` + cloudSecret + `"}`
	})
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var port int
	fmt.Sscan(u.Port(), &port)
	c, err := New(Options{Address: Address{u.Hostname(), port}, TLS: true, TLSSkipVerify: true, HTTP: &http.Client{Transport: f},
		Cloud: Cloud{Provider: Azure, AzureClientID: "c", AzureClientSecret: cloudSecret, AzureTenantID: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Check(t.Context())
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "login by the cloud: Entra's token endpoint answered 400 (invalid_client)") || strings.Contains(err.Error(), cloudSecret) {
		t.Errorf("error = %v", err)
	}
}

// TestTokenLogsIn: a real Redis takes the token as the password of the user,
// and connections that are made after its renewal use the new one.
func TestTokenLogsIn(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{TLS: true, ACL: []string{"user default on nopass ~* +@all", "user object-id on >placeholder ~* +@all"}})
	c := newClock()
	n := 0
	token := func() string { return jwtWith(fmt.Sprintf(`{"oid":"object-id","n":%d}`, n)) }
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		n++
		return 200, fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, token())
	})
	c2, err := New(Options{Address: Address{s.Host, s.Port}, TLS: true, Roots: s.Roots, Now: c.now, HTTP: &http.Client{Transport: f},
		Cloud: Cloud{Provider: Azure, AzureClientID: "c", AzureClientSecret: cloudSecret, AzureTenantID: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	var e *Error
	if err := c2.Check(t.Context()); !errors.As(err, &e) || e.Code != "WRONGPASS" || strings.Contains(err.Error(), token()) {
		t.Fatalf("a token that Redis does not take: %v", err)
	}
	for range 2 {
		s.MustDo("ACL", "SETUSER", "object-id", "resetpass", ">"+token())
		if err := c2.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(time.Hour)
		n++ // what the next request will bring
		next := token()
		n--
		s.MustDo("ACL", "SETUSER", "object-id", "resetpass", ">"+next)
		s.MustDo("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if err := c2.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("asked for %d tokens", n)
	}
}
