package gateway

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var mimeTypes = map[string]string{
	"text/html": "text/html; charset=utf-8", "application/json": "application/json; charset=utf-8", "text/plain": "text/plain; charset=utf-8",
	"application/xml": "application/xml; charset=utf-8", "application/*": "application/json; charset=utf-8", "text/*": "text/plain; charset=utf-8",
}

// acceptMember is Kong's own pattern; like its PCRE it matches what begins like
// a member and has anything behind.
var acceptMember = regexp.MustCompile(`(?i)((?:[a-z0-9][-a-z0-9!#$&^_+.]+|\*)/(?:[a-z0-9][-a-z0-9!#$&^_+.]+|\*))` +
	`(?:\s*;\s*q=(1(?:\.0{0,3}|)|0(?:\.\d{0,3}|))|\s*;\s*[a-z0-9][-a-z0-9!#$&^_+.]+(?:=[^;]*|))*`)

// responseType chooses the type of an error body by Accept as Kong does: the
// first of the highest quality decides, and JSON stands in for what is unknown.
func responseType(accept []string) string {
	best, quality := mimeTypes["application/json"], 0.0
	for _, member := range strings.Split(strings.Join(accept, ","), ",") {
		m := acceptMember.FindStringSubmatch(strings.TrimSpace(member))
		if m == nil {
			continue
		}
		q := 1.0
		if m[2] != "" {
			q, _ = strconv.ParseFloat(m[2], 64)
		}
		if q > quality {
			if quality, best = q, mimeTypes[m[1]]; best == "" {
				best = mimeTypes["application/json"]
			}
		}
	}
	return best
}

// errorBody is Kong's error of a type.
func errorBody(contentType, message, id string) string {
	switch contentType {
	case mimeTypes["text/html"]:
		return fmt.Sprintf("<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n", message, id)
	case mimeTypes["text/plain"]:
		return message + "\nrequest_id: " + id + "\n"
	case mimeTypes["application/xml"]:
		return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>" + message + "</message>\n  <requestid>" + id + "</requestid>\n</error>\n"
	}
	return fmt.Sprintf("{\n  \"message\":%q,\n  \"request_id\":%q\n}", message, id)
}
