// Package harness starts a gateway with the plugin for end-to-end tests: the
// sandbox, or a real Kong where E2E_TARGET=kong is set; and it is the client
// that talks to it. Imported by tests below internal/e2e only.
package harness
