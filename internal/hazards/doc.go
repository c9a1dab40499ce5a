// Package hazards holds what can go wrong between Kong and the plugin server,
// each as a test against the built binary over its real socket: nothing may
// hang, loop, or let a request through. It has tests only and is imported by
// nobody.
package hazards
