package redisconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrTooLarge says that a value exceeds the caller's limit.
var ErrTooLarge = errors.New("larger than accepted")

// ErrBusy says that keepalive_pool_size commands run and keepalive_backlog more wait.
var ErrBusy = errors.New("too many commands wait")

// Error is a failure to use Redis. Its text holds no secret and no value: what
// the server said is reduced to its kind.
type Error struct {
	Op    string // what was attempted
	Where string // on which Redis
	// Code is the first word of the server's refusal, such as NOPERM; "" if no server answered.
	Code string

	reason string
	err    error // context.Canceled, context.DeadlineExceeded, ErrTooLarge, ErrBusy or nil
}

func (e *Error) Error() string { return "redis: " + e.Op + " at " + e.Where + ": " + e.reason }
func (e *Error) Unwrap() error { return e.err }

// advice is what the reader can do, by the first word of a refusal.
var advice = map[string]string{
	"WRONGPASS":   "the user or the password is wrong",
	"NOAUTH":      "the server wants a password and none is configured",
	"NOPERM":      "the ACL user lacks a permission",
	"READONLY":    "the server is a replica; writes need the master (sentinel_role master)",
	"OOM":         "the server's memory is full",
	"MISCONF":     "the server cannot save to its disk and takes no writes",
	"LOADING":     "the server is still loading its data",
	"CLUSTERDOWN": "the cluster does not serve all its slots",
	"MOVED":       "the server is part of a cluster: list its nodes in cluster_nodes",
	"CROSSSLOT":   "the server is part of a cluster: list its nodes in cluster_nodes",
	"WRONGTYPE":   "another program uses the same keys: set a prefix of your own",
	"NOREPLICAS":  "the server has too few replicas to take writes",
	"MASTERDOWN":  "the replica has lost its master",
	"DENIED":      "the server accepts local clients only (protected mode)",
}

// fail turns an error into one that may be printed; nil stays nil.
func (c *Client) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Where: c.where}
	var known *Error
	var refused redis.Error
	var said interface{ publicReason() string }
	var network net.Error
	switch {
	case errors.As(err, &known):
		e.Code, e.reason, e.err = known.Code, known.reason, known.err
	case errors.Is(err, context.DeadlineExceeded):
		e.reason, e.err = "no answer in time", context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		e.reason, e.err = "canceled", context.Canceled
	case errors.Is(err, ErrBusy):
		e.reason, e.err = "keepalive_backlog is reached", ErrBusy
	case errors.As(err, &said):
		e.reason = said.publicReason()
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		e.reason = "the server closed the connection"
	case errors.As(err, &refused):
		e.Code = code(refused.Error())
		e.reason = c.clean("refused: " + refusal(refused.Error()))
		a := advice[e.Code]
		if e.Code == "WRONGPASS" && c.cloud {
			a = "the server does not take the cloud's login: make its user (username) known to the cache, with an access policy"
		}
		if a != "" {
			e.reason = "refused: " + e.Code + ": " + a
		}
	case errors.As(err, &network) && network.Timeout():
		e.reason, e.err = "no answer in time", context.DeadlineExceeded
	default:
		e.reason = c.clean(err.Error())
	}
	return e
}

// code returns the first word of a refusal when it is one in capitals.
func code(s string) string {
	word, _, _ := strings.Cut(strings.TrimLeft(s, "-"), " ")
	if len(word) > 20 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return word
}

// refusal drops what a server repeats of a command's arguments.
func refusal(s string) string {
	for _, mark := range []string{", with args", " script: ", "'", "`", `"`} {
		s, _, _ = strings.Cut(s, mark)
	}
	return s
}

func (c *Client) clean(s string) string {
	for _, secret := range c.hide {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, redacted)
		}
	}
	return printable(s, 300)
}

// printable bounds a text and replaces what could forge a log line.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
