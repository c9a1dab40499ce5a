package rp

import (
	"crypto/sha256"
	"encoding/hex"
)

// EventKind is a step in the life of a login that operators keep a record of.
type EventKind string

// The steps.
const (
	EventLogin   EventKind = "login"   // a session began, or an authorization code was redeemed and its caller admitted
	EventLogout  EventKind = "logout"  // a request logged out
	EventRefresh EventKind = "refresh" // the tokens of a session were renewed
)

// Event says what happened, and to whom. It holds no token and no secret.
type Event struct {
	Kind    EventKind
	Method  Method // that authenticated first; "" where nobody was logged in
	Client  string // client_id
	Subject string
	Session string // names the session in records, as long as its id is the same; "" for none
}

// record keeps an event of the request for its Decision.
func (x *Exchange) record(kind EventKind, m Method, subject string, s *Session) {
	e := Event{Kind: kind, Method: m, Client: x.Policy.client(x.Client).ID, Subject: subject}
	if s != nil {
		e.Session = RecordName(s.ID)
	}
	x.events = append(x.events, e)
}

// RecordName stands for an identifier in records: short, the same each time, and
// of no use to who reads it.
func RecordName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}
