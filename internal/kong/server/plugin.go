package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"kong-openid-connect/internal/rp"
)

// Plugin makes instances.
type Plugin interface {
	// Start makes an instance of a configuration, which is JSON as Kong encodes
	// it. It never fails: one that does not compile is an instance that answers
	// 500. ctx ends with the call.
	Start(ctx context.Context, config []byte) Instance
}

// Instance decides one plugin configuration's requests. It is safe for
// concurrent use.
type Instance interface {
	// Needs names what is read of each request beside its headers.
	Needs() rp.Needs
	// Access decides a request. r can not be used after it returns; nil and a
	// panic are answered by 500. When ctx is done a decision is due at once.
	Access(ctx context.Context, r *rp.Request) *rp.Decision
	// Close is called once, when no Access is running or will run.
	Close()
	// Volatile reports whether the configuration holds resolved vault
	// references: such an instance is forgotten now and then, so that Kong
	// starts it anew with what the vault holds by then.
	Volatile() bool
}

// Info describes the plugin to Kong.
type Info struct {
	Name       string
	Version    string
	Priority   int
	Phases     []string
	Schema     json.RawMessage // {"name", "fields"} as Kong's schema language has it
	SocketPath string
}

// Dump writes what Kong's query command prints: one line of JSON.
func Dump(w io.Writer, info Info) error {
	type plugin struct {
		Name     string
		Phases   []string
		Version  string
		Priority int
		Schema   json.RawMessage
	}
	b, err := json.Marshal(struct {
		Protocol   string
		SocketPath string
		Plugins    []plugin
	}{"ProtoBuf:1", info.SocketPath, []plugin{{info.Name, info.Phases, info.Version, info.Priority, info.Schema}}})
	if err != nil {
		return fmt.Errorf("describing the plugin to kong: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
