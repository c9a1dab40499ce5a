// Package quiet keeps a log line that every request would write from flooding
// the log: while a part is away, or is missing from a configuration. Imported by
// plugin; imports nothing of ours.
package quiet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Every is how long a line is left out after it was written.
const Every = 10 * time.Second

// maxLines bounds the messages that are told apart; more are written as they
// come. Messages are constants of the program.
const maxLines = 256

// Repeated is the attribute that says how often a line was left out before.
const Repeated = "repeated"

// New returns a logger that hands each message on to l at most once in Every.
func New(l *slog.Logger, now func() time.Time) *slog.Logger {
	return slog.New(handler{l.Handler(), &memory{now: now, lines: map[string]*line{}}})
}

type handler struct {
	slog.Handler
	memory *memory
}

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	n, ok := h.memory.due(r.Message)
	if !ok {
		return nil
	}
	if n > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(Repeated, n))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.memory}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.memory}
}

// memory knows when each message was written last.
type memory struct {
	now func() time.Time

	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	written time.Time
	left    int // how often it was left out since
}

// due reports whether a message is to be written now, and how often it was left
// out since the last time.
func (m *memory) due(message string) (repeated int, ok bool) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	l, known := m.lines[message]
	switch {
	case !known && len(m.lines) >= maxLines:
		return 0, true
	case !known:
		m.lines[message] = &line{written: now}
		return 0, true
	case now.Sub(l.written) < Every:
		l.left++
		return 0, false
	}
	repeated, l.written, l.left = l.left, now, 0
	return repeated, true
}
