package rp

import (
	"slices"
	"strings"
)

// A Decision is all that a request comes to. Nothing has been written yet.
type Decision struct {
	Respond      *Response    // ends the request at the gateway; nil lets it through
	Request      RequestEdits // toward the service, where credentials are hidden or a callback is passed on
	Upstream     HeaderEdits  // toward the service
	Downstream   HeaderEdits  // toward the client; cookies live here
	Authenticate *Principal   // consumer, credential, groups
	Reason       Reason       // for logs and metrics, never for control flow
	Method       Method       // whose credential was judged; "" for none. For logs and metrics
	Events       []Event      // for records of who logged in and out
	Err          error        // why the request was denied; for logs. nil where it was not
	Notice       string       // a line for the gateway's own error log; "" for none
}

// Response is an answer of the gateway's own.
type Response struct {
	Status int
	Body   []byte
}

// RequestEdits changes the request on its way to the service. Nil and empty
// fields change nothing.
type RequestEdits struct {
	Method   string
	RawQuery *string
	Body     *[]byte
}

// Field is one header field. Values are made safe for the wire by pdkio.
type Field struct {
	Name  string
	Value string
}

// HeaderEdits changes header fields: first Clear (exact spellings), then Set,
// which replaces, then Add, which appends (toward the client only).
type HeaderEdits struct {
	Clear []string
	Set   []Field
	Add   []Field
}

// setCookies adds Set-Cookie values. Of several with one name the last counts
// (RFC 6265 4.1.1: an answer has no two of a name).
func (d *Decision) setCookies(cookies []string) {
	for i, c := range cookies {
		name := cookieName(c)
		if !slices.ContainsFunc(cookies[i+1:], func(later string) bool { return cookieName(later) == name }) {
			d.Downstream.Add = append(d.Downstream.Add, Field{"Set-Cookie", c})
		}
	}
}

// cookieName is the name in a Set-Cookie value.
func cookieName(setCookie string) string {
	name, _, _ := strings.Cut(setCookie, "=")
	return name
}

// Consumer is a Kong consumer.
type Consumer struct {
	ID, Username, CustomID string
}

// Principal is whom the gateway is told that the caller is. Either part may
// be absent; without consumer and credential those of an earlier plugin go.
type Principal struct {
	Consumer     *Consumer
	CredentialID string   // virtual credential (credential_claim)
	Groups       []string // authenticated groups for the ACL plugin; nil: not set
	// ConsumerGroups are names for X-Consumer-Groups and the context; Kong's own
	// groups cannot be attached through the protocol. nil: not set.
	ConsumerGroups []string
	DirectoryID    string // of the principal in a directory; "" where none was looked up
	Anonymous      bool
	kong           *KongToken
}

// Reason says in one word why a request came to its decision.
type Reason string
