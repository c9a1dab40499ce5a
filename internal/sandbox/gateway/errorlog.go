package gateway

import (
	"fmt"
	"net"
)

const maxLogLines = 20000

// logf appends a line to the error log: "[level] text".
func (g *Gateway) logf(level, format string, args ...any) {
	line := "[" + level + "] " + fmt.Sprintf(format, args...)
	g.logMu.Lock()
	defer g.logMu.Unlock()
	if len(g.log) >= maxLogLines {
		g.log = append(g.log[:0], g.log[maxLogLines/2:]...)
	}
	g.log = append(g.log, line)
	if g.opts.Log != nil {
		fmt.Fprintln(g.opts.Log, line)
	}
}

// Log returns the error log: lines of the form "[level] text".
func (g *Gateway) Log() []string {
	g.logMu.Lock()
	defer g.logMu.Unlock()
	return append([]string(nil), g.log...)
}

// LogTail returns the last n lines of the error log.
func (g *Gateway) LogTail(n int) []string {
	l := g.Log()
	return l[max(0, len(l)-n):]
}

// track remembers a connection, so that Close can end it.
func (g *Gateway) track(c net.Conn) bool {
	g.connMu.Lock()
	defer g.connMu.Unlock()
	if g.stopping() {
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *Gateway) untrack(c net.Conn) {
	g.connMu.Lock()
	defer g.connMu.Unlock()
	delete(g.conns, c)
}
