// Package entities finds Kong's own entities that the plugin needs: consumers,
// certificates, CA certificates, OAuth2 tokens, consumer groups. Package
// postgres reads them from Kong's database, package adminapi from the Admin
// API of a Kong without one; Cache keeps answers for the time that Kong's own
// nodes take to see a change. Imported by the adapters of rp and op and by the
// wiring; imports nothing of this module.
package entities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// ErrNotFound says that the gateway has no such entity. It is never the word
// for a lookup that failed.
var ErrNotFound = errors.New("no such entity")

// AmbiguousError says that several consumers differ by case only, and none is
// spelled as asked for: which of them is meant cannot be known.
type AmbiguousError struct{ What string }

func (e *AmbiguousError) Error() string {
	return "several consumers have this " + e.What + " in different cases: give them names that differ otherwise, or switch ignoring the case off"
}

// LookupError is a lookup that failed: whether there is such an entity is not known.
type LookupError struct {
	What string
	Err  error
}

func (e *LookupError) Error() string { return fmt.Sprintf("look up %s: %v", e.What, e.Err) }
func (e *LookupError) Unwrap() error { return e.Err }

// Consumer is a consumer of Kong.
type Consumer struct {
	ID, Username, CustomID string
	Tags                   []string
}

// PEM is a private key, which never prints itself.
type PEM struct{ text *string }

// NewPEM holds a private key in PEM form.
func NewPEM(text string) PEM { return PEM{&text} }

// Reveal returns the key.
func (p PEM) Reveal() string {
	if p.text == nil {
		return ""
	}
	return *p.text
}

// Format implements fmt.Formatter: the same word for every verb.
func (p PEM) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// MarshalText implements encoding.TextMarshaler.
func (p PEM) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// LogValue implements slog.LogValuer.
func (p PEM) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Certificate is a Certificate entity.
type Certificate struct {
	ID   string
	Cert string // PEM, with its chain
	Key  PEM
}

// CACertificate is a CA Certificate entity.
type CACertificate struct {
	ID   string
	Cert string // PEM
}

// OAuth2Token is a token of Kong's oauth2 plugin, with the credential that it
// was issued to.
type OAuth2Token struct {
	ID                  string
	CreatedAt           time.Time
	ExpiresIn           int // seconds from CreatedAt; 0 for ever
	Scope               string
	AuthenticatedUserID string
	ServiceID           string // "" for every service
	Credential          OAuth2Credential
}

// Expired reports whether the token's time is over.
func (t *OAuth2Token) Expired(now time.Time) bool {
	return t.ExpiresIn > 0 && !now.Before(t.CreatedAt.Add(time.Duration(t.ExpiresIn)*time.Second))
}

// OAuth2Credential is an application of Kong's oauth2 plugin.
type OAuth2Credential struct {
	ID, Name, ClientID, ConsumerID string
}

// Group is a consumer group.
type Group struct{ ID, Name string }

// Lookups finds entities. ws is the id of the workspace (`__ws_id` of the
// configuration), "" where that is not known. Every method answers ErrNotFound
// when the gateway says that there is none, and any other error, a
// *LookupError as a rule, when it cannot be known. What they return is shared
// and must not be changed.
type Lookups interface {
	ConsumerByID(ctx context.Context, ws, id string) (*Consumer, error)
	// ConsumerByUsername prefers the exact spelling also where ignoreCase is set.
	ConsumerByUsername(ctx context.Context, ws, name string, ignoreCase bool) (*Consumer, error)
	ConsumerByCustomID(ctx context.Context, ws, id string, ignoreCase bool) (*Consumer, error)
	Certificate(ctx context.Context, ws, id string) (*Certificate, error)
	CACertificate(ctx context.Context, id string) (*CACertificate, error)
	OAuth2Token(ctx context.Context, ws, accessToken string) (*OAuth2Token, error)
	// KnowsGroups reports whether this gateway has consumer groups at all.
	KnowsGroups(ctx context.Context) (bool, error)
	GroupByName(ctx context.Context, ws, name string) (*Group, error)
}

// Loader is what the PDK can find by itself within an event
// (kong.client.load_consumer).
type Loader interface {
	// LoadConsumer returns the consumer of an id or user name, nil when there is none.
	LoadConsumer(ctx context.Context, idOrName string, byUsername bool) (*Consumer, error)
}

// None is the Lookups of a gateway that cannot be asked: no database, no
// address of an Admin API.
type None struct{}

var _ Lookups = None{}

// ErrNoSource is why None fails.
var ErrNoSource = errors.New("Kong has no database and no -admin-api is set")

func none(what string) error { return &LookupError{what, ErrNoSource} }

// ConsumerByID implements Lookups.
func (None) ConsumerByID(context.Context, string, string) (*Consumer, error) {
	return nil, none("consumer by id")
}

// ConsumerByUsername implements Lookups.
func (None) ConsumerByUsername(context.Context, string, string, bool) (*Consumer, error) {
	return nil, none("consumer by username")
}

// ConsumerByCustomID implements Lookups.
func (None) ConsumerByCustomID(context.Context, string, string, bool) (*Consumer, error) {
	return nil, none("consumer by custom_id")
}

// Certificate implements Lookups.
func (None) Certificate(context.Context, string, string) (*Certificate, error) {
	return nil, none("certificate")
}

// CACertificate implements Lookups.
func (None) CACertificate(context.Context, string) (*CACertificate, error) {
	return nil, none("CA certificate")
}

// OAuth2Token implements Lookups.
func (None) OAuth2Token(context.Context, string, string) (*OAuth2Token, error) {
	return nil, none("OAuth2 token")
}

// KnowsGroups implements Lookups.
func (None) KnowsGroups(context.Context) (bool, error) { return false, none("consumer groups") }

// GroupByName implements Lookups.
func (None) GroupByName(context.Context, string, string) (*Group, error) {
	return nil, none("consumer group")
}

// MaxName bounds names and ids that are looked for: longer ones no entity has.
const MaxName = 1024

// Pick chooses among consumers whose names differ by case only: the one that
// is spelled as asked for, else the only one. of names what was compared.
func Pick(all []Consumer, want, what string, of func(*Consumer) string) (*Consumer, error) {
	for i := range all {
		if of(&all[i]) == want {
			return &all[i], nil
		}
	}
	switch len(all) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return &all[0], nil
	}
	return nil, &AmbiguousError{what}
}
