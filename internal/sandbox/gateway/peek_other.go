//go:build !unix

package gateway

import "net"

// quiet cannot look into a connection on this system.
func quiet(net.Conn) bool { return true }
