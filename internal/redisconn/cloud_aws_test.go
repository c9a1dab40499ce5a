package redisconn

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	signedBy(t, token, "elasticache", map[string]string{"AKID": cloudSecret}, c.at)
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
			verifyV4(strings.TrimPrefix(r.Header.Get("X-Was"), "https://")+r.URL.RequestURI(), "sts", map[string]string{"AKID": cloudSecret}, c.at) != nil {
			return 403, "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>"
		}
		return 200, stsAnswer("AssumeRole", "ASIA", c.at.Add(time.Hour))
	})
	get := provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "c", AWSRegion: "eu-west-1", AWSAccessKeyID: "AKID", AWSSecretAccessKey: cloudSecret,
		AWSAssumeRoleARN: "arn:aws:iam::1:role/r", AWSRoleSessionName: "kong"}, "u", nil)
	for range 4 { // 40 minutes: four tokens by the same keys
		if _, token := must(t, get); !strings.Contains(token, "ASIA") || !strings.Contains(token, "X-Amz-Security-Token=tok%2Fen%2B") {
			t.Fatal(token)
		} else {
			signedBy(t, token, "elasticache", map[string]string{"ASIA": "s"}, c.at)
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
