package redisconn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signedBy fails unless AWS would take a token, and refuse it with any part of
// it changed.
func signedBy(t *testing.T, link, service string, secrets map[string]string, now time.Time) {
	t.Helper()
	if err := verifyV4(link, service, secrets, now); err != nil {
		t.Fatalf("%v: %s", err, link)
	}
	_, query, _ := strings.Cut(link, "?")
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		changed := "x" + value
		if verifyV4(strings.Replace(link, pair, name+"="+changed, 1), service, secrets, now) == nil {
			t.Errorf("%s may be changed", name)
		}
	}
	if verifyV4("x"+link, service, secrets, now) == nil {
		t.Error("the host may be changed")
	}
	if verifyV4(link, service, secrets, now.Add(24*time.Hour)) == nil {
		t.Error("it never ends")
	}
}

// verifyV4 does what AWS does with a presigned GET without a body (Signature
// Version 4, "Authenticating Requests: Using Query Parameters"): it takes the
// link as it was sent, host/path?query.
func verifyV4(link, service string, secrets map[string]string, now time.Time) error {
	address, query, _ := strings.Cut(link, "?")
	host, _, _ := strings.Cut(address, "/")
	var signed []string
	args := map[string]string{}
	for _, pair := range strings.Split(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.PathUnescape(value)
		if err != nil || strings.ContainsAny(value, "+ /:=") {
			return fmt.Errorf("argument %s is not encoded as RFC 3986 says", name)
		}
		if _, twice := args[name]; twice {
			return fmt.Errorf("argument %s occurs twice", name)
		}
		args[name] = plain
		if name != "X-Amz-Signature" {
			signed = append(signed, pair)
		}
	}
	slices.Sort(signed)
	scope := strings.Split(args["X-Amz-Credential"], "/")
	began, err := time.Parse("20060102T150405Z", args["X-Amz-Date"])
	life, lifeErr := strconv.Atoi(args["X-Amz-Expires"])
	switch {
	case err != nil || lifeErr != nil || args["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256" || args["X-Amz-SignedHeaders"] != "host" || len(scope) != 5:
		return errors.New("IncompleteSignature")
	case scope[1] != began.Format("20060102") || scope[3] != service || scope[4] != "aws4_request":
		return errors.New("the credential is for another day or service")
	case now.Before(began.Add(-5*time.Minute)) || now.After(began.Add(time.Duration(life)*time.Second)):
		return errors.New("RequestExpired")
	}
	secret, ok := secrets[scope[0]]
	if !ok {
		return errors.New("InvalidClientTokenId")
	}
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	canonical := "GET\n/\n" + strings.Join(signed, "&") + "\nhost:" + host + "\n\nhost\n" + hash("")
	text := "AWS4-HMAC-SHA256\n" + args["X-Amz-Date"] + "\n" + strings.Join(scope[1:], "/") + "\n" + hash(canonical)
	key := mac(mac(mac(mac([]byte("AWS4"+secret), scope[1]), scope[2]), scope[3]), scope[4])
	if hex.EncodeToString(mac(key, text)) != args["X-Amz-Signature"] {
		return errors.New("SignatureDoesNotMatch")
	}
	return nil
}

// awsRefusal is STS, which knows one key and lets nobody assume a role.
func awsRefusal(c *clock) func(*http.Request, url.Values) (int, string) {
	return func(r *http.Request, _ url.Values) (int, string) {
		code := "AccessDenied"
		if err := verifyV4(strings.TrimPrefix(r.Header.Get("X-Was"), "https://")+r.URL.RequestURI(), "sts", map[string]string{"AKID": cloudSecret}, c.at); err != nil {
			code = err.Error()
		}
		return 403, "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + cloudSecret + "</Message></Error></ErrorResponse>"
	}
}

func TestWrongAWSKeysAreTold(t *testing.T) {
	c := newClock()
	for secret, want := range map[string]string{"another-secret": "SignatureDoesNotMatch: aws_secret_access_key does not belong to aws_access_key_id", cloudSecret: "AccessDenied: the identity may not assume this role"} {
		f := newCloud(t, nil)
		f.answer = awsRefusal(c)
		_, _, err := provider(t, f, c, Cloud{Provider: AWS, AWSCacheName: "c", AWSRegion: "eu-west-1", AWSAccessKeyID: "AKID", AWSSecretAccessKey: Secret(secret),
			AWSAssumeRoleARN: "arn:aws:iam::1:role/r"}, "u", nil)(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
