// Package gateway stands for Kong Gateway on one machine and in tests: it
// speaks Kong's side of the plugin-server protocol as it was measured on Kong
// 3.9.3, quirks included, so that a plugin server which passes here passes
// there. It reads a declarative kong.yml, proxies HTTP/1.1, HTTP/2,
// gRPC and WebSocket, and has the part of the Admin API that a plugin needs. It
// is not for production.
//
// Imported by cmd/sandbox and tests. It shares nothing with the plugin server:
// it imports no other package of this module but its own below it.
package gateway
