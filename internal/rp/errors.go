package rp

import (
	"errors"
)

// Kind is the class of an error; one function turns it into a Decision.
type Kind uint8

const (
	// Unexpected is a fault of the provider, the configuration or this program: 500. The zero value, so that an error nobody classified fails closed.
	Unexpected Kind = iota
	// Unauthorized says that there is no valid credential: 401.
	Unauthorized
	// Forbidden says that the caller is known but may not: 403.
	Forbidden
	// Unavailable is a fault that ends by itself, such as storage that is down: 503.
	Unavailable
	// Invalid is a request that no retry makes good, such as an oversized one: 400.
	Invalid
)

// Error is why a request was refused.
type Error struct {
	Kind        Kind
	Status      int     // overrides the status of Kind when not zero
	Code        string  // RFC 6750 error code for the challenge; "" for none
	Description string  // for people; holds no secret. Shown to clients only with display_errors
	Reason      Reason  // for logs and metrics
	DPoP        bool    // the challenge is of the DPoP scheme (RFC 9449 7.1)
	Fields      []Field // for the client's answer, such as DPoP-Nonce
	Final       bool    // the anonymous consumer does not stand in for it
	Err         error   // the cause; logged, never shown
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Description
	}
	cause := e.Err.Error()
	if cause == e.Description {
		return cause
	}
	return e.Description + ": " + cause
}

func (e *Error) Unwrap() error { return e.Err }

// errorOf classifies err: what nobody classified is a fault of this program.
func errorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Description: "unexpected error", Reason: "internal", Err: err}
}

// asError returns err as it is where it is classified.
func asError(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return errorOf(err)
}

// unread says that a part of the request could not be had. What the gateway
// blames on the client is that.
func unread(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Description: "the request could not be read from the gateway", Reason: "gateway", Err: err}
}
