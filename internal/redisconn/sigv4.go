package redisconn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// awsKeys sign requests to AWS.
type awsKeys struct {
	id, secret, session string
	expires             time.Time // zero: they do not end
}

// emptyBody is the payload hash of a request without a body.
const emptyBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// presign returns the URL of a GET request that carries its signature in the
// query (AWS Signature Version 4). Only the host header is signed.
func presign(k awsKeys, service, region, scheme, host, path string, query url.Values, payloadHash string, now time.Time, life time.Duration) string {
	now = now.UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	scope := day + "/" + region + "/" + service + "/aws4_request"
	q := url.Values{}
	for name, values := range query {
		q[name] = values
	}
	q.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
	q.Set("X-Amz-Credential", k.id+"/"+scope)
	q.Set("X-Amz-Date", stamp)
	q.Set("X-Amz-Expires", strconv.Itoa(int(life/time.Second)))
	q.Set("X-Amz-SignedHeaders", "host")
	if k.session != "" {
		q.Set("X-Amz-Security-Token", k.session)
	}
	canonical := awsQuery(q)
	request := strings.Join([]string{"GET", path, canonical, "host:" + host + "\n", "host", payloadHash}, "\n")
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + k.secret)
	for _, part := range []string{day, region, service, "aws4_request", text} {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(part))
		key = h.Sum(nil)
	}
	return scheme + "://" + host + path + "?" + canonical + "&X-Amz-Signature=" + hex.EncodeToString(key)
}

// awsQuery writes a query in the order and the encoding that are signed.
func awsQuery(q url.Values) string {
	var pairs []string
	for name, values := range q {
		for _, v := range values {
			pairs = append(pairs, awsEscape(name)+"="+awsEscape(v))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// awsEscape encodes all but the unreserved characters of RFC 3986.
func awsEscape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
